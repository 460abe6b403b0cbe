"""The training form of a batch norm that is not folded: in the evaluation network it is

    x * Q(scale) + Q(offset),    scale = gamma / sqrt(moving variance + epsilon),    offset = beta - moving mean * scale

In training on batch statistics the batch norm remains, and Q(scale) * sqrt(moving variance + epsilon) replaces its gamma, so it
multiplies by the rounded scale. The rounding error of the offset is added to the result.
"""
from typing import List, NamedTuple, Optional, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf.graph import live_editor
from vai_q_tf.graph.view import node_name
from vai_q_tf.patterns.batch_norm import TrainingNorm
from vai_q_tf.patterns.graph_range import GraphRange
from vai_q_tf.qat.live.live_network import LiveNetwork, Reroute
from vai_q_tf.qat.norms import statistics
from vai_q_tf.types import NodeInput


class _Parts(NamedTuple):
    """A quantized batch norm in the optimised graph: the node of its product, and the inputs for the scale and the offset."""
    product: str
    scale: NodeInput
    offset: NodeInput


def quantizes(network: LiveNetwork, norm: TrainingNorm) -> Tuple[str, ...]:
    """The names of the quantized tensors that `add_on_batch` creates."""
    parts = _parts(network, node_name(norm.output))
    return (network.quantized_record(parts.offset).name,) if parts else ()


def is_in_parts(network: LiveNetwork, norm: TrainingNorm) -> bool:
    """Whether the product is quantized as well as the sum, e.g. if factors are not per channel.

    Only the evaluation network has such a product, so training computes that from the first step on.
    """
    parts = _parts(network, node_name(norm.output))
    return parts is not None and any(record.tensor == parts.product for record in network.plan.tensors)


def add_on_batch(network: LiveNetwork, norm: TrainingNorm, graph_range: GraphRange,
                 use_batch: Optional[tf.Tensor] = None) -> List[Reroute]:
    """Adds the training form of a batch norm that is not folded; one that stays float is not changed.

    Args:
      network: the LiveNetwork. norm: the TrainingNorm.
      graph_range: the GraphRange of the live float graph.
      use_batch: scalar bool tensor, false once the moving statistics are to be used; None: never.
    """
    root = node_name(norm.output)
    output = network.live(norm.output)
    parts = _parts(network, root)
    if not parts:
        network.results[root] = output
        return []
    scale = statistics.without_reshape(network.view, network.view.inputs(parts.product)[parts.scale[1]])
    with live_editor.with_placement_of(network.graph, output, grouped=True):
        quantized_scale = network.read(*parts.scale)
        offset = network.parameter_with(network.view.inputs(root)[parts.offset[1]], {
            scale: statistics.constant_at_first(use_batch, network.parameter(scale))})
        quantized_offset = network.quantize(network.quantized_record(parts.offset), offset)
        reroutes = _replace_gamma(network, norm, graph_range, scale, tf.reshape(quantized_scale, [-1]))
        result, more = _add_error(network, norm, output, tf.subtract(quantized_offset, offset))
        if use_batch is not None:
            data = network.read(parts.product, 1 - parts.scale[1])
            result = statistics.phase(use_batch, result, tf.add(tf.multiply(data, quantized_scale), quantized_offset))
    network.results[root] = result
    return reroutes + more


def _parts(network: LiveNetwork, root: str) -> Optional[_Parts]:
    """The _Parts of the batch norm with the result `root`; None if it stays float."""
    view = network.view
    if view.op(root) not in ('Add', 'AddV2'):
        return None
    for index in (0, 1):
        product = node_name(view.inputs(root)[1 - index])
        if _is_quantized_parameter(network, (root, index)) and view.op(product) == 'Mul':
            scale = next((reader for reader in ((product, 0), (product, 1)) if _is_quantized_parameter(network, reader)), None)
            return _Parts(product, scale, (root, index)) if scale else None
    return None


def _is_quantized_parameter(network: LiveNetwork, reader: NodeInput) -> bool:
    node, index = reader
    return bool(network.record(reader)) and network.is_static(network.view.inputs(node)[index])


def _replace_gamma(network: LiveNetwork, norm: TrainingNorm, graph_range: GraphRange, scale: str,
                   quantized_scale: tf.Tensor) -> List[Reroute]:
    """Makes the batch norm multiply by `quantized_scale` [channels] instead of gamma / sqrt(moving variance + epsilon)."""
    reciprocal = tf.reshape(network.parameter(statistics.reciprocal_of(network.view, scale)), [-1])
    gamma = tf.divide(quantized_scale, reciprocal)
    if norm.gamma:
        return [Reroute(readers, _shaped_as(gamma, tensor))
                for tensor, readers in _uses_of(network, graph_range, norm.gamma)]
    # Without a gamma it multiplies by the reciprocal of the batch itself.
    batch = network.live(statistics.reciprocal_of(network.clean, scale))
    with_gamma = tf.multiply(batch, _shaped_as(gamma, batch))
    return [Reroute([reader for reader in live_editor.consumers(batch) if reader[0] in graph_range], with_gamma)]


def _uses_of(network: LiveNetwork, graph_range: GraphRange, parameter: str) -> List[Tuple[tf.Tensor, List[NodeInput]]]:
    """[(a live tensor with the values of a parameter, in its shape or another one, the inputs that compute with it)].

    Ops that reshape the parameter still read it, because arithmetic may read their results.
    """
    found, tensors = [], [network.live(parameter)]
    for tensor in tensors:  # grows
        readers = [reader for reader in live_editor.consumers(tensor) if reader[0] in graph_range]
        shaping = [network.graph.get_operation_by_name(node) for node, _ in readers]
        shaping = [op for op in shaping if op.type in statistics.SHAPING_OPS]
        tensors.extend(op.outputs[0] for op in shaping)
        found.append((tensor, [reader for reader in readers if reader[0] not in {op.name for op in shaping}]))
    return found


def _shaped_as(vector: tf.Tensor, tensor: tf.Tensor) -> tf.Tensor:
    return vector if tensor.shape.ndims == 1 else tf.reshape(vector, tf.shape(tensor))


def _add_error(network: LiveNetwork, norm: TrainingNorm, output: tf.Tensor,
               error: tf.Tensor) -> Tuple[tf.Tensor, List[Reroute]]:
    """Adds the rounding error of the offset to the result, with which it broadcasts; see `statistics.add_to_result`."""
    if norm.node:
        return statistics.add_to_result(network, norm, output, tf.reshape(error, [-1]), norm.data_format == 'NHWC')
    return tf.add(output, error), []
