"""Ops that split a tensor become slices with the same values."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.support import run
from vai_q_tf.export.forms.slices import write_slices


def _built(build):
    """(GraphDef with shapes, {node: shapes of its outputs}) of build(x), x a placeholder [?, 4, 5, 6]."""
    with tf.Graph().as_default() as graph:
        build(tf.placeholder(tf.float32, [None, 4, 5, 6], 'x'))
        graph_def = graph.as_graph_def(add_shapes=True)
    return graph_def, {node.name: list(node.attr['_output_shapes'].list.shape) for node in graph_def.node}


def _run(graph_def, tensors):
    return run(graph_def, tensors, {'x': np.random.RandomState(0).randn(3, 4, 5, 6)})


def _ops(graph_def):
    return [node.op for node in graph_def.node]


@pytest.mark.parametrize('split', [
    lambda x: tf.split(x, 2, 3), lambda x: tf.split(x, 3, -1), lambda x: tf.split(x, 4, 1), lambda x: tf.split(x, 1, 2),
    lambda x: tf.split(x, [1, 3, 1], 2), lambda x: tf.split(x, [4, -1], -1), lambda x: tf.split(x, [0, 6], 3),
    lambda x: tf.unstack(x, axis=1), lambda x: tf.unstack(x, axis=-1),
    lambda x: tf.split(tf.split(x, 2, 3)[1], [2, 1], 3)])
def test_all_results_have_their_values(split):
    graph_def, shapes = _built(lambda x: tf.identity_n(split(x), name='y'))
    count = len([node for node in graph_def.node if node.op == 'IdentityN'][0].input)
    fetches = ['y:{}'.format(index) for index in range(count)]
    sliced = write_slices(graph_def, shapes, ['y'])
    assert not {'Split', 'SplitV', 'Unpack'} & set(_ops(sliced))
    for expected, value in zip(_run(graph_def, fetches), _run(sliced, fetches)):  # the import also checks the noted shapes
        np.testing.assert_array_equal(value, expected)


def test_names_and_form():
    graph_def, shapes = _built(lambda x: [tf.negative(part, name='n{}'.format(index))
                                         for index, part in enumerate(tf.split(x, 3, 3)) if index != 1])
    sliced = {node.name: node for node in write_slices(graph_def, shapes, ['n0', 'n2']).node}
    assert sorted(name for name, node in sliced.items() if node.op == 'StridedSlice') == ['split', 'split_2']
    assert sliced['n0'].input == ['split'] and sliced['n2'].input == ['split_2'] and 'split/split_dim' not in sliced
    part = sliced['split_2']
    begin, end, strides = (tf.make_ndarray(sliced[name].attr['value'].tensor).tolist() for name in part.input[1:])
    assert (begin, end, strides) == ([0, 0, 0, 4], [0, 0, 0, 6], [1, 1, 1, 1])
    assert [part.attr[key].i for key in ('begin_mask', 'end_mask', 'ellipsis_mask', 'shrink_axis_mask')] == [7, 7, 0, 0]


def _in_a_branch(x):
    return tf.cond(tf.placeholder_with_default(True, []), lambda: tf.split(x, 2, 3)[1], lambda: x[..., :3])


def _in_a_loop(x):
    return tf.while_loop(lambda n, y: n < 2, lambda n, y: (n + 1, tf.stack(tf.unstack(y, axis=1)[::-1], 1)), [0, x])


@pytest.mark.parametrize('build, outputs', [
    (lambda x: tf.split(x, 2, 3), ['split:1']),
    (lambda x: tf.add_n(tf.split(x, 3, 0)), ['AddN']),  # the batch is not known
    (lambda x: tf.identity_n(tf.split(tf.shape(x), 2, 0)), ['IdentityN']),  # sizes
    (lambda x: tf.add_n(tf.split(x, 2, tf.placeholder_with_default(3, []))), ['AddN']),
    (_in_a_branch, ['cond/Merge']), (_in_a_loop, ['while/Exit_1'])])
def test_others_stay(build, outputs):
    graph_def, shapes = _built(build)
    assert write_slices(graph_def, shapes, outputs) is graph_def


def test_an_output_node_that_splits():
    graph_def, shapes = _built(lambda x: tf.split(x, 2, 3))
    sliced = write_slices(graph_def, shapes, ['split'])
    np.testing.assert_array_equal(_run(sliced, ['split']), _run(graph_def, ['split']))
    assert _ops(sliced).count('StridedSlice') == 1


def test_names_that_are_taken():
    def build(x):
        tf.identity(x, 'split_1'), tf.constant(1, name='split/begin')
        tf.add_n(tf.split(x, 2, 3, name='split'), name='y')
    graph_def, shapes = _built(build)
    np.testing.assert_array_equal(_run(write_slices(graph_def, shapes, ['y']), ['y']), _run(graph_def, ['y']))


def test_parameters_that_others_read_stay():
    def build(x):
        first, second = tf.split(x, tf.constant([2, 4], name='sizes'), 3)
        tf.reshape(first, tf.concat([[-1], tf.get_default_graph().get_tensor_by_name('sizes:0')], 0), name='y')
        tf.negative(second, name='z')
    graph_def, shapes = _built(build)
    sliced = write_slices(graph_def, shapes, ['y', 'z'])
    assert 'SplitV' not in _ops(sliced) and 'split/split_dim' not in [node.name for node in sliced.node]
    np.testing.assert_array_equal(_run(sliced, ['y']), _run(graph_def, ['y']))


def test_without_noted_shapes():
    graph_def, shapes = _built(lambda x: tf.add_n(tf.split(x, 2, 3), name='y'))
    for node in graph_def.node:
        del node.attr['_output_shapes']
    sliced = write_slices(graph_def, shapes, ['y'])
    assert 'StridedSlice' in _ops(sliced) and not any('_output_shapes' in node.attr for node in sliced.node)
