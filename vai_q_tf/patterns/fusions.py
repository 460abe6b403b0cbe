"""Groups of ops without weights that the hardware executes as one operation: only their results are quantized."""
from typing import Callable, Container, Dict, FrozenSet, List, NamedTuple, Optional, Set, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf.dpu import HARD_SIGMOID_FACTOR
from vai_q_tf.graph.traits import ADD_OPS
from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.patterns.activations import Activation, hard_sigmoid
from vai_q_tf.patterns.combinators import Pattern, anything, find, named, number, op, optional, same
from vai_q_tf.patterns.graph_range import GraphRange
from vai_q_tf.types import NodeInput

Relus = Callable[[str], Optional[Activation]]


class Fusion(NamedTuple):
    """A group of ops that the hardware executes as one.

    kind: 'hard_swish', 'hard_sigmoid', 'swish', 'batch_norm', 'average_pool' or 'clip'.
    node: its result.
    nodes: the computed nodes that it consists of.
    sources: the computed tensors that it reads.
    inner: the intermediate tensors that are quantized for every reader, as the result is.
    scale, offset: the inputs that read the constants of a batch norm; None for the other kinds.
    hard_sigmoid, shifted: the result and the argument of a hard sigmoid in it; '' if there is none.
    """
    kind: str
    node: str
    nodes: FrozenSet[str]
    sources: Tuple[str, ...]
    inner: Tuple[str, ...] = ()
    scale: Optional[NodeInput] = None
    offset: Optional[NodeInput] = None
    hard_sigmoid: str = ''
    shifted: str = ''


def _hard_sigmoid(source: Pattern) -> Pattern:
    return named('hard_sigmoid', optional(lambda plain: op('Mul', plain, number(HARD_SIGMOID_FACTOR), any_order=True),
                                          hard_sigmoid(source)))


# {op of the result: (kind, pattern), in the order in which they are tried}
_PATTERNS = {
    'Mul': (('hard_swish', op('Mul', anything('x'), _hard_sigmoid(same('x')), any_order=True)),
            ('hard_sigmoid', _hard_sigmoid(anything('x'))),
            ('swish', op('Mul', anything('x'), op('Sigmoid', same('x'), name='sigmoid'), any_order=True)),
            ('average_pool', op('Mul', op('AvgPool', anything('x')), number(), any_order=True))),
    'RealDiv': (('hard_sigmoid', _hard_sigmoid(anything('x'))),)}
# Earlier kinds take their nodes first.
_ORDER = ('hard_swish', 'hard_sigmoid', 'swish', 'batch_norm', 'average_pool', 'clip')


def find_fusions(graph_range: GraphRange, relus: Relus, taken: Container[str]) -> List[Fusion]:
    """The Fusions of the range in graph order; no two of them share a node.

    >>> with tf.Graph().as_default() as graph:
    ...     x = tf.placeholder(tf.float32, [None, 4], name='x')
    ...     y = tf.multiply(x, tf.sigmoid(x, name='sigmoid'), name='swish')
    >>> fusion, = find_fusions(GraphRange(GraphView(graph.as_graph_def()), ['x'], ['swish']), lambda tensor: None, ())
    >>> fusion.kind, fusion.node, fusion.sources, fusion.inner
    ('swish', 'swish', ('x',), ('sigmoid',))

    Args:
      graph_range: where to search.
      relus: function from a tensor to the Activation of the relu that is applied to it, or None.
      taken: the nodes that no Fusion may have.
    """
    found: Dict[str, List[Fusion]] = {kind: [] for kind in _ORDER}
    for name in graph_range.nodes:
        if _is_free(graph_range, name, taken):
            for fusion in _at(graph_range, name, relus):
                found[fusion.kind].append(fusion)
    chosen: List[Fusion] = []
    used: Set[str] = set()
    for kind in _ORDER:
        for fusion in sorted(found[kind], key=lambda fusion: -len(fusion.nodes)):  # larger ones include a factor
            if used.isdisjoint(fusion.nodes) and all(_is_free(graph_range, node, taken) for node in fusion.nodes):
                used.update(fusion.nodes)
                chosen.append(fusion)
    return sorted(chosen, key=lambda fusion: graph_range.view.order(fusion.node))


