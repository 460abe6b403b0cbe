"""The compiled ops against the NumPy definition and the measured cases, bit for bit."""
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ops import running, samples
from vai_q_tf import fixed_point, ops, position_histogram

modes = st.sampled_from([0, 1, 2])


@pytest.mark.parametrize('name, x, position, mode, rounding, narrow_range, expected', samples.evaluation_cases(),
                         ids=lambda value: value if isinstance(value, str) else '')
def test_measured_evaluations(name, x, position, mode, rounding, narrow_range, expected):
    mode = 0 if rounding == 'half_away' else mode
    fix_neuron = running.fix_neuron(narrow_range or None, mode=mode, phase=1, quantize_pos=position)
    assert samples.same_bits(fix_neuron(x), expected)
    expected = np.where(np.isfinite(x), expected, x)
    assert samples.same_numbers(running.vai_fix_neuron(8, mode, narrow_range)(x, position), expected)


def test_measured_calibrations():
    inputs = samples.golden_inputs()
    runners = {}
    for data, bits, method, mode, phase, positions, outputs in samples.search_cases():
        attrs = bits, method, mode, phase
        if attrs not in runners:
            runners[attrs] = running.fix_neuron(bit_width=bits, method=method, mode=mode, phase=phase)
        histogram = np.zeros(256, np.float32)
        for i in range(5):
            x = inputs['{}_{}'.format(data, i)]
            assert samples.md5(runners[attrs](x)) == outputs[i], (data, attrs, i)
            histogram = position_histogram.vote(histogram, running.search_position(bits, method, mode)(x), 1.0)
            assert position_histogram.mode_position(histogram) == positions[i], (data, attrs, i)


@settings(max_examples=300)
@given(x=samples.tensors(), position=samples.positions, bits=samples.bit_widths, mode=modes, narrow_range=st.booleans())
def test_forward_is_the_definition(x, position, bits, mode, narrow_range):
    expected = fixed_point.quantize(x, position, bits, fixed_point.rounding_of(mode), narrow_range)
    assert samples.same_numbers(running.vai_fix_neuron(bits, mode, narrow_range)(x, position), expected)


@pytest.mark.parametrize('phase', [0, 1, 2])
def test_nan_and_infinity_stay_except_in_models(phase):
    """Models have FixNeuron in phase 1, which turns them into numbers, as vai_q_tensorflow does."""
    x = np.float32([np.nan, 3, -3, np.inf, -np.inf])
    found = running.fix_neuron(bit_width=4, mode=1, phase=phase, quantize_pos=1)(x)
    np.testing.assert_array_equal(found, [-4, 3, -3, 3.5, -4] if phase == 1 else [np.nan, 3, -3, np.inf, -np.inf])
    for position in (1, fixed_point.POSITION_ZERO):
        found = running.vai_fix_neuron(4, 1, False)(x, position)
        np.testing.assert_array_equal(found, x * [1, position == 1, position == 1, 1, 1])


@settings(max_examples=300)
@given(x=samples.tensors(), bits=samples.bit_widths, method=st.sampled_from([0, 1, 2]), mode=modes,
       narrow_range=st.booleans(), tie=samples.ties)
def test_search_is_the_definition(x, bits, method, mode, narrow_range, tie):
    expected = fixed_point.search_position(x, bits, method, mode, narrow_range, tie)
    assert running.search_position(bits, method, mode, narrow_range, tie)(x) == expected


@settings(max_examples=150)
@given(x=samples.tensors(sizes=(32769, 40000, 70000, 140000)), bits=samples.bit_widths,
       method=st.sampled_from([1, 1, 2]), outlier=st.sampled_from([1, 4, 30, 1000]), narrow_range=st.booleans(),
       tie=samples.ties)
