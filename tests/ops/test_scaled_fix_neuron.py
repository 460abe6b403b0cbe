"""The ops on a tensor with a scale for each channel, against the NumPy definition and the chain that they replace."""
import functools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ops import running, samples
from vai_q_tf import fixed_point, ops

modes = st.sampled_from([0, 1, 2])


def _by_channel(x, factors, inner):
    return tf.reshape(tf.reshape(x, [-1, tf.size(factors), inner]) * factors[:, None], tf.shape(x))


@functools.lru_cache(maxsize=None)
def _product():
    return running.Runner(_by_channel, tf.float32, tf.float32, tf.int32)


def _forward(bits, mode, inner, narrow_range):
    """(fused, chain) of (x, scale, rescale, position)."""
    def run(x, scale, rescale, position):
        quantized = running.vai_fix_neuron(bits, mode, narrow_range)(_product()(x, scale, inner), position)
        return fused(x, scale, rescale, position), _product()(quantized, rescale, inner)
    fused = running.eagerly(lambda *inputs: ops.scaled_fix_neuron(*inputs, bits, mode, inner, narrow_range),
                            tf.float32, tf.float32, tf.float32, tf.int32)
    return run


def _gradient(bits, inner, narrow_range):
    """dx of (dy, x, scale, factor, position), at a `factor` that the op takes as it is."""
    def build(dy, x, scale, factor, position):
        return ops.load_library().vai_scaled_fix_neuron_grad(dy, x, scale, factor, position, bits, inner, narrow_range)
    return running.eagerly(build, *[tf.float32] * 4, tf.int32)


def _search(bits, method, mode, inner, narrow_range, tie=1.0):
    """(fused, chain) of (x, scale)."""
    def run(x, scale):
        return fused(x, scale), running.search_position(bits, method, mode, narrow_range, tie)(_product()(x, scale, inner))
    fused = running.eagerly(lambda x, scale: ops.scaled_search_position(
        x, scale, True, bits, mode, method, inner, narrow_range, tie), tf.float32, tf.float32)
    return run


def _chain(x, scale, rescale, position, inner, **attrs):
    return _by_channel(ops.vai_fix_neuron(_by_channel(x, scale, inner), position, **attrs), rescale, inner)


@settings(max_examples=300)
@given(case=samples.scaled_tensors(), position=samples.positions, bits=samples.bit_widths, mode=modes,
       narrow_range=st.booleans())
def test_forward_is_the_definition_and_the_chain(case, position, bits, mode, narrow_range):
    x, scale, rescale, inner = case
    rounding = fixed_point.rounding_of(mode)
    fused, chain = _forward(bits, mode, inner, narrow_range)(x, scale, rescale, position)
    assert samples.same_numbers(fused, chain)
    assert samples.same_numbers(fused, fixed_point.scaled_quantize(x, scale, rescale, position, bits, rounding, inner,
                                                                   narrow_range))


@settings(max_examples=200)
@given(case=samples.scaled_tensors(), position=samples.positions, bits=samples.bit_widths, narrow_range=st.booleans())
def test_gradient_is_the_definition(case, position, bits, narrow_range):
    x, scale, factor, inner = case
    dy = np.random.RandomState(x.size).permutation(x)
    expected = fixed_point.scaled_gradient(dy, x, scale, factor, position, bits, inner, narrow_range)
    assert samples.same_numbers(_gradient(bits, inner, narrow_range)(dy, x, scale, factor, position), expected)


@settings(max_examples=300)
@given(case=samples.scaled_tensors(), bits=samples.bit_widths, method=st.sampled_from([0, 1, 2]), mode=modes,
       narrow_range=st.booleans(), tie=samples.ties)
def test_search_is_the_definition_and_the_chain(case, bits, method, mode, narrow_range, tie):
    x, scale, _, inner = case
    expected = fixed_point.search_position(fixed_point.scaled(x, scale, inner), bits, method, mode, narrow_range, tie)
    assert tuple(_search(bits, method, mode, inner, narrow_range, tie)(x, scale)) == (expected, expected)


@settings(max_examples=200)
@given(case=samples.scaled_tensors((*samples.SIZES, 100003)))
def test_without_a_position_the_products_remain(case):
    x, scale, rescale, inner = case
    fused, chain = _forward(8, 0, inner, False)(x, scale, rescale, fixed_point.NO_OBSERVATION)
    assert samples.same_numbers(fused, chain)
    assert samples.same_numbers(fused, fixed_point.scaled(fixed_point.scaled(x, scale, inner), rescale, inner))
    dy = np.random.RandomState(x.size).permutation(x)
    found = _gradient(8, inner, False)(dy, x, scale, rescale, fixed_point.NO_OBSERVATION)
    assert samples.same_numbers(found, fixed_point.scaled(dy, rescale, inner))


