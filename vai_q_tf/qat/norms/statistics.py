"""Operations that the training forms of batch norms share: factors, the switch to moving statistics, moving averages."""
from typing import List, Optional, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf import ops
from vai_q_tf.graph import live_editor
from vai_q_tf.graph.traits import READ_OPS
from vai_q_tf.graph.view import VARIABLE_OPS, GraphView, normalise
from vai_q_tf.patterns.batch_norm import TrainingNorm
from vai_q_tf.patterns.graph_range import GraphRange
from vai_q_tf.patterns.moving_average import find_moving_average
from vai_q_tf.qat.live.live_network import LiveNetwork, Reroute
from vai_q_tf.qat.network import plain_names
from vai_q_tf.types import NodeInput

SHAPING_OPS = ('Reshape', 'ExpandDims')


def phase(use_batch: Optional[tf.Tensor], batch: tf.Tensor, frozen: tf.Tensor) -> tf.Tensor:
    """The tensor `batch` while batch statistics are used, then `frozen`.

    Both are computed: with a tf.cond for each, TensorFlow's graph optimizer would take minutes on a large network.

    Args:
      use_batch: scalar bool tensor; None: always `batch`.
    """
    return batch if use_batch is None else ops.select_phase([batch], [frozen], use_batch)[0]


def constant_at_first(use_batch: Optional[tf.Tensor], value: tf.Tensor) -> tf.Tensor:
    """The small tensor `value`, a constant to the gradient while batch statistics are used."""
    return phase(use_batch, tf.stop_gradient(value), value)


def without_reshape(view: GraphView, tensor: str) -> str:
    """The vector that a tensor of an optimised graph is a reshaped form of."""
    while view.op(tensor) in SHAPING_OPS:
        tensor = view.inputs(tensor)[0]
    return tensor


def reciprocal_of(view: GraphView, factor: str) -> str:
    """The tensor 1 / sqrt(variance + epsilon) in the factor of a norm, with or without gamma; '' if there is none."""
    factor = without_reshape(view, factor)
    operands = [factor] + (list(view.inputs(factor)) if view.op(factor) == 'Mul' else [])
    return next((tensor for tensor in map(lambda operand: without_reshape(view, operand), operands)
                 if view.op(tensor) == 'Rsqrt'), '')


def over_channels(vector: tf.Tensor, value: tf.Tensor, channels_last: bool) -> tf.Tensor:
    """`vector` [channels] in a shape that broadcasts over the channels of `value`."""
    return vector if channels_last else tf.reshape(vector, [-1] + [1] * (value.shape.rank - 2))


def add_to_result(network: LiveNetwork, norm: Optional[TrainingNorm], result: tf.Tensor, error: tf.Tensor,
                  channels_last: bool) -> Tuple[tf.Tensor, List[Reroute]]:
    """(`result` plus `error` [channels], Reroutes); at no cost if a fused batch norm computes it, as that has an offset.

    norm: the TrainingNorm whose result, moved or not, is `result`; None if it is not that of a norm.
    """
    if norm is not None and norm.node:
        fused = network.operation(norm.node)
        return result, [Reroute([(fused.name, 2)], tf.add(fused.inputs[2], error))]
    return tf.add(result, over_channels(error, result, channels_last)), []


def hold_moving_averages(network: LiveNetwork, norm: TrainingNorm, graph_range: GraphRange, is_after_folding: bool,
                         use_batch: Optional[tf.Tensor] = None) -> List[Reroute]:
    """Makes the updates of moving averages wait until folding has read them; otherwise a step might fold with either value.

    A batch without examples has no statistics: the moving averages replace them, in a decomposed norm as well, whose gradients
    would be NaN.

    Args:
      is_after_folding: whether the statistics are computed after folding anyway.
      use_batch: same as in `phase`; once it is false the moving averages are updated with themselves, so they do not change.
    """
    reroutes = []
    statistics = [network.live(norm.batch_mean), network.live(norm.batch_variance)]
    averages = [network.live(norm.moving_mean), network.live(norm.moving_variance)]
    all_readers = [live_editor.consumers(statistic) for statistic in statistics]
    with live_editor.with_placement_of(network.graph, network.live(norm.output), grouped=True):
        known = _known(statistics, averages, _has_examples(network, norm))
        values = known if use_batch is None else ops.select_phase(known, averages, use_batch)
        for statistic, average, readers, replaced, value in zip(statistics, averages, all_readers, known, values):
            updates = [reader for reader in readers if reader[0] not in graph_range]
            if not norm.node and replaced is not statistic:
                reroutes.append(Reroute([reader for reader in readers if reader not in updates], replaced))
            if not is_after_folding:
                value, copies = _after_folding(network, average, value)
                reroutes += copies
            if value is not statistic:
                reroutes.append(Reroute(updates, value))
            if use_batch is not None:
                reroutes += _assigned(network, graph_range, statistic, average, use_batch)
    return reroutes


