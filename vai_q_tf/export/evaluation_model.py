"""What an evaluation model is: a graph whose FixNeurons have their positions."""
from vai_q_tf import errors


def require_evaluation_model(graph_def):
    """Raises a QuantizeError NOT_QUANTIZED for a graph without FixNeurons, or with one that still looks for its position."""
    fix_neurons = [node for node in graph_def.node if node.op == 'FixNeuron']
    if not fix_neurons:
        raise errors.QuantizeError(errors.NOT_QUANTIZED, 'Not quantized', 'The graph has no FixNeuron; give the '
                                   'quantize_eval_model.pb that `vai_q_tensorflow quantize` wrote.')
    for node in fix_neurons:
        if node.attr['phase'].i != 1:
            raise errors.QuantizeError(
                errors.NOT_QUANTIZED, 'No position', 'The FixNeuron {!r} is in phase {}, in which it has no position of its '
                'own; give an evaluation model.'.format(node.name, node.attr['phase'].i))