@pytest.mark.parametrize('shape, channels, inner', [
    ([3, 3, 64, 300], 300, 1), ([3, 3, 300, 64], 300, 64), ([3000, 100], 3000, 100), ([100, 3000], 3000, 1),
    ([100001, 3], 3, 1), ([3, 100001], 3, 100001), ([300007], 1, 1), ([7, 5, 10000], 5, 10000)])
def test_many_blocks(shape, channels, inner):
    random = np.random.RandomState(0)
    x = random.standard_t(3, shape).astype(np.float32)
    scale, rescale = random.uniform(-1, 2, [2, channels]).astype(np.float32)
    fused, chain = _forward(8, 0, inner, False)(x, scale, rescale, 5)
    assert samples.same_bits(fused, chain)
    assert samples.same_bits(fused, fixed_point.scaled_quantize(x, scale, rescale, 5, inner=inner))
    expected = fixed_point.scaled_gradient(x, x, scale, rescale, 5, 8, inner)
    assert samples.same_bits(_gradient(8, inner, False)(x, x, scale, rescale, 5), expected)
    for tie in (1.0, 1.3, 100.0):
        expected = fixed_point.search_position(fixed_point.scaled(x, scale, inner), tie=tie)
        assert tuple(_search(8, 1, 1, inner, False, tie)(x, scale)) == (expected, expected)


@pytest.mark.parametrize('gradient', ['clipped', 'straight_through'])
@pytest.mark.parametrize('position', [6, fixed_point.NO_OBSERVATION])
@pytest.mark.parametrize('shape, channels, inner', [([3, 3, 4, 5], 5, 1), ([3, 3, 4, 5], 4, 5), ([60], 1, 1)])
def test_gradients_are_those_of_the_chain(shape, channels, inner, position, gradient):
    random = np.random.RandomState(1)
    x = tf.constant(random.standard_normal(shape), tf.float32)
    scale, rescale = [tf.constant(v, tf.float32) for v in random.uniform(-2, 2, [2, channels])]
    dy = tf.constant(random.standard_normal(shape), tf.float32)
    fused = ops.scaled_fix_neuron(x, scale, rescale, position, inner=inner, gradient=gradient)
    chain = _chain(x, scale, rescale, position, inner, mode=0, gradient=gradient)
    found, expected = [tf.gradients(y, [x, scale], dy) for y in (fused, chain)]
    assert [g.shape.as_list() for g in found] == [shape, [channels]]
    assert tf.gradients(fused, rescale, dy) == [None]
    with tf.compat.v1.Session() as session:
        found, expected = session.run([found, expected])
    for a, b in zip(found, expected):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert (found[0] == 0).any() == (gradient == 'clipped' and position == 6), 'something was clipped'


@pytest.mark.parametrize('gradient', ['clipped', 'straight_through'])
def test_a_constant_scale_has_no_gradient_and_costs_none(gradient):
    random = np.random.RandomState(0)
    x, scale, dy = (tf.constant(random.uniform(-2, 2, shape).astype(np.float32)) for shape in ([6, 3, 4], [3], [6, 3, 4]))
    constant = tf.compat.v1.placeholder(tf.bool, [])
    settings = dict(position=3, inner=4, gradient=gradient)
    found, expected = (
        tf.gradients(ops.scaled_fix_neuron(x, scale, 1 / scale, **settings, constant=given), [x, scale], dy)
        for given in (constant, None))
    product, = [op for op in found[1].graph.get_operations() if op.type == 'Sum' and op.outputs[0] is found[1]]
    with tf.compat.v1.Session() as session:
        for value in (False, True):
            results, references, summed = session.run([found, expected, product.inputs[0]], {constant: value})
            assert samples.same_bits(results[0], references[0])
            assert samples.same_bits(results[1], np.zeros_like(references[1]) if value else references[1])
            assert references[1].all() and (summed.size == 0) == value


def test_gradient_to_the_input_multiplies_the_factors_first():
    x, scale, rescale = np.float32([[0.3]]), np.float32([1.1]), np.float32([1 / 1.1])
    y = ops.scaled_fix_neuron(tf.constant(x), tf.constant(scale), tf.constant(rescale), 6)
    with tf.compat.v1.Session() as session:
        found = session.run(tf.gradients(y, y.op.inputs[0], tf.constant([[0.7]]))[0])
    assert samples.same_bits(found, np.float32([[0.7]]) * (scale * rescale))


