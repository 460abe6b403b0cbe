"""What an aid changes: the values of weights and biases, and the positions of all tensors."""
from typing import Dict, NamedTuple

import numpy as np

from vai_q_tf.export.fix_neuron_nodes import fix_neuron, insert
from vai_q_tf.fixed_point import quantize, rounding_of
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.view import GraphView


class State(NamedTuple):
    """values: {Const: array} where it is not that of the float graph. positions: {name of a quantized tensor: position}."""
    values: Dict[str, np.ndarray]
    positions: Dict[str, int]


def quantized_constant(record, value, position):
    """The float32 array that a constant has once it is quantized; record: its QuantTensor, position: in fractional bits."""
    return large_constants.by_pieces(lambda piece: quantize(
        piece, position, record.bits, rounding_of(record.mode), record.narrow_range, keep_non_finite=False), np.asarray(value))


def quantized_graph(float_graph, plan, state):
    """The GraphDef that computes what the model of a State computes, its constants quantized already."""
    view, values, computed = GraphView(float_graph), {}, []
    for record in plan.tensors:
        value = state.values.get(record.tensor, view.value(record.tensor))
        if value is None or len(view.consumers(record.tensor)) != len(record.consumers):
            computed.append(record)
        else:
            values[record.tensor] = large_constants.kept(quantized_constant(record, value, state.positions[record.name]))
    return insert(editor.with_values(float_graph, dict(state.values, **values)), computed, lambda record: [
        fix_neuron(record, record.tensor, 1, state.positions[record.name])])
