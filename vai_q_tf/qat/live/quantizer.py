"""Adds the ops that quantize the tensors of a plan.

Tests: tests/qat/live/test_live_network.py.
"""
import functools
from typing import Callable, Dict, Mapping, Optional

import tensorflow.compat.v1 as tf

from vai_q_tf import ops
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph import live_editor
from vai_q_tf.plan.quant_plan import QuantTensor
from vai_q_tf.qat.positions.moving_positions import MovingPositions


class Quantizer:
    """Adds the ops that quantize tensors of one copy of a network.

    Args:
      names: {name of a quantized tensor: name of its FixNeuron} in this copy.
      shared: {name of a FixNeuron: its tf.Tensor}, common to all copies.
      config: the QuantizeConfig.
      positions: the positions to quantize with.
    """

    def __init__(self, names: Mapping[str, str], shared: Dict[str, tf.Tensor], config: QuantizeConfig,
                 positions: MovingPositions) -> None:
        self._names = names
        self._shared = shared
        self._config = config
        self._positions = positions

    def quantized(self, record: QuantTensor, value: Callable[[], tf.Tensor], use: Optional[tf.Tensor] = None) -> tf.Tensor:
        """The quantized form of the tensor that `value` returns, or that of another copy of the network if they share it.

        use: a tensor of the device on which to quantize; None: the value itself.
        """
        name = self._names[record.name]
        if name not in self._shared:
            self._shared[name] = self._quantized(record._replace(name=name), value(), use)
        return self._shared[name]

    def _quantized(self, record: QuantTensor, value: tf.Tensor, use: Optional[tf.Tensor]) -> tf.Tensor:
        with live_editor.with_placement_of(value.graph, value if use is None else use):
            position = self._positions.position(
                record, functools.partial(ops.search_position, value, narrow_range=record.narrow_range))
            return ops.vai_fix_neuron(value, position, bit_width=record.bits, mode=record.mode,
                                      narrow_range=record.narrow_range, gradient=self._config.gradient, name=record.name)

    def scaled(self, record: QuantTensor, value: tf.Tensor, scale: tf.Tensor, rescale: tf.Tensor, inner: int,
               constant: Optional[tf.Tensor] = None, use: Optional[tf.Tensor] = None) -> tf.Tensor:
        """The quantized form of `value` * `scale`, times `rescale`, or that of another copy of the network if they share it.

        Args:
          scale, rescale: tf.Tensors [channels]. inner: the number of consecutive elements of `value` that share a channel.
          constant: whether `scale` is a constant to the gradient, bool scalar tensor; None: never.
          use: a tensor of the device on which to quantize; None: the value itself.
        """
        name = self._names[record.name]
        if name not in self._shared:
            named = record._replace(name=name)
            with live_editor.with_placement_of(value.graph, value if use is None else use):
                position = self._positions.position(
                    named, functools.partial(ops.scaled_search_position, value, scale, inner=inner))
                self._shared[name] = ops.scaled_fix_neuron(
                    value, scale, rescale, position, bit_width=record.bits, mode=record.mode, inner=inner,
                    gradient=self._config.gradient, constant=constant, name=name)
        return self._shared[name]
