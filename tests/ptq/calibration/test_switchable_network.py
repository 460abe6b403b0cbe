"""The network with switches: all on is the quantized model, all off the float network; one switch quantizes one tensor."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.ptq import networks
from tests.support import read_graph, run
from vai_q_tf import errors, fixed_point
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph.view import GraphView
from vai_q_tf.passes import optimise
from vai_q_tf.plan.annotate import annotate
from vai_q_tf.ptq.calibration.switchable_network import SwitchableNetwork, output_errors
from vai_q_tf.ptq.quantize import quantize_frozen


def _feed(step=5):
    return {name + ':0': value for name, value in networks.batches(step).items()}


def _optimised(graph_def, output, tmp_path, fold_constant=True, **fields):
    """(GraphDef after the passes, its plan, config)."""
    config = QuantizeConfig(['input'], [output], calib_iter=2, output_dir=str(tmp_path), **fields)
    graph_def = optimise(graph_def, config, fold_constant)
    return graph_def, annotate(GraphView(graph_def), config), config


def _model(graph_def, config, **options):
    model = read_graph(quantize_frozen(graph_def, networks.batches, config, effort='fast', **options))
    return model, {node.name: node.attr['quantize_pos'].i for node in model.node if node.op == 'FixNeuron'}


@pytest.mark.parametrize('fields', [
    {}, {'weight_bit': 4, 'activation_bit': 6, 'nodes_bit': ['conv2/Conv2D:9']}, {'arch_type': 'DPUCADF8H', 'method': 0}],
    ids=str)
def test_all_on_is_the_model_and_all_off_the_float_network(tmp_path, fields):
    source, output = networks.branches()
    graph_def, plan, config = _optimised(source, output, tmp_path, **fields)
    model, positions = _model(source, config)
    assert set(positions) == {tensor.name for tensor in plan.tensors}
    with SwitchableNetwork(graph_def, plan) as network:
        for _ in range(2):  # switching does not depend on the run before
            on, = network.outputs(_feed(), positions)
            off, = network.outputs(_feed(), {})
            np.testing.assert_array_equal(on, run(model, [output + '/aquant'], networks.batches(5))[0])
            np.testing.assert_array_equal(off, run(graph_def, [output], networks.batches(5))[0])
    assert (on != off).any()


def test_one_switch_quantizes_one_tensor(tmp_path):
    net = networks.Network()
    x = net.conv(net.input, 4, 'conv', relu=False)
    net.apply(tf.add, x, x, name='out')
    graph_def, plan, _ = _optimised(net.graph_def(), 'out', tmp_path)
    feed = networks.batches(5)

    def result(**given):
        changed = tf.GraphDef()
        changed.CopyFrom(graph_def)
        for node in changed.node:
            if node.name in given:
                value = tf.make_ndarray(node.attr['value'].tensor)
                node.attr['value'].tensor.CopyFrom(tf.make_tensor_proto(given[node.name](value)))
        return run(changed, ['out'], feed)[0]

    weights = {'conv/weights': lambda value: fixed_point.quantize(value, 3, 8, fixed_point.HALF_AWAY)}
    biases = {'conv/biases': lambda value: fixed_point.quantize(value, 4, 8, fixed_point.HALF_AWAY)}
    exact = run(graph_def, ['out'], feed)[0]
    with SwitchableNetwork(graph_def, plan) as network:
        for positions, expected in (
                ({'conv/weights/wquant': 3}, result(**weights)), ({'conv/biases/wquant': 4}, result(**biases)),
                ({'conv/weights/wquant': 3, 'conv/biases/wquant': 4}, result(**weights, **biases)),
                ({'out/aquant': 2}, fixed_point.quantize(exact, 2))):
            np.testing.assert_array_equal(network.outputs(_feed(), positions)[0], expected)


@pytest.mark.parametrize('arch_type, least', [('DEFAULT', -128), ('DPUCADF8H', -127)])
def test_each_tensor_has_its_rounding_and_range(tmp_path, arch_type, least):
    """Halves of weights round away from zero, halves of activations up."""
    graph = tf.Graph()
    with graph.as_default():
        x = tf.placeholder(tf.float32, [None, 2], name='input')
        tf.matmul(x, tf.constant([[-1.5, 0], [0, 1]], name='weights'), name='out')
    graph_def, plan, _ = _optimised(graph.as_graph_def(), 'out', tmp_path, arch_type=arch_type)
    feed = {'input:0': np.float32([[1, -1.5], [1, -300]])}
    with SwitchableNetwork(graph_def, plan) as network:
        assert network.outputs(feed, {'weights/wquant': 0})[0].tolist() == [[-2, -1.5], [-2, -300]]
        assert network.outputs(feed, {'input/aquant': 0})[0].tolist() == [[-1.5, -1], [-1.5, least]]


def test_an_output_that_stays_float_and_several_outputs(tmp_path):
    net = networks.Network()
    x = net.conv(net.input, 4, 'conv')
    net.apply(tf.nn.tanh, x, name='tanh')
    graph_def = net.graph_def()
    config = QuantizeConfig(['input'], ['tanh', 'conv/Relu'], calib_iter=2, output_dir=str(tmp_path))
    plan = annotate(GraphView(graph_def), config)
    assert 'tanh/aquant' not in {tensor.name for tensor in plan.tensors}
    expected = run(graph_def, ['tanh', 'conv/Relu'], networks.batches(5))
    with SwitchableNetwork(graph_def, plan) as network:
        for value, reference in zip(network.outputs(_feed(), {}), expected):
            np.testing.assert_array_equal(value, reference)
        on = network.outputs(_feed(), {'conv/Relu/aquant': 1})
    np.testing.assert_array_equal(on[1], fixed_point.quantize(expected[1], 1))
    np.testing.assert_allclose(on[0], np.tanh(on[1]), atol=1e-6)


@pytest.mark.parametrize('limit', [-2.0, 2.0])
def test_computed_weights_and_conditions(tmp_path, limit):
    """Weights that the graph computes, after a condition on the data, for both branches."""
    net = networks.Network()
    with net._graph.as_default():
        x = tf.cond(tf.reduce_mean(net.input) > limit, lambda: net.input * 2.0, lambda: net.input * 3.0)
        weights = tf.multiply(net.constant([3, 3, 3, 4], 0.2, 'weights'), 2.0, name='doubled')
        tf.nn.conv2d(x, weights, 1, 'SAME', name='conv')
    graph_def, plan, config = _optimised(net.graph_def(), 'conv', tmp_path, fold_constant=False)
    model, positions = _model(net.graph_def(), config, fold_constant=0)
    assert 'doubled/wquant' in positions and 'cond/Merge/aquant' in positions
    with SwitchableNetwork(graph_def, plan) as network:
        np.testing.assert_array_equal(network.outputs(_feed(), positions)[0],
                                      run(model, ['conv/aquant'], networks.batches(5))[0])
        np.testing.assert_array_equal(network.outputs(_feed(), {})[0],
                                      run(net.graph_def(), ['conv'], networks.batches(5))[0])


def test_a_network_that_does_not_run(tmp_path):
    graph_def, plan, _ = _optimised(*networks.branches(), tmp_path)
    with SwitchableNetwork(graph_def, plan) as network, pytest.raises(errors.QuantizeError, match='input') as caught:
        network.outputs({}, {})
    assert caught.value.code == errors.UNSUPPORTED_GRAPH


def test_the_session_is_closed_and_names_are_checked(tmp_path):
    graph_def, plan, _ = _optimised(*networks.branches(), tmp_path)
    with SwitchableNetwork(graph_def, plan) as network:
        with pytest.raises(KeyError):
            network.outputs(_feed(), {'conv1/aquant': 3})
    with pytest.raises(RuntimeError, match='closed'):
        network.outputs(_feed(), {})


def test_errors_are_relative_to_the_energy_of_each_output_over_all_batches(tmp_path):
    """Two outputs, one of them a thousand times as large, in batches of different sizes."""
    graph = tf.Graph()
    with graph.as_default():
        x = tf.placeholder(tf.float32, [None, 4], name='input')
        tf.nn.relu(x, name='small')
        tf.nn.relu(x * 1000.0, name='large')
    config = QuantizeConfig(['input'], ['small', 'large'], calib_iter=2, output_dir=str(tmp_path))
    graph_def = optimise(graph.as_graph_def(), config)
    plan = annotate(GraphView(graph_def), config)
    data = [np.random.RandomState(size).uniform(0, 1, (size, 4)).astype(np.float32) for size in (1, 5)]
    settings = [{'small/aquant': 2}, {'large/aquant': -8}, {'small/aquant': 2, 'large/aquant': -8}, {}]
    with SwitchableNetwork(graph_def, plan) as network:
        measured = output_errors(network, [{'input:0': value} for value in data], settings)
    values = np.concatenate(data)
    parts = []
    for exact, position in ((values, 2), (values * np.float32(1000), -8)):
        exact = exact.astype(np.float64)
        parts.append(((fixed_point.quantize(exact, position) - exact) ** 2).sum() / (exact ** 2).sum())
    np.testing.assert_allclose(measured, [parts[0], parts[1], sum(parts), 0], rtol=1e-9)
    assert measured[3] == 0 and min(parts) > 1e-3


def test_outputs_that_are_not_finite_are_an_error(tmp_path):
    graph = tf.Graph()
    with graph.as_default():
        x = tf.placeholder(tf.float32, [None, 4], name='input')
        tf.nn.relu(tf.math.log(x), name='out')
    config = QuantizeConfig(['input'], ['out'], output_dir=str(tmp_path))
    graph_def = optimise(graph.as_graph_def(), config)
    plan = annotate(GraphView(graph_def), config)
    with SwitchableNetwork(graph_def, plan) as network, pytest.raises(errors.QuantizeError, match='step 1') as caught:
        output_errors(network, [{'input:0': np.ones((1, 4))}, {'input:0': -np.ones((1, 4))}], [{}])
    assert caught.value.code == errors.UNSUPPORTED_GRAPH
