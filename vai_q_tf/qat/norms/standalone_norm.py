"""The training form of a batch norm that is not folded: in the evaluation network it is

    x * Q(scale) + Q(offset),    scale = gamma / sqrt(moving variance + epsilon),    offset = beta - moving mean * scale

In training on batch statistics the batch norm stays, and what it multiplies with carries the rounding of the scale:
Q(scale) * sqrt(moving variance + epsilon) takes the place of gamma. The rounding error of the offset is added to the result.
"""
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import live_editor
from vai_q_tf.graph.view import node_name
from vai_q_tf.qat.norms import statistics


def quantizes(network, norm):
    """The names of the quantized tensors that `on_batch` makes."""
    root = node_name(norm.output)
    found = _parts(network, root)
    return (network.record((root, found[2])).name,) if found else ()


def is_in_parts(network, norm):
    """Whether the product is quantized as well as the sum, as with factors that are not per channel. Only the evaluation
    network has such a product, so that is what training computes from the first step on."""
    found = _parts(network, node_name(norm.output))
    return bool(found) and any(record.tensor == found[0] for record in network.plan.tensors)


def on_batch(network, norm, graph_range, use_batch=None):
    """Gives a batch norm that stands alone its training form; one that stays float is left as it is.

    Args:
      network: the LiveNetwork. norm: the TrainingNorm.
      graph_range: the GraphRange of the live float graph.
      use_batch: scalar bool tensor, false once the moving statistics are to be used; None: never.

    Returns:
      [(inputs to re-point, tf.Tensor)].
    """
    view, root = network.view, node_name(norm.output)
    output = network.live(norm.output)
    found = _parts(network, root)
    if not found:
        network.results[root] = output
        return []
    product, factor_index, offset_index = found
    scale, offset = view.inputs(product)[factor_index], view.inputs(root)[offset_index]
    vector = statistics.without_reshape(view, scale)
    with live_editor.with_placement_of(network.graph, output, grouped=True):
        factor = network.read(product, factor_index)
        constant = {vector: statistics.constant_at_first(use_batch, network.parameter(vector))}
        exact = network.parameter(offset, constant)
        record = network.record((root, offset_index))
        quantized_offset = network.quantizer.quantize(network, record, lambda: exact)
        network.note_quantized(record, quantized_offset)
        inputs = _replace_gamma(network, norm, graph_range, vector, tf.reshape(factor, [-1]))
        result, more = _add_error(network, norm, output, tf.subtract(quantized_offset, exact))
        if use_batch is not None:
            data = network.read(product, 1 - factor_index)
            result = statistics.phase(use_batch, result, tf.add(tf.multiply(data, factor), quantized_offset))
    network.results[root] = result
    return inputs + more


def _parts(network, root):
    """(the node that multiplies, the index of its factor, the index of the offset) of a quantized batch norm; None without."""
    view = network.view
    if view.op(root) not in ('Add', 'AddV2'):
        return None
    for index in (0, 1):
        product = node_name(view.inputs(root)[1 - index])
        if network.record((root, index)) and network.is_static(view.inputs(root)[index]) and view.op(product) == 'Mul':
            factor = next((number for number in (0, 1) if network.is_static(view.inputs(product)[number])
                           and network.record((product, number))), None)
            return None if factor is None else (product, factor, index)
    return None


def _replace_gamma(network, norm, graph_range, scale, factor):
    """Makes the batch norm multiply by `factor` [channels] where it multiplies by gamma / sqrt(moving variance + epsilon)."""
    reciprocal = tf.reshape(network.parameter(statistics.reciprocal_of(network.view, scale)), [-1])
    gamma = tf.divide(factor, reciprocal)
    if norm.gamma:
        return [(inputs, _shaped_as(gamma, tensor)) for tensor, inputs in _readers_of(network, graph_range, norm.gamma)]
    # Without a gamma it multiplies by the reciprocal of the batch itself.
    batch = network.live(statistics.reciprocal_of(network.clean, scale))
    with_gamma = tf.multiply(batch, _shaped_as(gamma, batch))
    return [([(node, index) for node, index in live_editor.consumers(batch) if node in graph_range
              and node != with_gamma.op.name], with_gamma)]


def _readers_of(network, graph_range, parameter):
    """[(a live tensor that has the values of a parameter, in its shape or another one, the inputs that compute with it)].

    What gives it another shape goes on reading it, as arithmetic may read the result.
    """
    found, tensors = [], [network.live(parameter)]
    for tensor in tensors:
        readers = [reader for reader in live_editor.consumers(tensor) if reader[0] in graph_range]
        shaping = [network.graph.get_operation_by_name(node) for node, index in readers if index == 0]
        shaping = [op for op in shaping if op.type in statistics.SHAPING_OPS]
        tensors.extend(op.outputs[0] for op in shaping)
        found.append((tensor, [(node, index) for node, index in readers if node not in {op.name for op in shaping}]))
    return found


def _shaped_as(vector, tensor):
    return vector if tensor.shape.ndims == 1 else tf.reshape(vector, tf.shape(tensor))


def _add_error(network, norm, output, error):
    """Adds what the offset loses to the result; see `statistics.add_to_result`. It has a shape that broadcasts already."""
    if norm.node:
        return statistics.add_to_result(network, norm, output, tf.reshape(error, [-1]), norm.data_format == 'NHWC')
    return tf.add(output, error), []
