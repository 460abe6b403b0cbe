"""Cross-layer equalization: scales move between the channels of consecutive layers until their ranges are alike.

What lies between two layers hands a positive scale of a channel on, f(s * x) = s * f(x), so that the scale that one layer
gains and the next one loses cancel. Channels of like ranges lose less in the one position of a weight tensor.
"""
import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.traits import ADD_OPS
from vai_q_tf.graph.view import node_name
from vai_q_tf.passes.common import snippets
from vai_q_tf.passes.common.rewriter import Rewriter

ITERATIONS = 10
_MIN_SCALE, _MAX_SCALE = np.float32(0.01), np.float32(100)
_MIN_RANGE = np.float32(0.5)  # of both layers together; a channel below has no part in the position
_MIN_SHARE = np.float32(1e-3)  # of the range of the median channel, where weights alone count

_LAYERS = ('Conv2D', 'DepthwiseConv2dNative', 'MatMul')
_HOMOGENEOUS = ('Identity', 'Relu', 'LeakyRelu', 'MaxPool', 'AvgPool', 'Pad', 'MirrorPad')
_RESHAPES = ('Reshape', 'Squeeze')


def equalize_layers(graph_def, protected, config):
    """The graph with equalized weights and biases in every chain of Conv2D, DepthwiseConv2dNative and MatMul.

    Two layers form a pair where the second reads the first alone, nothing else reads what is between, and that scales with
    a positive factor of a channel. Ten times over, for each pair of each chain from the input to the output, with H[c] the
    largest magnitude among the weights and the bias of output channel c of the first, T[c] that of the weights of input
    channel c of the second:

        s[c] = sqrt(T[c] / H[c]) within 0.01 to 100; 1 where H[c] + T[c] < 0.5
        weights and bias of the first *= s[c];  weights of the second /= s[c]

    A Relu6 between two layers ends the chain, or becomes a Relu where `config.replace_relu6` is 1 and the pair has been scaled.
    Otherwise the network computes the same function.
    """
    return _equalize(graph_def, protected, config, _Pair.equalize)


def equalize_weights(graph_def, protected, config):
    """As `equalize_layers`, by the weights alone: the bias of a channel is scaled with it, but its range does not count.

    A network that reads raw pixels has a bias far above its weights, which would decide the scale for itself: the weights
    of its channels would come out less alike than they were. A channel takes part where its weights in both layers are
    1/1000 or more of what they are in the median channel.
    """
    return _equalize(graph_def, protected, config, _Pair.equalize_weights)


def _equalize(graph_def, protected, config, step):
    """step: what is done to a _Pair, ITERATIONS times."""
    finder = _PairFinder(Rewriter(graph_def, protected), config.replace_relu6)
    rewriter = finder.rewriter
    found = (finder.find(name) for name in rewriter.view.names
             if rewriter.view.op(name) in _LAYERS and rewriter.view.dtype(name) == tf.float32)
    pairs = {pair.head: pair for pair in found if pair}
    chains = _chains(pairs)
    tf.logging.info('Equalizing %d pairs of layers in %d chains.', len(pairs), len(chains))
    for _ in range(ITERATIONS):
        for chain in chains:
            for pair in chain:
                step(pair)
    for pair in pairs.values():
        if pair.scaled:
            _write(rewriter, pair, finder.values)
    return rewriter.result()


class _Pair:
    """Two consecutive layers. Their arrays are changed in place.

    Attributes:
      head, tail: names of the layers. constants: names of their weights and of the bias. relu6: names of the Relu6 between.
      scaled: whether a step has changed anything.
    """

    def __init__(self, head, tail, arrays, constants, relu6):
        self.head, self.tail, self.constants, self.relu6 = head, tail, constants, relu6
        self.scaled = False
        self._head_weights, self._bias, self._tail_weights = arrays  # [.., C], [C] or None, [.., C, outputs]

    def equalize(self):
        """One step, of weights and bias."""
        head, tail = self._ranges()
        if self._bias is not None:
            head = np.maximum(head, np.abs(self._bias))
        self._scale(head, tail, head + tail >= _MIN_RANGE)

    def equalize_weights(self):
        """One step, of the weights alone."""
        head, tail = self._ranges()
        self._scale(head, tail, (head >= _MIN_SHARE * np.median(head)) & (tail >= _MIN_SHARE * np.median(tail)))

    def _ranges(self):
        return _magnitude(self._head_weights, channel=-1), _magnitude(self._tail_weights, channel=-2)

    def _scale(self, head, tail, taking_part):
        """Scales the channels that take part, so that their ranges `head` and `tail` become alike."""
        with np.errstate(divide='ignore', invalid='ignore'):
            scale = np.clip(np.sqrt(tail / head), _MIN_SCALE, _MAX_SCALE)
        scale[~(np.isfinite(scale) & taking_part)] = 1
        self.scaled = self.scaled or bool(np.any(scale != 1))
        self._head_weights *= scale
        if self._bias is not None:
            self._bias *= scale
        self._tail_weights /= scale[:, np.newaxis]


def _magnitude(weights, channel):
    """The largest magnitude per channel, [C]; channel: the axis of the channels."""
    axes = tuple(axis for axis in range(weights.ndim) if axis != weights.ndim + channel)
    return np.maximum(weights.max(axes), -weights.min(axes))


