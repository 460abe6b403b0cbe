"""Runs an emitted model on integers, as a device would: shifts, sums and products, no floating point behind the input.

A value is q * 2^-p. Every result is checked to be one that float32 holds, so the graph has to agree with it exactly.
"""
from typing import NamedTuple

import numpy as np
from tensorflow.python.framework import tensor_util


class Fixed(NamedTuple):
    """The value q * 2^-p, q an int64 array."""
    q: np.ndarray
    p: int

    def at(self, position):
        assert position >= self.p
        return self.q << (position - self.p)

    def real(self):
        return self.q * 2.0**-self.p


def run(model, feed):
    """{node name: Fixed or, behind float ops and for shapes and axes, ndarray or None} of all nodes of a GraphDef.

    feed: {placeholder name: array}.
    """
    values = {}
    for node in model.node:
        operands = [values[name] for name in node.input]
        value = feed[node.name] if node.op == 'Placeholder' else _OPS.get(node.op, _unknown)(node, *operands)
        if isinstance(value, Fixed) and node.op != 'FixNeuron':
            assert np.array_equal(value.q.astype(np.float32).astype(np.int64), value.q), node.name
        values[node.name] = value
    return values


def _unknown(node, *operands):
    del node, operands


def _fix_neuron(node, x):
    position, half = node.attr['quantize_pos'].i, 1 << (node.attr['bit_width'].i - 1)
    if not isinstance(x, Fixed):
        t = x.astype(np.float64) * 2.0**position
        q = np.floor(t + 0.5) if node.attr['mode'].i == 1 else np.sign(t) * np.floor(np.abs(t) + 0.5)
        return Fixed(np.clip(q, -half, half - 1).astype(np.int64), position)
    assert node.attr['mode'].i == 1
    shift = x.p - position
    q = x.q << -shift if shift <= 0 else (x.q + (1 << (shift - 1))) >> shift
    return Fixed(np.clip(q, -half, half - 1), position)


def _windows(node, x, kernel, fill=0):
    """x in windows: [batch, rows, columns, kernel rows, kernel columns, channels]."""
    strides = node.attr['strides'].list.i[1:3]
    pads, sizes = [(0, 0)], []
    for size, extent, stride in zip(x.shape[1:3], kernel, strides):
        count = -(-size // stride) if node.attr['padding'].s == b'SAME' else (size - extent) // stride + 1
        total = max((count - 1) * stride + extent - size, 0)
        pads.append((total // 2, total - total // 2))
        sizes.append(count)
    x = np.pad(x, pads + [(0, 0)], 'constant', constant_values=fill)
    rows = [np.stack([x[:, i * strides[0]:i * strides[0] + kernel[0], j * strides[1]:j * strides[1] + kernel[1]]
                      for j in range(sizes[1])], 1) for i in range(sizes[0])]
    return np.stack(rows, 1)


def _weighted(equation, windows=True):
    def compute(node, x, weights):
        data = _windows(node, x.q, weights.q.shape[:2]) if windows else x.q
        assert np.einsum(equation, abs(data), abs(weights.q)).max() < 1 << 24, node.name
        result = np.einsum(equation, data, weights.q)
        return Fixed(result.reshape(result.shape[:3] + (-1,)) if windows else result, x.p + weights.p)
    return compute


def _together(function):
    def compute(node, *operands):
        fixed = [operand for operand in operands if isinstance(operand, Fixed)]
        position = max(operand.p for operand in fixed)
        axis = [operand for operand in operands if not isinstance(operand, Fixed)]
        return Fixed(function(*([operand.at(position) for operand in fixed] + axis)), position)
    return compute


def _average(q, count, position):
    shift = count.bit_length() - 1
    assert count == 1 << shift
    return Fixed(q, position + shift)


def _mean(node, x, axes):
    axes = tuple(np.atleast_1d(axes))
    total = x.q.sum(axis=axes, keepdims=node.attr['keep_dims'].b)
    return _average(total, x.q.size // total.size, x.p)


def _pool(node, x):
    kernel = node.attr['ksize'].list.i[1:3]
    if node.op == 'MaxPool':
        return Fixed(_windows(node, x.q, kernel, np.iinfo(np.int64).min).max(axis=(3, 4)), x.p)
    assert node.attr['padding'].s == b'VALID'
    return _average(_windows(node, x.q, kernel).sum(axis=(3, 4)), kernel[0] * kernel[1], x.p)


def _multiply(node, x, y):
    """One factor may be a float constant that is not quantized, such as the correction of an average."""
    x, y = (value if isinstance(value, Fixed) else Fixed(np.round(value * 2.0**20).astype(np.int64), 20) for value in (x, y))
    return Fixed(x.q * y.q, x.p + y.p)


def _leaky_relu(node, x):
    slope = Fixed(np.int64(round(node.attr['alpha'].f * 256)), 8)
    assert slope.real() == node.attr['alpha'].f
    return Fixed(np.where(x.q > 0, x.q << slope.p, x.q * slope.q), x.p + slope.p)


def _to_shape(node, x, *_):
    dims = [dim.size for dim in node.attr['_output_shapes'].list.shape[0].dim]
    return Fixed(x.q.reshape([len(x.q)] + dims[1:]), x.p)


_OPS = {
    'Const': lambda node: tensor_util.MakeNdarray(node.attr['value'].tensor),
    'FixNeuron': _fix_neuron,
    'Conv2D': _weighted('nhwklc,klcd->nhwd'),
    'DepthwiseConv2dNative': _weighted('nhwklc,klcm->nhwcm'),
    'MatMul': _weighted('nc,cd->nd', windows=False),
    'BiasAdd': _together(np.add), 'Add': _together(np.add), 'AddV2': _together(np.add),
    'Maximum': _together(np.maximum),
    'ConcatV2': _together(lambda *operands: np.concatenate(operands[:-1], int(operands[-1]))),
    'Mul': _multiply,
    'Relu': lambda node, x: Fixed(np.maximum(x.q, 0), x.p),
    'Relu6': lambda node, x: Fixed(np.clip(x.q, 0, 6 << x.p) if x.p >= 0 else None, x.p),
    'LeakyRelu': _leaky_relu,
    'MaxPool': _pool, 'AvgPool': _pool, 'Mean': _mean,
    'Pad': lambda node, x, pads: Fixed(np.pad(x.q, pads, 'constant'), x.p),
    'Reshape': _to_shape, 'Squeeze': _to_shape,
}
