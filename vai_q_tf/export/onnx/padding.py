"""The padding SAME of unknown heights and widths as pads, for operators whose `auto_pad` onnxruntime cannot use.

It refuses `auto_pad` together with dilations, and shifts the windows if the stride exceeds the kernel by two or more.
"""
from typing import TYPE_CHECKING, Any, List, Mapping

import numpy as np

from vai_q_tf import errors

if TYPE_CHECKING:
    import onnx

_FLOAT, _INT64, _INTS = 1, 7, 7  # onnx.TensorProto.FLOAT, .INT64, onnx.AttributeProto.INTS
_WINDOWED = frozenset(('Conv', 'MaxPool', 'AveragePool'))
_FILLING = {'Conv': 0.0, 'MaxPool': -np.inf}


def write_out(model: 'onnx.ModelProto') -> None:
    """Replaces `auto_pad` in the ModelProto by pads, if onnxruntime cannot use it.

    Raises:
      QuantizeError: UNSUPPORTED_OP naming an average pool whose padding depends on an unknown size.
    """
    nodes = []
    for node in model.graph.node:
        attrs = {attribute.name: attribute for attribute in node.attribute}
        if node.op_type in _WINDOWED and {'auto_pad', 'kernel_shape'} <= set(attrs) and attrs['auto_pad'].s == b'SAME_UPPER':
            nodes.extend(_padded(model, node, attrs))
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _padded(model: 'onnx.ModelProto', node: 'onnx.NodeProto',
            attrs: Mapping[str, 'onnx.AttributeProto']) -> List['onnx.NodeProto']:
    """The nodes that compute the padding of `node`, which is changed to read the padded tensor, or to have pads."""
    kernel = np.array(attrs['kernel_shape'].ints)
    dilations, strides = (np.array(attrs[key].ints) if key in attrs else np.ones_like(kernel)
                          for key in ('dilations', 'strides'))
    extent = (kernel - 1) * dilations + 1
    if np.all(dilations == 1) and np.all(strides - extent < 2):
        return []
    attrs['auto_pad'].s = b'NOTSET'
    if np.all((strides == 1) | (extent == 1)):  # the padding is the same for all sizes
        before = (extent - 1) // 2
        node.attribute.add(name='pads', type=_INTS, ints=[*before, *(extent - 1 - before)])
        return []
    if node.op_type not in _FILLING:
        raise errors.QuantizeError(
            errors.UNSUPPORTED_OP, 'Cannot convert', 'The padding SAME of {!r} (strides {}, window {}) depends on height and '
            'width, which are not known, and ONNX has no {} for that. Give them in input_shapes.'.format(
                node.name, list(strides), list(extent), node.op_type))
    return _Padding(model, node).nodes(extent, strides)


class _Padding:
    """Makes the nodes that pad the input of a node as TensorFlow does, whatever its size."""

    def __init__(self, model: 'onnx.ModelProto', node: 'onnx.NodeProto') -> None:
        self._model, self._node = model, node
        self._nodes: List[onnx.NodeProto] = []

    def nodes(self, extent: np.ndarray, strides: np.ndarray) -> List['onnx.NodeProto']:
        """Pads to (ceil(size / stride) - 1) * stride + extent, with the odd row or column at the end."""
        x, one, zero = self._node.input[0], self._constant('one', np.int64([1])), self._constant('zero', np.float32([0]))
        steps, windows, two = (self._constant(name, np.int64(values)) for name, values in (
            ('strides', strides), ('window', extent), ('two', [2])))
        sizes = self._add('Slice', self._add('Shape', x), two, self._constant('end', np.int64([2 + len(extent)])))
        whole = self._add('Mul', self._add('Div', self._add('Sub', sizes, one), steps), steps)
        missing = self._add('Sub', self._add('Add', whole, windows), sizes)
        # Max takes no integers before opset 12.
        missing = self._add('Cast', self._add('Max', self._add('Cast', missing, to=_FLOAT), zero), to=_INT64)
        before = self._add('Div', missing, two)
        outer = self._constant('outer', np.int64([0, 0]))
        pads = self._add('Concat', outer, before, outer, self._add('Sub', missing, before), axis=0)
        filling = self._constant('filling', np.float32(_FILLING[self._node.op_type]))
        self._node.input[0] = self._add('Pad', x, pads, filling, mode='constant')
        return self._nodes

    def _add(self, op: str, *inputs: str, **attrs: Any) -> str:
        from onnx import helper

        name = '{}/padding/{}_{}'.format(self._node.name, op, len(self._nodes))
        self._nodes.append(helper.make_node(op, inputs, [name], name, **attrs))
        return name

    def _constant(self, name: str, value: np.ndarray) -> str:
        from onnx import numpy_helper

        name = '{}/padding/{}'.format(self._node.name, name)
        self._model.graph.initializer.extend([numpy_helper.from_array(value, name)])
        return name
