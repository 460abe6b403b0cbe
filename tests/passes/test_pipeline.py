"""optimise: which passes run, what they log, and graphs with measured results."""
import collections
import json
import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.passes import folded_networks
from tests.passes.checking import nodes, ops, values
from tests.passes.folded_networks import assert_equal, graph_of, settings
from tests.support import read_graph, run
from vai_q_tf import fixed_point
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.passes import optimise, pipeline

_FOLDER = os.path.join(os.path.dirname(os.path.dirname(__file__)), 'golden', 'ptq')
_MODELS = ('plain', 'concat', 'resnet_small')


def _measured(model):
    graph_def = read_graph(os.path.join(_FOLDER, model + '.pb'))
    with open(os.path.join(_FOLDER, model + '.json')) as file:
        return graph_def, json.load(file)


def _network():
    y = tf.nn.relu(folded_networks.fused(folded_networks.conv()))
    w = tf.constant(values(3, 3, 4, 4), name='shared')
    for _ in range(2):
        y = tf.minimum(tf.nn.relu(tf.nn.conv2d(y, w, 1, 'SAME')), 6.0)
    y = tf.nn.avg_pool2d(tf.nn.leaky_relu(y, 0.1), 3, 1, 'SAME')
    tf.nn.sigmoid(tf.reduce_mean(y, [1, 2]), name='out')


@pytest.mark.parametrize('fields, expected', [
    (dict(simulate_dpu=0), ['AvgPool', 'BiasAdd', 'Conv2D', 'Conv2D', 'Conv2D', 'LeakyRelu', 'Mean', 'Relu', 'Relu6', 'Relu6',
                            'Sigmoid']),
    (dict(fold_bn_only=1), ['AvgPool', 'BiasAdd', 'Conv2D', 'Conv2D', 'Conv2D', 'LeakyRelu', 'Mean', 'Minimum', 'Minimum',
                            'Relu', 'Relu', 'Relu', 'Sigmoid']),
    (dict(), ['AvgPool', 'AvgPool', 'BiasAdd', 'Conv2D', 'Conv2D', 'Conv2D', 'LeakyRelu', 'Mul', 'Mul', 'Relu', 'Relu6',
              'Relu6', 'Sigmoid', 'Squeeze']),
    (dict(replace_sigmoid=1), ['Add', 'AvgPool', 'AvgPool', 'BiasAdd', 'Conv2D', 'Conv2D', 'Conv2D', 'LeakyRelu', 'Mul', 'Mul',
                               'Mul', 'Mul', 'Relu', 'Relu6', 'Relu6', 'Relu6', 'Squeeze']),
    (dict(replace_sigmoid=1, simulate_dpu=0), ['AvgPool', 'BiasAdd', 'Conv2D', 'Conv2D', 'Conv2D', 'LeakyRelu', 'Mean', 'Relu',
                                               'Relu6', 'Relu6', 'Sigmoid'])])
def test_which_passes_run(fields, expected):
    result = optimise(graph_of(_network), settings(**dict({'simulate_dpu': 1}, **fields)))
    assert ops(result) == expected
    assert ('shared_1' in nodes(result)) != bool(fields.get('fold_bn_only'))
    assert 'out' in nodes(result)


def test_one_line_for_each_pass_that_changed_something(monkeypatch):
    lines = []
    monkeypatch.setattr(pipeline.tf.logging, 'info', lambda text, *values: lines.append(text % values))
    optimise(graph_of(_network), settings())
    assert lines == [
        'separate_shared_constants: Const +1', 'replace_relu_forms: Const -2, Minimum -2, Relu -2, Relu6 +2',
        # reciprocal = rsqrt(epsilon + variance); x * (reciprocal * gamma) + (beta - scale * mean)
        'expand_batch_norms: Add +1, AddV2 +1, Const +1, FusedBatchNormV3 -1, Mul +3, Rsqrt +1, Sub +1',
        'fold_batch_norms: Add -1, BiasAdd +1, Const +1, Reshape +1',
        'evaluate_folded: AddV2 -1, Const -5, Mul -3, Reshape -1, Rsqrt -1, Sub -1']


def test_every_pass_has_an_example():
    entries = pipeline.CLEAN_UP + (pipeline.CONSTANTS, pipeline.PARAMETERS) + pipeline.FOLDING + pipeline.DPU
    for run_pass in {entry.run for entry in entries}:
        assert '    >>> ' in run_pass.__doc__, run_pass.__name__


def test_a_config_without_a_range():
    with pytest.raises(ValueError, match='input_nodes'):
        optimise(graph_of(_network), QuantizeConfig())
    with pytest.raises(TypeError):
        optimise(graph_of(_network), None)


@pytest.mark.parametrize('fold_constant', [True, False])
@pytest.mark.parametrize('model', _MODELS)
def test_measured_graphs_keep_their_outputs(model, fold_constant):
    graph_def, case = _measured(model)
    (name, shape), = case['inputs'].items()
    result = optimise(graph_def, settings(case['outputs'], case['inputs'], input_shapes=[shape]), fold_constant)
    feeds = {name: values(2, *shape[1:])}
    assert_equal(run(graph_def, case['outputs'], feeds), run(result, case['outputs'], feeds), 1e-5)


def _is_equalized_here_only(model, variant, reader):
    # The Vitis AI quantizer equalizes no MatMul.
    return variant == 'cle1' and model == 'plain' and reader.startswith('fc')


@pytest.mark.parametrize('variant', ['m0', 'm1', 'm2', 'w4', 'sim0', 'cle1', 'fr1', 'fc0', 'sap0'])
@pytest.mark.parametrize('model', _MODELS)
def test_measured_ops_and_positions_of_constants(model, variant):
    """The numbers of ops, and the positions of weights and biases, are those of the Vitis AI quantizer."""
    graph_def, case = _measured(model)
    record = case['variants'][variant]
    flags = {key[2:]: value for key, value in record['flags'].items()}
    numbers = {key: int(flags[key]) for key in ('simulate_dpu', 'do_cle', 'fold_reshape', 'scale_all_avgpool') if key in flags}
    config = QuantizeConfig(list(case['inputs']), case['outputs'], list(case['inputs'].values()), **numbers)
    result = optimise(graph_def, config, bool(int(flags.get('fold_constant', 1))))
    expected = {op: count for op, count in record['op_counts'].items() if op != 'FixNeuron'}
    assert dict(collections.Counter(node.op for node in result.node)) == expected
    found = nodes(result)
    for tensor in record['fix']:
        for reader, _, index in (consumer.rpartition(':') for consumer in tensor['consumers']):
            if tensor['mode'] == 1 or _is_equalized_here_only(model, variant, reader):
                continue
            value = tf.make_ndarray(found[found[reader].input[int(index)]].attr['value'].tensor)
            assert value.dtype == np.float32
            assert fixed_point.search_position(value, tensor['bits'], tensor['method'], tensor['mode']) == tensor['pos'], reader
