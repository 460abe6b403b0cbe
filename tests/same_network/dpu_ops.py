"""What the DPU computes for each op, on integers: the arithmetic of the tests' DPU model and the reach of its shifts."""
import functools
import itertools
import math

import numpy as np

from tests.same_network.dpu_model import Fixed, Unrounded, require

_SHIFT = 16  # the greatest shift_cut and shift_bias


def _same_or_valid(node, x, kernel):
    """Sizes of a window's results along each axis, and x with zeros around it where the padding is SAME."""
    require(node.attr['data_format'].s in (b'', b'NHWC', b'NDHWC'), 'only NHWC')
    strides, dilations = _along_space(node, 'strides', kernel), _along_space(node, 'dilations', kernel)
    sizes, pads = [], []
    for size, extent, stride, dilation in zip(x.shape[1:-1], kernel, strides, dilations):
        extent = (extent - 1) * dilation + 1
        same = node.attr['padding'].s == b'SAME'
        sizes.append(-(-size // stride) if same else (size - extent) // stride + 1)
        total = max((sizes[-1] - 1) * stride + extent - size, 0) if same else 0
        pads.append((total // 2, total - total // 2))
    return sizes, [(0, 0)] + pads + [(0, 0)], strides, dilations


def _along_space(node, attr, kernel):
    return list(node.attr[attr].list.i)[1:-1] or [1] * len(kernel)


def _taps(node, x, kernel, fill=0):
    """For each element of the window its index and what it lies on, of the size of the result."""
    sizes, pads, strides, dilations = _same_or_valid(node, x, kernel)
    x = np.pad(x, pads, 'constant', constant_values=fill)
    for index in itertools.product(*map(range, kernel)):
        yield index, x[(slice(None),) + tuple(
            slice(number * dilation, number * dilation + (size - 1) * stride + 1, stride)
            for number, size, stride, dilation in zip(index, sizes, strides, dilations))]


# Weighted ops: 2 * acc + floor(2 * b * 2^shift_bias), rounded at shift_cut.

def _accumulated(acc, x, weights):
    product = x.p + weights.p
    return Unrounded(2 * acc, product + 1, 'weighted', (functools.partial(_within_cut, product),))


def _within_cut(product, position):
    require(0 <= product - position <= _SHIFT, 'shift_cut {}', product - position)


def _within_bias(product, bias, position):
    least = min(0, product - position - _SHIFT)
    require(least <= product - bias <= _SHIFT, 'shift_bias {}, at least {}', product - bias, least)


def _conv(node, x, weights):
    taps = _taps(node, x.q, weights.q.shape[:-2])
    return _accumulated(sum(data @ weights.q[index] for index, data in taps), x, weights)


def _depthwise(node, x, weights):
    acc = sum(data[..., np.newaxis] * weights.q[index] for index, data in _taps(node, x.q, weights.q.shape[:2]))
    return _accumulated(acc.reshape(acc.shape[:3] + (-1,)), x, weights)


def _transposed(node, shape, weights, x):
    """Each input adds the weights, times itself, to the window that it would come from in a convolution of the result."""
    height, width = shape[1:3]
    result = np.zeros([len(x.q), height, width, weights.q.shape[2]], np.int64)
    numbers = np.arange(result.size).reshape(result.shape)[..., :1] + 1
    flat = result.reshape(-1, result.shape[-1])
    for index, cells in _taps(node, numbers, weights.q.shape[:2]):
        products, cells = (x.q @ weights.q[index].T).reshape(-1, result.shape[-1]), cells.ravel()
        np.add.at(flat, (cells[cells > 0] - 1) // result.shape[-1], products[cells > 0])
    return _accumulated(result, x, weights)


def _matmul(node, x, weights):
    left, right = (operand.q.T if node.attr[attr].b else operand.q
                   for operand, attr in ((x, 'transpose_a'), (weights, 'transpose_b')))
    return _accumulated(left @ right, x, weights)


def _bias(x, bias):
    """Behind a multiplication by a constant, as a batch norm of its own has it, this makes one weighted op of the two."""
    if x.kind == 'mul':
        x = _accumulated(x.q, Fixed(x.q, x.p, 8, False), Fixed(x.q, 0, 8, True))
    product = x.p - 1
    shift = product - bias.p + 1
    doubled = bias.q << shift if shift >= 0 else bias.q >> -shift
    return Unrounded(x.q + doubled, x.p, 'biased', x.limits + (functools.partial(_within_bias, product, bias.p),))


# Elementwise ops.

def _add(node, x, y):
    if isinstance(x, Fixed) and isinstance(y, Fixed):
        return _sum(x, y, 1)
    if isinstance(y, np.ndarray):
        return _plus_three(x, y)
    x, y = (x, y) if isinstance(x, Unrounded) else (y, x)
    require(x.kind in ('weighted', 'mul') and isinstance(y, Fixed) and y.constant, 'adds what is not quantized')
    return _bias(x, y)


def _sum(x, y, sign):
    """Both at the lower position and two bits more; what is below is dropped."""
    lowest = min(x.p, y.p)
    require(max(x.p, y.p) - lowest <= 15, 'shift_read {}', max(x.p, y.p) - lowest)
    x, y = ((operand.q << 2) >> (operand.p - lowest) for operand in (x, y))
    return Unrounded(x + sign * y, lowest + 2, 'sum', (functools.partial(_within_write, lowest),))


def _within_write(lowest, position):
    require(-15 <= lowest - position <= 15, 'shift_write {}', lowest - position)


def _multiply(node, x, y):
    del node
    constants = [operand for operand in (x, y) if isinstance(operand, np.ndarray)]
    if constants:
        return _times_factor(x if isinstance(y, np.ndarray) else y, constants[0])
    require(isinstance(x, Fixed) and isinstance(y, Fixed), 'multiplies what is not quantized')
    return Unrounded(x.q * y.q, x.p + y.p, 'mul', (functools.partial(_within_product, x.p + y.p),))


def _within_product(product, position):
    require(0 <= product - position <= 32, 'shift_write {}', product - position)


def _times_factor(x, factor):
    """A factor of the float graph that stands for what the hardware does in one: of an average, or of a hard sigmoid."""
    if x.kind.startswith('average'):
        require(factor.ravel() == [np.float32(x.kind.partition(' ')[2])], 'averages with a factor of {}', factor)
        return x._replace(kind='pool')
    if x.kind == 'relu6 of three more':
        require(abs(factor * 6 - 1) < 1e-3, 'a factor of {}, not 1/6', factor)
        return Unrounded(x.q * 2731, x.p + 14, 'hard sigmoid', (functools.partial(_within_sigmoid, x.p),))
    require(x.kind == 'hard sigmoid' and factor.ravel() == [np.float32(6 * 2731 / 2**14)], 'multiplies by {}', factor)
    return x._replace(kind='scaled')


def _plus_three(x, three):
    require(isinstance(x, Fixed) and three == 3 and x.p >= 0, 'adds the constant {}', three)
    return Unrounded(x.q + (3 << x.p), x.p, 'three more')


def _within_sigmoid(read, position):
    """1.0 is clipped by saturation only."""
    require(position >= 7 and 0 <= 14 + read - position <= 31, 'hard sigmoid from position {} to {}', read, position)


# Activations: in front of the rounding of the op before, or ops of their own on what is in memory.

def _activation(function):
    def compute(node, x):
        if isinstance(x, Fixed):
            x = Unrounded(x.q, x.p, 'copy', (functools.partial(_within_write, x.p),))
        return function(node, x)
    return compute


def _relu(node, x):
    del node
    return x._replace(q=np.maximum(x.q, 0), kind='activated')


def _relu6(node, x):
    """Clipped at 96 steps of position 4, at which 8 bits hold 6.0; at higher positions by saturation."""
    del node
    if x.kind == 'three more':
        return x._replace(q=np.maximum(x.q, 0), kind='relu6 of three more')
    return x._replace(q=np.clip(x.q, 0, 6 << x.p), kind='activated', limits=x.limits + (_within_relu6,))


def _within_relu6(position):
    require(position >= 4, 'relu6 at position {}', position)


def _leaky_relu(node, x):
    require(node.attr['alpha'].f == 26 / 256, 'slope {}', node.attr['alpha'].f)
    return x._replace(q=np.where(x.q < 0, x.q * 26, x.q << 8), p=x.p + 8, kind='activated')


# Pools and joins.

def _pool_limits(x):
    def within(position):
        require(abs(x.p - position) <= 7, 'pool from position {} to {}', x.p, position)
    return (within,)


def _max_pool(node, x):
    kernel = _along_space(node, 'ksize', ())
    q = np.max([data for _, data in _taps(node, x.q, kernel, np.iinfo(np.int64).min)], 0)
    return Unrounded(q, x.p, 'pool', _pool_limits(x))


def _average_pool(node, x):
    """The sum over the window, of zeros outside, times a factor over a power of two."""
    kernel = _along_space(node, 'ksize', ())
    factor, bits = _reciprocal(*kernel)
    q = factor * sum(data for _, data in _taps(node, x.q, kernel))
    scale = np.float32(factor / 2**bits) * np.float32(kernel[0] * kernel[1])
    return Unrounded(q, x.p + bits, 'average {}'.format(scale), _pool_limits(x))


def _reciprocal(height, width):
    """k and n of k / 2^n, which stands for 1 / (height * width)."""
    own = {3: (7, 6), 5: (10, 8), 6: (7, 8), 7: (21, 10), 14: (21, 12)}
    if height == width and height in own:
        return own[height]
    size, least, found = height * width, 1., None
    for bits in range(math.ceil(math.log2(128 * size))):
        factor = max(1, math.floor(2**bits / size + 0.5))
        difference = np.float32(abs(factor / 2**bits - 1 / size))
        if difference < least:
            least, found = difference, (factor, bits)
    return found


def _concat(node, *operands):
    del node
    require(all(isinstance(operand, Fixed) for operand in operands[:-1]), 'joins what is not quantized')
    first = operands[0]
    require(all(operand.p == first.p for operand in operands[:-1]),
            'joins integers of positions {}', [operand.p for operand in operands[:-1]])
    return first._replace(q=np.concatenate([operand.q for operand in operands[:-1]], int(operands[-1])))


OPS = {
    'Conv2D': _conv, 'Conv3D': _conv, 'DepthwiseConv2dNative': _depthwise, 'Conv2DBackpropInput': _transposed, 'MatMul': _matmul,
    'BiasAdd': _add, 'Add': _add, 'AddV2': _add, 'Sub': lambda node, x, y: _sum(x, y, -1), 'Mul': _multiply,
    'Relu': _activation(_relu), 'Relu6': _activation(_relu6), 'LeakyRelu': _activation(_leaky_relu),
    'MaxPool': _max_pool, 'AvgPool': _average_pool, 'ConcatV2': _concat,
}
