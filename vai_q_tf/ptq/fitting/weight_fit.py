"""Weights fitted to the results of the float layer: refitted on quantized inputs, then rounded by the error of the result."""
from typing import Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.fixed_point import search_position
from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.ptq.fitting.layers import Layer
from vai_q_tf.ptq.fitting.moments import covariance
from vai_q_tf.ptq.fitting.positions import LegalPositions
from vai_q_tf.ptq.fitting.refit import refit
from vai_q_tf.ptq.fitting.rounding import best_position, round_with_feedback
from vai_q_tf.ptq.fitting.samples import MOST_PRODUCTS, Geometry, Samples, take_samples
from vai_q_tf.types import Positions

_FINER = 5  # how many positions above that of the range of the weights are tried


class WeightFit:
    """Fits the weights of layers, for a Walk.

    Args:
      graph_def: the float graph. legal: LegalPositions of its plan.
      refits: whether weights are refitted before they are rounded.
    """

    def __init__(self, graph_def: tf.GraphDef, legal: LegalPositions, refits: bool = True) -> None:
        self._view, self._legal, self._refits = GraphView(graph_def), legal, refits

    def __call__(self, layer: Layer, weights: np.ndarray, inputs: Sequence[np.ndarray], results: Sequence[np.ndarray],
                 positions: Positions) -> Tuple[np.ndarray, int]:
        """(fitted weights, which are multiples of the step of their position; that position).

        They do not change if the layer cannot be sampled or a value is not finite.

        Args:
          inputs, results: one array per batch: the inputs of the quantized network, the results of the float network.
          positions: {quantized tensor: position}.
        """
        geometry, maps = self._geometry(layer), layer.grouped(weights).astype(np.float64)
        if geometry is None or maps.shape[1] > MOST_PRODUCTS or not all(
                np.isfinite(value).all() for value in [*inputs, *results, weights]):
            return weights, positions[layer.weight.name]
        kernel = (1, 1) if layer.op == 'MatMul' else weights.shape[:2]
        samples = take_samples(layer, kernel, inputs, results, geometry)
        try:
            maps, moments = self._fitted(maps, samples)
        except ValueError:  # squares that are not finite
            return weights, positions[layer.weight.name]
        position = self._position(layer, maps, moments, positions)
        rounded = round_with_feedback(maps, moments, position, layer.weight.bits, len(samples.images))
        return layer.ungrouped(rounded, weights.shape), position

    def _fitted(self, maps: np.ndarray, samples: Samples) -> Tuple[np.ndarray, np.ndarray]:
        if not self._refits:
            return maps, covariance(samples.x)
        refitted, _, moments = refit(maps, *samples)
        return refitted, moments

    def _geometry(self, layer: Layer) -> Optional[Geometry]:
        """The Geometry of a layer, None if it cannot be sampled."""
        if not self._is_sampled(layer):
            return None
        if layer.op == 'MatMul':
            return None if self._view.attr(layer.node, 'transpose_a').b else Geometry()
        padding = self._view.attr(layer.node, 'padding').s.decode()
        strides, dilations = ((down, right) for _, down, right, _ in (
            self._view.attr(layer.node, key).list.i or (1, 1, 1, 1) for key in ('strides', 'dilations')))
        # TensorFlow ignores the dilations of a depthwise op on a CPU.
        if padding not in ('SAME', 'VALID') or (layer.depthwise and dilations != (1, 1)):
            return None
        return Geometry(strides, dilations, padding)

    def _is_sampled(self, layer: Layer) -> bool:
        """Whether the op is of a type that is sampled, and its bias reads it directly."""
        is_direct = layer.result == layer.node or layer.node in map(node_name, self._view.inputs(layer.result))
        # A SpaceToBatchND turns one image into several.
        return (layer.op in ('Conv2D', 'DepthwiseConv2dNative', 'MatMul') and layer.channel_axis == -1 and is_direct
                and self._view.op(layer.source) != 'SpaceToBatchND')

    def _position(self, layer: Layer, maps: np.ndarray, moments: np.ndarray, positions: Positions) -> int:
        bits, name = layer.weight.bits, layer.weight.name
        first = search_position(maps, bits, method=0, mode=layer.weight.mode)
        allowed = self._legal.allowed(positions, name, first, _FINER)
        return best_position(maps, moments, bits, allowed[0], allowed[-1]) if allowed else positions[name]
