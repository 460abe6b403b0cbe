"""The status of each op agrees with the nodes of the model, for many options."""
import collections
import random
import re

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.random_networks import LAYERS, Builder, built
from vai_q_tf import QuantizeError
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.coverage.node_status import FLOAT, FUSED, PASSED, QUANTIZED, inspect_nodes, readers
from vai_q_tf.dpu import TARGETS
from vai_q_tf.export.finalize import finalize
from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.passes import optimise
from vai_q_tf.plan.annotate import annotate
from vai_q_tf.plan.quant_plan import Alignment, QuantPlan, QuantTensor, Skipped
from vai_q_tf.report.inspect import inspect


def _network(dice):
    """(GraphDef, names of its outputs) of a random network."""
    with tf.Graph().as_default() as graph:
        layers = [dice.choice(LAYERS) for _ in range(dice.randrange(1, 6))]
        outputs = built(Builder(dice.randrange), layers).outputs
        return graph.as_graph_def(), [output.op.name for output in outputs]


def _options(dice, names):
    options = {}
    if dice.random() < 0.7:
        options['ignore_nodes'] = dice.sample(names, min(len(names), dice.randrange(1, 4)))
    if dice.random() < 0.5:
        options['nodes_bit'] = ['{}:{}'.format(dice.choice(names), dice.choice((4, 6, 16)))]
    for name, value in (('target_type', 'DPUCAHX8L'), ('simulate_dpu', 0), ('fold_bn_only', 1), ('replace_softmax', 1),
                        ('replace_sigmoid', 1), ('weight_bit', 4)):
        if dice.random() < 0.25:
            options[name] = value
    return options


def _model(graph_def, config):
    optimised = optimise(graph_def, config)
    plan = annotate(GraphView(optimised), config)
    return finalize(optimised, plan, {tensor.name: 5 for tensor in plan.tensors}, {})


def _assert_agreement(graph_def, config):
    nodes = {node.name: node for node in _model(graph_def, config).node}
    neurons = {name: node for name, node in nodes.items() if node.op == 'FixNeuron'}
    after = collections.defaultdict(set)
    for name, node in neurons.items():
        after[node_name(node.input[0])].add(name)
    mentioned = {}
    for node in inspect(graph_def, config).nodes:
        own = after[node.name]
        assert {QUANTIZED: bool(own), FUSED: not own, PASSED: not own,
                FLOAT: bool(own) == ('its result becomes' in node.detail)}[node.status], node
        assert (node.status == FLOAT) == bool(node.reason), node
        if node.status == FUSED:
            assert node.detail.split('quantized as ')[1].split(';')[0] in neurons, node
        for operand in re.findall("its input '(.*?)' is computed in float", node.detail):
            assert operand in nodes[node.name].input and not after[node_name(operand)], node
        mentioned.update(re.findall(r'(?:activation|input|weight|bias|constant) (\S+): (\d+) bits', node.detail))
    assert mentioned == {name: str(node.attr['bit_width'].i) for name, node in neurons.items()}


@pytest.mark.parametrize('seed', range(8))
def test_the_status_agrees_with_the_model(seed):
    dice = random.Random(seed)
    graph_def, outputs = _network(dice)
    names = [node.name for node in graph_def.node if node.op not in ('Const', 'Placeholder')]
    for turn in range(3):
        options = _options(dice, names) if turn else {}
        inputs = [dice.choice(names)] if turn and dice.random() < 0.3 else ['x']
        try:
            config = QuantizeConfig(inputs, outputs, **options)
            _assert_agreement(graph_def, config)
        except QuantizeError:
            assert turn, 'without options nothing is refused'


