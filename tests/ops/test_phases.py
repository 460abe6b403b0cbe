"""Routing of a batch to one of two parts of a graph: values, gradients and shapes, with and without examples."""
import functools

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import kernels

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
    for op in ('VaiSplitPhases', 'VaiJoinPhases'):
        found = {kernel.device_type: list(kernel.host_memory_arg)
                 for kernel in kernels.get_registered_kernels_for_op(op).kernel}
        assert found == {'CPU': ['first'], 'GPU': ['first']}
