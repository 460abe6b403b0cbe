"""What the forms of batch norms in training share: factors, the switch to moving statistics, moving averages."""
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import live_editor
from vai_q_tf.graph.traits import READ_OPS
from vai_q_tf.graph.view import VARIABLE_OPS
from vai_q_tf.qat.network import plain_names

SHAPING_OPS = ('Reshape', 'ExpandDims')


def phase(use_batch, batch, frozen):
    """The tensor `batch` while batch statistics are used, `frozen` after.

    Both are computed: a tf.cond for each would make TensorFlow's graph optimizer take minutes on a large network.

    Args:
      use_batch: scalar bool tensor; None: always `batch`.
    """
    return batch if use_batch is None else tf.raw_ops.Select(condition=use_batch, x=batch, y=frozen)


def constant_at_first(use_batch, value):
    """The small tensor `value`, a constant to the gradient while batch statistics are used."""
    return phase(use_batch, tf.stop_gradient(value), value)


def without_reshape(view, tensor):
    """The vector that a tensor of an optimised graph is a reshaped form of."""
    while view.op(tensor) in SHAPING_OPS:
        tensor = view.inputs(tensor)[0]
    return tensor


def reciprocal_of(view, factor):
    """The tensor 1 / sqrt(variance + epsilon) in such a factor, times gamma or not, of an optimised graph; '' without."""
    factor = without_reshape(view, factor)
    operands = [factor] + (list(view.inputs(factor)) if view.op(factor) == 'Mul' else [])
    return next((tensor for tensor in map(lambda operand: without_reshape(view, operand), operands)
                 if view.op(tensor) == 'Rsqrt'), '')


def over_channels(vector, value, channels_last):
    """`vector` [channels] shaped to work on the channels of the tensor `value`."""
    return vector if channels_last else tf.reshape(vector, [-1] + [1] * (value.shape.rank - 2))


def add_to_result(network, norm, result, error, channels_last):
    """Adds `error` [channels] to `result`: for nothing, where a fused batch norm makes its values, which has an offset.

    Args:
      norm: the TrainingNorm whose result `result` is, moved or not; None where it is of something else.

    Returns:
      (the sum, [(inputs to re-point, tf.Tensor)]).
    """
    if norm is not None and norm.node:
        fused = network.operation(norm.node)
        return result, [([(fused.name, 2)], tf.add(fused.inputs[2], error))]
    return tf.add(result, over_channels(error, result, channels_last)), []


def hold_moving_averages(network, norm, graph_range, on_batch, use_batch=None):
    """What makes the moving averages of `norm` wait until folding has read them, or a step would fold with those of luck.

    A batch without examples has no statistics: the moving averages take their place, in a decomposed norm as well, whose
    gradients would be NaN.

    Args:
      on_batch: whether the batch norm reads what folding makes before it makes its statistics, as a fused one can.
      use_batch: as of `phase`; once it is false the moving averages are fed with themselves and stay as they are.

    Returns:
      [(inputs to re-point, tf.Tensor)].
    """
    inputs = []
    with live_editor.with_placement_of(network.graph, network.live(norm.output), grouped=True):
        has_examples = _has_examples(network, norm)
        for batch, moving in ((norm.batch_mean, norm.moving_mean), (norm.batch_variance, norm.moving_variance)):
            statistic, average = network.live(batch), network.live(moving)
            readers = live_editor.consumers(statistic)
            updates = [(node, index) for node, index in readers if node not in graph_range]
            folding = [] if on_batch else network.readers_of(average)
            known = phase(has_examples, statistic, tf.stop_gradient(average))
            if not norm.node and known is not statistic:
                inputs.append(([reader for reader in readers if reader not in updates], known))
            value = phase(use_batch, known, average)
            if folding:
                copied = _copied(folding)
                inputs += copied
                with tf.control_dependencies([copy for _, copy in copied] or [op for op, _ in folding]):
                    value = tf.identity(value)
            if value is not statistic:
                inputs.append((updates, value))
    return inputs


def _copied(folding):
    """[(inputs to re-point, tf.Tensor)] by which folding reads a copy of a reference variable.

    What an op reads of such a variable is its memory, so gradients would have the value after the update.
    """
    reader, index = folding[0]
    read = reader.inputs[index]
    if (read.op.inputs[0].op if read.op.type in READ_OPS else read.op).type not in VARIABLE_OPS - {'VarHandleOp'}:
        return []
    copy = tf.stop_gradient(tf.raw_ops.Snapshot(input=read))  # Snapshot has no gradient
    return [([(op.name, index) for op, index in folding], copy)]


def _has_examples(network, norm):
    """Whether `norm` gets anything to normalise, a bool scalar; None where its shape says that it does."""
    if norm.node:
        data = network.operation(norm.node).inputs[0]
    else:
        operation = network.live(norm.batch_mean).op
        while operation.type != 'Mean':
            operation = operation.inputs[0].op
        data = operation.inputs[0]
    return tf.size(data, out_type=tf.int64) > 0 if data.shape.num_elements() is None else None


def awaited(network, norm):
    """The live ops that ops of the batch norm `norm` wait for, beside those that they read."""
    ops, found = [network.live(norm.output).op], []
    for op in ops:
        inputs = [operand.op for operand in op.inputs]
        for waiting in [op] + [operand for operand in inputs if operand.type == 'Const' or operand.type in READ_OPS]:
            found += [control for control in waiting.control_inputs if control not in found]
        ops += [operand for operand in inputs if operand not in ops
                and plain_names.without(network.prefix, operand.name) in network.form.changed]
    return found
