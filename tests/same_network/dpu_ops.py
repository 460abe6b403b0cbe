"""The integer arithmetic of the DPU for each op, and the limits of its shifts, for `dpu_model`."""
import functools
import itertools
import math
from typing import NamedTuple, Optional

import numpy as np

_SHIFT = 16  # the greatest shift_cut and shift_bias
_HARD_SIGMOID, _HARD_SIGMOID_BITS = 2731, 14


class Refused(AssertionError):
    """The DPU does not compute this."""


class Unlike(Refused):
    """The results of the DPU and TensorFlow differ."""


class Fixed(NamedTuple):
    """A tensor in memory: the integers q, of `bits` bits, at position p; whether it is a constant."""
    q: np.ndarray
    p: int
    bits: int
    constant: bool

    def real(self):
        return self.q * 2.0**-self.p


class Unrounded(NamedTuple):
    """The result of an op before its FixNeuron, the integers q at position p.

    limits: functions of the FixNeuron's position that raise Refused if no register can shift to it. kind: ops that may be fused
    with it. factor: a multiplication that follows in the graph, and that the DPU has done already. like_to: the greatest
    position at which it rounds to TensorFlow's values.
    """
    q: np.ndarray
    p: int
    limits: tuple = ()
    kind: str = ''
    factor: Optional[np.float32] = None
    like_to: float = math.inf

    def real(self):
        return self.q * 2.0**-self.p


def require(condition, message, *values):
    if not condition:
        raise Refused(message.format(*values))


def _within(name, least, position, greatest, sign=1):
    """A limit: the shift from a position to that of the FixNeuron lies in a range."""
    def limit(target):
        require(least <= sign * (position - target) <= greatest, '{} {}', name, sign * (position - target))
    return limit


# Windows: convolutions and pools.

def _along_space(node, attr, rank):
    return list(node.attr[attr].list.i)[1:-1] or [1] * rank


def _taps(node, x, kernel, fill=0):
    """For each element of the window its index and the inputs under it, in the shape of the result."""
    require(node.attr['data_format'].s in (b'', b'NHWC', b'NDHWC'), 'only channels last')
    require(node.attr['padding'].s in (b'SAME', b'VALID'), 'padding {}', node.attr['padding'].s)
    strides, dilations = (_along_space(node, attr, len(kernel)) for attr in ('strides', 'dilations'))
    counts, pads = _counts_and_pads(node, x, kernel, strides, dilations)
    x = np.pad(x, [(0, 0)] + pads + [(0, 0)], 'constant', constant_values=fill)
    for index in itertools.product(*map(range, kernel)):
        starts = [number * dilation for number, dilation in zip(index, dilations)]
        yield index, x[(slice(None),) + tuple(
            slice(start, start + (count - 1) * stride + 1, stride) for start, count, stride in zip(starts, counts, strides))]