def test_search_of_many_blocks_is_the_definition(x, bits, method, outlier, narrow_range, tie):
    """Where candidates are dropped before the end: not at all, late or early, by how far the outlier is out."""
    with np.errstate(over='ignore'):
        x[x.size // 2] *= outlier
    expected = fixed_point.search_position(x, bits, method, 2, narrow_range, tie)
    assert running.search_position(bits, method, 2, narrow_range, tie)(x) == expected


@pytest.mark.parametrize('method, clipped', [(1, 5000), (2, 20000)])
def test_search_waits_for_blocks_that_change_the_winner(method, clipped):
    """Only the first candidate represents the first blocks well, and it represents the others worst."""
    x = np.where(np.arange(600000) < 32768, 0.0, 0.5).astype(np.float32)
    x[:clipped] = 7
    found = running.search_position(4, method, 2)(x)
    assert found == fixed_point.search_position(x, 4, method, 2)
    assert found != fixed_point.search_position(x, 4, 0)


@pytest.mark.parametrize('method, clipped, size', [(1, 13000, 600000), (2, 32000, 52768)])
def test_search_waits_for_blocks_that_bring_a_tie(method, clipped, size):
    """The first candidate is the best, but only the last blocks bring its error near to that of the second."""
    x = np.where(np.arange(size) < 32768, 0.0, 0.5).astype(np.float32)
    x[:clipped] = 7
    assert running.search_position(4, method, 2)(x) == fixed_point.search_position(x, 4, method, 2) == 0
    assert running.search_position(4, method, 2, tie=1.3)(x) == fixed_point.search_position(x, 4, method, 2, tie=1.3) == 1


@pytest.mark.parametrize('tie, position', [(1.0, 0), (1.5, 0), (1.5625, 2), (1.7, 2), (1.73, 3), (2.1, 4), (100.0, 4)])
@pytest.mark.parametrize('repeats', [1, 900])
def test_search_goes_on_to_finer_positions_of_a_tie(tie, position, repeats):
    """test_fixed_point has the errors of these values by hand."""
    x = np.array([3.0] + [0.25] * 64, np.float32).repeat(repeats)
    assert running.search_position(3, 1, 1, tie=tie)(x) == position


@pytest.mark.parametrize('tie', [0.99, 0.0, -2.0, float('nan')])
def test_tie_below_one_is_an_error_that_names_the_node(tie):
    searches = [ops.search_position(tf.ones([3]), tie=tie, name='conv1/position'),
                ops.scaled_search_position(tf.ones([3]), tf.ones([1]), tie=tie, name='conv1/position')]
    for searched in searches:
        with tf.compat.v1.Session() as session, pytest.raises(tf.errors.InvalidArgumentError, match='tie is') as error:
            session.run(searched)
        assert 'conv1/position' in str(error.value) and 'at least 1' in str(error.value)


@settings(max_examples=200)
@given(x=samples.tensors(), position=samples.positions, bits=samples.bit_widths, narrow_range=st.booleans())
def test_gradient_is_the_definition(x, position, bits, narrow_range):
    lo, hi = fixed_point.limits(position, bits, narrow_range)
    x[:4] = np.array([lo, hi, np.nextafter(np.float32(lo), -np.inf), np.nextafter(np.float32(hi), np.inf)],
                     np.float32)[:x.size]
    dy = np.random.RandomState(x.size).standard_normal(x.size).astype(np.float32)
    expected = fixed_point.gradient(dy, x, position, bits, narrow_range)
    assert samples.same_bits(running.gradient(bits, narrow_range)(dy, x, position), expected)


def test_gradient_is_the_slope_of_the_quantized_function():
    """Averaged over one step, the staircase rises with slope 1 inside the range and 0 outside."""
    position, bits = 2, 4
    lo, hi = fixed_point.limits(position, bits)
    step = 2.0**-position
    x = np.array([lo - 3, lo - 1, lo + 0.5, -0.3, 0.1, hi - 0.6, hi + 1, hi + 5], np.float32)
    forward = running.vai_fix_neuron(bits, 1, False)
    slope = (forward(x + np.float32(step), position) - forward(x, position)) / step
    assert running.gradient(bits, False)(np.ones_like(x), x, position).tolist() == slope.tolist()


@pytest.mark.parametrize('shape', [[], [0], [7], [3, 5, 11], [100003]])
@pytest.mark.parametrize('gradient', ['clipped', 'straight_through'])
def test_without_a_position_values_and_gradients_stay_as_they_are(shape, gradient):
    size = int(np.prod(shape))
    data, dys = samples.any_bits(size).reshape(shape), samples.any_bits(size + 1)[:size].reshape(shape)
    x, dy, position = [tf.compat.v1.placeholder(t) for t in (tf.float32, tf.float32, tf.int32)]
    y = ops.vai_fix_neuron(x, position, 4, narrow_range=True, gradient=gradient)
    dx, = tf.gradients(y, x, dy)
    with tf.compat.v1.Session() as session:
        feed = {x: data, dy: dys, position: fixed_point.NO_OBSERVATION}
        found, backprop = session.run([y, dx], feed)
    assert samples.same_bits(found, data) and samples.same_bits(backprop, dys)


def test_without_a_position_the_second_derivative_passes_everywhere():
    x, dy = tf.constant([-1e9, 0.3, np.nan]), tf.constant([1.0, 2, 3])
    dx, = tf.gradients(ops.vai_fix_neuron(x, fixed_point.NO_OBSERVATION), x, dy)
    with tf.compat.v1.Session() as session:
        assert session.run(tf.gradients(dx, dy, tf.constant([5.0, 7, 9]))[0]).tolist() == [5, 7, 9]


def test_without_a_position_shapes_must_fit_too():
    dy, x = tf.compat.v1.placeholder(tf.float32), tf.compat.v1.placeholder(tf.float32)
    dx = tf.gradients(ops.vai_fix_neuron(x, fixed_point.NO_OBSERVATION), x, dy)[0]
    with tf.compat.v1.Session() as session, pytest.raises(tf.errors.InvalidArgumentError, match='shape'):
        session.run(dx, {dy: [1.0], x: [1.0, 2.0]})


def test_straight_through_passes_the_gradient_everywhere():
    x = tf.constant([-1e9, 0.3, 1e9, np.nan])
    y = ops.vai_fix_neuron(x, 0, gradient='straight_through')
    dy = tf.constant([1.0, 2, 3, 4])
    with tf.compat.v1.Session() as session:
        assert session.run(tf.gradients(y, x, dy)[0]).tolist() == [1, 2, 3, 4]


def test_second_derivative_is_the_mask():
    x, dy = tf.constant([-1e9, 0.3]), tf.constant([1.0, 2])
    dx, = tf.gradients(ops.vai_fix_neuron(x, 0), x, dy)
    with tf.compat.v1.Session() as session:
        assert session.run(tf.gradients(dx, dy, tf.constant([5.0, 7]))[0]).tolist() == [0, 7]


@pytest.mark.parametrize('phase, expected', [(0, [1, 1, 1]), (1, [0, 1, 0]), (2, [1, 1, 1])])
def test_gradient_of_fix_neuron(phase, expected):
    x = tf.constant([-200.0, -128, 127.5])
    y = ops.fix_neuron(x, mode=1, phase=phase)
    with tf.compat.v1.Session() as session:
        assert session.run(tf.gradients(y, x)[0]).tolist() == expected


def test_gradient_of_fix_neuron_in_the_narrow_range():
    x = tf.constant([-128.0, -127])
    y = ops.fix_neuron(x, mode=1, phase=1)
    y.op._set_attr('_symmetric', tf.compat.v1.AttrValue(b=True))
    with tf.compat.v1.Session() as session:
        assert session.run(tf.gradients(y, x)[0]).tolist() == [0, 1]


def test_gradient_flows_through_a_position_that_was_searched():
    x = tf.constant([1.0, -0.3])
    y = ops.vai_fix_neuron(x, ops.search_position(x))
    with tf.compat.v1.Session() as session:
        assert session.run(tf.gradients(y, x)[0]).tolist() == [1, 1]


def test_untracked_search_returns_no_observation():
    with tf.compat.v1.Session() as session:
        assert session.run(ops.search_position(tf.ones([3]), track=False)) == fixed_point.NO_OBSERVATION


@pytest.mark.parametrize('shape', [[], [0], [3], [2, 0, 4], [2, 3, 4, 5, 6]])
def test_any_shape(shape):
    x = np.random.RandomState(0).standard_normal(shape).astype(np.float32)
    assert samples.same_bits(running.vai_fix_neuron(8, 1, False)(x, 4), fixed_point.quantize(x, 4))


def test_static_shapes():
    x = tf.compat.v1.placeholder(tf.float32, [None, 7])
    assert ops.fix_neuron(x, mode=0, phase=1).shape.as_list() == [None, 7]
    y = ops.vai_fix_neuron(x, 3)
    assert y.shape.as_list() == [None, 7] and tf.gradients(y, x)[0].shape.as_list() == [None, 7]
    assert ops.search_position(x).shape.as_list() == []
    with pytest.raises(ValueError, match='rank 0'):
        ops.vai_fix_neuron(x, [1, 2])


def test_quantizing_in_place_leaves_other_readers_alone():
    x = tf.compat.v1.placeholder(tf.float32, [1000])
    doubled = x * 2.0
    y, again = ops.vai_fix_neuron(doubled, 3), doubled + 0.0
    chain = ops.vai_fix_neuron(ops.vai_fix_neuron(x * 2.0, 5), 3)
    data = np.random.RandomState(1).standard_normal(1000).astype(np.float32)
    with tf.compat.v1.Session() as session:
        first, second, third = session.run([y, again, chain], {x: data})
    assert samples.same_bits(second, data * 2)
    assert samples.same_bits(first, fixed_point.quantize(data * 2, 3))
    assert samples.same_bits(third, fixed_point.quantize(fixed_point.quantize(data * 2, 5), 3))


def test_quantizing_an_unchanged_tensor_does_not_change_the_input():
    variable = tf.compat.v1.Variable([0.3, -5.2], use_resource=False)
    kept = ops.vai_fix_neuron(variable, fixed_point.NO_OBSERVATION)
    y = ops.vai_fix_neuron(kept, 0)
    with tf.compat.v1.Session() as session:
        session.run(variable.initializer)
        assert session.run(y).tolist() == [0, -5]
        assert samples.same_bits(session.run(variable), np.float32([0.3, -5.2]))


def test_quantizing_a_variable_does_not_change_it():
    variable = tf.compat.v1.Variable([0.3, -5.2], use_resource=False)
    y = ops.fix_neuron(variable, mode=0, phase=1, quantize_pos=0)
    with tf.compat.v1.Session() as session:
        session.run(variable.initializer)
        assert session.run(y).tolist() == [0, -5]
        assert session.run(variable).tolist() == [np.float32(0.3), np.float32(-5.2)]


@pytest.mark.parametrize('attrs, message', [
    ({'bit_width': 0}, 'bit_width is 0'), ({'bit_width': 25}, 'bit_width is 25'), ({'mode': 3}, 'mode is 3'),
    ({'phase': -1}, 'phase is -1'), ({'method': 3}, 'method is 3'), ({'quantize_pos': 128}, 'quantize_pos is 128'),
    ({'quantize_pos': -2**31}, 'quantize_pos is -2147483648'),
])
def test_wrong_attributes_of_fix_neuron_are_errors_that_name_the_node(attrs, message):
    x = tf.compat.v1.placeholder(tf.float32)
    y = ops.fix_neuron(x, name='conv1/aquant', **dict({'mode': 1, 'phase': 1}, **attrs))
    with tf.compat.v1.Session() as session, pytest.raises(tf.errors.InvalidArgumentError, match=message) as error:
        session.run(y, {x: [1.0]})
    assert 'conv1/aquant (FixNeuron)' in str(error.value)


@pytest.mark.parametrize('position', [-127, 128, fixed_point.NO_OBSERVATION + 1])
def test_wrong_position_is_an_error_that_names_the_node(position):
    p = tf.compat.v1.placeholder(tf.int32)
    x = tf.ones([3])
    y = ops.vai_fix_neuron(x, p, name='conv1/quantize')
    with tf.compat.v1.Session() as session, pytest.raises(tf.errors.InvalidArgumentError, match=str(position)) as error:
        session.run(y, {p: position})
    assert 'conv1/quantize' in str(error.value)


def test_wrong_number_of_positions_is_an_error():
    p, track = tf.compat.v1.placeholder(tf.int32), tf.compat.v1.placeholder(tf.bool)
    y, searched = ops.vai_fix_neuron(tf.ones([3]), p), ops.search_position(tf.ones([3]), track)
    with tf.compat.v1.Session() as session:
        for fetch, feed in ((y, {p: [1, 2]}), (y, {p: []}), (searched, {track: [True, False]})):
            with pytest.raises(tf.errors.InvalidArgumentError, match='must be one value'):
                session.run(fetch, feed)


def test_gradient_of_another_shape_is_an_error():
    dy, x = tf.compat.v1.placeholder(tf.float32), tf.compat.v1.placeholder(tf.float32)
    dx = tf.gradients(ops.vai_fix_neuron(x, 0), x, dy)[0]
    with tf.compat.v1.Session() as session, pytest.raises(tf.errors.InvalidArgumentError, match='shape'):
        session.run(dx, {dy: [1.0], x: [1.0, 2.0]})


def test_a_fix_neuron_without_the_attr_T_runs():
    definition = tf.compat.v1.GraphDef()
    with tf.Graph().as_default() as graph:
        ops.fix_neuron(tf.compat.v1.placeholder(tf.float32, name='x'), mode=1, phase=1, quantize_pos=1, name='y')
        definition.CopyFrom(graph.as_graph_def())
    del definition.node[1].attr['T']
    y, = tf.import_graph_def(definition, return_elements=['y:0'])
    with tf.compat.v1.Session() as session:
        assert session.run(y, {'import/x:0': [0.3]}).tolist() == [0.5]
