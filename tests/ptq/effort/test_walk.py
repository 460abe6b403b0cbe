"""After a walk every layer has the mean of the float layer on the data, and positions and weights are legal."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from hypothesis import HealthCheck, given, settings

from tests.ptq import networks
from tests.ptq.fitting.planned import constant, images, indexed, planned
from tests.random_networks import SIZE
from tests.random_networks import networks as random_networks
from tests.support import run
from vai_q_tf import ops
from vai_q_tf.export.finalize import finalize
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.view import GraphView
from vai_q_tf.lint.lint import lint
from vai_q_tf.plan.positions.position_rules import position_rules
from vai_q_tf.plan.positions.settle import settle
from vai_q_tf.ptq.effort import walk as walk_file
from vai_q_tf.ptq.effort.walk import Walk, along
from vai_q_tf.ptq.fitting.bias_correction import summarise
from vai_q_tf.ptq.fitting.layers import find_layers
from vai_q_tf.ptq.fitting.state import State, quantized_constant, quantized_graph
from vai_q_tf.ptq.fitting.weight_fit import WeightFit


def _walk(case, batches, fits=False, values=None, scales=None):
    """(layers, the State before, the State after)"""
    layers, begin = find_layers(case.graph_def, case.plan), State(values or {}, case.calibrated(batches))
    fit = WeightFit(case.graph_def, case.legal) if fits else None
    state = Walk(case.graph_def, case.plan, layers, begin, case.legal, indexed(batches), fit, scales).run('Walk')
    return layers, begin, state


def _mean_errors(case, layers, state, batches, scales=None):
    """For each layer with a bias, the mean error of each channel in the quantized network, and the step of the bias."""
    ops.load_library()
    layers = [layer for layer in layers if layer.bias]
    results = [[run(graph_def, [layer.result for layer in layers], batch) for batch in batches]
               for graph_def in (case.graph_def, quantized_graph(case.graph_def, case.plan, state))]
    found = []
    for layer, expected, actual in zip(layers, *(zip(*values) for values in results)):
        if scales:
            expected = [along(scales[layer.node], value, layer.channel_axis) * value for value in expected]
        step = 2.0**-state.positions[layer.bias.name]
        bias = state.values[layer.bias.tensor]
        clipped = np.abs(quantized_constant(layer.bias, bias, state.positions[layer.bias.name]) - bias).reshape(-1) > step / 2
        means = [summarise(values, layer.channel_axis).mean for values in (expected, actual)]
        found.append(((means[0] - means[1])[~clipped], step))
    return found


def _assert_legal(case, state):
    rules = position_rules(case.plan, case.config)
    groups = [None] * len(set(rules.groups))
    for name, number in zip(rules.names, rules.groups):
        groups[number] = state.positions[name]
    assert rules.of_tensors(groups) == state.positions
    assert settle(rules, groups) == groups


def _branches():
    graph_def, output = networks.branches()
    tf.import_graph_def(graph_def, name='')
    return planned([output], inputs=['input']), [networks.batches(step) for step in range(3)]


@pytest.mark.parametrize('fits', [False, True])
def test_the_mean_error_of_each_channel_is_within_half_a_step(fits):
    case, batches = _branches()
    layers, begin, state = _walk(case, batches, fits)
    assert len(layers) == 6
    errors = _mean_errors(case, layers, state, batches)
    for error, step in errors:
        assert np.abs(error).max() <= step / 2 + 1e-5
    before = _mean_errors(case, layers, begin._replace(values={
        layer.bias.tensor: GraphView(case.graph_def).value(layer.bias.tensor) for layer in layers}), batches)
    assert any(np.abs(error).max() > step for error, step in before)
    _assert_legal(case, state)
    assert set(state.values) == {name for layer in layers for name in layer.constants[0 if fits else 1:]}


def test_fitted_weights_quantize_to_themselves():
    case, batches = _branches()
    layers, begin, state = _walk(case, batches, fits=True)
    for layer in layers:
        value = state.values[layer.weight.tensor]
        np.testing.assert_array_equal(quantized_constant(layer.weight, value, state.positions[layer.weight.name]), value)

    def error(values):
        graph_def = quantized_graph(case.graph_def, case.plan, values)
        return sum(np.square(np.subtract(*[run(graph, [name], batch)[0] for graph, name in (
            (case.graph_def, 'logits/BiasAdd'), (graph_def, 'logits/BiasAdd/aquant'))])).sum() for batch in batches)
    ops.load_library()
    assert error(state) < error(begin)


def test_scaled_channels_are_fitted_to_scaled_results():
    case, batches = _branches()
    view = GraphView(case.graph_def)
    layers = find_layers(case.graph_def, case.plan)
    scales = {layer.node: np.float32(2)**np.linspace(-1, 1, view.value(layer.bias.tensor).size) for layer in layers}
    layers, _, state = _walk(case, batches, scales=scales)
    # Weights do not change, so only biases correct the means.
    for error, step in _mean_errors(case, layers, state, batches, scales):
        assert not error.size or np.abs(error).max() <= step / 2 + 1e-5


_FEEDS = [{'x': images(3, SIZE, SIZE, 3, seed=step)} for step in range(2)]


_QUIET = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example)


@settings(max_examples=5, suppress_health_check=_QUIET)
@given(random_networks())
def test_random_networks_stay_legal(network):
    _check_random(network)


@pytest.mark.slow
@settings(max_examples=100, suppress_health_check=_QUIET)
@given(random_networks())
def test_many_random_networks_stay_legal(network):
    _check_random(network)


def _check_random(network):
    with tf.Graph().as_default():
        case = planned([output.op.name for output in network.build()])
    layers, begin, state = _walk(case, _FEEDS, fits=True)
    assert set(state.values) <= {name for layer in layers for name in layer.constants}
    _assert_legal(case, state)
    models = [finalize(editor.with_values(case.graph_def, each.values), case.plan, each.positions, {})
              for each in (begin, state)]
    assert lint(models[1]) == lint(models[0])
    for layer in layers:
        value = state.values[layer.weight.tensor]
        if layer.op in ('Conv2D', 'DepthwiseConv2dNative', 'MatMul') and WeightFit(case.graph_def, case.legal)._geometry(layer):
            np.testing.assert_array_equal(quantized_constant(layer.weight, value, state.positions[layer.weight.name]), value)
    for error, step in _mean_errors(case, layers, state, _FEEDS):
        assert not error.size or np.abs(error).max() <= step / 2 + 1e-4


def test_a_layer_is_fitted_on_the_results_of_the_fitted_layers_before_it(monkeypatch):
    """The second layer is corrected with results of the corrected first one."""
    x = tf.placeholder(tf.float32, [None, 4, 4, 3], name='x')
    for number in range(2):
        x = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, constant(1, 1, 3, 3, name='w{}'.format(number), seed=number), 1, 'SAME'),
                                      constant(3, name='b{}'.format(number)), name='result{}'.format(number)))
    case = planned([tf.identity(x, 'out')])
    given = {}

    def correct(layer, bias, expected, actual, positions, legal, tensors):
        given[layer.result] = actual
        return np.full_like(bias, 0.5), positions[layer.bias.name]
    monkeypatch.setattr(walk_file, 'correct_bias', correct)
    batches = [{'x': images(2, 4, 4, 3, seed=step)} for step in range(2)]
    _, begin, state = _walk(case, batches)
    ops.load_library()
    for constants, result in (({}, 'result0'), ({'b0': np.full(3, 0.5, np.float32)}, 'result1')):
        graph_def = quantized_graph(case.graph_def, case.plan, State(constants, begin.positions))
        values = np.concatenate([run(graph_def, [result], batch)[0].reshape(-1, 3) for batch in batches])
        np.testing.assert_allclose(given[result].mean, values.mean(0), rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(given[result].rows, values, rtol=1e-6, atol=1e-6)
    assert state.values['b1'].tolist() == [0.5] * 3


def test_results_that_are_not_needed_are_dropped(monkeypatch):
    """With fitted weights and without, each network keeps at most one value."""
    sizes = []

    class Run(walk_file.PiecewiseRun):
        def compute(self, tensor):
            result = super().compute(tensor)
            sizes.append(len(self._kept[0]))
            return result
    monkeypatch.setattr(walk_file, 'PiecewiseRun', Run)
    net = networks.Network()
    x = net.input
    for number in range(8):
        x = net.conv(x, 4, 'conv{}'.format(number))
    tf.import_graph_def(net.graph_def(), name='')
    case = planned(['conv7/Relu'], inputs=['input'])
    for fits in (False, True):
        sizes.clear()
        _walk(case, [networks.batches(0)], fits)
        assert len(sizes) == (24 if fits else 16) and max(sizes) == 1


def test_layers_without_a_bias():
    x = tf.placeholder(tf.float32, [None, 4, 4, 3], name='x')
    for number in range(2):
        x = tf.nn.relu(tf.nn.conv2d(x, constant(1, 1, 3, 3, name='w{}'.format(number)), 1, 'SAME'))
    case = planned([tf.identity(x, 'out')])
    batches = [{'x': images(2, 4, 4, 3, seed=step)} for step in range(2)]
    layers, begin, state = _walk(case, batches)
    assert len(layers) == 2 and state == begin
    _, _, state = _walk(case, batches, fits=True)
    assert set(state.values) == {'w0', 'w1'}


def test_no_layers():
    x = tf.placeholder(tf.float32, [None, 4, 4, 3], name='x')
    case = planned([tf.nn.max_pool2d(x + x, 2, 2, 'SAME', name='out')])
    layers, begin, state = _walk(case, [{'x': images(2, 4, 4, 3)}], fits=True)
    assert layers == [] and state == begin
