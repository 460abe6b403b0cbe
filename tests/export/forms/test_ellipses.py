"""StridedSlices with an ellipsis are written out with the same values."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.support import run
from vai_q_tf.export.forms.ellipses import write_out_ellipses


def _built(build, shape=(None, 4, 5, 6)):
    """(GraphDef with shapes, {node: shapes of its outputs}) of y = build(x)."""
    with tf.Graph().as_default() as graph:
        tf.identity(build(tf.placeholder(tf.float32, shape, 'x')), 'y')
        graph_def = graph.as_graph_def(add_shapes=True)
    return graph_def, {node.name: list(node.attr['_output_shapes'].list.shape) for node in graph_def.node}


def _run(graph_def):
    return run(graph_def, ['y'], {'x': np.random.RandomState(0).randn(3, 4, 5, 6)})[0]


@pytest.mark.parametrize('build', [
    lambda x: x[..., 1:], lambda x: x[..., :-1], lambda x: x[..., 2], lambda x: x[1:, ...], lambda x: x[1:, ..., ::-2],
    lambda x: x[..., 1:3, 2:4], lambda x: x[..., tf.newaxis], lambda x: x[tf.newaxis, ..., 1:],
    lambda x: x[0, ..., tf.newaxis, 3], lambda x: x[:, ..., 0, tf.newaxis, 1:], lambda x: x[...],
    lambda x: x[0:2, 1, ..., 2:, 3], lambda x: x[1, 2, 3, ..., 4], lambda x: x[..., 1:] + x[..., :1]])
def test_the_same_values(build):
    graph_def, shapes = _built(build)
    written = write_out_ellipses(graph_def, shapes)
    slices = [node for node in written.node if node.op == 'StridedSlice']
    assert slices and not any(node.attr['ellipsis_mask'].i for node in slices)
    np.testing.assert_array_equal(_run(written), _run(graph_def))  # the import also checks the noted shapes


def test_names_and_form():
    graph_def, shapes = _built(lambda x: x[..., 1:4])
    written = {node.name: node for node in write_out_ellipses(graph_def, shapes).node}
    part = written['strided_slice']
    begin, end, strides = (tf.make_ndarray(written[name].attr['value'].tensor).tolist() for name in part.input[1:])
    assert (begin, end, strides) == ([0, 0, 0, 1], [0, 0, 0, 4], [1, 1, 1, 1])
    assert (part.attr['begin_mask'].i, part.attr['end_mask'].i) == (7, 7)
    assert 'strided_slice/stack' not in written and len(written) == len(graph_def.node)


def test_a_quantized_input_and_limits_that_others_read():
    graph_def, shapes = _built(lambda x: x[..., 1:])
    part, = (node for node in graph_def.node if node.op == 'StridedSlice')
    graph_def.node.add(name='other', op='Identity', input=[part.input[1]]).attr['T'].type = tf.int32.as_datatype_enum
    fix = graph_def.node.add(name='x/aquant', op='FixNeuron', input=['x'])
    part.input[0] = fix.name
    written = {node.name: node for node in write_out_ellipses(graph_def, shapes).node}
    assert not written['strided_slice'].attr['ellipsis_mask'].i and written['other'].input[0] in written


@pytest.mark.parametrize('build, shape', [
    (lambda x: x[:, 1:], (None, 4, 5, 6)), (lambda x: x[..., 1:], None),
    (lambda x: x[..., tf.placeholder_with_default(1, []):], (None, 4, 5, 6)),
    (lambda x: tf.cond(tf.reduce_any(x > 0), lambda: x[..., 1:], lambda: x), (None, 4, 5, 6))])
def test_others_stay(build, shape):
    graph_def, shapes = _built(build, shape)
    assert write_out_ellipses(graph_def, shapes) is graph_def
