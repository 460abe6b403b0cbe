"""The weights and the bias that a chain of factors and terms per channel comes to, as arithmetic on parameters."""
import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.passes.common import snippets
from vai_q_tf.passes.common.channels import shape_for_weights

MULTIPLY, DIVIDE, ADD, SUBTRACT = 'mul', 'div', 'add', 'sub'
SUBTRACT_FROM = 'from'  # the operand minus the result so far
_SCOPE_ENDS = ('/weights', '/depthwise_weights')


class FoldedParameters:
    """Collects the factors and terms after one weighted op, first to last, and writes the arithmetic into the graph.

    With x the result of the op before, they come to x * scale + bias.

    Args:
      rewriter: the Rewriter. compute: the weighted op. weights: the tensor of its weights. channels: of its result.

    Attributes:
      scale: the tensor of the product of the factors, [channels] or [1]; '' where there is none.
      factors: the tensors of the factors, and of the biases before the first of them.
      has_bias, has_factor: whether there is anything to add, or to multiply with.
    """

    def __init__(self, rewriter, compute, weights, channels):
        self._rewriter = rewriter
        self._compute = compute
        self._weights = weights
        self._channels = channels
        self._scope = compute + '/fold/'
        self.scale, self._bias = '', ''
        self._terms = []
        self._reads = []  # NodeDefs of the arithmetic that read operands as they were before folding
        self.factors = []

    @property
    def has_bias(self):
        return bool(self._bias)

    @property
    def has_factor(self):
        return bool(self.scale)

    def apply(self, kind, operand):
        """Adds a factor or a term; kind: one of the words above."""
        vector = self._vector(operand)
        if kind in (MULTIPLY, DIVIDE):
            op = 'Mul' if kind == MULTIPLY else 'RealDiv'
            self.factors.append(operand)
            self._bias = self._bias and self._write(op, 'bias', self._bias, vector)
            if kind == DIVIDE:
                self.scale = (self._write('RealDiv', 'scale', self.scale, vector) if self.scale
                               else self._write('Reciprocal', 'scale', vector))
            else:
                self.scale = self._write('Mul', 'scale', self.scale, vector) if self.scale else vector
            return
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

    def write_weights(self):
        """Multiplies the weights by the scale; the product has their name. Returns the tensor of the weights as they were."""
        rewriter, view = self._rewriter, self._rewriter.view
        shape = view.shape(self._weights)
        shaped, wanted = self.scale, shape_for_weights(view, self._compute, shape, self._channels)
        if len(wanted) > 1 and self._size(self.scale) > 1:
            shaped = self._reshape('shaped_scale', self.scale, wanted)
        raw = self._rename(self._weights)
        product = snippets.arithmetic('Mul', self._weights, [raw, shaped], shape)
        rewriter.inherit_sources(product, self._weights)
        rewriter.add(product)
        return raw

    def write_bias(self, name):
        """Gives the bias the name of the constant `name`, or '<scope>/biases' where there is none; returns the name."""
        rewriter = self._rewriter
        if name:
            self._rename(name)
        else:
            scope = self._weights
            for end in _SCOPE_ENDS:
                if scope.endswith(end):
                    scope = scope[:-len(end)]
                    break
            name = rewriter.unique(scope + '/biases')
        spread = self._size(self._bias) < self._channels
        shape = self._constant('bias/shape', [self._channels], np.int32)
        bias = snippets.arithmetic('BroadcastTo' if spread else 'Reshape', name, [self._bias, shape], [self._channels],
                                   **{'Tidx' if spread else 'Tshape': tf.int32})
        for term in self._terms:
            rewriter.inherit_sources(bias, term)
        rewriter.add(bias)
        return name

    def _rename(self, name):
        """Calls the parameter `name` otherwise, so that what is made of it can have the name; returns the new one."""
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

    def _vector(self, operand):
        """The operand as a tensor of the shape [channels] or [1]."""
        dims = self._rewriter.view.shape(operand)
        if len(dims) == 1:
            return operand
        return self._reshape('operand', operand, [int(np.prod(dims, dtype=int))])

    def _size(self, tensor):
        node = self._rewriter.node(tensor)
        shapes = node.attr['_output_shapes'].list.shape if '_output_shapes' in node.attr else ()
        dims = [dim.size for dim in shapes[0].dim] if shapes else self._rewriter.view.shape(tensor)
        return int(np.prod(dims, dtype=int))

    def _reshape(self, what, tensor, dims):
        shape = self._constant(what + '/shape', dims, np.int32)
        return self._write('Reshape', what, tensor, shape, dims=dims, Tshape=tf.int32)

    def _constant(self, what, value, dtype=np.float32):
        node = snippets.constant(self._rewriter.unique(self._scope + what), np.array(value, dtype))
        self._rewriter.add(node)
        return node.name

    def _write(self, op, what, *operands, dims=None, **attrs):
        dims = dims or [max(map(self._size, operands))]
        node = snippets.arithmetic(op, self._rewriter.unique(self._scope + what), operands, dims, **attrs)
        self._rewriter.add(node)
        self._reads.append(node)
        return node.name
