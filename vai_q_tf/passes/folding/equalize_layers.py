"""Cross-layer equalization: scales of channels move between consecutive layers until their ranges are equal.

The ops between the layers are positively homogeneous, f(s * x) = s * f(x) for s > 0, so the scale of a channel of the first
layer and its inverse on the second one cancel. Equal ranges of channels reduce the error of a position per tensor.
"""
from typing import Callable, Collection, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.traits import ADD_OPS, IDENTITY_OPS
from vai_q_tf.graph.view import node_name
from vai_q_tf.passes.common.rewriter import Rewriter

ITERATIONS = 10
_MIN_SCALE, _MAX_SCALE = np.float32(0.01), np.float32(100)
_MIN_RANGE = np.float32(0.5)  # sum of both ranges of a channel; below it the channel does not influence the position
_MIN_SHARE = np.float32(1e-3)  # the same for weights alone, as a fraction of the range of the median channel

_LAYERS = ('Conv2D', 'DepthwiseConv2dNative', 'MatMul')
_HOMOGENEOUS = ('Identity', 'Relu', 'LeakyRelu', 'MaxPool', 'AvgPool', 'Pad', 'MirrorPad')
_RESHAPES = ('Reshape', 'Squeeze')


def equalize_layers(graph_def: tf.GraphDef, protected: Collection[str], config: QuantizeConfig) -> tf.GraphDef:
    """The graph with equalized weights and biases in every chain of Conv2D, DepthwiseConv2dNative and MatMul.

    Two layers are a pair if the second reads only the first, no other node reads the values in between, and the ops in between
    are positively homogeneous. A step equalizes each pair of each chain, from the input to the output. H[c] is the largest
    magnitude among the weights and the bias of output channel c of the first layer, T[c] that among the weights of input
    channel c of the second:

        s[c] = sqrt(T[c] / H[c]) within 0.01 to 100; 1 if H[c] + T[c] < 0.5
        weights and bias of the first *= s[c];  weights of the second /= s[c]

    There are ten steps. The network computes the same function, with one exception: if `config.replace_relu6` is 1, a Relu6
    between the layers of a pair becomes a Relu when the pair is scaled. With 0 it ends the chain.

    >>> from vai_q_tf.passes.common.examples import print_before_and_after
    >>> def network(x):
    ...     return tf.matmul(tf.nn.relu(tf.matmul(x, [[1.0, 8.0]])), [[4.0], [2.0]])
    >>> print_before_and_after(equalize_layers, network, [-1, 1])
    MatMul(Relu(MatMul(x, [[1, 8]])), [[4], [2]])
    MatMul(Relu(MatMul(x, [[2, 4]])), [[2], [4]])
    """
    return _equalize(graph_def, protected, config, _Pair.equalize)


def equalize_weights(graph_def: tf.GraphDef, protected: Collection[str], config: QuantizeConfig) -> tf.GraphDef:
    """As `equalize_layers`, but by the ranges of the weights alone; the bias is scaled, too.

    In a network that reads raw pixels the biases are far above the weights. They would determine the scales, and leave the
    ranges of the weights less equal than they were. A channel is scaled if the range of its weights is at least 1/1000 of that
    of the median channel, in both layers.
    """
    return _equalize(graph_def, protected, config, _Pair.equalize_weights)


def _equalize(graph_def: tf.GraphDef, protected: Collection[str], config: QuantizeConfig,
              step: Callable[['_Pair'], None]) -> tf.GraphDef:
    """Applies `step` to each _Pair ITERATIONS times."""
    rewriter = Rewriter(graph_def, protected)
    values: Dict[str, np.ndarray] = {}
    pairs = _find_pairs(rewriter, config.replace_relu6, values)
    chains = _chains(pairs)
    tf.logging.info('Equalizing %d pairs of layers in %d chains.', len(pairs), len(chains))
    for _ in range(ITERATIONS):
        for chain in chains:
            for pair in chain:
                step(pair)
    for pair in pairs.values():
        if pair.scaled:
            _write(rewriter, pair, values)
    return rewriter.result()


