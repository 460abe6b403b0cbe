"""The part of a model that aids change: the values of weights and biases, and the positions of all tensors."""
from typing import Dict, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.export.fix_neuron_nodes import fix_neuron, insert
from vai_q_tf.fixed_point import quantize, rounding_of
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.view import GraphView
from vai_q_tf.plan.quant_plan import QuantPlan, QuantTensor


class State(NamedTuple):
    """values: {Const: array} for those with other values than in the float graph. positions: {quantized tensor: position}."""
    values: Dict[str, np.ndarray]
    positions: Dict[str, int]


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
    return insert(editor.with_values(float_graph, dict(state.values, **values)), computed, lambda record: [
        fix_neuron(record, record.tensor, 1, state.positions[record.name])])