def _by_hand():
    """(GraphView, QuantPlan) of a network with a plan written by hand."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 4, 4, 2], name='x')
        weights = tf.constant(np.ones([1, 1, 2, 2], np.float32), name='w')
        tf.shape(tf.cast(x, tf.int32, name='integers'), name='shape')
        depthwise = tf.constant(np.ones([1, 1, 2, 1], np.float32), name='dw')
        y = tf.nn.depthwise_conv2d_native(x, depthwise, [1] * 4, 'SAME', name='d')
        y = tf.nn.conv2d(y, weights, 1, 'SAME', name='c')
        relu = tf.nn.relu(y, name='relu')
        first, second = tf.split(tf.nn.conv2d(relu, weights, 1, 'SAME', name='same'), 2, 3, name='split')
        values = tf.nn.top_k(tf.nn.relu(second, name='later'), 1, name='top').values
        k = tf.constant(np.ones([1, 1, 1, 1], np.float32), name='k')
        y = tf.add(y, tf.multiply(k, k, name='kk'), name='sum')
        pooled = tf.nn.leaky_relu(tf.nn.avg_pool(y, 2, 1, 'SAME', name='pool'), name='leaky')
        float_conv = tf.nn.depthwise_conv2d_native(pooled, depthwise, [1] * 4, 'SAME', name='ignored')
        x = tf.erf(tf.negative(float_conv, name='minus'), name='erf')
        product = tf.multiply(tf.nn.avg_pool(x, 2, 1, 'SAME', name='mean'), k, name='scale')
        end = tf.add(tf.concat([product, relu], 3, name='cat')[:, :, :, 2:], first, name='end')
        tf.add(end, values + tf.cast(graph.get_tensor_by_name('integers:0'), tf.float32, name='float')[..., :1], name='out')
        view = GraphView(graph.as_graph_def())

    def tensor(name, of, *consumers, role='activation'):
        return QuantTensor(name, role, 0, 8, 1, of, consumers)
    tensors = (
        tensor('x/aquant', 'x', ('d', 0), role='input'), tensor('dw/wquant', 'dw', ('d', 1), role='weight'),
        tensor('w/wquant', 'w', ('c', 1), ('same', 1), role='weight'),
        tensor('k/wquant', 'k', ('scale', 1), ('scale', 1), role='constant'),
        tensor('relu/aquant', 'relu', ('same', 0)), tensor('later/aquant', 'later'), tensor('leaky/aquant', 'leaky'),
        tensor('erf/aquant', 'erf'), tensor('scale/aquant', 'scale'), tensor('end/aquant', 'end'))
    skipped = tuple(Skipped(name, view.op(name), 'because of ' + name) for name in ('ignored', 'erf', 'top', 'float', 'out'))
    nodes = tuple(sorted(view.upstream(['out'], ['x']), key=view.order))
    return view, QuantPlan(('x',), ('out',), nodes, tensors, (), skipped, (
        Alignment('pool', 'pool', 'leaky/aquant', ('relu/aquant', 'x/aquant'), False),))


@pytest.mark.parametrize('target', ['DPUCAHX8L', 'DPUCAHX8H'])
def test_each_status_in_a_plan_by_hand(target):
    found = {node.name: node for node in inspect_nodes(*_by_hand(), TARGETS[target])}
    assert not {'integers', 'shape', 'k', 'kk', 'w'} & set(found), 'they compute no floats that depend on the inputs'
    note = ['depthwise convolution needs a configuration with the DWC option'] * (target == 'DPUCAHX8H')
    statuses = {name: (node.status, node.detail.split('; '), node.device) for name, node in found.items()}
    conv = 'weight w/wquant: 8 bits'
    for name, expected in {
            'x': (QUANTIZED, ['input x/aquant: 8 bits'], 'DPU'),
            'd': (FUSED, ['quantized as relu/aquant', 'weight dw/wquant: 8 bits'] + note, 'DPU'),
            'c': (FUSED, ['quantized as relu/aquant', conv], 'DPU'),
            'relu': (QUANTIZED, ['activation relu/aquant: 8 bits'], 'DPU'),
            'same': (FUSED, ['quantized as later/aquant', conv], 'DPU'),
            'split': (FUSED, [target + ' has no Split', 'quantized as later/aquant'], 'CPU'),
            'leaky': (QUANTIZED, [target + ' has no LeakyRelu'] * (not note) + [
                'activation leaky/aquant: 8 bits, one position with relu/aquant, x/aquant'], 'DPU' if note else 'CPU'),
            'pool': (FUSED, ['quantized as leaky/aquant'], 'DPU'), 'sum': (FUSED, ['quantized as leaky/aquant'], 'DPU'),
            'ignored': (FLOAT, ['because of ignored'], 'CPU'), 'top': (FLOAT, ['because of top'], 'CPU'),
            'erf': (FLOAT, ['because of erf', 'its result becomes activation erf/aquant: 8 bits'], 'CPU'),
            'mean': (FUSED, ['quantized as scale/aquant'], 'DPU'),
            'scale': (QUANTIZED, ['activation scale/aquant: 8 bits', 'constant k/wquant: 8 bits'], 'DPU')}.items():
        assert statuses[name] == expected, name
    for name in ('ignored', 'erf', 'top', 'float', 'out'):
        assert found[name].reason == 'because of ' + name
    assert {name for name, node in found.items() if node.reason.startswith('nothing')} == {'minus', 'add', 'strided_slice_1'}


def test_readers_are_those_of_all_outputs():
    with tf.Graph().as_default() as graph:
        first, second = tf.split(tf.placeholder(tf.float32, [4], name='x'), 2, name='split')
        tf.exp(second, name='b')
        tf.exp(first, name='a')
    graph_def = graph.as_graph_def()
    graph_def.node.add(name='unknown', op='MyOp', input=['a'])
    graph_def.node.add(name='end', op='Identity', input=['unknown']).attr['T'].type = tf.float32.as_datatype_enum
    view = GraphView(graph_def)
    assert [readers(view, name) for name in ('split', 'a', 'unknown', 'end')] == [['a', 'b'], ['unknown'], ['end'], []]


def test_an_addition_of_quantized_tensors_after_a_float_op():
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 4, 4, 2], name='x')
        conv = tf.nn.conv2d(x, np.ones([1, 1, 2, 2], np.float32), 1, 'SAME', name='conv')
        tf.add(tf.erf(conv, name='erf'), conv, name='sum')
    config = QuantizeConfig(['x'], ['sum'])
    _assert_agreement(graph.as_graph_def(), config)
    assert {node.name: node.status for node in inspect(graph.as_graph_def(), config).nodes}['sum'] == QUANTIZED
