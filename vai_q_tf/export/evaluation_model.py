"""Evaluation models: graphs whose FixNeurons have their positions."""
import tensorflow.compat.v1 as tf

from vai_q_tf import errors, fixed_point

_LIMITS = {'bit_width': (1, fixed_point.MAX_BITS), 'quantize_pos': (fixed_point.POSITION_MIN, fixed_point.POSITION_ZERO),
           'mode': (0, 2), 'phase': (0, 3)}


def require_evaluation_model(graph_def: tf.GraphDef) -> None:
    """Raises a QuantizeError for a graph that is not an evaluation model.

    NOT_QUANTIZED: it has no FixNeurons, or one that still searches its position. INVALID_INPUT: as `check_attrs`.
    """
    fix_neurons = [node for node in graph_def.node if node.op == 'FixNeuron']
    if not fix_neurons:
        raise errors.QuantizeError(errors.NOT_QUANTIZED, 'Not quantized', 'The graph has no FixNeuron; give the '
                                   'quantize_eval_model.pb that `vai_q_tensorflow quantize` wrote.')
    for node in fix_neurons:
        check_attrs(node)
        if node.attr['phase'].i != 1:
            raise errors.QuantizeError(
                errors.NOT_QUANTIZED, 'No position', 'The FixNeuron {!r} is in phase {}, in which it has no final position; '
                'give an evaluation model.'.format(node.name, node.attr['phase'].i))


def check_attrs(node: tf.NodeDef) -> None:
    """Raises a QuantizeError INVALID_INPUT for a FixNeuron with an impossible attr."""
    for key, (least, most) in _LIMITS.items():
        value = node.attr[key] if key in node.attr else None
        if value is not None and (value.WhichOneof('value') != 'i' or not least <= value.i <= most):
            raise errors.QuantizeError(
                errors.INVALID_INPUT, 'Damaged model', 'The FixNeuron {!r} has {} {}; expected an integer from {} to {}. '
                'Quantize the network again.'.format(node.name, key, ' '.join(str(value).split()) or 'nothing', least, most))
    if len(node.input) != 1:
        raise errors.QuantizeError(errors.INVALID_INPUT, 'Damaged model', 'The FixNeuron {!r} has {} inputs instead of one. '
                                   'Quantize the network again.'.format(node.name, len(node.input)))
