"""The part of a model that aids change: the values of weights and biases, and the positions of all tensors."""
from typing import Dict, Mapping, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.export.fix_neuron_nodes import fix_neuron, insert
from vai_q_tf.fixed_point import quantize, rounding_of
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.view import GraphView
from vai_q_tf.passes.common.rewriter import make_node
from vai_q_tf.plan.quant_plan import QuantPlan, QuantTensor
from vai_q_tf.types import Values


class State(NamedTuple):
    """values: {Const: array} for those with other values than in the float graph. positions: {quantized tensor: position}.

    unclipped: {weighted op: the Relu6 after it, which is a Relu in the quantized network}; the limits of its quantized result
    clip instead.
    """
    values: Dict[str, np.ndarray]
    positions: Dict[str, int]
    unclipped: Dict[str, str] = {}


def changed_graph(float_graph: tf.GraphDef, values: Values, unclipped: Mapping[str, str]) -> tf.GraphDef:
    """The GraphDef with the values, and with Relus instead of Relu6s, of a State."""
    changed = editor.with_values(float_graph, values)
    relus = set(unclipped.values())
    for node in changed.node:
        if node.name in relus:
            node.op = 'Relu'
    return changed


def reference_graph(float_graph: tf.GraphDef, values: Values, unclipped: Mapping[str, str], scales: Values) -> tf.GraphDef:
    """The float GraphDef with the values of scaled layers, whose Relu6s clip each channel at 6 times its factor.

    scales: {weighted op: factors on the channels of its result}. Its tensors are those that the quantized network of a State
    approximates.
    """
    changed, names = [], {node.name for node in float_graph.node}
    layers = {relu6: layer for layer, relu6 in unclipped.items()}
    for node in editor.with_values(float_graph, values).node:
        if node.name in layers:
            relu, cap = (editor.unused_name('{}/{}'.format(node.name, part), names) for part in ('unclipped', 'cap'))
            changed += [make_node('Relu', relu, node.input, T=tf.float32),
                        editor.constant(cap, tf.float32, (6 * scales[layers[node.name]]).astype(np.float32))]
            node = make_node('Minimum', node.name, [relu, cap], T=tf.float32)
        changed.append(node)
    return editor.subgraph(float_graph, changed)


def quantized_constant(record: QuantTensor, value: np.ndarray, position: int) -> np.ndarray:
    """The quantized value of a constant, float32. position: in fractional bits."""
    return large_constants.by_pieces(lambda piece: quantize(
        piece, position, record.bits, rounding_of(record.mode), record.narrow_range, keep_non_finite=False), np.asarray(value))


def quantized_graph(float_graph: tf.GraphDef, plan: QuantPlan, state: State) -> tf.GraphDef:
    """A GraphDef that computes the same as the model of a State, with constants quantized in advance."""
    view, computed = GraphView(float_graph), []
    values: Dict[str, np.ndarray] = {}
    for record in plan.tensors:
        value = state.values.get(record.tensor, view.value(record.tensor))
        if value is None or len(view.consumers(record.tensor)) != len(record.consumers):
            computed.append(record)
        else:
            values[record.tensor] = large_constants.kept(quantized_constant(record, value, state.positions[record.name]))
    changed = changed_graph(float_graph, dict(state.values, **values), state.unclipped)
    return insert(changed, computed, lambda record: [
        fix_neuron(record, record.tensor, 1, state.positions[record.name])])
