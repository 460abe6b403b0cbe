"""The ops that choose between two phases: values, gradients and shapes, with and without examples."""
import functools

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import kernels

from tests.kernels import folding
from tests.ops import samples
from tests.ops.running import Runner
from vai_q_tf import ops

_VALUE = np.arange(12, dtype=np.float32).reshape(3, 2, 2) - 4
both_phases = pytest.mark.parametrize('first', [True, False])


@functools.lru_cache(maxsize=None)
def _split(dtype=tf.float32):
    return Runner(ops.split_phases, dtype, tf.bool)


@functools.lru_cache(maxsize=None)
def _trained():
    """(the joined value, its gradient to x, to a, to b) of x ** 2 * a on the first side, x * b on the other."""
    def build(x, first, a, b):
        one, other = ops.split_phases(x, first)
        joined = ops.join_phases(one ** 2 * a, other * b, first)
        return [joined] + tf.gradients(joined, [x, a, b])
    return Runner(build, tf.float32, tf.bool, tf.float32, tf.float32)


@both_phases
@pytest.mark.parametrize('value', [_VALUE, _VALUE[:0], _VALUE[:, :0], _VALUE.astype(np.float16), np.array([True, False])],
                         ids=['float', 'no examples', 'no elements', 'half', 'bool'])
def test_one_side_has_all_examples(value, first):
    parts = _split(tf.as_dtype(value.dtype))(value, first)
    whole, nothing = parts if first else parts[::-1]
    np.testing.assert_array_equal(whole, value)
    assert nothing.shape == (0,) + value.shape[1:] and nothing.dtype == value.dtype


@both_phases
def test_gradients_are_those_of_the_side_that_computes(first):
    joined, to_x, to_a, to_b = _trained()(_VALUE, first, 3, 5)
    np.testing.assert_array_equal(joined, 3 * _VALUE ** 2 if first else 5 * _VALUE)
    np.testing.assert_array_equal(to_x, 6 * _VALUE if first else np.full_like(_VALUE, 5))
    assert to_a == (np.sum(_VALUE ** 2) if first else 0)
    assert to_b == (0 if first else np.sum(_VALUE))


@both_phases
def test_gradients_of_gradients(first):
    def build(x):
        one, other = ops.split_phases(x, first)
        joined = ops.join_phases(one ** 3, other ** 2, first)
        return tf.gradients(tf.gradients(joined, x), x)[0]
    np.testing.assert_array_equal(Runner(build, tf.float32)(_VALUE), 6 * _VALUE if first else np.full_like(_VALUE, 2))


@both_phases
def test_a_side_that_nothing_reads(first):
    def build(x):
        one, _ = ops.split_phases(x, first)
        return tf.gradients(one ** 2, x)[0]
    np.testing.assert_array_equal(Runner(build, tf.float32)(_VALUE), 2 * _VALUE if first else np.zeros_like(_VALUE))


@pytest.mark.parametrize('shape', [None, [None, 2, None], [3, 2, 2]])
def test_static_shapes_leave_the_number_of_examples_open(shape):
    with tf.Graph().as_default():
        value = tf.compat.v1.placeholder(tf.float32, shape)
        one, other = ops.split_phases(value, True)
        joined = ops.join_phases(one, other, True)
        for found in (one, other, joined):
            assert found.shape.as_list() == [None] + shape[1:] if shape else found.shape.rank is None


@both_phases
def test_select_phase_is_select(first):
    def build(a, b, c, d):
        def results(values):
            outer = tf.gradients([values[0] ** 3, values[1] ** 2 * a], [a, b, c, d])
            return [*values, *outer, *tf.gradients(outer, [a, b, c, d])]

        select = [tf.raw_ops.Select(condition=first, x=x, y=y) for x, y in ((a, c), (b, d))]
        return results(ops.select_phase([a, b], [c, d], first)), results(select)

    values = [np.float32(3), _VALUE[0], np.float32(5), _VALUE[1]]
    found, expected = Runner(build, *[tf.float32] * 4)(*values)
    assert len(found) == 10
    for one, other in zip(found, expected):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(found, values[:2] if first else values[2:]):
        np.testing.assert_array_equal(one, other)


def test_shapes_and_errors_of_select_phase():
    with tf.Graph().as_default():
        first, second = (tf.compat.v1.placeholder(tf.float32, shape) for shape in ([None, 3], [2, None]))
        assert ops.select_phase([first], [second], True)[0].shape.as_list() == [2, 3]
        with pytest.raises(ValueError, match='must be equal'):
            ops.select_phase([tf.zeros([2])], [tf.zeros([3])], True)
        with pytest.raises(ValueError, match='rank 0'):
            ops.select_phase([first], [second], [True, False])
    with pytest.raises(tf.errors.InvalidArgumentError, match=r'the values 0 have the shapes \[3\] and \[2\]'):
        Runner(lambda a, b: ops.select_phase([a], [b], True), tf.float32, tf.float32)([1, 2, 3], [1, 2])


