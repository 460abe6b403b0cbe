"""The walk through a network that fits each layer to the results of the float network, layer by layer in graph order.

A layer is fitted on the inputs that it has in the quantized network with all layers before it fitted. Each op of either network
runs once per batch.
"""
from typing import Dict, Optional, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph.traits import trait
from vai_q_tf.graph.view import GraphView
from vai_q_tf.plan.quant_plan import QuantPlan, QuantTensor
from vai_q_tf.ptq.effort.piecewise import PiecewiseRun
from vai_q_tf.ptq.fitting.bias_correction import Summary, correct_bias, summarise
from vai_q_tf.ptq.fitting.layers import Layer, activate
from vai_q_tf.ptq.fitting.positions import LegalPositions
from vai_q_tf.ptq.fitting.state import State, quantized_constant, quantized_graph
from vai_q_tf.ptq.fitting.weight_fit import WeightFit
from vai_q_tf.terminal.progress import progress
from vai_q_tf.types import Feed, Values


class Walk:
    """A run of the float and the quantized network side by side.

    Args:
      float_graph, plan: the network. layers: its Layers.
      state: the State at the start. legal: LegalPositions of the plan.
      feeds: the batches.
      fit_weights: None does not change weights.
      scales: {weighted op: factor on each channel of its result in the quantized network}.
      summaries: {weighted op: Summary of its result in the float network}; the walk adds missing ones. Without fit_weights, the
        float network runs only for these.
    """

    def __init__(self, float_graph: tf.GraphDef, plan: QuantPlan, layers: Sequence[Layer], state: State, legal: LegalPositions,
                 feeds: Sequence[Feed], fit_weights: Optional[WeightFit] = None, scales: Optional[Values] = None,
                 summaries: Optional[Dict[str, Summary]] = None, gpu_memory_fraction: Optional[float] = None) -> None:
        self._layers = [layer for layer in layers if fit_weights or layer.bias]
        self._legal, self._fit_weights, self._scales = legal, fit_weights, scales or {}
        self._summaries = {} if summaries is None else summaries
        self._float_values = GraphView(float_graph).value
        self._tensors = {record.name: record for record in plan.tensors}
        self._state = State(dict(state.values), dict(state.positions), state.unclipped)
        wanted = [layer.result for layer in self._layers]
        self._float = PiecewiseRun(float_graph, feeds, wanted, gpu_memory_fraction)
        graph = quantized_graph(float_graph, plan, state)
        view = GraphView(graph)
        self._read = {layer.node: view.inputs(layer.node)[trait(layer.op).data][0] for layer in self._layers}
        wanted = [tensor for layer in self._layers for tensor, used in (
            (self._read[layer.node], fit_weights), (layer.result, layer.bias)) if used]
        self._quantized = PiecewiseRun(graph, feeds, wanted, gpu_memory_fraction)

    def run(self, text: str) -> State:
        """The State after the walk. text: the label of the progress bar."""
        for layer in progress(self._layers, len(self._layers), text, unit='layer'):
            self._fit(layer)
        return self._state

    def _fit(self, layer: Layer) -> None:
        if self._fit_weights or layer.node not in self._summaries:
            expected = self._float.compute(layer.result)
            self._summaries[layer.node] = summarise(expected, layer.channel_axis)
        if self._fit_weights:
            self._take(layer.weight, *self._fit_weights(
                layer, self._value(layer.weight), self._quantized.compute(self._read[layer.node]),
                [self._scaled(layer, values) for values in expected], self._state.positions))
        if layer.bias:
            self._correct_bias(layer, layer.bias)

    def _correct_bias(self, layer: Layer, bias: QuantTensor) -> None:
        actual = self._quantized.compute(layer.result)
        before, scale = self._quantized_value(bias), self._scales.get(layer.node, np.float32(1))
        expected = self._summaries[layer.node]
        goal = Summary(expected.mean * scale, (activate(expected.rows, layer.activation) * scale).astype(np.float32))
        clipped = layer._replace(activation='Relu') if layer.node in self._state.unclipped else layer
        self._take(bias, *correct_bias(
            clipped, before, goal, summarise(actual, layer.channel_axis), self._state.positions, self._legal, self._tensors))
        change = (self._quantized_value(bias) - before).reshape(-1)
        self._quantized.replace(layer.result, [
            values + along(change, values, layer.channel_axis) for values in actual])

    def _scaled(self, layer: Layer, values: np.ndarray) -> np.ndarray:
        return values * along(self._scales[layer.node], values, layer.channel_axis) if layer.node in self._scales else values

    def _value(self, record: QuantTensor) -> np.ndarray:
        return self._state.values.get(record.tensor, self._float_values(record.tensor))

    def _quantized_value(self, record: QuantTensor) -> np.ndarray:
        return quantized_constant(record, self._value(record), self._state.positions[record.name])

    def _take(self, record: QuantTensor, value: np.ndarray, position: int) -> None:
        self._state.values[record.tensor], self._state.positions[record.name] = value, position
        self._quantized.set_values({record.tensor: self._quantized_value(record)})


def along(vector: np.ndarray, values: np.ndarray, axis: int) -> np.ndarray:
    """A vector in the shape that broadcasts along an axis of `values`."""
    shape = [1] * values.ndim
    shape[axis] = -1
    return vector.reshape(shape)
