"""Writes FixNeuron nodes into a GraphDef, where a plan wants them."""
import collections

import tensorflow.compat.v1 as tf

from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.dependence import reach
from vai_q_tf.graph.traits import WEIGHTED, trait
from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.plan.quant_plan import ACTIVATION_MODE

# On the FixNeuron of an activation: what its channels, the last axis, were multiplied by. Compilers ignore it; an analysis
# would take it for an error.
CHANNEL_SCALES = '_channel_scales'


def insert(graph_def, tensors, make):
    """The graph with new nodes after the producers of quantized tensors, which the consumers of these then read.

    Args:
      graph_def: a GraphDef that the QuantTensors `tensors` were chosen in.
      make: a function from a QuantTensor to NodeDefs, in an order in which they can run; its consumers read the one that has
        the tensor's name. No NodeDefs leave the tensor as it is.
    """
    made, operands = collections.defaultdict(list), collections.defaultdict(dict)
    for tensor in tensors:
        nodes = make(tensor)
        made[node_name(tensor.tensor)].extend(nodes)
        for reader, index in tensor.consumers if nodes else ():
            operands[reader][index] = tensor.name
    nodes = []
    for node in graph_def.node:
        if node.name in operands:
            node = editor.with_inputs(
                node, [operands[node.name].get(index, operand) for index, operand in enumerate(node.input)])
        nodes.append(node)
        nodes.extend(made.get(node.name, ()))
    return editor.subgraph(graph_def, nodes)


def fix_neuron(record, operand, phase, position=None):
    """The FixNeuron NodeDef of a QuantTensor, reading the tensor `operand`; `position` in fractional bits."""
    node = tf.NodeDef(name=record.name, op='FixNeuron', input=[operand])
    node.attr['T'].type = tf.float32.as_datatype_enum
    node.attr['bit_width'].i = record.bits
    node.attr['method'].i = record.method
    node.attr['mode'].i = record.mode
    node.attr['phase'].i = phase
    node.attr['output_dir'].s = b''  # the op of the original has it, and only looks at it in training
    if position is not None:
        node.attr['quantize_pos'].i = position
    if record.narrow_range:
        node.attr['_symmetric'].b = True
    return node


def note_scales(model, scales):
    """The model in which FixNeurons from a layer with scaled channels to the next one have CHANNEL_SCALES.

    scales: {weighted op: what the channels of its result were multiplied by}; what lies between forwards factors.
    """
    view, noted = GraphView(model), {}
    for layer, factors in scales.items():
        between = reach([layer], lambda name: [reader for reader, _ in view.consumers(name)
                                               if trait(view.op(reader)).kind != WEIGHTED])
        noted.update((name, factors) for name in between
                     if view.op(name) == 'FixNeuron' and view.attr(name, 'mode').i == ACTIVATION_MODE)
    nodes = []
    for node in model.node:
        if node.name in noted:
            node = editor.exact_copy(node)
            node.attr[CHANNEL_SCALES].list.f[:] = noted[node.name]
        nodes.append(node)
    return editor.subgraph(model, nodes) if noted else model
