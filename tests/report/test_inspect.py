"""inspect, on small graphs."""
import shlex

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from tensorflow.python.framework import function

from vai_q_tf import errors
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.coverage.node_status import FLOAT, FUSED, QUANTIZED
from vai_q_tf.errors import QuantizeError
from vai_q_tf.report.inspect import InputNode, OutputNode, inspect
from vai_q_tf.report.inspect_text import quantize_command, to_text


def conv(x, name, channels=4, kind='conv', size=3):
    random = np.random.RandomState(len(name))
    shape = (size, size, int(x.shape[3]), 1 if kind == 'depthwise' else channels)
    weights = tf.constant(random.uniform(-1, 1, shape), tf.float32, name=name + '_w')
    if kind == 'depthwise':
        return tf.nn.depthwise_conv2d(x, weights, [1, 1, 1, 1], 'SAME', name=name)
    return tf.nn.conv2d(x, weights, 1, 'SAME', name=name)


def graph_def(build):
    with tf.Graph().as_default() as graph:
        build()
        return graph.as_graph_def()


def network():
    x = tf.placeholder(tf.float32, [None, 8, 8, 3], name='input')
    y = tf.nn.bias_add(conv(x, 'conv1'), tf.constant(np.ones(4, np.float32), name='bias'), name='add1')
    y = tf.nn.relu(y, name='relu1')
    y = tf.nn.max_pool(y, 2, 2, 'SAME', name='pool')
    y = tf.math.erf(y, name='erf')
    y = conv(y, 'conv2')
    tf.nn.softmax(tf.identity(y, name='logits'), name='probabilities')


def by_name(inspection):
    return {node.name: node for node in inspection.nodes}


def test_the_status_of_each_op():
    found = by_name(inspect(graph_def(network), QuantizeConfig(output_nodes=['probabilities'])))
    assert {name: node.status for name, node in found.items()} == {
        'input': QUANTIZED, 'conv1': FUSED, 'add1': FUSED, 'relu1': QUANTIZED, 'pool': QUANTIZED, 'erf': FLOAT,
        'conv2': QUANTIZED, 'probabilities': FLOAT}
    assert 'weight conv1_w/wquant: 8 bits' in found['conv1'].detail and 'relu1/aquant' in found['conv1'].detail
    assert 'bias bias/wquant: 8 bits' in found['add1'].detail
    assert 'relu1/aquant: 8 bits' in found['relu1'].detail
    assert 'one position with relu1/aquant' in found['pool'].detail
    assert 'softmax' in found['probabilities'].detail and 'Erf' in found['erf'].detail
    assert 'its result becomes activation erf/aquant: 8 bits' in found['erf'].detail
    assert all(node.device == '' for node in found.values())


def ending(*steps):
    """The GraphDef of a layer 'y' followed by the steps."""
    def build():
        net = tf.matmul(tf.placeholder(tf.float32, [None, 4], name='x'), tf.constant(np.ones((4, 3), np.float32)), name='y')
        for step in steps:
            net = step(net)
    return graph_def(build)


def softmax(net):
    return tf.nn.softmax(net, name='softmax')


def reshape(net):
    return tf.reshape(net, [-1, 3], name='reshaped')


@pytest.mark.parametrize('steps, fields, output', [
    ([softmax], {}, 'y'), ([softmax, tf.identity], {}, 'y'), ([softmax, reshape], {}, 'y'), ([tf.nn.log_softmax], {}, 'y'),
    ([reshape, softmax], {}, 'reshaped'), ([lambda net: tf.sigmoid(net, name='sigmoid')], {}, 'y'), ([reshape], {}, 'reshaped'),
    ([softmax], {'replace_softmax': 1}, 'softmax'), ([softmax], {'output_nodes': ['softmax']}, 'softmax'),
    ([lambda net: tf.sigmoid(net, name='sigmoid')], {'replace_sigmoid': 1}, 'sigmoid'),
    ([softmax, lambda net: tf.nn.relu(net, name='relu')], {}, 'relu')])
def test_logits_are_proposed_instead_of_probabilities(steps, fields, output):
    result = inspect(ending(*steps), QuantizeConfig(**fields))
    assert result.output_nodes == (output,) and '--output_nodes {} '.format(output) in quantize_command(result, 'x.pb')
    assert len(result.outputs) == 1 and '(name={}, '.format(result.outputs[0].name) in to_text(result, 'x.pb').splitlines()[2]
    notes = [note for note in result.notes if 'proposed output node is {!r}'.format(output) in note and 'stays float' in note]
    assert len(notes) == len(result.notes) == (result.outputs[0].name != output)


def test_a_lone_softmax_and_logits_of_two_activations():
    def alone():
        tf.nn.softmax(tf.placeholder(tf.float32, [None, 4], name='x'), name='softmax')
    assert inspect(graph_def(alone)).output_nodes == ('softmax',)

    def twice():
        net = tf.matmul(tf.placeholder(tf.float32, [None, 4], name='x'), tf.constant(np.ones((4, 3), np.float32)), name='y')
        tf.nn.softmax(net, name='softmax')
        tf.nn.sigmoid(net, name='sigmoid')
    assert inspect(graph_def(twice)).output_nodes == ('y',)


