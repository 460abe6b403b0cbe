"""Layers of a network in NumPy float64 with gradients written by hand, to compare rewritten graphs with.

A `Tape` records what is computed, so that `Tape.gradients` can go back over it. It also notes how near quantized values
were to where float32 arithmetic could have decided otherwise.
"""
import numpy as np


class Variable:
    """An array and, once gradients are computed, the gradient of the loss by it."""

    def __init__(self, value):
        self.value = np.asarray(value, np.float64)
        self.gradient = np.zeros_like(self.value)


class Tape:
    """Computes layers on Variables, NHWC.

    Args:
      clipped: the gradient of `quantize` is zero where a value is out of range; else it is 1 everywhere.

    Attributes:
      margin: the smallest distance, in steps, of a quantized value to a rounding edge or a limit of the range. Values
        right on one do not count: they are sums and products of quantized values, which float32 computes exactly.
      saturated: how many quantized values were out of range.
    """

    def __init__(self, clipped=True):
        self._clipped = clipped
        self._backward = []
        self.margin = np.inf
        self.saturated = 0

    def gradients(self, loss):
        """Sets the gradients of `loss`, a scalar Variable, of all Variables before it."""
        loss.gradient = np.ones(())
        for backward in reversed(self._backward):
            backward()

    def _record(self, value, *pairs):
        """A result with (operand, function: gradient of the result -> of the operand) pairs."""
        result = Variable(value)

        def backward():
            for operand, function in pairs:
                operand.gradient = operand.gradient + _reduce_to(operand.value.shape, function(result.gradient))
        self._backward.append(backward)
        return result

    def quantize(self, x, position, mode, bits=8):
        """x on the grid of `position`; halves go up in mode 1, away from zero in modes 0 and 2."""
        t = x.value * 2.0**position
        lo, hi = -2.0**(bits - 1), 2.0**(bits - 1) - 1
        rounded = np.floor(t + 0.5) if mode == 1 else np.sign(t) * np.floor(np.abs(t) + 0.5)
        inside = (t >= lo) & (t <= hi)
        self.saturated += int(np.sum(~inside))
        edges = np.minimum(np.abs(t - lo), np.abs(t - hi))
        edges = np.where(inside, np.minimum(edges, np.abs(t - np.floor(t) - 0.5)), edges)
        self.margin = min(self.margin, edges[edges > 1e-9].min(initial=np.inf))
        mask = inside if self._clipped else np.ones_like(inside)
        return self._record(np.clip(rounded, lo, hi) * 2.0**-position, (x, lambda dy: dy * mask))

    def add(self, x, y):
        return self._record(x.value + y.value, (x, lambda dy: dy), (y, lambda dy: dy))

    def subtract(self, x, y):
        return self._record(x.value - y.value, (x, lambda dy: dy), (y, lambda dy: -dy))

    def multiply(self, x, y):
        return self._record(x.value * y.value, (x, lambda dy: dy * y.value), (y, lambda dy: dy * x.value))

    def rsqrt(self, x):
        return self._record(x.value**-0.5, (x, lambda dy: -0.5 * dy * x.value**-1.5))

    def relu(self, x, limit=np.inf):
        passed = (x.value > 0) & (x.value < limit)
        return self._record(np.clip(x.value, 0, limit), (x, lambda dy: dy * passed))

    def convolution(self, x, w):
        """3 x 3 or 1 x 1, stride 1, SAME; w [height, width, in, out]."""
        return self._windowed(x, w, 'nhwklc,klcd->nhwd', 'nhwd,klcd->nhwklc', 'nhwd,nhwklc->klcd')

    def depthwise(self, x, w):
        """As `convolution`, channel by channel; w [height, width, channels, 1]."""
        return self._windowed(x, w, 'nhwklc,klcm->nhwc', 'nhwc,klcm->nhwklc', 'nhwc,nhwklc->klc')

    def _windowed(self, x, w, forward, to_x, to_w):
        size = w.value.shape[0]
        pad, (height, width) = size // 2, x.value.shape[1:3]
        padded = np.pad(x.value, [(0, 0), (pad, pad), (pad, pad), (0, 0)], 'constant')
        windows = np.stack([np.stack([padded[:, i:i + height, j:j + width] for j in range(size)], 3)
                            for i in range(size)], 3)

        def back_to_x(dy):
            spread, result = np.einsum(to_x, dy, w.value), np.zeros_like(padded)
            for i in range(size):
                for j in range(size):
                    result[:, i:i + height, j:j + width] += spread[:, :, :, i, j]
            return result[:, pad:pad + height, pad:pad + width]
        return self._record(np.einsum(forward, windows, w.value), (x, back_to_x),
                            (w, lambda dy: np.einsum(to_w, dy, windows).reshape(w.value.shape)))

    def matmul(self, x, w):
        return self._record(x.value @ w.value, (x, lambda dy: dy @ w.value.T), (w, lambda dy: x.value.T @ dy))

    def batch_norm(self, x, gamma, beta, epsilon):
        """Normalises with the statistics of the batch."""
        axes = tuple(range(x.value.ndim - 1))
        reciprocal = (x.value.var(axis=axes) + epsilon)**-0.5
        normal = (x.value - x.value.mean(axis=axes)) * reciprocal

        def back_to_x(dy):
            centred = dy - dy.mean(axis=axes) - normal * (dy * normal).mean(axis=axes)
            return gamma.value * reciprocal * centred
        return self._record(gamma.value * normal + beta.value, (x, back_to_x), (gamma, lambda dy: dy * normal),
                            (beta, lambda dy: dy))

    def max_pool(self, x):
        """2 x 2, stride 2; the gradient goes to the first of equal maxima."""
        n, h, w, c = x.value.shape
        cells = x.value.reshape(n, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 5, 2, 4).reshape(n, h // 2, w // 2, c, 4)
        chosen = np.eye(4)[cells.argmax(axis=-1)]

        def back(dy):
            spread = (dy[..., np.newaxis] * chosen).reshape(n, h // 2, w // 2, c, 2, 2)
            return spread.transpose(0, 1, 4, 2, 5, 3).reshape(n, h, w, c)
        return self._record(cells.max(axis=-1), (x, back))

    def global_mean(self, x):
        shape = x.value.shape
        return self._record(x.value.mean(axis=(1, 2)), (x, lambda dy: np.broadcast_to(
            dy[:, np.newaxis, np.newaxis], shape) / (shape[1] * shape[2])))

    def softmax_cross_entropy(self, logits, labels):
        """The mean over the batch; labels are one-hot."""
        shifted = logits.value - logits.value.max(axis=1, keepdims=True)
        log_sum = np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        probabilities = np.exp(shifted - log_sum)
        loss = (labels * (log_sum - shifted)).sum(axis=1).mean()
        return self._record(loss, (logits, lambda dy: dy * (probabilities - labels) / len(labels)))


def _reduce_to(shape, gradient):
    """The gradient of an operand of that shape that was broadcast."""
    gradient = np.asarray(gradient)
    while gradient.ndim > len(shape):
        gradient = gradient.sum(axis=0)
    for axis, size in enumerate(shape):
        if size == 1:
            gradient = gradient.sum(axis=axis, keepdims=True)
    return gradient