@functools.lru_cache(maxsize=None)
def _scales():
    """(results, gradients of their weighted sum, gradients of the gradient to the scale) of (scale, typical, first, factor)."""
    def build(scale, typical, first, factor):
        scales = ops.folding_scales(scale, typical, first, [factor])
        total = tf.reduce_sum(scales.weights ** 2) + 3 * tf.reduce_sum(scales.factors[0] ** 2) + tf.reduce_sum(scales.rescale)
        gradients = tf.gradients(total, [scale, factor])
        assert tf.gradients(total, [typical, first]) == [None, None]
        return [*scales[:2], scales.factors[0]], gradients, tf.gradients(gradients, [scale, factor])
    return Runner(build, tf.float32, tf.float32, tf.bool, tf.float32)


@pytest.mark.parametrize('scale', [
    [0.5, -2, 3], [0.5, 0, -3], [0, 0, -0.], [1e-21, 4, -1e-21], [1e-21, 0, -1e-30], [1e-20, 2e-20, 0], [7], []], ids=str)
def test_folding_scales(scale):
    scale, typical, factor = np.float32(scale), np.float32([11, 13, 17][:len(scale)]), np.float32([5, 7])
    nonzero = folding.nonzero(scale, typical)
    results, gradients, second = _scales()(scale, typical, True, factor)
    for found, expected in zip(results, (nonzero, 1 / nonzero, factor)):
        assert samples.same_bits(found, expected)
    for found in gradients + second:
        assert not found.any()
    results, gradients, second = _scales()(scale, typical, False, factor)
    for found, expected in zip(results + gradients + second,
                               (scale, np.ones_like(scale), factor, 2 * scale, 6 * factor, 2 + 0 * scale, 6 + 0 * factor)):
        np.testing.assert_array_equal(found, expected)


def test_folding_scales_without_a_phase_are_those_of_the_first():
    def build(scale):
        scales = ops.folding_scales(scale, scale, None, [scale])
        assert tf.gradients([scales.weights, scales.factors[0]], scale) == [None]
        return [*scales[:2], *scales.factors]
    for found, expected in zip(Runner(build, tf.float32)([2, 0, -4]), ([2, 4, -4], [0.5, 0.25, -0.25], [2, 0, -4])):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize('size', [1, 2, 31, 1000])
def test_folding_scales_are_the_ops_of_tensorflow(size):
    """Bit for bit, reciprocals as well."""
    def build(scale, typical):
        magnitude = tf.abs(scale)
        largest = tf.reduce_max(magnitude)
        replacement = tf.where(largest < 1e-20, typical, tf.fill(tf.shape(scale), largest))
        nonzero = tf.where(magnitude < 1e-20, replacement, scale)
        return ops.folding_scales(scale, typical, True)[:2], [nonzero, tf.math.reciprocal(nonzero)]
    random = np.random.RandomState(size)
    for share in (0, 0.5, 1):
        scale = random.standard_t(2, size) * 2.0 ** random.randint(-60, 60) * (random.uniform(size=size) >= share)
        for found, expected in zip(*Runner(build, tf.float32, tf.float32)(scale, random.uniform(1, 2, size))):
            assert samples.same_bits(found, expected)


def test_shapes_and_errors_of_folding_scales():
    with tf.Graph().as_default():
        scale = tf.compat.v1.placeholder(tf.float32, [None])
        scales = ops.folding_scales(scale, tf.ones([5]), True, [tf.zeros([2, 3])])
        assert [tensor.shape.as_list() for tensor in (*scales[:2], *scales.factors)] == [[5], [5], [2, 3]]
        with pytest.raises(ValueError, match='must be equal'):
            ops.folding_scales(tf.ones([4]), tf.ones([5]), True)
        with pytest.raises(ValueError, match='rank 1'):
            ops.folding_scales(tf.ones([1, 4]), tf.ones([4]), True)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r'vectors of one length, but have the shapes \[3\] and \[2\]'):
        _scales()(np.ones(3), np.ones(2), True, [1])
    with pytest.raises(tf.errors.InvalidArgumentError, match='first must be one value'):
        _scales()(np.ones(3), np.ones(3), [True, False], [1])


def test_errors():
    with tf.Graph().as_default():
        with pytest.raises(ValueError, match='rank'):
            ops.split_phases(tf.constant(1.), True)
        with pytest.raises(ValueError, match='rank 0'):
            ops.split_phases(tf.constant([1.]), [True, False])
        with pytest.raises(ValueError, match='must be equal'):
            ops.join_phases(tf.zeros([2, 3]), tf.zeros([0, 4]), True)
    with pytest.raises(tf.errors.InvalidArgumentError, match='VaiSplitPhases: a scalar has no examples'):
        _split()(np.float32(1), True)
    with pytest.raises(tf.errors.InvalidArgumentError, match='first must be one value'):
        _split()(_VALUE, np.array([True, False]))
    with pytest.raises(tf.errors.InvalidArgumentError, match='VaiJoinPhases: first must be one value'):
        Runner(ops.join_phases, tf.float32, tf.float32, tf.bool)(_VALUE, _VALUE, np.array([True, False]))


def test_activations_on_a_gpu_stay_there():
    ops.load_library()
    for op in ('VaiSplitPhases', 'VaiJoinPhases', 'VaiSelectPhase'):
        found = {kernel.device_type: list(kernel.host_memory_arg)
                 for kernel in kernels.get_registered_kernels_for_op(op).kernel}
        assert found == {'CPU': ['first'], 'GPU': ['first']}, op
