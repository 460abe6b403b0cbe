"""Folding of batch norms and factors: every weighted op, bias, form and operand order, and what must not be folded."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.combinations import each_pair_once
from tests.passes import folded_networks
from tests.passes.checking import nodes, ops, value_of
from tests.passes.folded_networks import BIASES, CHANNELS, NORMS, WEIGHTED, graph_of, inputs_of, optimised, vector
from tests.support import run
from vai_q_tf.graph.view import REDEFINED, SOURCE_NODES, GraphView
from vai_q_tf.passes.cleanup.fold_constants import evaluate_folded, fold_constants
from vai_q_tf.passes.folding.expand_batch_norms import expand_batch_norms
from vai_q_tf.passes.folding.fold_batch_norms import bias_add_of, fold_batch_norms, fold_of

_FOLDED = ('Mul', 'Add', 'AddV2', 'Sub', 'RealDiv', 'FusedBatchNormV3')


def _network(weighted, bias, norm, relu=True):
    def build():
        y = NORMS[norm](BIASES[bias](WEIGHTED[weighted]()))
        (tf.nn.relu if relu else tf.identity)(y, name='out')
    return graph_of(build)


def _last(graph_def):
    """The node before `out`, the last of the batch norm."""
    return nodes(graph_def)['out'].input[0]


def _count(graph_def, *types):
    return sum(node.op in types for node in graph_def.node)


@pytest.mark.parametrize('weighted, norm, bias', each_pair_once(WEIGHTED, NORMS, BIASES))
def test_every_form_folds_into_every_weighted_op(weighted, bias, norm):
    if norm == 'fused' and weighted in ('conv3d', 'matmul', 'matmul, transposed'):
        pytest.skip('the fused op is for images')
    graph_def = _network(weighted, bias, norm)
    result = optimised(graph_def)
    biased = bias != 'no_bias' or norm not in ('scalar', 'factor')
    assert not _count(result, *_FOLDED)
    assert _count(result, 'BiasAdd') == biased
    anchor = 'conv/back' if weighted.startswith('dilated') else 'conv/op'
    name = _last(graph_def) if bias == 'no_bias' else 'conv/bias'
    if biased:
        assert inputs_of(result)[name] == [anchor, 'conv/biases']
        assert value_of(result, 'conv/biases').shape == (CHANNELS,)
    assert inputs_of(result)['out'] == [name if biased else anchor]


@pytest.mark.parametrize('norm', NORMS)
@pytest.mark.parametrize('bias', BIASES)
def test_folds_without_constant_folding(bias, norm):
    result = optimised(_network('conv', bias, norm), fold_constant=False)
    assert not _count(result, 'Rsqrt', 'Sqrt', *_FOLDED)


def test_numbers():
    """Weights are scaled per channel; biases {1, 2} * {3, 4} + {5, 6} = {8, 14}."""
    def build():
        x = tf.placeholder(tf.float32, [1, 1, 1, 1], name='x')
        y = tf.nn.conv2d(x, tf.constant([[[[10., 20.]]]], name='w'), 1, 'SAME')
        tf.add(tf.constant([3., 4.]) * tf.nn.bias_add(y, tf.constant([1., 2.], name='b')), [5., 6.], name='out')
    protected = frozenset(['x', 'out'])
    result = evaluate_folded(fold_batch_norms(graph_of(build), protected, None), protected, None)
    assert value_of(result, 'w').tolist() == [[[[30., 80.]]]] and value_of(result, 'b').tolist() == [8., 14.]


@pytest.mark.parametrize('weighted, norm, bias', each_pair_once(['conv', 'dilated', 'matmul, transposed'], NORMS, BIASES))
def test_an_output_keeps_its_name(weighted, bias, norm):
    if norm == 'fused' and weighted.startswith('matmul'):
        pytest.skip('the fused op is for images')
    graph_def = _network(weighted, bias, norm, relu=False)
    result = optimised(graph_def, outputs=[_last(graph_def)])
    assert not _count(result, *_FOLDED)


def test_a_protected_node_in_between_stays():
    graph_def = _network('conv', 'bias_add', 'fused')
    result = optimised(graph_def, outputs=['out', 'conv/bias'])
    assert _count(result, 'Mul') == _count(result, 'Add') == 1
    assert inputs_of(result)['norm'] == ['norm/mul', 'norm/offset']


def test_another_reader_of_the_convolution_prevents_folding():
    def build():
        y = folded_networks.conv()
        tf.add(tf.nn.relu(y), folded_networks.fused(y), name='out')
    result = optimised(graph_of(build))
    assert _count(result, 'Mul') == _count(result, 'Conv2D') == 1 and not _count(result, 'BiasAdd')


def test_shared_weights_are_separated_and_then_folded():
    def build():
        x = folded_networks.image()
        w = folded_networks.weights(3, 3, 3, CHANNELS)
        first = folded_networks.factor_before_bias(tf.nn.conv2d(x, w, 1, 'SAME'))
        second = tf.multiply(tf.nn.conv2d(x, w, 2, 'SAME'), 3.0, name='twice')
        tf.add(tf.reduce_sum(first), tf.reduce_sum(second), name='out')
    graph_def = graph_of(build)
    result = optimised(graph_def)
    assert _count(result, 'Mul') == 0 and {'conv/weights', 'conv/weights_1'} <= set(nodes(result))
    # Without separation the weights are read by two.
    assert _count(optimised(graph_def, fold_bn_only=1), 'Mul') == 2


def test_a_single_addition_keeps_its_type():
    def build():
        tf.nn.relu(folded_networks.bias_left(folded_networks.conv()), name='out')
    assert nodes(optimised(graph_of(build), tolerance=0))['conv/bias'].op in ('Add', 'AddV2')


def test_an_addition_of_another_shape_is_not_folded():
    def build():
        y = folded_networks.conv() * vector(3)
        tf.add(y, folded_networks.values(1, 6, 6, CHANNELS), name='out')
    result = optimised(graph_of(build))
    assert _count(result, 'Mul') == 0 and nodes(result)['out'].op in ('Add', 'AddV2')


def test_the_three_of_a_hard_sigmoid_is_no_bias():
    def build():
        y = folded_networks.bias_add(folded_networks.conv())
        tf.multiply(tf.nn.relu6(y + 3.0), 1 / 6, name='out')
    result = optimised(graph_of(build))
    assert _count(result, 'Add', 'AddV2') == 1 and _count(result, 'Mul') == 1


def _conv1d(x, bias, norm, dilation=1):
    y = tf.nn.convolution(x, folded_networks.weights(3, 3, CHANNELS), 'SAME', dilation_rate=[dilation])
    return norm(bias(y))


@pytest.mark.parametrize('dilation', [1, 2])
@pytest.mark.parametrize('bias', ['no_bias', 'bias_add', 'bias_left'])
@pytest.mark.parametrize('norm', ['none', 'decomposed', 'factor'])
@pytest.mark.parametrize('output', ['out', 'inner'])
def test_conv1d(norm, bias, output, dilation):
    if (norm, bias) == ('none', 'no_bias'):
        pytest.skip('nothing to fold')

    def build():
        x = tf.placeholder(tf.float32, [2, 8, 3], name='x')
        y = _conv1d(x, BIASES[bias], NORMS.get(norm, folded_networks.no_bias), dilation)
        tf.nn.relu(y, name='out')
    graph_def = graph_of(build)
    result = optimised(graph_def, outputs=['out' if output == 'out' else _last(graph_def)])
    assert not _count(result, 'Mul', 'Add', 'AddV2')
    for node in result.node:
        if node.op == 'BiasAdd':
            assert nodes(result)[node.input[0]].op == 'Conv2D'
    assert _count(result, 'BiasAdd') == (norm == 'decomposed' or bias != 'no_bias')


@pytest.mark.parametrize('shape, folds', [((-1, 1, 1, CHANNELS), True), ((-1, 3, 2, CHANNELS), True), ((-1, 2), False)])
@pytest.mark.parametrize('bias', BIASES)
def test_matmul_with_reshape(shape, folds, bias):
    def build():
        x = tf.placeholder(tf.float32, [6, 5], name='x')
        y = tf.reshape(BIASES[bias](tf.matmul(x, folded_networks.weights(5, CHANNELS))), shape, name='reshape')
        offset = tf.constant(folded_networks.values(shape[-1], seed=4))
        tf.nn.relu(tf.add(tf.multiply(folded_networks.values(shape[-1], seed=3), y), offset, name='norm'), name='out')
    result = optimised(graph_of(build))
    assert _count(result, 'Reshape') == 1
    assert _count(result, 'Mul') == (not folds)
    if folds:
        assert nodes(result)[inputs_of(result)['reshape'][0]].op == 'BiasAdd'


def test_dense_layer_over_a_sequence():
    """The bias of a Keras Dense layer over three dimensions follows a Reshape of computed shape."""
    def build():
        x = tf.placeholder(tf.float32, [None, 7, 3], name='x')
        flat = tf.reshape(x, [-1, 3])
        shape = tf.stack([tf.shape(x)[0], tf.shape(x)[1], CHANNELS])
        y = tf.reshape(tf.matmul(flat, folded_networks.weights(3, CHANNELS)), shape)
        tf.nn.relu(tf.nn.bias_add(y, tf.constant(vector(7)), name='bias'), name='out')
    result = optimised(graph_of(build))
    assert nodes(result)[inputs_of(result)['bias'][0]].op == 'MatMul'


def test_nchw():
    """The folded numbers are those of NHWC; TensorFlow has no CPU kernel for NCHW convolutions."""
    def build(data_format):
        def make():
            channels_first = data_format == 'NCHW'
            x = tf.placeholder(tf.float32, [2, 3, 6, 6] if channels_first else [2, 6, 6, 3], name='x')
            y = tf.nn.conv2d(x, folded_networks.weights(3, 3, 3, CHANNELS), strides=1, padding='SAME', data_format=data_format)
            y = tf.nn.bias_add(y, tf.constant(vector(7), name='conv/biases'), data_format=data_format)
            y = tf.nn.fused_batch_norm(y, *folded_networks.parameters(), is_training=False, data_format=data_format)[0]
            side = tf.constant(vector(8).reshape([1, -1, 1, 1] if channels_first else [-1]))
            tf.nn.relu(tf.add(side, y), name='out')
        return folded_networks.optimise(graph_of(make), folded_networks.settings())
    first, last = build('NCHW'), build('NHWC')
    assert ops(first) == ops(last) == ['BiasAdd', 'Conv2D', 'Relu']
    for name in ('conv/weights', 'conv/biases'):
        np.testing.assert_array_equal(value_of(first, name), value_of(last, name))
    assert {node.attr['data_format'].s for node in first.node if node.op == 'BiasAdd'} == {b'NCHW'}


def test_nchw_vectors_along_the_width_are_not_channels():
    def build():
        x = tf.placeholder(tf.float32, [2, 3, 4, CHANNELS], name='x')
        y = tf.nn.conv2d(x, folded_networks.weights(1, 1, 3, CHANNELS), strides=1, padding='SAME', data_format='NCHW')
        tf.nn.relu(y * vector(3), name='out')
    assert _count(folded_networks.optimise(graph_of(build), folded_networks.settings()), 'Mul') == 1


def test_sources():
    result = optimised(_network('conv', 'bias_add', 'fused'))
    assert b'norm' in nodes(result)['conv/bias'].attr[SOURCE_NODES].list.s
    assert b'norm/beta' in nodes(result)['conv/biases'].attr[SOURCE_NODES].list.s


@pytest.mark.parametrize('build, op, sources', [
    (lambda y: tf.add(tf.multiply(y, vector(3), name='mul'), vector(4), name='out'), 'BiasAdd', ['mul']),
    (lambda y: tf.multiply(folded_networks.bias_add(y), vector(3), name='out'), 'BiasAdd', ['conv/bias']),
    (lambda y: tf.multiply(y, vector(3), name='out'), 'Conv2D', ['conv/op'])])
def test_a_protected_result(build, op, sources):
    result = fold_batch_norms(graph_of(lambda: build(folded_networks.conv())), ['x', 'out'], None)
    out = nodes(result)['out']
    assert out.op == op and out.attr[SOURCE_NODES].list.s == [source.encode() for source in sources]


@pytest.mark.parametrize('norm, redefined', [('factor', {'conv/op', 'conv/back', 'conv/bias'}), ('no_bias', set())])
def test_ops_with_other_results_are_redefined(norm, redefined):
    def build():
        y = folded_networks.bias_left(WEIGHTED['dilated']())
        tf.nn.relu(getattr(folded_networks, norm)(y), name='out')
    result = _folded(graph_of(build))
    assert {name for name, node in nodes(result).items() if REDEFINED in node.attr} == redefined


def _in_branch(x, y):
    y = tf.nn.conv2d(y, tf.constant(folded_networks.values(3, 3, 3, 3)), 1, 'SAME')
    return tf.nn.relu(tf.nn.bias_add(y * folded_networks.values(3, seed=2), tf.constant(folded_networks.values(3, seed=3))))


@pytest.mark.parametrize('control', [
    lambda x: tf.cond(tf.reduce_sum(x) > -1e9, lambda: _in_branch(x, x), lambda: x),
    lambda x: tf.while_loop(lambda i, y: i < 2, lambda i, y: (i + 1, _in_branch(x, y)), [tf.constant(0), x])[1]])
def test_in_a_branch_or_a_loop(control):
    result = optimised(graph_of(lambda: tf.identity(control(folded_networks.image()), name='out')))
    assert 'Mul' not in ops(result) and 'BiasAdd' in ops(result)


def test_the_addition_after_a_dilated_convolution_becomes_its_bias():
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 8, 8, 2], name='x')
        y = tf.nn.convolution(x, np.ones([3, 3, 2, 2], np.float32), 'SAME', dilation_rate=[2, 2])
        tf.nn.relu(tf.add(y, np.float32([1, -2]), name='sum'), name='y')
    nodes = {node.name: node for node in fold_batch_norms(graph.as_graph_def(), ['x', 'y'], None).node}
    assert nodes['sum'].op == 'BiasAdd' and nodes[nodes['sum'].input[0]].op == 'BatchToSpaceND'


def _folded(graph_def):
    """The graph with the arithmetic on parameters."""
    protected = frozenset(['x', 'out'])
    graph_def = fold_constants(graph_def, protected, None)
    return fold_batch_norms(expand_batch_norms(graph_def, protected, None), protected, None)


def _record(graph_def):
    """(name of the folded weights, the Fold)"""
    (name, record), = [(node.name, fold_of(node)) for node in graph_def.node if fold_of(node)]
    return name, record


@pytest.mark.parametrize('norm', NORMS)
@pytest.mark.parametrize('weighted', ['conv', 'depthwise', 'depthwise, two a channel', 'transposed', 'matmul, transposed'])
def test_the_record_has_the_factors_of_the_weights(norm, weighted):
    if norm == 'fused' and weighted.startswith('matmul'):
        pytest.skip('the fused op is for images')
    graph_def = _network(weighted, 'bias_add', norm)
    result = _folded(graph_def)
    name, record = _record(result)
    assert name == 'conv/weights'
    fetches = [name, record.weights, nodes(result)[name].input[1], record.scale]
    folded, raw, shaped, scale = run(result, fetches, {})
    np.testing.assert_array_equal(folded, raw * shaped)
    np.testing.assert_array_equal(raw, value_of(graph_def, 'conv/weights'))
    assert scale.ndim == 1 and scale.size in (1, CHANNELS)
    np.testing.assert_array_equal(np.sort(shaped, None), np.sort(scale, None))


@pytest.mark.parametrize('bias', ['no_bias', 'bias_add', 'bias_left'])
def test_the_record_names_the_chain_and_its_factors(bias):
    result = _folded(_network('conv', bias, 'fused'))
    _, record = _record(result)
    own = [] if bias == 'no_bias' else ['conv/bias']
    assert record.nodes == tuple(own + ['norm/mul', 'norm']) and (record.result, record.moves) == ('norm', ())
    # A bias before a factor is renamed, since the folded bias takes its name.
    assert record.factors == tuple(['conv/biases/unfolded'] * len(own) + ['norm/scale'])
    assert record.scale == nodes(result)['conv/weights'].input[1] == 'norm/scale'


def test_the_record_names_the_ops_that_follow_the_bias():
    def build():
        x = tf.placeholder(tf.float32, [2, 8, 3], name='x')
        y = tf.nn.convolution(x, folded_networks.weights(3, 3, CHANNELS), 'SAME')
        tf.nn.relu(folded_networks.decomposed(y), name='out')
    result = _folded(graph_of(build))
    _, record = _record(result)
    squeeze, = [name for name, node in nodes(result).items() if node.op == 'Squeeze']
    assert record.moves == (squeeze,) and record.nodes[0] == squeeze
    assert nodes(result)[inputs_of(result)[squeeze][0]].op == 'BiasAdd'


def test_nodes_without_a_record():
    result = _folded(graph_of(lambda: tf.nn.relu(folded_networks.bias_left(folded_networks.conv()), name='out')))
    assert not any(fold_of(node) for node in result.node)
    result = _folded(_network('conv', 'bias_add', 'fused'))
    assert [node.name for node in result.node if fold_of(node)] == ['conv/weights']


@pytest.mark.parametrize('weighted, anchor', [('conv', 'conv/op'), ('dilated', 'conv/back')])
def test_the_bias_add_of_a_folded_op(weighted, anchor):
    result = GraphView(_folded(_network(weighted, 'bias_add', 'factor')))
    assert bias_add_of(result, 'conv/op') == ('conv/bias', anchor)
    assert bias_add_of(GraphView(_folded(_network(weighted, 'no_bias', 'factor'))), 'conv/op') is None