class _PairFinder:
    """Finds the pairs of a graph.

    Attributes:
      rewriter: of the graph. values: {constant: array}, what the pairs change.
    """

    def __init__(self, rewriter, replace_relu6):
        self.rewriter = rewriter
        self.values = {}
        self._view = rewriter.view
        self._replace_relu6 = replace_relu6

    def find(self, tail):
        """The _Pair whose second layer is `tail`, or None."""
        path = self._path(tail)
        if path is None:
            return None
        head, bias_op, reshaped, relu6 = path
        channels_first = self._view.op(head) != 'MatMul' and self._view.attr(head, 'data_format').s != b'NHWC'
        names = [snippets.own_constant(self.rewriter, layer, 1) for layer in (head, tail)]
        if None in names or (reshaped and channels_first) or not all(self._is_plain(layer) for layer in (head, tail)):
            return None
        head_weights, tail_weights = [self._weights(*layer) for layer in zip((head, tail), names)]
        if self._view.op(head) == 'DepthwiseConv2dNative':
            head_weights = head_weights.reshape(head_weights.shape[:2] + (-1,))
        channels, bias = head_weights.shape[-1], None
        if bias_op:
            names.append(self._bias_constant(bias_op))
            bias = self._bias(bias_op, names[-1], channels, channels_first)
        if tail_weights.shape[-2] != channels or not head_weights.size * tail_weights.size or (bias_op and bias is None):
            tf.logging.info('%s and %s are not equalized: their channels do not match.', head, tail)
            return None
        return _Pair(head, tail, (head_weights, bias, tail_weights), names, relu6)

    def _path(self, tail):
        """What lies before the layer `tail`: (layer, addition of a bias or '', whether shapes change, names of Relu6)."""
        view = self._view
        tensor, bias_op, reshaped, relu6 = view.inputs(tail)[0], '', False, []
        while self._has_one_reader(tensor):
            op, operands = view.op(tensor), view.inputs(tensor)
            if op in _LAYERS:
                return (node_name(tensor), bias_op, reshaped, relu6) if view.dtype(tensor) == tf.float32 else None
            source = 0
            if op in ADD_OPS:
                source = next((index for index in (0, 1) if view.op(view.skip_identity(operands[index])) in _LAYERS
                               and snippets.own_constant(self.rewriter, tensor, 1 - index)), None)
                bias_op = tensor
            elif op == 'Mul':
                source = next((index for index in (0, 1) if self._is_scalar(operands[1 - index])), None)
            elif op in _RESHAPES:
                reshaped = True
                source = 0 if self._keeps_last(tensor) else None
            elif op == 'Relu6' and self._replace_relu6:
                relu6.append(tensor)
            elif op not in _HOMOGENEOUS:
                return None
            if source is None:
                return None
            tensor = operands[source]
        return None

    def _has_one_reader(self, tensor):
        readers = [name for name, _ in self._view.consumers(tensor) if self._view.op(name) != 'Shape']
        return len(readers) == 1 and node_name(tensor) not in self.rewriter.protected

    def _is_scalar(self, tensor):
        value = self.rewriter.value(tensor)
        return value is not None and value.size == 1

    def _keeps_last(self, tensor):
        shapes = [self._view.shape(end) for end in (self._view.inputs(tensor)[0], tensor)]
        return all(shapes) and shapes[0][-1] == shapes[1][-1] != -1

    def _is_plain(self, layer):
        return self._view.op(layer) != 'MatMul' or not self._view.attr(layer, 'transpose_a').b

    def _weights(self, layer, constant):
        """The array of the weights, [.., input channel, output] for every op."""
        transposed = self._view.op(layer) == 'MatMul' and self._view.attr(layer, 'transpose_b').b
        return self._value(constant).T if transposed else self._value(constant)

    def _bias_constant(self, bias_op):
        return next(name for name in (snippets.own_constant(self.rewriter, bias_op, index) for index in (1, 0)) if name)

    def _bias(self, bias_op, constant, channels, channels_first):
        """The array of the bias, None where it is not one number per channel."""
        value, axis = self._value(constant), -3 if channels_first else -1
        if self._view.op(bias_op) == 'BiasAdd':
            axis = -1
            if channels_first != (self._view.attr(bias_op, 'data_format').s == b'NCHW'):
                return None
        fits = value.size == channels and value.ndim >= -axis and value.shape[axis] == channels
        return value.reshape(-1) if fits else None

    def _value(self, constant):
        if constant not in self.values:
            self.values[constant] = np.array(self.rewriter.value(constant))
        return self.values[constant]


def _chains(pairs):
    """Lists of consecutive pairs, from input to output; pairs: {head: pair}."""
    tails = {pair.tail for pair in pairs.values()}
    chains = []
    for head in pairs:
        if head not in tails:
            chain = []
            while head in pairs:
                chain.append(pairs[head])
                head = pairs[head].tail
            chains.append(chain)
    return chains


def _write(rewriter, pair, values):
    for name in pair.constants:
        rewriter.set_value(name, values[name])
    for name in pair.relu6:
        relu = editor.exact_copy(rewriter.node(name))
        relu.op = 'Relu'
        rewriter.add(relu)