class _Pair:
    """Two consecutive layers, whose arrays are changed in place.

    Args:
      path: the _Path from the first layer to the second, `tail`.
      head_weights, bias, tail_weights: arrays [.., C], [C] or None, [.., C, outputs].
      constants: names of the Consts of these arrays.

    Attributes:
      scaled: whether a step has changed anything.
    """

    def __init__(self, path: '_Path', tail: str, head_weights: np.ndarray, bias: Optional[np.ndarray], tail_weights: np.ndarray,
                 constants: Sequence[str]) -> None:
        self.head, self.tail, self.relu6 = path.head, tail, path.relu6
        self.constants = constants
        self.scaled = False
        self._head_weights, self._bias, self._tail_weights = head_weights, bias, tail_weights

    def equalize(self) -> None:
        """One step by the ranges of weights and bias."""
        head, tail = self._ranges()
        if self._bias is not None:
            head = np.maximum(head, np.abs(self._bias))
        self._scale(head, tail, head + tail >= _MIN_RANGE)

    def equalize_weights(self) -> None:
        """One step by the ranges of the weights."""
        head, tail = self._ranges()
        self._scale(head, tail, (head >= _MIN_SHARE * np.median(head)) & (tail >= _MIN_SHARE * np.median(tail)))

    def _ranges(self) -> Tuple[np.ndarray, np.ndarray]:
        return _magnitude(self._head_weights, channel=-1), _magnitude(self._tail_weights, channel=-2)

    def _scale(self, head: np.ndarray, tail: np.ndarray, included: np.ndarray) -> None:
        """Equalizes the ranges `head` and `tail` of the channels that are `included`."""
        with np.errstate(divide='ignore', invalid='ignore'):
            scale = np.clip(np.sqrt(tail / head), _MIN_SCALE, _MAX_SCALE)
        scale[~(np.isfinite(scale) & included)] = 1
        self.scaled = self.scaled or bool(np.any(scale != 1))
        self._head_weights *= scale
        if self._bias is not None:
            self._bias *= scale
        self._tail_weights /= scale[:, np.newaxis]


def _magnitude(weights: np.ndarray, channel: int) -> np.ndarray:
    """The largest magnitude per channel, [C]; channel: the axis of the channels."""
    axes = tuple(axis for axis in range(weights.ndim) if axis != weights.ndim + channel)
    return np.maximum(weights.max(axes), -weights.min(axes))


class _Path(NamedTuple):
    """The way from a layer to the next one.

    head: the layer. bias_op: the addition of its bias, '' if there is none. reshapes: whether a shape changes on the way.
    relu6: the Relu6 nodes on the way.
    """
    head: str
    bias_op: str
    reshapes: bool
    relu6: Tuple[str, ...]


def _find_pairs(rewriter: Rewriter, replace_relu6: int, values: Dict[str, np.ndarray]) -> Dict[str, _Pair]:
    """{head: _Pair} of a graph; puts the arrays of the pairs into `values`, {Const: array}."""
    view, finder = rewriter.view, _PairFinder(rewriter, replace_relu6, values)
    pairs = (finder.find(name) for name in view.names if view.op(name) in _LAYERS and view.dtype(name) == tf.float32)
    return {pair.head: pair for pair in pairs if pair}


