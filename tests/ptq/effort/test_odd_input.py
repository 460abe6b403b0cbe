"""Unusual networks and data: an effort never fails on them, and is never worse than 'fast'."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.ptq.fitting.planned import constant, images, indexed, planned
from tests.support import run
from vai_q_tf import errors, ops
from vai_q_tf.decibels import decibels
from vai_q_tf.frozen.load import runnable
from vai_q_tf.graph.view import GraphView
from vai_q_tf.ptq.effort.data import split
from vai_q_tf.ptq.effort.improve import Network, improve
from vai_q_tf.ptq.effort.judge import Judge
from vai_q_tf.ptq.fitting.state import State, quantized_graph

pytestmark = pytest.mark.filterwarnings('ignore::RuntimeWarning')


def _image(batch=None):
    return tf.placeholder(tf.float32, [batch, 6, 6, 3], name='x')


def _conv(x, weights=None, bias=None, number=0):
    weights = constant(1, 1, int(x.shape[-1]), 4, name='w{}'.format(number), seed=number) if weights is None else weights
    return tf.nn.bias_add(tf.nn.conv2d(x, weights, 1, 'SAME'), constant(4, name='b{}'.format(number)) if bias is None else bias)


def _network(x=None, weights=None, bias=None):
    x = _image() if x is None else x
    return _conv(tf.nn.relu(_conv(x, weights, bias)), number=1)


def _batches(steps=4, count=16):
    return [{'x': images(count, 6, 6, 3, seed=step)} for step in range(steps)]


def _improve(output, batches, effort, inputs=('x',), **fields):
    """(Planned, Improved); checks that each step is fed once, in order."""
    case = planned([output], inputs=inputs, calib_iter=len(batches), **fields)
    feeds, asked = indexed(batches), []

    def feed(step):
        asked.append(step)
        return feeds[step]
    improved = improve([Network(runnable(case.graph_def), case.plan)], case.config, feed, effort)
    assert asked == list(range(len(batches)))
    assert set(improved.positions) == set(case.tensors)
    return case, improved


def _noise(case, improved, feeds):
    ops.load_library()
    graph_def = quantized_graph(case.graph_def, case.plan, State(improved.values, improved.positions))
    return decibels(Judge(case.graph_def, case.plan, feeds, feeds).errors(graph_def)[0])


def _assert_no_worse(build, batches, effort='high', cut=True, **fields):
    """On unseen data, the effort is no worse than fast; returns its gain in dB, and the Improved."""
    data = split(indexed(batches), cut)
    results = []
    for each in ('fast', effort):
        tf.reset_default_graph()
        case, improved = _improve(build(), batches, each, **fields)
        results.append(_noise(case, improved, data.unseen or data.fitted))
    assert results[1] >= results[0] or results[0] == np.inf
    return results[1] - results[0], improved


def _with(value, place=(0, 0, 0, 0)):
    weights = np.random.RandomState(0).normal(size=[1, 1, 3, 4]).astype(np.float32)
    weights[place] = value
    return weights


def test_an_ordinary_network_gains():
    gain, improved = _assert_no_worse(_network, _batches())
    assert gain > 1 and improved.values


@pytest.mark.parametrize('effort', ['standard', 'high'])
def test_a_weight_that_is_far_too_large(effort):
    _assert_no_worse(lambda: _network(weights=_with(1e30)), _batches(), effort)


@pytest.mark.parametrize('effort', ['fast', 'standard', 'high'])
@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_not_finite_is_refused(value, effort):
    with pytest.raises(errors.QuantizeError, match="weights '.*' have NaN or infinity in 1 of 12 elements") as caught:
        _improve(_network(weights=_with(value)), _batches(), effort)
    assert caught.value.code == errors.NOT_FINITE


@pytest.mark.parametrize('value', [np.nan, pytest.param(np.inf, marks=pytest.mark.slow), 1e25])
def test_an_input_that_is_not_finite(value):
    batches = _batches()
    batches[1]['x'][0, 0, 0, 0] = value
    _, improved = _assert_no_worse(_network, batches)
    assert all(np.isfinite(array).all() for array in improved.values.values())


def test_a_float_network_whose_outputs_are_nan():
    _, improved = _assert_no_worse(lambda: tf.log(_network() - 1e6), _batches())
    assert not improved.values


def test_infinity_within_the_network_only():
    """1 / inf is 0."""
    batches = _batches()
    batches[0]['x'][0, 0, 0, 0] = np.inf
    build = lambda: _conv(1 / (1 + tf.abs(_conv(_image(), np.abs(_with(1))))), number=1)  # noqa: E731
    _, improved = _assert_no_worse(build, batches)
    assert all(np.isfinite(array).all() for array in improved.values.values())


@pytest.mark.parametrize('build', [
    lambda: _network(weights=np.zeros([1, 1, 3, 4], np.float32)),
    lambda: _network(bias=np.zeros(4, np.float32)),
    lambda: _network(weights=np.zeros([1, 1, 3, 4], np.float32), bias=np.zeros(4, np.float32)),
    lambda: _network(tf.minimum(_image(), -2)),
    lambda: _network(bias=np.full(4, -50, np.float32)),
], ids=['weights of zeros', 'a bias of zeros', 'a layer of zeros', 'a constant input', 'a dead layer'])
def test_constant_layers(build):
    _assert_no_worse(build, _batches())


def test_inputs_of_zeros():
    _assert_no_worse(_network, [{'x': np.zeros([16, 6, 6, 3], np.float32)}] * 4)


@pytest.mark.parametrize('bits', [1, pytest.param(2, marks=pytest.mark.slow), 24])
def test_few_and_many_bits(bits):
    _assert_no_worse(_network, _batches(), weight_bit=bits, activation_bit=bits)


def test_a_network_without_biases():
    build = lambda: tf.nn.relu(tf.nn.conv2d(_image(), constant(3, 3, 3, 4, name='w'), 1, 'SAME'))  # noqa: E731
    _, improved = _assert_no_worse(build, _batches())
    assert set(improved.values) <= {'w'}


def test_a_network_without_layers():
    _, improved = _assert_no_worse(lambda: tf.nn.max_pool2d(_image() + 1, 2, 2, 'SAME'), _batches())
    assert not improved.values


def test_outputs_of_integers_mean_fast(capfd):
    _, improved = _improve(tf.argmax(_network(), -1), _batches(), 'high')
    assert not improved.values and 'no output node gives floating-point numbers' in capfd.readouterr().err


def test_control_flow_means_fast(capfd):
    phase = tf.placeholder(tf.bool, [], name='phase')
    x = _network()
    output = tf.cond(phase, lambda: x * 2, lambda: x)
    _, improved = _improve(output, [dict(batch, phase=True) for batch in _batches()], 'high')
    assert not improved.values and 'conditions or loops' in capfd.readouterr().err


@pytest.mark.parametrize('steps', [1, 2, pytest.param(3, marks=pytest.mark.slow), 4])
def test_a_fixed_batch(steps, capfd):
    """A single batch that cannot be cut leaves no data to judge by."""
    build = lambda: _network(_image(48))  # noqa: E731
    gain, improved = _assert_no_worse(build, _batches(steps, 48), cut=False)
    fast = 'takes no part of its only batch' in capfd.readouterr().err
    assert fast == (steps == 1) and bool(improved.values) != fast


def test_a_fixed_batch_within_the_network(capfd):
    build = lambda: _conv(_network() + np.ones([48, 1, 1, 1], np.float32), number=2)  # noqa: E731
    _assert_no_worse(build, _batches(1, 48), cut=False)
    assert 'takes no part of its only batch' in capfd.readouterr().err


def test_a_batch_that_can_be_cut_next_to_a_scalar():
    build = lambda: _network() * tf.placeholder(tf.float32, [], name='rate')  # noqa: E731
    batches = [dict(batch, rate=np.float32(0.5)) for batch in _batches(1, 48)]
    _, improved = _assert_no_worse(build, batches)
    assert improved.values


def test_placeholders_that_are_fed_in_some_steps_only(capfd):
    build = lambda: _network() * tf.placeholder_with_default(np.float32(1), [], name='rate')  # noqa: E731
    batches = _batches()
    batches[2]['rate'] = np.float32(2)
    _, improved = _improve(build(), batches, 'high')
    assert not improved.values and 'other placeholders in one step' in capfd.readouterr().err


def test_few_images_mean_fast(capfd):
    _, improved = _improve(_network(), _batches(1, 47), 'high')
    assert not improved.values and 'other efforts need 48 images' in capfd.readouterr().err


def test_batches_of_unequal_size():
    batches = [{'x': images(count, 6, 6, 3, seed=count)} for count in (13, 1, 19, 6, 11)]
    gain, improved = _assert_no_worse(_network, batches)
    assert gain > 1 and improved.values


def test_values_keep_shape_and_type():
    x = tf.nn.relu(_conv(_image()) + constant(1, 1, 1, 4, name='more'))
    case, improved = _improve(_conv(x, number=1), _batches(), 'high')
    view = GraphView(case.graph_def)
    assert improved.values
    for name, value in improved.values.items():
        assert value.shape == view.value(name).shape and value.dtype == np.float32
    assert run(case.graph_def, [case.config.output_nodes[0]], _batches()[0])[0].shape[0] == 16