def test_bits_and_ignored_nodes_of_the_config():
    config = QuantizeConfig(ignore_nodes=['conv2'], weight_bit=6, nodes_bit=['relu1:12'])
    found = by_name(inspect(graph_def(network), config))
    assert '6 bits' in found['conv1'].detail and '12 bits' in found['relu1'].detail
    assert found['conv2'].status == FLOAT and 'ignore_nodes' in found['conv2'].detail
    assert config.input_nodes == [] and config.output_nodes == []


def test_the_range_that_is_given():
    result = inspect(graph_def(network), QuantizeConfig(input_nodes=['input'], output_nodes=['pool']))
    assert result.output_nodes == ('pool',) and set(by_name(result)) == {'input', 'conv1', 'add1', 'relu1', 'pool'}
    assert '--output_nodes pool ' in quantize_command(result, 'x.pb')


@pytest.mark.parametrize('inputs, outputs, code', [(['input'], ['pol'], errors.UNKNOWN_NODE),
                                                   (['pool'], ['input'], errors.EMPTY_RANGE),
                                                   (['conv2'], ['probabilities'], errors.EMPTY_RANGE)])
def test_a_range_that_cannot_be_quantized_is_an_error(inputs, outputs, code):
    with pytest.raises(QuantizeError) as caught:
        inspect(graph_def(network), QuantizeConfig(input_nodes=inputs, output_nodes=outputs))
    assert caught.value.code == code


def test_several_inputs_and_outputs():
    def build():
        a = tf.placeholder(tf.float32, [1, 8, 8, 3], name='a')
        b = tf.placeholder(tf.float32, [None, 4], name='b')
        tf.placeholder(tf.float32, name='unused')
        tf.placeholder(tf.bool, [], name='training')
        conv(a, 'conv')
        tf.matmul(b, tf.constant(np.ones((4, 2), np.float32)), name='dense')
        tf.argmax(b, name='class')
    result = inspect(graph_def(build))
    assert [node.name for node in result.inputs] == ['a', 'b', 'unused', 'training']
    assert result.inputs[2] == InputNode('unused', tf.float32, None)
    assert result.outputs == (OutputNode('conv', 'Conv2D'), OutputNode('dense', 'MatMul'), OutputNode('class', 'ArgMax'))
    assert (result.input_nodes, result.output_nodes) == (('a', 'b'), ('conv', 'dense'))
    words = shlex.split(quantize_command(result, 'my graph.pb'))
    assert words == ['vai_q_tensorflow', 'quantize', '--input_frozen_graph', 'my graph.pb', '--input_nodes', 'a,b',
                     '--input_shapes', '1,8,8,3:?,4', '--output_nodes', 'conv,dense', '--input_fn', 'MODULE.FUNCTION']
    text = to_text(result, 'x.pb')
    assert '(name=unused, type=float(1), shape=?)' in text and '(name=training, type=bool(10), shape=[])' in text
    assert 'rank' not in text


def test_an_op_that_tensorflow_does_not_know():
    unknown = graph_def(network)
    unknown.node.add(name='mine', op='MyOp', input=['logits'])
    unknown.node.add(name='end', op='Identity', input=['mine']).attr['T'].type = 1
    result = inspect(unknown, QuantizeConfig(input_nodes=['input'], output_nodes=['end']))
    found = by_name(result)
    assert 'MyOp' in result.notes[0] and '--custom_op_so' in result.notes[0]
    assert found['mine'].status == FLOAT and 'MyOp' in found['mine'].detail and found['conv2'].status == QUANTIZED


def test_a_range_after_pixels_and_files():
    def build():
        x = tf.placeholder(tf.uint8, [None, 8, 8, 3], name='pixels')
        y = conv(tf.cast(x, tf.float32, name='cast') / 255, 'conv')
        file = tf.placeholder(tf.string, [1], name='file')
        z = tf.expand_dims(tf.cast(tf.io.decode_png(file[0], 3, name='decode'), tf.float32, name='float'), 0)
        tf.add(tf.reduce_mean(y), tf.reduce_mean(z), name='out')
    result = inspect(graph_def(build))
    assert result.input_nodes == ('cast', 'float') and result.plan is not None
    assert '--input_shapes' not in quantize_command(result, 'x.pb')


def test_a_graph_without_inputs_or_outputs():
    assert to_text(inspect(graph_def(lambda: tf.constant(1.0, name='x'))), 'x.pb').splitlines()[:3] == [
        'Op types used: 1 Const', 'No inputs found.', 'No outputs found.']
    only = inspect(graph_def(lambda: tf.placeholder(tf.float32, [1], name='x')))
    assert len(only.inputs) == 1 and not only.outputs and only.plan is None and 'nothing to quantize' in only.notes[0]
    plain = inspect(graph_def(lambda: tf.exp(tf.placeholder(tf.float32, [1], name='x'), name='y')))
    assert plain.plan is None and 'cannot be quantized from x to y' in plain.notes[0]