def _assigned(network: LiveNetwork, graph_range: GraphRange, statistic: tf.Tensor, average: tf.Tensor,
              use_batch: tf.Tensor) -> List[Reroute]:
    """Assigns the average itself once it is frozen, as arithmetic on it rounds."""
    found = find_moving_average(graph_range, normalise(statistic.name))
    if not found or not found.assigned:
        return []
    node, index = found.assigned
    new = network.graph.get_operation_by_name(node).inputs[index]
    return [Reroute([found.assigned], phase(use_batch, new, average))]


def _known(statistics: List[tf.Tensor], averages: List[tf.Tensor], has_examples: Optional[tf.Tensor]) -> List[tf.Tensor]:
    """`statistics`; the moving averages if a batch has no examples."""
    if has_examples is None:
        return statistics
    return [tf.raw_ops.Select(condition=has_examples, x=statistic, y=tf.stop_gradient(average))
            for statistic, average in zip(statistics, averages)]


def _after_folding(network: LiveNetwork, average: tf.Tensor, value: tf.Tensor) -> Tuple[tf.Tensor, List[Reroute]]:
    """`value`, but not before arithmetic on the moving average `average` has read that, and Reroutes of this arithmetic."""
    folding = network.arithmetic_on(average)
    if not folding:
        return value, []
    copies = _copies(network, folding)
    awaited_ops = [copy.value for copy in copies] or [network.graph.get_operation_by_name(node) for node, _ in folding]
    with tf.control_dependencies(awaited_ops):
        return tf.identity(value), copies


def _copies(network: LiveNetwork, folding: List[NodeInput]) -> List[Reroute]:
    """Makes folding read a copy of a reference variable.

    An op that reads such a variable reads its memory, so gradients would have the value after the update.
    """
    node, index = folding[0]
    read = network.graph.get_operation_by_name(node).inputs[index]
    if (read.op.inputs[0].op if read.op.type in READ_OPS else read.op).type not in VARIABLE_OPS - {'VarHandleOp'}:
        return []
    return [Reroute(folding, tf.stop_gradient(tf.raw_ops.Snapshot(input=read)))]  # Snapshot has no gradient


def _has_examples(network: LiveNetwork, norm: TrainingNorm) -> Optional[tf.Tensor]:
    """Whether `norm` has any values to normalise, a bool scalar; None if it does by its static shape."""
    if norm.node:
        data = network.operation(norm.node).inputs[0]
    else:
        operation = network.live(norm.batch_mean).op
        while operation.type != 'Mean':
            operation = operation.inputs[0].op
        data = operation.inputs[0]
    return tf.size(data, out_type=tf.int64) > 0 if data.shape.num_elements() is None else None


def awaited(network: LiveNetwork, norm: TrainingNorm) -> List[tf.Operation]:
    """The live ops that ops of the batch norm have as control inputs."""
    ops: List[tf.Operation] = [network.live(norm.output).op]
    found: List[tf.Operation] = []
    for op in ops:  # grows
        inputs = [operand.op for operand in op.inputs]
        for waiting in [op] + [operand for operand in inputs if operand.type == 'Const' or operand.type in READ_OPS]:
            found += [control for control in waiting.control_inputs if control not in found]
        ops += [operand for operand in inputs if operand not in ops
                and plain_names.without(network.prefix, operand.name) in network.form.changed]
    return found
