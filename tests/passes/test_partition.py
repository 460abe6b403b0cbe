"""Pre-processing, post-processing, names, several inputs and outputs: what optimise leaves unchanged."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from tensorflow.python.framework import function

from tests.passes import folded_networks
from tests.passes.checking import nodes, ops, values
from tests.passes.folded_networks import assert_equal, graph_of, inputs_of, optimised, settings, vector
from tests.support import run
from vai_q_tf import errors
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.passes import optimise
from vai_q_tf.passes.partition import partition


def _layer(x, name, filters=4):
    channels = x.shape[-1].value
    y = tf.nn.conv2d(x, tf.constant(values(3, 3, channels, filters), name=name + '/weights'), 1, 'SAME', name=name)
    return tf.nn.relu(tf.add(y * values(filters, seed=1), values(filters, seed=2), name=name + '/norm'), name=name + '/relu')


@function.Defun(tf.float32)
def _twice(x):
    return 2 * x


def _image(name='x', channels=3):
    return tf.placeholder(tf.float32, [None, 6, 6, channels], name=name)


def _check(graph_def, inputs, outputs, fetches, feeds, tolerance=1e-5, **fields):
    config = settings(outputs, inputs, **fields)
    result = optimise(graph_def, config)
    assert_equal(run(graph_def, fetches, feeds), run(result, fetches, feeds), tolerance)
    assert nodes(optimise(result, config)) == nodes(result)
    order = {node.name: number for number, node in enumerate(result.node)}
    for node in result.node:
        assert all(order[operand.lstrip('^').partition(':')[0]] < order[node.name] for operand in node.input)
    return result


def test_the_order_of_nodes_in_a_file_does_not_matter():
    def build():
        x, weights, offset = _image(), tf.constant(values(3, 3, 3, 4), name='w'), tf.constant(values(4), name='b')
        first, second = (tf.nn.conv2d(image, weights, 1, 'SAME') + offset for image in (x, tf.nn.max_pool2d(x, 3, 1, 'SAME')))
        tf.add(tf.reduce_sum(tf.concat([second, first], -1, name='out')), tf.reduce_sum(tf.tanh(first)), name='after')
    graph_def = graph_of(build)
    shuffled = editor.subgraph(graph_def, reversed(graph_def.node))
    result, other = (nodes(optimise(each, settings(['out']))) for each in (graph_def, shuffled))
    assert result == other and len(result) > 8
    first, second = list(result), list(other)
    assert first[:first.index('out')] == second[:second.index('out')]


def test_functions_stay_and_gradients_of_missing_functions_are_dropped():
    graph_def = graph_of(lambda: _twice(_layer(_image(), 'a'), name='last'))
    result = _check(graph_def, ['x'], ['a/relu'], ['last'], {'x': values(2, 6, 6, 3)})
    assert result.library == graph_def.library and len(result.library.function) == 1
    graph_def = graph_of(lambda: _layer(_image(), 'a'))
    graph_def.library.gradient.add(function_name='f', gradient_func='g')
    assert not optimise(graph_def, settings(['a/relu'])).library.gradient


def test_pre_and_post_processing_stay_as_they_are():
    def build():
        x = tf.placeholder(tf.uint8, [None, 6, 6, 3], name='bytes')
        with tf.control_dependencies([tf.debugging.assert_non_negative(tf.cast(x, tf.int32))]):
            scaled = tf.identity(tf.cast(x, tf.float32) / 255.0, name='scaled')
        y = _layer(_layer(tf.multiply(scaled, 2.0, name='start'), 'a'), 'b')
        tf.nn.softmax(tf.identity(tf.reduce_mean(y, [1, 2]), name='read') * 3.0, name='probabilities')
        tf.nn.relu(tf.placeholder(tf.float32, [3], name='lonely'))
    graph_def = graph_of(build)
    result = _check(graph_def, ['start'], ['b/relu'], ['probabilities', 'b/relu'],
                    {'bytes': np.random.RandomState(0).randint(0, 255, (2, 6, 6, 3))})
    before, after = nodes(graph_def), nodes(result)
    for name in ('bytes', 'scaled', 'start', 'start/y', 'read', 'probabilities', 'Mean'):
        assert after[name] == before[name]
    assert 'lonely' not in after and after['a/norm'].op == 'BiasAdd'


def test_a_tensor_that_post_processing_reads_is_not_folded_away():
    def build():
        y = tf.nn.conv2d(_image(), folded_networks.weights(3, 3, 3, 4), 1, 'SAME', name='conv')
        tf.nn.relu(tf.add(tf.multiply(y, vector(3)), vector(4)), name='out')
        tf.reduce_max(y, name='head')
    result = _check(graph_of(build), ['x'], ['out'], ['out', 'head'], {'x': values(2, 6, 6, 3)})
    assert 'Mul' in ops(result)


def test_weights_that_post_processing_reads_are_copied():
    def build():
        w = folded_networks.weights(3, 3, 3, 4)
        y = tf.nn.conv2d(_image(), w, 1, 'SAME')
        y = tf.nn.relu(tf.add(tf.multiply(y, vector(3)), vector(4)), name='out')
        tf.nn.conv2d(y[..., :3], w, 1, 'SAME', name='later')
    result = _check(graph_of(build), ['x'], ['out'], ['out', 'later'], {'x': values(2, 6, 6, 3)})
    assert ops(result).count('Mul') == 0 and inputs_of(result)['later'][1] == 'conv/weights'


def test_several_inputs_and_outputs():
    def build():
        a, b = _layer(_image('a'), 'one'), _layer(_image('b'), 'two')
        y = tf.add(a, b, name='sum')
        _layer(y, 'left')
        _layer(y, 'right')
    _check(graph_of(build), ['a:0', 'b'], ['left/relu:0', 'right/relu', 'sum'], ['left/relu', 'right/relu', 'sum'],
           {'a': values(2, 6, 6, 3), 'b': values(2, 6, 6, 3, seed=1)})


def test_an_input_upstream_of_another():
    def build():
        x = _image()
        middle = _layer(x, 'before', 3)
        tf.add(_layer(tf.identity(middle, name='middle'), 'a'), _layer(x, 'b'), name='out')
    graph_def = graph_of(build)
    result = _check(graph_def, ['x', 'middle'], ['out'], ['out', 'middle'], {'x': values(2, 6, 6, 3)})
    before, after = nodes(graph_def), nodes(result)
    for name in ('before', 'before/norm', 'middle'):
        assert after[name] == before[name]
    assert after['b/norm'].op == 'BiasAdd'


def test_an_input_node_with_several_outputs():
    def build():
        first, second, third = tf.split(_image(channels=9), 3, axis=-1, name='parts')
        tf.add(_layer(first, 'a'), _layer(third, 'b'), name='out')
        tf.reduce_sum(second, name='other')
    graph_def = graph_of(build)
    result = _check(graph_def, ['parts'], ['out'], ['out', 'other'], {'x': values(2, 6, 6, 9)})
    assert inputs_of(result)['b'][0] == 'parts:2' and nodes(result)['parts'] == nodes(graph_def)['parts']


def test_ops_with_several_outputs_in_between():
    def build():
        first, second = tf.split(_layer(_image(), 'a'), 2, axis=-1)
        tf.add(_layer(first, 'b'), _layer(second, 'c'), name='out')
    _check(graph_of(build), ['x'], ['out'], ['out'], {'x': values(2, 6, 6, 3)})


def test_new_nodes_with_names_of_post_processing_are_renamed():
    def build():
        y = tf.nn.conv2d(_image(), tf.constant(values(3, 3, 3, 4), name='conv/weights'), 1, 'SAME', name='conv')
        y = tf.nn.fused_batch_norm(y, *folded_networks.parameters(), is_training=False)[0]
        tf.add(tf.nn.relu(y, name='out'), 1.0, name='conv/biases')
    result = _check(graph_of(build), ['x'], ['out'], ['out', 'conv/biases'], {'x': values(2, 6, 6, 3)})
    assert nodes(result)['conv/biases'].op in ('Add', 'AddV2') and nodes(result)['conv/biases_1'].op == 'Const'


def test_the_shape_of_the_input_in_post_processing():
    def build():
        x = _image()
        y = _layer(x, 'a')
        tf.image.resize_bilinear(y, tf.shape(x)[1:3] * 2, name='large')
    _check(graph_of(build), ['x'], ['a/relu'], ['large'], {'x': values(2, 6, 6, 3)})


def test_the_main_part_has_placeholders_of_the_given_shape():
    def build():
        x = tf.placeholder(tf.float32, None, name='x')
        x.set_shape([None, None, None, 3])
        _layer(tf.identity(x, name='start'), 'a')
    graph_def = graph_of(build)
    for name in ('x', 'start'):
        parts = partition(graph_def, settings(['a/relu'], [name], input_shapes=[[-1, 6, 6, 3]]))
        placeholder = nodes(parts.main)[name]
        assert placeholder.op == 'Placeholder' and placeholder.attr['dtype'].type == tf.float32.as_datatype_enum
        assert [dim.size for dim in placeholder.attr['shape'].shape.dim] == [-1, 6, 6, 3]
        assert parts.protected == {name, 'a/relu'}
    parts = partition(graph_of(lambda: _layer(tf.identity(_image(), name='start'), 'a')), settings(['a/relu'], ['start']))
    assert [dim.size for dim in nodes(parts.main)['start'].attr['shape'].shape.dim] == [-1, 6, 6, 3]


def test_the_given_shape_is_that_of_the_first_output():
    def build():
        first, _, third = tf.split(_image(channels=9), [1, 3, 5], axis=-1, name='parts')
        tf.add(_layer(first, 'a'), _layer(third, 'b'), name='out')
    main = nodes(partition(graph_of(build), settings(['out'], ['parts'], input_shapes=[[2, 6, 6, 1]])).main)
    assert [[dim.size for dim in main[name].attr['shape'].shape.dim] for name in ('parts', 'parts/output_2')] == [
        [2, 6, 6, 1], [-1, 6, 6, 5]]
    assert 'parts/output_1' not in main


@pytest.mark.parametrize('name', ['x', 'start'])
@pytest.mark.parametrize('shape', [[-1, 5, 6, 3], [-1, 6, 6], [1, 6, 6, 4]])
def test_shapes_that_an_input_node_does_not_take(name, shape):
    graph_def = graph_of(lambda: _layer(tf.identity(_image(), name='start'), 'a'))
    with pytest.raises(errors.QuantizeError, match=repr(name)) as raised:
        optimise(graph_def, settings(['a/relu'], [name], input_shapes=[shape]))
    assert raised.value.code == errors.LENGTH_MISMATCH


@pytest.mark.parametrize('inputs, outputs, code, text', [
    (['y'], ['a/relu'], errors.UNKNOWN_NODE, "'y'"), (['x'], ['a/rely'], errors.UNKNOWN_NODE, "mean 'a/relu'"),
    (['a/relu'], ['x'], errors.EMPTY_RANGE, 'swapped'), (['lonely'], ['a/relu'], errors.EMPTY_RANGE, "'lonely'")])
def test_invalid_ranges(inputs, outputs, code, text):
    def build():
        _layer(_image(), 'a')
        tf.placeholder(tf.float32, [3], name='lonely')
    with pytest.raises(errors.QuantizeError, match=text) as raised:
        optimise(graph_of(build), settings(outputs, inputs))
    assert raised.value.code == code


def test_the_graph_is_left_as_it_is():
    graph_def = graph_of(lambda: _layer(_layer(_image(), 'a'), 'b'))
    before = graph_def.SerializeToString(deterministic=True)
    optimise(graph_def, settings(['b/relu']))
    assert graph_def.SerializeToString(deterministic=True) == before


def test_control_inputs_are_dropped():
    def build():
        x = tf.placeholder(tf.float32, [None, 4], name='x')
        check = tf.debugging.Assert(tf.reduce_all(x < 10), [x])
        with tf.control_dependencies([check, tf.no_op()]):
            tf.nn.relu(x + tf.constant([1., 2., 3., 4.]), name='out')
    result = optimised(graph_of(build))
    assert ops(result) in (['Add', 'Relu'], ['AddV2', 'Relu'])
    assert not any(operand.startswith('^') for node in result.node for operand in node.input)


def test_unused_inputs_are_dropped():
    def build():
        tf.placeholder(tf.float32, [None, 4], name='other')
        tf.nn.relu(tf.placeholder(tf.float32, [None, 4], name='x'), name='out')
    assert set(inputs_of(optimise(graph_of(build), settings()))) == {'x', 'out'}