@pytest.mark.parametrize('position', [3, fixed_point.NO_OBSERVATION])
def test_computing_in_place_leaves_other_readers_alone(position):
    x, scale = tf.compat.v1.placeholder(tf.float32, [1000]), tf.constant([0.5, 3.0])
    doubled = x * 2.0
    y, again = ops.scaled_fix_neuron(doubled, scale, scale, position), doubled + 0.0
    only_reader = ops.scaled_fix_neuron(x * 3.0, scale, scale, position)
    dx = ops.load_library().vai_scaled_fix_neuron_grad(x * 4.0, x * 5.0, scale, scale, position)
    data = np.random.RandomState(1).standard_normal(1000).astype(np.float32)
    with tf.compat.v1.Session() as session:
        y, again, only_reader, dx = session.run([y, again, only_reader, dx], {x: data})
    factors = np.float32([0.5, 3.0])

    def forward(values):
        if position == fixed_point.NO_OBSERVATION:
            return fixed_point.scaled(fixed_point.scaled(values, factors), factors)
        return fixed_point.scaled_quantize(values, factors, factors, position)

    assert samples.same_bits(again, data * 2)
    assert samples.same_bits(y, forward(data * 2))
    assert samples.same_bits(only_reader, forward(data * 3))
    expected = fixed_point.scaled(data * 4, factors)
    if position != fixed_point.NO_OBSERVATION:
        expected = fixed_point.scaled_gradient(data * 4, data * 5, factors, factors, position, 8)
    assert samples.same_bits(dx, expected)


def test_untracked_search_returns_no_observation():
    searched = ops.scaled_search_position(tf.ones([3]), tf.ones([2]), track=False)
    with tf.compat.v1.Session() as session:
        assert session.run(searched) == fixed_point.NO_OBSERVATION


@pytest.mark.parametrize('shape, channels', [([0], 3), ([2, 0, 4], 4), ([0], 0), ([], 1)])
def test_empty_tensors_and_scalars(shape, channels):
    x, scale = np.ones(shape, np.float32), np.full(channels, 0.5, np.float32)
    position = ops.scaled_search_position(x, scale)
    with tf.compat.v1.Session() as session:
        for at in (4, fixed_point.NO_OBSERVATION):
            y = ops.scaled_fix_neuron(x, scale, scale, at)
            assert samples.same_bits(session.run(y), x * np.float32(0.25))
        assert session.run(position) == fixed_point.search_position(x * np.float32(0.5))


def test_static_shapes():
    x = tf.compat.v1.placeholder(tf.float32, [None, 7])
    scale = tf.compat.v1.placeholder(tf.float32, [None])
    y = ops.scaled_fix_neuron(x, scale, tf.ones([7]), 3)
    assert y.shape.as_list() == [None, 7] and tf.gradients(y, x)[0].shape.as_list() == [None, 7]
    assert ops.scaled_search_position(x, scale).shape.as_list() == []
    with pytest.raises(ValueError, match='rank 1'):
        ops.scaled_fix_neuron(x, tf.ones([1, 7]), tf.ones([7]), 3)
    with pytest.raises(ValueError, match='7 and 6'):
        ops.scaled_fix_neuron(x, tf.ones([7]), tf.ones([6]), 3)
    with pytest.raises(ValueError, match='inner'):
        ops.scaled_search_position(x, scale, inner=0)


@pytest.mark.parametrize('channels, inner', [(4, 1), (3, 3), (12, 1), (0, 1)])
def test_channels_that_do_not_fit_are_an_error_that_says_so(channels, inner):
    x, scale = tf.ones([2, 3]), tf.ones([channels])
    runs = [ops.scaled_fix_neuron(x, scale, scale, 0, inner=inner, name='conv1/weights'),
            ops.scaled_search_position(x, scale, inner=inner, name='conv1/weights_1'),
            ops.load_library().vai_scaled_fix_neuron_grad(x, x, scale, scale, 0, inner=inner, name='conv1/weights_2')]
    message = r'conv1/weights.*: the 6 elements of the shape \[2,3\] are no multiple of {} channels of {} '
    with tf.compat.v1.Session() as session:
        for fetch in runs:
            with pytest.raises(tf.errors.InvalidArgumentError, match=message.format(channels, inner)):
                session.run(fetch)


def test_factors_of_unlike_shapes_are_an_error():
    scale, rescale = tf.compat.v1.placeholder(tf.float32), tf.compat.v1.placeholder(tf.float32)
    y = ops.scaled_fix_neuron(tf.ones([6]), scale, rescale, 0)
    with tf.compat.v1.Session() as session:
        for a, b in (([1.0, 2], [1.0, 2, 3]), ([[1.0, 2]], [[1.0, 2]]), (1.0, 1.0)):
            with pytest.raises(tf.errors.InvalidArgumentError, match='vectors of one length'):
                session.run(y, {scale: a, rescale: b})


@pytest.mark.parametrize('position', [-127, 128, fixed_point.NO_OBSERVATION + 1])
def test_wrong_position_is_an_error_that_names_the_node(position):
    y = ops.scaled_fix_neuron(tf.ones([3]), tf.ones([1]), tf.ones([1]), position, name='conv1/weights')
    with tf.compat.v1.Session() as session, pytest.raises(tf.errors.InvalidArgumentError, match=str(position)) as error:
        session.run(y)
    assert 'conv1/weights' in str(error.value)
