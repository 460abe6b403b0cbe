"""Runs ops on arrays: eagerly, which costs nothing for new attributes, or each in its own graph."""
import functools

import tensorflow as tf
from tensorflow.python.eager import context

from vai_q_tf import ops


class Runner:
    """A function of arrays that runs the result of `build(*placeholders)` in its own graph and session."""

    def __init__(self, build, *dtypes):
        graph = tf.Graph()
        with graph.as_default():
            self._inputs = [tf.compat.v1.placeholder(dtype) for dtype in dtypes]
            self._output = build(*self._inputs)
        self._session = tf.compat.v1.Session(graph=graph)

    def __call__(self, *arrays):
        return self._session.run(self._output, dict(zip(self._inputs, arrays)))


def eagerly(function, *dtypes):
    """A function of tensors of these types as one of arrays. Unlike in sessions TensorFlow's own ops keep subnormal numbers."""
    def run(*arrays):
        with context.eager_mode():
            tensors = [tf.constant(array, dtype) for array, dtype in zip(arrays, dtypes)]
            return tf.nest.map_structure(lambda tensor: tensor.numpy(), function(*tensors))
    return run


def vai_fix_neuron(bits, mode, narrow_range):
    return eagerly(lambda x, p: ops.vai_fix_neuron(x, p, bits, mode, narrow_range), tf.float32, tf.int32)


@functools.lru_cache(maxsize=None)
def gradient(bits, narrow_range):
    """dx of (dy, x, position)."""
    def build(dy, x, position):
        return tf.gradients(ops.vai_fix_neuron(x, position, bits, 1, narrow_range), x, grad_ys=dy)[0]
    return Runner(build, tf.float32, tf.float32, tf.int32)


def search_position(bits, method, mode, narrow_range=False, tie=1.0):
    return eagerly(lambda x: ops.search_position(x, True, bits, mode, method, narrow_range, tie), tf.float32)


def position_errors(bits, mode, below, above, narrow_range):
    return eagerly(lambda x: ops.position_errors(x, below, above, bits, mode, narrow_range), tf.float32)


def fix_neuron(narrow_range=None, **attrs):
    def build(x):
        y = ops.fix_neuron(x, **attrs)
        y.op._set_attr('_symmetric', tf.compat.v1.AttrValue(b=narrow_range))
        return y
    if narrow_range is None:
        return eagerly(lambda x: ops.fix_neuron(x, **attrs), tf.float32)
    return Runner(build, tf.float32)
