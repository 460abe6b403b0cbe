"""What is said of each op is what is in the model: told from the written nodes alone, under many options."""
import collections
import random
import re

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.random_networks import LAYERS, Builder, built
from vai_q_tf import QuantizeError
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.coverage.node_status import FLOAT, FUSED, PASSED, QUANTIZED
from vai_q_tf.export.finalize import finalize
from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.passes import optimise
from vai_q_tf.plan.annotate import annotate
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
def test_the_model_is_as_inspect_says(seed):
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
            assert turn, 'only a range or names that do not fit are refused'


def test_an_addition_of_quantized_tensors_behind_a_float_op():
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 4, 4, 2], name='x')
        conv = tf.nn.conv2d(x, np.ones([1, 1, 2, 2], np.float32), 1, 'SAME', name='conv')
        tf.add(tf.erf(conv, name='erf'), conv, name='sum')
    config = QuantizeConfig(['x'], ['sum'])
    _assert_agreement(graph.as_graph_def(), config)
    assert {node.name: node.status for node in inspect(graph.as_graph_def(), config).nodes}['sum'] == QUANTIZED
