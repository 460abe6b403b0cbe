"""The graph that a rewritten live graph stands for: FixNeurons of the original in place of the ops of training."""
import tensorflow.compat.v1 as tf

from vai_q_tf.export.fix_neuron_nodes import fix_neuron
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.view import node_name


def fix_neurons(graph_def, plan, phase, output_dir, positions=None):
    """The graph with the FixNeuron op of the original in place of the ops of a rewritten live graph.

    Args:
      graph_def: of a live graph to which `plan` was applied.
      phase: 1 evaluation, 2 training.
      output_dir: value of the attr of that name.
      positions: {name of a quantized tensor: position} for phase 1.

    Returns:
      A GraphDef without the ops that only serve moving positions: state, search, saving and restoring.
    """
    records = {record.name: record for record in plan.tensors}
    dropped, kept, products = set(), [], {}
    for node in graph_def.node:
        if node.name in records:
            if node.op == 'VaiScaledFixNeuron':
                products[node.name] = _unscaled(node)
            kept.append(_fix_neuron(node, records[node.name], phase, output_dir, positions))
        elif (node.op.startswith('Vai') or node.name.startswith('vai_q_tf/positions')
              or any(node_name(operand) in dropped for operand in node.input)):
            dropped.add(node.name)
        else:
            kept.append(node)
    for index, node in enumerate(kept):
        if any(operand in products for operand in node.input):
            kept[index] = editor.copy(node, inputs=[products[operand].name if operand in products else operand
                                             for operand in node.input])
    return editor.subgraph(graph_def, kept + list(products.values()))


def _unscaled(scaled):
    """The product of the quantized scaled weights and what undoes the scale, which the live graph has in one op."""
    folding = scaled.name[:-len('mul_1/wquant')]
    node = tf.NodeDef(name=folding + 'unscaled', op='Mul', input=[scaled.name, folding + 'unscale'], device=scaled.device)
    node.attr['T'].type = tf.float32.as_datatype_enum
    return node


def _fix_neuron(live, record, phase, output_dir, positions):
    # The op that scales weights, quantizes them and undoes the scale stands for the FixNeuron of the scaled ones.
    operand = live.name[:-len('/wquant')] if live.op == 'VaiScaledFixNeuron' else live.input[0]
    node = fix_neuron(record, operand, phase, output_dir, None if positions is None else positions[record.name])
    node.device = live.device
    if '_output_shapes' in live.attr:
        node.attr['_output_shapes'].CopyFrom(live.attr['_output_shapes'])
    return node