def _counts_and_pads(node, x, kernel, strides, dilations):
    """For each spatial axis the number of windows, and the padding before and after."""
    counts, pads = [], []
    for size, extent, stride, dilation in zip(x.shape[1:-1], kernel, strides, dilations):
        extent = (extent - 1) * dilation + 1
        same = node.attr['padding'].s == b'SAME'
        counts.append(-(-size // stride) if same else (size - extent) // stride + 1)
        total = max((counts[-1] - 1) * stride + extent - size, 0) if same else 0
        pads.append((total // 2, total - total // 2))
    return counts, pads


# Weighted ops: 2 * acc + floor(2 * b * 2^shift_bias), rounded at shift_cut.

def _accumulated(acc, product):
    """The accumulator of products at a position."""
    return Unrounded(2 * acc, product + 1, (_within('shift_cut', 0, product, _SHIFT),), 'accumulator')


def _conv(node, x, weights):
    acc = sum(data @ weights.q[index] for index, data in _taps(node, x.q, weights.q.shape[:-2]))
    return _accumulated(acc, x.p + weights.p)


def _depthwise(node, x, weights):
    acc = sum(data[..., np.newaxis] * weights.q[index] for index, data in _taps(node, x.q, weights.q.shape[:2]))
    return _accumulated(acc.reshape(acc.shape[:3] + (-1,)), x.p + weights.p)


def _transposed(node, shape, weights, x):
    """Each input adds the weights times itself to the places that a convolution of the result would read."""
    acc = np.zeros([np.prod(shape[:3]), shape[3]], np.int64)
    cells = np.arange(1, len(acc) + 1).reshape(*shape[:3], 1)
    for index, read in _taps(node, cells, weights.q.shape[:2]):
        inside = read[..., 0] > 0
        acc[read[inside, 0] - 1] += x.q[inside] @ weights.q[index].T
    return _accumulated(acc.reshape(shape), x.p + weights.p)


def _matmul(node, x, weights):
    left, right = (operand.q.T if node.attr[attr].b else operand.q
                   for operand, attr in ((x, 'transpose_a'), (weights, 'transpose_b')))
    return _accumulated(left @ right, x.p + weights.p)


def _biased(x, bias):
    product = x.p - 1
    shift = product - bias.p

    def limit(position):
        least = min(0, product - position - _SHIFT)
        require(least <= shift <= _SHIFT, 'shift_bias {}, at least {}', shift, least)

    doubled = 2 * bias.q << shift if shift >= 0 else 2 * bias.q >> -shift
    cut = shift < 0 and np.any(doubled << -shift != 2 * bias.q)
    return Unrounded(x.q + doubled, x.p, x.limits + (limit,), 'cut bias' if cut else '')


# Elementwise ops.

def _add(node, x, y):
    del node
    x, y = (y, x) if isinstance(x, np.ndarray) else (x, y)
    if isinstance(y, np.ndarray):
        require(isinstance(x, Fixed) and y == 3 and x.p >= 0, 'adds the constant {}', y)
        return Unrounded(x.q + (3 << x.p), x.p, kind='x + 3')
    x, y = (y, x) if isinstance(y, Unrounded) else (x, y)
    if isinstance(x, Fixed):
        return _sum(x, y)
    require(isinstance(y, Fixed) and y.constant, 'adds what is not quantized')
    if x.kind == 'product':  # with a constant, as in a standalone batch norm: a depthwise convolution
        x = _accumulated(x.q, x.p)
    require(x.kind == 'accumulator', 'adds a bias to what is no accumulator')
    return _biased(x, y)


def _sum(x, y):
    """Both are shifted to the lower position plus two bits; lower bits are dropped, and matter if they would be rounded to."""
    lowest, highest = sorted((x.p, y.p))
    require(highest - lowest <= 15, 'shift_read {}', highest - lowest)
    x, y = ((operand.q << 2) >> (operand.p - lowest) for operand in (x, y))
    return Unrounded(x + y, lowest + 2, (_within('shift_write', -15, lowest, 15),),
                     like_to=lowest + 1 if highest - lowest > 2 else math.inf)


def _multiply(node, x, y):
    del node
    for one, other in ((x, y), (y, x)):
        if isinstance(one, np.ndarray):
            return _times_factor(other, one)
    require(isinstance(x, Fixed) and isinstance(y, Fixed), 'multiplies what is not quantized')
    kind = 'product' if x.constant or y.constant else ''
    return Unrounded(x.q * y.q, x.p + y.p, (_within('shift_write', 0, x.p + y.p, 32),), kind)


def _times_factor(x, factor):
    """The constant represents the DPU's arithmetic of an average or a hard sigmoid."""
    require(isinstance(x, Unrounded), 'multiplies by a constant that is not quantized')
    if x.kind == 'relu6(x + 3)':
        require(abs(factor * 6 - 1) < 1e-3, 'a factor of {}, not 1/6', factor)
        limits = _within('the position of a hard sigmoid', 7, 0, 126, -1), _within('shift', 0, x.p + 14, 31)
        return Unrounded(x.q * _HARD_SIGMOID, x.p + _HARD_SIGMOID_BITS, limits,
                         factor=np.float32(6 * _HARD_SIGMOID / 2**_HARD_SIGMOID_BITS))
    require(x.factor is not None and np.ravel(factor) == [x.factor], 'multiplies by {}, not by {}', factor, x.factor)
    return x._replace(factor=None)


# Activations: before the rounding of the preceding op, or separate ops on tensors in memory.

def _activation(function):
    def compute(node, x):
        if isinstance(x, Fixed):
            x = Unrounded(x.q, x.p, (_within('shift_write', -15, x.p, 15),))
        return function(node, x)
    return compute


def _relu(node, x):
    del node
    return x._replace(q=np.maximum(x.q, 0), kind='')


def _relu6(node, x):
    """The limit is 96 at position 4, and saturation above it; below it is unknown, but not 6. A hard sigmoid saturates at
    1.0."""
    del node
    if x.kind == 'x + 3':
        return x._replace(q=np.maximum(x.q, 0), kind='relu6(x + 3)')
    def limit(position):
        if position < 4:
            raise Unlike('the position of a relu6 {}'.format(position))

    limits, p = x.limits + (limit,), max(x.p, 0)
    return x._replace(q=np.clip(x.q << (p - x.p), 0, 6 << p), p=p, limits=limits, kind='')


def _leaky_relu(node, x):
    """The bits cut off a bias, at most half a step, and those cut off a sum change the rounding only after a multiplication."""
    require(node.attr['alpha'].f == 26 / 256, 'slope {}', node.attr['alpha'].f)
    q = np.where(x.q < 0, x.q * 26, x.q << 8)
    is_exact = x.like_to == math.inf and x.kind != 'cut bias'
    return x._replace(q=q, p=x.p + 8, kind='', like_to=math.inf if is_exact else -math.inf)


# Pools, maxima and joins.

def _pooled(q, p, read, factor=None, like_to=math.inf):
    return Unrounded(q, p, (_within('shift of a pool', -7, read, 7),), factor=factor, like_to=like_to)


def _max_pool(node, x):
    kernel = _along_space(node, 'ksize', 0)
    return _pooled(functools.reduce(np.maximum, (data for _, data in _taps(node, x.q, kernel, -1 << 32))), x.p, x.p)


def _max(node, x, axes):
    return _pooled(x.q.max(tuple(np.ravel(axes)), keepdims=node.attr['keep_dims'].b), x.p, x.p)


def _average_pool(node, x):
    """The sum, times a factor over a power of two. Zeros outside count as well; TensorFlow leaves them out."""
    kernel = _along_space(node, 'ksize', 0)
    factor, bits = reciprocal(*kernel)
    q = factor * sum(data for _, data in _taps(node, x.q, kernel))
    _, pads = _counts_and_pads(node, x.q, kernel, _along_space(node, 'strides', 0), [1, 1])
    return _pooled(q, x.p + bits, x.p, np.float32(factor / 2**bits) * np.float32(kernel[0] * kernel[1]),
                   -math.inf if np.any(pads) else math.inf)


def reciprocal(height, width):
    """(k, n) of k / 2^n, which the DPU takes for 1 / (height * width)."""
    own = {3: (7, 6), 5: (10, 8), 6: (7, 8), 7: (21, 10), 14: (21, 12)}
    if height == width and height in own:
        return own[height]
    size, least, found = height * width, 1., (1, 0)
    for bits in range(math.ceil(math.log2(128 * size))):
        factor = max(1, math.floor(2**bits / size + 0.5))
        difference = np.float32(abs(factor / 2**bits - 1 / size))
        if difference < least:
            least, found = difference, (factor, bits)
    return found


def _concat(node, *operands):
    del node
    parts, axis = operands[:-1], operands[-1]
    require(all(isinstance(part, Fixed) for part in parts), 'joins what is not quantized')
    require(len({part.p for part in parts}) == 1, 'joins integers of positions {}', [part.p for part in parts])
    return parts[0]._replace(q=np.concatenate([part.q for part in parts], int(axis)), constant=False)


UNKNOWN = frozenset(('Mean', 'ResizeBilinear'))  # the rounding of the DPU is unknown
OPS = {
    'Conv2D': _conv, 'Conv3D': _conv, 'DepthwiseConv2dNative': _depthwise, 'Conv2DBackpropInput': _transposed,
    'MatMul': _matmul,
    'BiasAdd': _add, 'Add': _add, 'AddV2': _add, 'Mul': _multiply,
    'Relu': _activation(_relu), 'Relu6': _activation(_relu6), 'LeakyRelu': _activation(_leaky_relu),
    'MaxPool': _max_pool, 'Max': _max, 'AvgPool': _average_pool, 'ConcatV2': _concat,
}
