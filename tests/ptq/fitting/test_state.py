"""quantized_graph equals the model with the same values and positions, bit for bit."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from hypothesis import given, settings

from tests.ptq import networks
from tests.ptq.fitting.planned import Planned, constant, planned, positions_of
from tests.ptq.test_real_networks import _frozen
from tests.random_networks import SIZE
from tests.random_networks import networks as random_networks
from tests.support import run
from vai_q_tf import ops
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.export.finalize import finalize
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.view import GraphView
from vai_q_tf.passes import optimise
from vai_q_tf.plan.annotate import annotate
from vai_q_tf.ptq.fitting.state import State, quantized_constant, quantized_graph, reference_graph


def _planned(graph_def, outputs, inputs=('x',), **fields):
    config = QuantizeConfig(list(inputs), list(outputs), **fields)
    float_graph = optimise(graph_def, config)
    return Planned(float_graph, annotate(GraphView(float_graph), config), config)


def _changed(case, random):
    """Other values for half of the weights and biases."""
    view = GraphView(case.graph_def)
    values = {record.tensor: view.value(record.tensor) for record in case.plan.tensors if record.role in ('weight', 'bias')}
    return {name: (value * 1.3 + 0.01).astype(np.float32)
            for name, value in values.items() if value is not None and random.rand() < 0.5}


def _assert_equal(case, state, feed):
    """The graph and the model agree in every tensor of the plan."""
    ops.load_library()
    model = finalize(editor.with_values(case.graph_def, state.values), case.plan, state.positions, {})
    graph_def = quantized_graph(case.graph_def, case.plan, state)
    view = GraphView(graph_def)
    pairs = [(record.name, record.name if record.name in view else record.tensor) for record in case.plan.tensors]
    expected = run(model, [name for name, _ in pairs], feed)
    given = run(graph_def, [name for _, name in pairs], feed)
    for (name, _), one, other in zip(pairs, expected, given):
        np.testing.assert_array_equal(one, other, err_msg=name)
    constants = [record for record in case.plan.tensors if GraphView(case.graph_def).value(record.tensor) is not None]
    assert constants and not any(record.name in view for record in constants if record.role == 'weight')


@pytest.mark.parametrize('fields', [
    {}, {'weight_bit': 4, 'activation_bit': 5}, {'weight_bit': 16, 'activation_bit': 12}, {'arch_type': 'DPUCADF8H'}], ids=str)
def test_of_branches(fields):
    graph_def, output = networks.branches()
    case = _planned(graph_def, [output], ['input'], **fields)
    positions = case.calibrated([networks.batches(0)])
    _assert_equal(case, State({}, positions), networks.batches(1))
    _assert_equal(case, State(_changed(case, np.random.RandomState(0)), positions), networks.batches(1))


@pytest.mark.parametrize('name', ['perceptron', 'sequences', 'volumes', 'deep_lab', 'pyramid'])
def test_of_real_networks(name):
    graph_def, outputs, feed = _frozen(name)
    case = _planned(graph_def, outputs)
    _assert_equal(case, State(_changed(case, np.random.RandomState(0)), case.calibrated([feed(0)])), feed(1))


@settings(max_examples=4)
@given(random_networks())
def test_of_random_networks(network):
    feeds = [{'x': np.random.RandomState(step).uniform(-1, 1, (2, SIZE, SIZE, 3)).astype(np.float32)} for step in range(2)]
    with tf.Graph().as_default():
        case = planned([output.op.name for output in network.build()])
    _assert_equal(case, State(_changed(case, np.random.RandomState(0)), case.calibrated(feeds[:1])), feeds[1])


def test_a_constant_with_a_float_reader_keeps_its_value():
    """Its quantized reader has a FixNeuron then."""
    x = tf.placeholder(tf.float32, [None, 4, 4, 3], name='x')
    weights = constant(1, 1, 3, 3, name='w')
    y = tf.nn.conv2d(x, weights, 1, 'SAME', name='conv')
    tf.reduce_sum(weights, name='sum')
    case = planned([tf.identity(y, 'out')], passes=False)
    state = State({'w': np.full([1, 1, 3, 3], 0.3, np.float32)}, positions_of(case, **{'w/wquant': 2}))
    graph_def = quantized_graph(case.graph_def, case.plan, state)
    ops.load_library()
    found, total = run(graph_def, ['w/wquant', 'sum'], {'x': np.zeros([1, 4, 4, 3])})
    np.testing.assert_array_equal(found, np.full([1, 1, 3, 3], 0.25, np.float32))
    assert total == pytest.approx(2.7)


def test_a_constant_is_rounded_as_by_its_op():
    record = planned([tf.nn.conv2d(tf.placeholder(tf.float32, [None, 4, 4, 3], name='x'), constant(1, 1, 3, 3, name='w'),
                                   1, 'SAME')]).tensors['w/wquant']
    value = np.array([-1.5, -0.5, 0.5, 1.25, 200, -200, np.nan])
    np.testing.assert_array_equal(quantized_constant(record, value, 0), [-2, -1, 1, 1, 127, -128, -128])
    np.testing.assert_array_equal(quantized_constant(record, value, 1)[:4], [-1.5, -0.5, 0.5, 1.5])
    narrow = record._replace(narrow_range=True, bits=2)
    np.testing.assert_array_equal(quantized_constant(narrow, value, 0)[[0, 4, 5]], [-1, 1, -1])


def _with_relu6(random):
    """A case with a Relu6 between two convolutions, and the values and factors of one whose channels are scaled there."""
    x = tf.placeholder(tf.float32, [None, 4, 4, 3], name='x')
    x = tf.nn.conv2d(x, constant(3, 3, 3, 5, name='w'), 1, 'SAME', name='first')
    x = tf.nn.relu6(tf.nn.bias_add(x, constant(5, name='b'), name='biased'), name='six')
    case = planned([tf.nn.conv2d(x, constant(3, 3, 5, 2, name='v'), 1, 'SAME', name='second')], passes=False)
    view, scales = GraphView(case.graph_def), 2.0**random.uniform(-2, 1, 5)
    values = {'w': view.value('w') * scales, 'b': view.value('b') * scales, 'v': view.value('v') / scales[:, None]}
    return case, {name: value.astype(np.float32) for name, value in values.items()}, {'first': scales}


def test_scaled_channels_of_the_reference_are_clipped_as_in_the_float_network_on_any_data():
    case, values, scales = _with_relu6(np.random.RandomState(0))
    reference = reference_graph(case.graph_def, values, {'first': 'six'}, scales)
    for size in (0.1, 10, 1000):
        feed = {'x': size * np.random.RandomState(1).standard_cauchy([8, 4, 4, 3]).astype(np.float32)}
        expected = run(case.graph_def, ['biased', 'six', 'second'], feed)
        found = run(reference, ['biased', 'six', 'second'], feed)
        for one, other, factor in zip(expected, found, (scales['first'], scales['first'], 1)):
            np.testing.assert_allclose(other, one * factor, rtol=1e-4, atol=1e-5 * np.abs(one).max())


def test_the_limit_of_the_quantized_result_clips_instead_of_a_relu6():
    case, values, _ = _with_relu6(np.random.RandomState(0))
    positions = positions_of(case, **{record.name: 4 for record in case.plan.tensors})
    ops.load_library()
    graph_def = quantized_graph(case.graph_def, case.plan, State({}, positions, {'first': 'six'}))
    before, after = run(graph_def, ['biased', 'six/aquant'], {'x': 50 * np.random.RandomState(1).normal(size=[8, 4, 4, 3])})
    np.testing.assert_array_equal(after, np.clip(np.floor(before * 16 + 0.5) / 16, 0, 127 / 16))
    assert before.max() > 20


def test_without_scales_the_reference_is_the_graph_with_the_values():
    case, values, _ = _with_relu6(np.random.RandomState(0))
    assert reference_graph(case.graph_def, values, {}, {}) == editor.with_values(case.graph_def, values)
