"""Writes the FixNeuron nodes of a plan into a GraphDef."""
import collections
from typing import Callable, DefaultDict, Dict, Iterable, List, Mapping, Optional, Sequence

import tensorflow.compat.v1 as tf

from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.dependence import reach
from vai_q_tf.graph.traits import WEIGHTED, trait
from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.plan.quant_plan import ACTIVATION_MODE, QuantTensor

# On the FixNeuron of an activation: the factors of its channels, the last axis. The compiler ignores it; an analysis would
# otherwise take them for errors.
CHANNEL_SCALES = '_channel_scales'


def insert(graph_def: tf.GraphDef, tensors: Iterable[QuantTensor],
           make: Callable[[QuantTensor], Sequence[tf.NodeDef]]) -> tf.GraphDef:
    """The graph with new nodes after the producers of quantized tensors, which the consumers of these then read.

    Args:
      graph_def: the GraphDef of which `tensors` are quantized.
      make: a function from a QuantTensor to NodeDefs, in an order in which they can run; its consumers read the one that has
        the tensor's name. Without NodeDefs the tensor stays as it is.
    """
    made: DefaultDict[str, List[tf.NodeDef]] = collections.defaultdict(list)
    operands: DefaultDict[str, Dict[int, str]] = collections.defaultdict(dict)
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


def fix_neuron(record: QuantTensor, operand: str, phase: int, position: Optional[int] = None) -> tf.NodeDef:
    """The FixNeuron NodeDef of a QuantTensor, reading the tensor `operand`; `position` in fractional bits."""
    node = tf.NodeDef(name=record.name, op='FixNeuron', input=[operand])
    node.attr['T'].type = tf.float32.as_datatype_enum
    node.attr['bit_width'].i = record.bits
    node.attr['method'].i = record.method
    node.attr['mode'].i = record.mode
    node.attr['phase'].i = phase
    node.attr['output_dir'].s = b''  # vai_q_tensorflow's op has it, and reads it in training only
    if position is not None:
        node.attr['quantize_pos'].i = position
    if record.narrow_range:
        node.attr['_symmetric'].b = True
    return node


def note_scales(model: tf.GraphDef, scales: Mapping[str, Sequence[float]]) -> tf.GraphDef:
    """The model in which FixNeurons from a layer with scaled channels to the next one have CHANNEL_SCALES.

    scales: {weighted op: the factors of the channels of its result}; the ops up to the next layer forward factors.
    """
    view = GraphView(model)
    noted: Dict[str, Sequence[float]] = {}
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
