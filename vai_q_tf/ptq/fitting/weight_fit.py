"""Weights fitted to what the float layer gives: refitted on quantized inputs, then rounded by the error of the result."""
import numpy as np

from vai_q_tf.fixed_point import POSITION_MAX, search_position
from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.ptq.fitting.moments import covariance
from vai_q_tf.ptq.fitting.refit import refit
from vai_q_tf.ptq.fitting.rounding import best_position, round_with_feedback
from vai_q_tf.ptq.fitting.samples import MOST_PRODUCTS, Geometry, take_samples

_FINER = 5  # how many positions above the one of the range of the weights are tried


class WeightFit:
    """Fits weights, as a Walk asks for it.

    Args:
      graph_def: the float graph. legal: LegalPositions of its plan.
      refits: whether weights are refitted before they are rounded.
    """

    def __init__(self, graph_def, legal, refits=True):
        self._view, self._legal, self._refits = GraphView(graph_def), legal, refits

    def __call__(self, layer, weights, inputs, results, positions):
        """(weights on the grid of their position, that position); as they are where a layer cannot be sampled."""
        geometry, maps = self._geometry(layer), layer.grouped(weights).astype(np.float64)
        if geometry is None or maps.shape[1] > MOST_PRODUCTS or not all(
                np.isfinite(value).all() for value in inputs + results + [weights]):
            return weights, positions[layer.weight.name]
        kernel = (1, 1) if layer.op == 'MatMul' else weights.shape[:2]
        samples = take_samples(layer, kernel, inputs, results, geometry)
        try:
            maps, moments = self._fitted(maps, samples)
        except ValueError:  # of values whose squares are too large
            return weights, positions[layer.weight.name]
        position = self._position(layer, maps, moments, positions)
        rounded = round_with_feedback(maps, moments, position, layer.weight.bits, len(samples.photos))
        return layer.ungrouped(rounded, weights.shape), position

    def _fitted(self, maps, samples):
        if not self._refits:
            return maps, covariance(samples.x)
        refitted, _, moments = refit(maps, *samples)
        return refitted, moments

    def _geometry(self, layer):
        """The Geometry of a layer that can be sampled, None of another.

        Not that of a depthwise op with dilations, which TensorFlow ignores on a CPU, nor that of an op after a SpaceToBatchND,
        which makes several images of a photo.
        """
        direct = layer.result == layer.node or layer.node in map(node_name, self._view.inputs(layer.result))
        if layer.op not in ('Conv2D', 'DepthwiseConv2dNative', 'MatMul') or layer.channel_axis != -1 or not direct:
            return None
        if self._view.op(layer.source) == 'SpaceToBatchND':
            return None
        if layer.op == 'MatMul':
            return None if self._view.attr(layer.node, 'transpose_a').b else Geometry()
        padding = self._view.attr(layer.node, 'padding').s.decode()
        strides, dilations = (tuple(self._view.attr(layer.node, key).list.i) or (1, 1, 1, 1)
                              for key in ('strides', 'dilations'))
        if padding not in ('SAME', 'VALID') or (layer.depthwise and dilations[1:3] != (1, 1)):
            return None
        return Geometry(strides[1:3], dilations[1:3], padding)

    def _position(self, layer, maps, moments, positions):
        bits, name = layer.weight.bits, layer.weight.name
        first = search_position(maps, bits, method=0, mode=layer.weight.mode)
        allowed = [position for position in range(first, min(first + _FINER, POSITION_MAX) + 1)
                   if self._legal.allows(positions, name, position)]
        return best_position(maps, moments, bits, allowed[0], allowed[-1]) if allowed else positions[name]
