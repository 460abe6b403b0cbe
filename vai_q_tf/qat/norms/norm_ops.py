"""The arithmetic that the two ways of quantizing a batch norm share: scale, bias, the switch to moving statistics."""
from typing import NamedTuple

import tensorflow.compat.v1 as tf

from vai_q_tf.graph import live_editor


class Scale(NamedTuple):
    """scale [channels] = gamma / sqrt(moving variance + epsilon); reciprocal: the same without gamma."""
    reciprocal: tf.Tensor
    scale: tf.Tensor


def phase(use_batch, batch, frozen):
    """The small tensor `batch` while batch statistics are used, `frozen` after; use_batch None: always `batch`.

    Both are computed: a tf.cond for each would make TensorFlow's graph optimizer take minutes on a large network.
    """
    return batch if use_batch is None else tf.raw_ops.Select(condition=use_batch, x=batch, y=frozen)


def scale(graph, norm):
    """The Scale of a BatchNorm of the plan."""
    epsilon = tf.constant([norm.epsilon], tf.float32, name=norm.folding_node('eps'))
    variance = tf.add(epsilon, live_editor.tensor(graph, norm.moving_variance), name=norm.folding_node('add'))
    reciprocal = tf.math.rsqrt(variance, name=norm.folding_node('rsqrt'))
    if not norm.gamma:
        return Scale(reciprocal, reciprocal)
    gamma = live_editor.tensor(graph, norm.gamma)
    return Scale(reciprocal, tf.multiply(reciprocal, gamma, name=norm.folding_node('mul_0')))


def folded_bias(graph, norm, factor, conv_bias=None):
    """beta + (bias - moving mean) * factor, [channels]."""
    mean = tf.multiply(factor, live_editor.tensor(graph, norm.moving_mean), name=norm.folding_node('mul_2'))
    beta = live_editor.tensor(graph, norm.beta) if norm.beta else tf.zeros_like(mean)
    folded = tf.subtract(beta, mean, name=norm.folding_node('sub'))
    if conv_bias is None:
        return folded
    scaled_bias = tf.multiply(factor, conv_bias, name=norm.folding_node('mul_3'))
    return tf.raw_ops.AddV2(x=folded, y=scaled_bias, name=norm.folding_node('add_1'))


def add_to_offset(graph, norm, output, error):
    """Adds `error` [channels] to the result of the batch norm: for nothing, where it has an input for its offset."""
    if norm.node:
        fused = graph.get_operation_by_name(norm.node)
        live_editor.reroute(graph, [(norm.node, 2)], tf.add(fused.inputs[2], error, name=norm.folding_node('offset')))
        return output
    return tf.add(output, over_channels(norm, error, output), name=norm.folding_node('result'))


def over_channels(norm, vector, value):
    """`vector` [channels] shaped to work on the channels of the tensor `value`."""
    if norm.data_format == 'NHWC':
        return vector
    return tf.reshape(vector, [-1] + [1] * (value.shape.rank - 2))


def guard_moving_averages(graph, norm, range_nodes, on_batch, use_batch=None):
    """Makes the moving averages of `norm` wait until folding has read them, or a step would fold with those of luck.

    Args:
      on_batch: whether the batch norm reads what folding makes, as its result on batch statistics does.
      range_nodes: names of the nodes of the network; what reads the batch statistics outside updates the moving averages.
      use_batch: scalar bool tensor; once it is false the moving averages are fed with themselves and stay as they are.
    """
    with live_editor.with_placement_of(graph, live_editor.tensor(graph, norm.output)):
        _guard(graph, norm, range_nodes, on_batch, use_batch)


def _guard(graph, norm, range_nodes, on_batch, use_batch):
    # The statistics of a fused one are made after everything that it reads.
    readers = [] if on_batch and norm.node else ['add', 'mul_2']
    folding = [graph.get_operation_by_name(norm.folding_node(name)) for name in readers]
    for batch, moving in ((norm.batch_mean, norm.moving_mean), (norm.batch_variance, norm.moving_variance)):
        statistic, average = live_editor.tensor(graph, batch), live_editor.tensor(graph, moving)
        updates = [(node, index) for node, index in live_editor.consumers(statistic) if node not in range_nodes]
        value = phase(use_batch, statistic, average)
        if folding:
            with tf.control_dependencies(folding):
                value = tf.identity(value, name=norm.folding_node('update'))
        if value is not statistic:
            live_editor.reroute(graph, updates, value)