class _PairFinder:
    """Finds the pairs of a graph."""

    def __init__(self, rewriter: Rewriter, replace_relu6: int, values: Dict[str, np.ndarray]) -> None:
        self._rewriter = rewriter
        self._view = rewriter.view
        self._replace_relu6 = replace_relu6
        self._values = values

    def find(self, tail: str) -> Optional[_Pair]:
        """The _Pair whose second layer is `tail`, or None."""
        path = self._path(tail)
        if path is None:
            return None
        layers = (path.head, tail)
        channels_first = self._view.op(path.head) != 'MatMul' and self._view.attr(path.head, 'data_format').s != b'NHWC'
        constants = [_own_constant(self._rewriter, layer, 1) for layer in layers]
        if '' in constants or (path.reshapes and channels_first) or not all(self._is_plain(layer) for layer in layers):
            return None
        head_weights, tail_weights = [self._weights(*layer) for layer in zip(layers, constants)]
        if self._view.op(path.head) == 'DepthwiseConv2dNative':
            head_weights = head_weights.reshape(head_weights.shape[:2] + (-1,))
        channels, bias = head_weights.shape[-1], None
        if path.bias_op:
            constants.append(self._bias_constant(path.bias_op))
            bias = self._bias(path.bias_op, constants[-1], channels, channels_first)
        fits = tail_weights.shape[-2] == channels and head_weights.size and tail_weights.size
        if not fits or (path.bias_op and bias is None):
            tf.logging.info('%s and %s are not equalized: their channels do not match.', *layers)
            return None
        return _Pair(path, tail, head_weights, bias, tail_weights, constants)

    def _path(self, tail: str) -> Optional[_Path]:
        """The _Path that ends at the layer `tail`, or None."""
        view = self._view
        between: List[str] = []
        tensor: Optional[str] = view.inputs(tail)[0]
        while tensor and self._has_one_reader(tensor):
            if view.op(tensor) in _LAYERS:
                return self._path_through(tensor, between) if view.dtype(tensor) == tf.float32 else None
            between.append(tensor)
            tensor = self._source(tensor)
        return None

    def _path_through(self, head: str, between: Sequence[str]) -> _Path:
        ops = [self._view.op(tensor) for tensor in between]
        return _Path(node_name(head), next((tensor for tensor, op in zip(between, ops) if op in ADD_OPS), ''),
                     any(op in _RESHAPES for op in ops),
                     tuple(tensor for tensor, op in zip(between, ops) if op == 'Relu6'))

    def _has_one_reader(self, tensor: str) -> bool:
        readers = [name for name, _ in self._view.consumers(tensor) if self._view.op(name) != 'Shape']
        return len(readers) == 1 and node_name(tensor) not in self._rewriter.protected

    def _source(self, tensor: str) -> Optional[str]:
        """The tensor whose scale per channel `tensor` has, too; None if it has not."""
        op, operands = self._view.op(tensor), self._view.inputs(tensor)
        if op in ADD_OPS:
            return next((operands[index] for index in (0, 1) if self._is_biased_layer(tensor, index)), None)
        if op == 'Mul':
            return next((operands[index] for index in (0, 1) if self._is_scalar(operands[1 - index])), None)
        if op in _RESHAPES and not self._keeps_last(tensor):
            return None
        is_homogeneous = op in _HOMOGENEOUS or op in _RESHAPES or (op == 'Relu6' and self._replace_relu6)
        return operands[0] if is_homogeneous else None

    def _is_biased_layer(self, addition: str, index: int) -> bool:
        """Whether operand `index` of the addition is a layer, and the other one a Const."""
        operand = self._view.skip_identity(self._view.inputs(addition)[index])
        return self._view.op(operand) in _LAYERS and _own_constant(self._rewriter, addition, 1 - index) != ''

    def _is_scalar(self, tensor: str) -> bool:
        value = self._rewriter.value(tensor)
        return value is not None and value.size == 1

    def _keeps_last(self, tensor: str) -> bool:
        before, after = [self._view.shape(end) for end in (self._view.inputs(tensor)[0], tensor)]
        return bool(before and after and before[-1] == after[-1] != -1)

    def _is_plain(self, layer: str) -> bool:
        return self._view.op(layer) != 'MatMul' or not self._view.attr(layer, 'transpose_a').b

    def _weights(self, layer: str, constant: str) -> np.ndarray:
        """The array of the weights, [.., input channel, output channel] for every op."""
        transposed = self._view.op(layer) == 'MatMul' and self._view.attr(layer, 'transpose_b').b
        return self._value(constant).T if transposed else self._value(constant)

    def _bias_constant(self, bias_op: str) -> str:
        return next(name for name in (_own_constant(self._rewriter, bias_op, index) for index in (1, 0)) if name)

    def _bias(self, bias_op: str, constant: str, channels: int, channels_first: bool) -> Optional[np.ndarray]:
        """The array of the bias, [channels]; None if the Const has another shape."""
        value, axis = self._value(constant), -3 if channels_first else -1
        if self._view.op(bias_op) == 'BiasAdd':
            axis = -1
            if channels_first != (self._view.attr(bias_op, 'data_format').s == b'NCHW'):
                return None
        fits = value.size == channels and value.ndim >= -axis and value.shape[axis] == channels
        return value.reshape(-1) if fits else None

    def _value(self, constant: str) -> np.ndarray:
        if constant not in self._values:
            self._values[constant] = np.array(self._rewriter.value(constant))
        return self._values[constant]


def _own_constant(rewriter: Rewriter, name: str, index: int) -> str:
    """The Const that only input `index` of the node reads, seen through Identity nodes; '' if there is none.

    Neither the Const nor the Identity nodes may be protected or have other readers.
    """
    view = rewriter.view
    tensor = view.inputs(name)[index]
    while tensor not in rewriter.protected and len(view.consumers(tensor)) == 1:
        if view.op(tensor) == 'Const':
            return tensor
        if view.op(tensor) not in IDENTITY_OPS:
            return ''
        tensor = view.inputs(tensor)[0]
    return ''


def _chains(pairs: Mapping[str, _Pair]) -> List[List[_Pair]]:
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


def _write(rewriter: Rewriter, pair: _Pair, values: Dict[str, np.ndarray]) -> None:
    """Writes the changed constants of the _Pair, and its Relu6 nodes as Relu."""
    for name in pair.constants:
        rewriter.set_value(name, values[name])
    for name in pair.relu6:
        relu = editor.exact_copy(rewriter.node(name))
        relu.op = 'Relu'
        rewriter.add(relu)