def test_a_graph_that_is_quantized_already():
    quantized = graph_def(network)
    node = quantized.node.add(name='relu1/aquant', op='FixNeuron', input=['relu1'])
    node.attr['bit_width'].i, node.attr['quantize_pos'].i = 8, 5
    result = inspect(quantized)
    assert result.plan is None and 'quantized already: it has 1 FixNeurons' in result.notes[0]
    assert [(node.name, node.op) for node in result.nodes] == [('relu1', 'Relu')]
    assert 'relu1/aquant: 8 bits, position 5' in to_text(result, 'x.pb')


def test_a_training_graph_with_variables():
    def build():
        x = tf.placeholder(tf.float32, [None, 8, 8, 3], name='input')
        y = tf.layers.conv2d(x, 4, 3, name='conv', activation=tf.nn.relu)
        logits = tf.identity(tf.reduce_mean(y, [1, 2]), name='logits')
        labels = tf.placeholder(tf.int64, [None], name='labels')
        loss = tf.losses.sparse_softmax_cross_entropy(labels, logits)
        tf.train.MomentumOptimizer(0.1, 0.9).minimize(loss)
        tf.train.Saver()
        tf.global_variables_initializer()
    training = graph_def(build)
    result = inspect(training)
    assert {node.name for node in result.inputs} >= {'input', 'labels'} and 'This is a training graph' in result.notes[0]
    assert [node.name for node in result.outputs] == ['logits']
    given = inspect(training, QuantizeConfig(input_nodes=['input'], output_nodes=['logits']))
    assert any('freeze_graph' in note for note in given.notes)
    assert any('conv' in node.name and 'wquant' in node.detail for node in given.nodes)


def test_ops_of_functions_count():
    @function.Defun(tf.float32)
    def power(x):
        return tf.exp(x)

    def build():
        power(tf.placeholder(tf.float32, [1], name='x'), name='y')
    assert dict(inspect(graph_def(build)).op_types)['Exp'] == 1


# targets

def mixed():
    x = tf.placeholder(tf.float32, [None, 8, 8, 3], name='input')
    y = tf.nn.leaky_relu(conv(x, 'conv'), 0.1, name='leaky')
    y = tf.nn.relu(conv(y, 'depthwise', kind='depthwise'), name='relu')
    y = tf.multiply(y, tf.nn.relu6(y, name='relu6'), name='product')
    y = tf.nn.avg_pool(y, 2, 2, 'SAME', name='pool')
    tf.nn.softmax(tf.reshape(y, [-1, 48]), name='probabilities')


@pytest.mark.parametrize('target, on_cpu', [
    ('DPUCZDX8G', set()), ('DPUCVDX8G', set()), ('DPUCVDX8H', set()), ('DPUCV2DX8G', set()),
    ('DPUCAHX8H', {'product'}), ('DPUCAHX8L', {'leaky', 'product'}), ('DPUCADF8H', {'depthwise', 'product'}),
    ('DPUCZDX8G_ISA1_B4096', set())])
def test_which_ops_run_on_a_dpu(target, on_cpu):
    result = inspect(graph_def(mixed), QuantizeConfig(target_type=target, output_nodes=['probabilities']))
    found = by_name(result)
    computed = {name for name in ('conv', 'leaky', 'depthwise', 'relu', 'relu6', 'product', 'pool') if name in found}
    assert {name for name in computed if found[name].device == 'CPU'} == on_cpu
    assert found['probabilities'].device == 'CPU' and found['input'].device == 'DPU'
    assert all(found[name].device == 'DPU' for name in found if name.startswith('pool'))
    for name in on_cpu:
        assert '{} has no {}'.format(target, found[name].op) in found[name].detail


def test_an_unknown_target():
    with pytest.raises(QuantizeError, match='DPUX'):
        inspect(graph_def(network), QuantizeConfig(target_type='DPUX'))


# learning phases

@pytest.mark.parametrize('phase, notes', [
    (lambda: tf.placeholder(tf.bool, [], name='phase'),
     ("The following holds if input_fn returns False for 'phase' in every step.",)),
    (lambda: tf.placeholder_with_default(False, [], name='phase'), ())], ids=['bool', 'default'])
def test_a_learning_phase_is_assumed_to_be_that_of_inference(phase, notes):
    def build():
        y = conv(tf.placeholder(tf.float32, [None, 8, 8, 3], name='input'), 'conv')
        ones = np.ones(4, np.float32)
        tf.cond(phase(), lambda: tf.nn.fused_batch_norm(y, ones, ones)[0],
                lambda: tf.nn.fused_batch_norm(y, ones, ones, ones, ones, is_training=False)[0], name='out')
    found = inspect(graph_def(build))
    assert found.plan is not None and found.notes == notes


def test_the_rate_of_a_dropout_is_not_proposed_as_an_input():
    def build():
        y = conv(tf.placeholder(tf.float32, [None, 8, 8, 3], name='input'), 'conv')
        tf.nn.relu(tf.nn.dropout(y, rate=tf.placeholder(tf.float32, name='rate')), name='out')
    found = inspect(graph_def(build))
    assert found.input_nodes == ('input',) and found.plan is not None
