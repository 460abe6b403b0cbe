"""FixNeuron in operators of ONNX, exactly: the same bits as from the op, for any input.

The converter moves transpositions past operators that it knows to be element-wise, such as `Clip`. So a FixNeuron goes through
the conversion as a Clip of another domain with its own attributes, and is written out afterwards.
"""
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Union

import numpy as np

from vai_q_tf import fixed_point

if TYPE_CHECKING:
    import onnx

_SMALLEST_NORMAL = np.finfo(np.float32).tiny
_FLOAT = 1  # onnx.TensorProto.FLOAT
_DOMAIN = 'vai_q_tf'
_ATTRS = ('position', 'bits', 'mode', 'symmetric')


def convert_marker(ctx: Any, node: Any, name: str, args: Any) -> None:
    """The handler of tf2onnx for the op FixNeuron: replaces it by a marker, a Clip of another domain."""
    del name, args
    narrow_range = node.get_attr('_symmetric')
    values = (node.get_attr_value('quantize_pos', 0), node.get_attr_value('bit_width', 8), node.get_attr_value('mode'),
              narrow_range.i if narrow_range else 0)
    inputs, outputs = list(node.input), list(node.output)
    shapes, dtypes = node.output_shapes, node.output_dtypes
    ctx.remove_node(node.name)
    ctx.make_node('Clip', inputs, attr=dict(zip(_ATTRS, values)), outputs=outputs, name=node.name, shapes=shapes,
                  dtypes=dtypes, domain=_DOMAIN)


def write_out(model: 'onnx.ModelProto') -> None:
    """Replaces the markers in the ModelProto by operators of opset 11."""
    from onnx import numpy_helper

    nodes = []
    constants: Dict[str, np.float32] = {}
    for node in model.graph.node:
        if node.domain == _DOMAIN:
            attrs = {attribute.name: attribute.i for attribute in node.attribute}
            nodes.extend(_FixNeuron(node, constants).nodes(*(attrs[key] for key in _ATTRS)))
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(np.float32(value), name) for name, value in constants.items())


class _FixNeuron:
    """Makes the nodes of one FixNeuron. constants: {name: value}, collects the scalars of all."""

    def __init__(self, marker: 'onnx.NodeProto', constants: Dict[str, np.float32]) -> None:
        self._marker, self._constants = marker, constants
        self._nodes: List[onnx.NodeProto] = []

    def nodes(self, position: int, bits: int, mode: int, narrow_range: int) -> List['onnx.NodeProto']:
        """fixed_point.quantize, step by step."""
        scale = 1.0 if position == fixed_point.POSITION_ZERO else 2.0**position
        lo, hi = (limit * scale for limit in fixed_point.limits(position, bits, bool(narrow_range)))
        x = self._marker.input[0]
        if position == fixed_point.POSITION_MAX:  # elsewhere a subnormal is less than half a step
            is_normal = self._add('Not', self._add('Less', self._add('Abs', x), _SMALLEST_NORMAL))
            x = self._add('Mul', x, self._add('Cast', is_normal, to=_FLOAT))
        t = self._add('Mul', x, scale)
        # onnxruntime's Where keeps a -0.0 of its third input, and makes +0.0 of one of its second.
        t = self._add('Where', self._add('Or', self._add('Less', t, lo), self._add('IsNaN', t)), lo, t)
        t = self._add('Where', self._add('Greater', t, hi), hi, t)
        if lo == 0:
            t = self._add('Abs', t)  # -0.0
        even = self._add('Round', t)
        rest = self._add('Sub', t, even)
        if fixed_point.rounding_of(mode) == fixed_point.HALF_UP:
            q = self._add('Where', self._add('Equal', rest, 0.5), self._add('Add', even, 1.0), even)
        else:
            tie = self._add('Equal', self._add('Abs', rest), 0.5)
            inwards = self._add('Greater', self._add('Mul', t, rest), 0.0)
            outer = self._add('Add', even, self._add('Add', rest, rest))
            q = self._add('Where', self._add('And', tie, inwards), outer, even)
        self._add('Mul', q, 1.0 / scale, output=self._marker.output[0])
        return self._nodes

    def _add(self, op: str, *inputs: Union[str, float], output: Optional[str] = None, **attrs: Any) -> str:
        """The output of a new node; numbers among the inputs become constants."""
        from onnx import helper

        name = '{}/{}_{}'.format(self._marker.name, op, len(self._nodes))
        names = [value if isinstance(value, str) else self._constant(value) for value in inputs]
        self._nodes.append(helper.make_node(op, names, [output or name], name, **attrs))
        return output or name

    def _constant(self, value: float) -> str:
        scalar = np.float32(value)
        name = 'vai_q_tf/constant_{:08x}'.format(int(scalar.view(np.uint32)))
        self._constants[name] = scalar
        return name
