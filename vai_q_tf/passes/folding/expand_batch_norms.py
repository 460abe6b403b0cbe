"""Writes batch norms as the multiplication and the addition that they compute at inference."""
from typing import AbstractSet, Collection, NamedTuple, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph.traits import BATCH_NORM_OPS
from vai_q_tf.graph.view import GraphView, node_name, tensor_name
from vai_q_tf.passes.common import snippets
from vai_q_tf.passes.common.parameters import static_nodes
from vai_q_tf.passes.common.rewriter import Rewriter, make_node

_GLOBAL = 'BatchNormWithGlobalNormalization'


class _BatchNorm(NamedTuple):
    """The inputs and attributes of a batch norm op; names of tensors. gamma: '' if there is none."""
    name: str
    data: str
    gamma: str
    beta: str
    mean: str
    variance: str
    epsilon: float
    data_format: str


def expand_batch_norms(graph_def: tf.GraphDef, protected: Collection[str], config: QuantizeConfig) -> tf.GraphDef:
    """The graph with Mul `<bn>/mul` and Add `<bn>` in place of every float32 batch norm op `<bn>` in inference form.

    The constant operands are `<bn>/scale`, gamma / sqrt(variance + epsilon), and `<bn>/offset`, beta - mean * scale, of the
    shape [C], or [1, C, 1, 1] for NCHW. They are arithmetic on the parameters, which `evaluate_folded` computes. Batch norms
    with computed statistics stay.

    >>> from vai_q_tf.passes.common.examples import print_before_and_after
    >>> def network(x):
    ...     gamma, beta, mean, variance = [4.0], [3.0], [2.0], [0.75]
    ...     return tf.nn.fused_batch_norm(x, gamma, beta, mean, variance, epsilon=0.25, is_training=False)[0]
    >>> print_before_and_after(expand_batch_norms, network, [-1, 8, 8, 1])
    FusedBatchNormV3(x, [4], [3], [2], [0.75])
    Add(Mul(x, Mul(Rsqrt(AddV2([0.25], [0.75])), [4])), Sub([3], Mul(Mul(Rsqrt(AddV2([0.25], [0.75])), [4]), [2])))

    Raises:
      QuantizeError: LEARNING_PHASE for parameters whose shapes do not fit together.
    """
    rewriter = Rewriter(graph_def, protected)
    static = static_nodes(rewriter.view, in_branches=True)
    for name in rewriter.view.names:
        if rewriter.view.op(name) in BATCH_NORM_OPS or rewriter.view.op(name) == _GLOBAL:
            if _can_be_expanded(rewriter.view, name, static):
                _expand(rewriter, _batch_norm(rewriter.view, name))
    return rewriter.result()


def _can_be_expanded(view: GraphView, name: str, static: AbstractSet[str]) -> bool:
    """Whether the batch norm op is of float32, has constant parameters, and only its first output is read."""
    is_training = view.op(name) != _GLOBAL and view.attr(name, 'is_training').b
    is_constant = all(node_name(tensor) in static for tensor in view.inputs(name)[1:])
    if is_training or not is_constant or view.dtype(name) != tf.float32:
        return False
    return not any(view.consumers(tensor_name(name, index)) for index in range(1, len(view.output_types(name))))


def _batch_norm(view: GraphView, name: str) -> _BatchNorm:
    if view.op(name) == _GLOBAL:
        data, mean, variance, beta, gamma = view.inputs(name)
        gamma = gamma if view.attr(name, 'scale_after_normalization').b else ''
        return _BatchNorm(name, data, gamma, beta, mean, variance, view.attr(name, 'variance_epsilon').f, 'NHWC')
    data, gamma, beta, mean, variance = view.inputs(name)
    data_format = view.attr(name, 'data_format').s.decode()
    return _BatchNorm(name, data, gamma, beta, mean, variance, view.attr(name, 'epsilon').f, data_format)


def _expand(rewriter: Rewriter, norm: _BatchNorm) -> None:
    channels = _channels(rewriter.view, norm.name)
    scale, offset = _write_vectors(rewriter, norm, channels)
    operands = []
    for vector, end, source in ((scale, '/scale', norm.gamma or norm.variance), (offset, '/offset', norm.beta)):
        if norm.data_format == 'NCHW':
            shape = snippets.add_constant(rewriter, norm.name + end + '/shape', np.array([1, -1, 1, 1], np.int32))
            vector = snippets.arithmetic('Reshape', rewriter.unique(norm.name + end), [vector.name, shape],
                                         [1, channels, 1, 1], Tshape=tf.int32)
        rewriter.inherit_sources(vector, node_name(source))
        rewriter.add(vector)
        operands.append(vector.name)
    product = rewriter.unique(norm.name + '/mul')
    rewriter.add(make_node('Mul', product, [norm.data, operands[0]], T=tf.float32))
    rewriter.add(make_node('Add', norm.name, [product, operands[1]], T=tf.float32))


def _write_vectors(rewriter: Rewriter, norm: _BatchNorm, channels: int) -> Tuple[tf.NodeDef, tf.NodeDef]:
    """Adds the arithmetic of scale and offset; returns their NodeDefs, of the shape [channels]."""
    def add(op: str, end: str, *inputs: str) -> tf.NodeDef:
        node = snippets.arithmetic(op, rewriter.unique(norm.name + end), inputs, [channels])
        rewriter.add(node)
        return node

    end = '/vector' if norm.data_format == 'NCHW' else ''
    epsilon = snippets.add_constant(rewriter, norm.name + '/scale/epsilon', np.array([norm.epsilon], np.float32))
    variance = add('AddV2', '/scale/variance', epsilon, norm.variance)
    scale = add('Rsqrt', '/scale/reciprocal' if norm.gamma else '/scale' + end, variance.name)
    if norm.gamma:
        scale = add('Mul', '/scale' + end, scale.name, norm.gamma)
    shift = add('Mul', '/offset/mean', scale.name, norm.mean)
    return scale, add('Sub', '/offset' + end, norm.beta, shift.name)


def _channels(view: GraphView, name: str) -> int:
    """The number of channels: the common length of the parameters of a batch norm."""
    parameters = view.inputs(name)[1:]
    shapes = [view.shape(parameter) for parameter in parameters]
    first = shapes[0]
    if first is None or len(first) != 1 or any(shape != first for shape in shapes) or not first[0]:
        raise errors.QuantizeError(
            errors.LEARNING_PHASE, 'Batch norm', 'The gamma, beta, mean and variance of batch norm {!r} have the shapes '
            '{}, {}, {} and {}, but should be vectors of one length. Was the model frozen in the training phase? Fix the '
            'learning phase before it is built: tf.keras.backend.set_learning_phase(0), or is_training=False.'.format(
                name, *shapes))
    return first[0]
