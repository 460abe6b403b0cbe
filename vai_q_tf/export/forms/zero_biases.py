"""Biases of zeros for dilated convolutions without one: the DPU compiler needs a BiasAdd after a BatchToSpaceND."""
from typing import List, Optional, Set

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.export.forms.new_nodes import new_name, note_shape
from vai_q_tf.fixed_point import POSITION_MAX, POSITION_MIN
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.control_flow import branch_nodes
from vai_q_tf.graph.view import GraphView, node_name

_CONVOLUTIONS = ('Conv2D', 'DepthwiseConv2dNative')


def add_zero_biases(model: tf.GraphDef, bias_bit: Optional[int] = None) -> tf.GraphDef:
    """The model in which quantized dilated convolutions without a bias have one of zeros, `<BatchToSpaceND>/biases`.

    Its position is that of the products, so the hardware need not shift it. Convolutions in branches and loops stay.

    Args:
      model: a GraphDef with all positions. bias_bit: the bits of biases; None for those of the weights.
    """
    if not any(node.op == 'BatchToSpaceND' for node in model.node):
        return model
    view, taken = GraphView(model), {node.name for node in model.node}
    branches, nodes, biased = branch_nodes(view), [], {}
    for node in model.node:
        if node.op == 'BatchToSpaceND' and node.name not in branches and _lacks_bias(view, node.name):
            added = _bias_nodes(view, node, bias_bit, taken)
            biased[node.name] = added[-1].name
            nodes += [node] + added
        elif not biased.keys().isdisjoint(node.input):
            nodes.append(editor.with_inputs(node, [biased.get(operand, operand) for operand in node.input]))
        else:
            nodes.append(node)
    return editor.subgraph(model, nodes) if biased else model


def _lacks_bias(view: GraphView, name: str) -> bool:
    """Whether a BatchToSpaceND ends a dilated convolution of quantized data and weights to which nothing is added."""
    conv = view.inputs(name)[0]
    if view.op(conv) not in _CONVOLUTIONS or any(view.op(reader) == 'BiasAdd' for reader, _ in view.consumers(name)):
        return False
    data, weights = view.inputs(conv)
    return (view.op(data) == 'SpaceToBatchND' and view.op(view.inputs(data)[0]) == 'FixNeuron'
            and view.op(weights) == 'FixNeuron' and view.op(view.inputs(weights)[0]) == 'Const')


def _bias_nodes(view: GraphView, node: tf.NodeDef, bias_bit: Optional[int], taken: Set[str]) -> List[tf.NodeDef]:
    """[Const, FixNeuron, BiasAdd] after the BatchToSpaceND. Adds the names to `taken`."""
    conv = view.inputs(node.name)[0]
    data, weights = view.inputs(view.inputs(conv)[0])[0], view.inputs(conv)[1]
    channels = _channels(view, conv, view.inputs(weights)[0])
    const = editor.constant(new_name(node.name + '/biases', taken), tf.float32, np.zeros(channels, np.float32))
    quantized = editor.exact_copy(view.node(node_name(weights)))
    quantized.name, quantized.input[:] = const.name + '/wquant', [const.name]
    position = quantized.attr['quantize_pos'].i + view.attr(data, 'quantize_pos').i
    quantized.attr['quantize_pos'].i = min(max(position, POSITION_MIN), POSITION_MAX)
    quantized.attr['bit_width'].i = bias_bit or quantized.attr['bit_width'].i
    quantized.attr.pop('_output_shapes', None)
    add = tf.NodeDef(name=new_name(node.name + '/BiasAdd', taken), op='BiasAdd', input=[node.name, quantized.name])
    add.attr['T'].type, add.attr['data_format'].s = tf.float32.as_datatype_enum, b'NHWC'
    if '_output_shapes' in node.attr:
        note_shape(const, [channels])
        note_shape(quantized, [channels])
        add.attr['_output_shapes'].CopyFrom(node.attr['_output_shapes'])
    return [const, quantized, add]


def _channels(view: GraphView, conv: str, weights: str) -> int:
    shape = [dim.size for dim in view.node(node_name(weights)).attr['value'].tensor.tensor_shape.dim]
    return shape[-1] if view.op(conv) == 'Conv2D' else shape[-1] * shape[-2]
