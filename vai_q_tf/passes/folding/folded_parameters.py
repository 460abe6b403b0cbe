"""Weights and bias of an op into which factors and terms per channel are folded, as arithmetic on parameters."""
from typing import Any, List, Optional, Sequence, Type

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.passes.common import snippets
from vai_q_tf.passes.common.channels import shape_for_weights
from vai_q_tf.passes.common.rewriter import Rewriter

MULTIPLY, DIVIDE, ADD, SUBTRACT = 'mul', 'div', 'add', 'sub'
SUBTRACT_FROM = 'from'  # the operand minus x
_SCOPE_ENDS = ('/weights', '/depthwise_weights')


class FoldedParameters:
    """Collects the factors and terms after a weighted op, first to last, and writes the arithmetic into the graph.

    They turn x, the result of the op, into x * scale + bias.

    Args:
      rewriter: the Rewriter. compute: the weighted op. weights: the tensor of its weights.
      channels: the number of channels of its result.

    Attributes:
      scale: the tensor of the product of the factors, [channels] or [1]; '' if there are none.
      factors: the tensors of the factors, and of the biases before the first of them.
      has_bias, has_factor: whether there is anything to add, or to multiply by.
    """

    def __init__(self, rewriter: Rewriter, compute: str, weights: str, channels: int) -> None:
        self._rewriter = rewriter
        self._compute = compute
        self._weights = weights
        self._channels = channels
        self._scope = compute + '/fold/'
        self.scale, self._bias = '', ''
        self._terms: List[str] = []
        self._reads: List[tf.NodeDef] = []  # the arithmetic that reads operands by their names before folding
        self.factors: List[str] = []

    @property
    def has_bias(self) -> bool:
        return bool(self._bias)

    @property
    def has_factor(self) -> bool:
        return bool(self.scale)

    def apply(self, kind: str, operand: str) -> None:
        """Appends a factor or a term; kind: MULTIPLY, DIVIDE, ADD, SUBTRACT or SUBTRACT_FROM."""
        if kind in (MULTIPLY, DIVIDE):
            self._append_factor(kind, operand)
        else:
            self._append_term(kind, operand)

    def _append_factor(self, kind: str, operand: str) -> None:
        op, vector = 'Mul' if kind == MULTIPLY else 'RealDiv', self._vector(operand)
        self.factors.append(operand)
        if self._bias:
            self._bias = self._write(op, 'bias', self._bias, vector)
        if self.scale:
            self.scale = self._write(op, 'scale', self.scale, vector)
        else:
            self.scale = vector if kind == MULTIPLY else self._write('Reciprocal', 'scale', vector)

    def _append_term(self, kind: str, operand: str) -> None:
        vector = self._vector(operand)
        self._terms.append(operand)
        if not self.scale:
            self.factors.append(operand)
        if kind == SUBTRACT_FROM:
            self.scale = self._write('Neg', 'scale', self.scale) if self.scale else self._constant('scale', [-1.0])
            self._bias = self._write('Sub', 'bias', vector, self._bias) if self._bias else vector
        elif kind == SUBTRACT:
            self._bias = self._write('Sub', 'bias', self._bias, vector) if self._bias else self._write('Neg', 'bias', vector)
        else:
            self._bias = self._write('AddV2', 'bias', self._bias, vector) if self._bias else vector

    def write_weights(self) -> str:
        """Multiplies the weights by the scale; the product takes their name. Returns the tensor of the unfolded weights."""
        rewriter, shape = self._rewriter, self._shape(self._weights)
        shaped, wanted = self.scale, shape_for_weights(rewriter.view, self._compute, shape, self._channels)
        if len(wanted) > 1 and self._size(self.scale) > 1:
            shaped = self._reshape('shaped_scale', self.scale, wanted)
        raw = self._rename(self._weights)
        product = snippets.arithmetic('Mul', self._weights, [raw, shaped], shape)
        rewriter.inherit_sources(product, self._weights)
        rewriter.add(product)
        return raw

    def write_bias(self, name: str) -> str:
        """Gives the bias the name of the constant `name`, or if this is '' `<scope>/biases`; returns the name."""
        rewriter = self._rewriter
        if name:
            self._rename(name)
        else:
            end = next((end for end in _SCOPE_ENDS if self._weights.endswith(end)), '')
            name = rewriter.unique(self._weights[:len(self._weights) - len(end)] + '/biases')
        spread = self._size(self._bias) < self._channels
        shape = self._constant('bias/shape', [self._channels], np.int32)
        bias = snippets.arithmetic('BroadcastTo' if spread else 'Reshape', name, [self._bias, shape], [self._channels],
                                   **{'Tidx' if spread else 'Tshape': tf.int32})
        for term in self._terms:
            rewriter.inherit_sources(bias, term)
        rewriter.add(bias)
        return name

    def _rename(self, name: str) -> str:
        """Renames the parameter `name`, so that its folded form can take the name; returns the new name."""
        rewriter = self._rewriter
        raw = editor.exact_copy(rewriter.node(name))
        raw.name = rewriter.unique(name + '/unfolded')
        if '_output_shapes' not in raw.attr:
            snippets.shaped(raw, rewriter.view.shape(name))
        rewriter.add(raw)
        for node in self._reads:
            node.input[:] = [raw.name if operand == name else operand for operand in node.input]
        self.factors = [raw.name if operand == name else operand for operand in self.factors]
        self._bias = raw.name if self._bias == name else self._bias
        return raw.name

    def _vector(self, operand: str) -> str:
        """The operand as a tensor of the shape [channels] or [1]."""
        dims = self._shape(operand)
        if len(dims) == 1:
            return operand
        return self._reshape('operand', operand, [int(np.prod(dims, dtype=int))])

    def _shape(self, tensor: str) -> List[int]:
        """The shape of a tensor of the view; those of all operands are known."""
        shape = self._rewriter.view.shape(tensor)
        assert shape is not None
        return shape

    def _size(self, tensor: str) -> int:
        node = self._rewriter.node(tensor)
        shapes = node.attr['_output_shapes'].list.shape if '_output_shapes' in node.attr else ()
        dims = [dim.size for dim in shapes[0].dim] if shapes else self._shape(tensor)
        return int(np.prod(dims, dtype=int))

    def _reshape(self, what: str, tensor: str, dims: Sequence[int]) -> str:
        shape = self._constant(what + '/shape', dims, np.int32)
        return self._write('Reshape', what, tensor, shape, dims=dims, Tshape=tf.int32)

    def _constant(self, what: str, value: Sequence[float], dtype: Type[np.generic] = np.float32) -> str:
        return snippets.add_constant(self._rewriter, self._scope + what, np.array(value, dtype))

    def _write(self, op: str, what: str, *operands: str, dims: Optional[Sequence[int]] = None, **attrs: Any) -> str:
        dims = dims or [max(map(self._size, operands))]
        node = snippets.arithmetic(op, self._rewriter.unique(self._scope + what), operands, dims, **attrs)
        self._rewriter.add(node)
        self._reads.append(node)
        return node.name