def _is_free(graph_range: GraphRange, name: str, taken: Container[str]) -> bool:
    return (name in graph_range and name not in taken and name not in graph_range.input_nodes
            and not graph_range.is_static(name) and graph_range.view.dtype(name) == tf.float32)


def _at(graph_range: GraphRange, name: str, relus: Relus) -> List[Fusion]:
    """The fusions whose last op, a relu aside, is `name`."""
    op_type = graph_range.view.op(name)
    found = [_matched(graph_range, name, kind, pattern) for kind, pattern in _PATTERNS.get(op_type, ())]
    if op_type in ADD_OPS:
        found.append(_batch_norm(graph_range, name, relus))
    if op_type in ('Maximum', 'Minimum'):
        found.append(_clip(graph_range, name, 'Minimum' if op_type == 'Maximum' else 'Maximum'))
    return [fusion for fusion in found if fusion]


def _matched(graph_range: GraphRange, name: str, kind: str, pattern: Pattern) -> Optional[Fusion]:
    match = find(graph_range.view, name, pattern)
    if not match:
        return None
    source, sigmoid = graph_range.source(match['x']), match.get('hard_sigmoid')
    inner = tuple(tensor for tensor in (sigmoid, match.get('sigmoid')) if tensor and tensor != name)
    return Fusion(kind, name, frozenset(match.nodes), (source,), inner, hard_sigmoid=sigmoid,
                  shifted=source if sigmoid else '')


def _batch_norm(graph_range: GraphRange, name: str, relus: Relus) -> Optional[Fusion]:
    """The addition `name` of a constant per channel to a product with a constant per channel."""
    view, added = graph_range.view, _static_operand(graph_range, name)
    if added is None:
        return None
    product = node_name(graph_range.source(view.inputs(name)[1 - added]))
    if view.op(product) != 'Mul' or product not in graph_range:
        return None
    factor = _static_operand(graph_range, product)
    if factor is None:
        return None
    data = view.inputs(product)[1 - factor]
    axis = channel_axis(view, view.inputs(product)[factor], data)
    if axis is None or axis != channel_axis(view, view.inputs(name)[added], data):
        return None
    relu = relus(name)
    nodes = frozenset((product, name)) | (relu.nodes if relu else frozenset())
    return Fusion('batch_norm', relu.node if relu else name, nodes, (graph_range.source(data),),
                  scale=(product, factor), offset=(name, added))


def _static_operand(graph_range: GraphRange, name: str) -> Optional[int]:
    """The index of the constant operand of a node with one constant and one computed operand; None for other nodes."""
    static = [graph_range.is_static(tensor) for tensor in graph_range.view.inputs(name)]
    return static.index(True) if sorted(static) == [False, True] else None


def channel_axis(view: GraphView, constant: str, data: str) -> Optional[int]:
    """The negative axis along which a constant has one value for each channel of the data, or None.

    The constant is a vector, [1, .., 1, C] (axis -1) or [1, C, 1, ..]. A single element fits data of one channel.
    """
    shape, sizes = view.shape(constant), view.shape(data)
    if not shape or sum(dim != 1 for dim in shape) > 1:
        return None
    channels = max(shape)
    rank = max(len(shape), 2) if sizes is None else len(sizes)
    if len(shape) > rank:
        return None
    for axis in (-1, 1 - rank):
        size = -1 if sizes is None else sizes[axis]
        if -axis <= len(shape) and shape[axis] == channels and size in ((channels, -1) if channels > 1 else (1,)):
            return axis
    return None


def _clip(graph_range: GraphRange, name: str, inner_op: str) -> Optional[Fusion]:
    """The node `name` and the first operand of the op `inner_op`."""
    view = graph_range.view
    for operand in view.inputs(name):
        inner = node_name(graph_range.source(operand))
        if view.op(inner) == inner_op and inner in graph_range and not graph_range.is_static(inner):
            operands = view.inputs(inner) + tuple(other for other in view.inputs(name) if other != operand)
            return Fusion('clip', name, frozenset((name, inner)),
                          tuple(graph_range.source(other) for other in operands if not graph_range.is_static(other)))
    return None
