"""Groups of ops without weights that a hardware computes as one: only their results are quantized."""
from typing import FrozenSet, NamedTuple, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf.dpu import HARD_SIGMOID_FACTOR
from vai_q_tf.graph.traits import ADD_OPS
from vai_q_tf.graph.view import node_name
from vai_q_tf.patterns.activations import hard_sigmoid
from vai_q_tf.patterns.combinators import anything, find, named, number, op, optional, same, small_constant


class Fusion(NamedTuple):
    """kind: 'hard_swish', 'hard_sigmoid', 'swish', 'upsampling', 'batch_norm', 'average_pool' or 'clip'.

    node: its result. nodes: the computed nodes that it consists of.
    sources: the computed tensors that it reads.
    inner: the tensors inside that are quantized for every reader, beside the result.
    scale, offset: the inputs that read the constants of a batch norm; () for the others.
    hard_sigmoid, shifted: the result of a hard sigmoid in it and what that is applied to; '' where there is none.
    """
    kind: str
    node: str
    nodes: FrozenSet[str]
    sources: Tuple[str, ...]
    inner: Tuple[str, ...] = ()
    scale: tuple = ()
    offset: tuple = ()
    hard_sigmoid: str = ''
    shifted: str = ''


def _is_ones(view, tensor):
    constant = small_constant(view, tensor)
    return constant is not None and bool((constant == 1).all())


def _hard_sigmoid(source):
    return named('hard_sigmoid', optional(lambda plain: op('Mul', plain, number(HARD_SIGMOID_FACTOR), any_order=True),
                                          hard_sigmoid(source)))


# In the order in which they are tried at a node.
_PATTERNS = {
    'Mul': (('hard_swish', op('Mul', anything('x'), _hard_sigmoid(same('x')), any_order=True)),
            ('hard_sigmoid', _hard_sigmoid(anything('x'))),
            ('swish', op('Mul', anything('x'), op('Sigmoid', same('x'), name='sigmoid'), any_order=True)),
            ('average_pool', op('Mul', op('AvgPool', anything('x')), number(), any_order=True))),
    'RealDiv': (('hard_sigmoid', _hard_sigmoid(anything('x'))),),
    'Reshape': (('upsampling', op('Reshape', op('Mul', op('Reshape', anything('x'), anything()), anything(where=_is_ones),
                                                any_order=True), anything())),)}
# A fusion of an earlier kind takes its nodes first.
_ORDER = ('hard_swish', 'hard_sigmoid', 'swish', 'upsampling', 'batch_norm', 'average_pool', 'clip')


def find_fusions(graph_range, relus, taken):
    """The Fusions of the range in graph order; each node is in one at most.

    Args:
      graph_range: GraphRange.
      relus: function from a tensor to the Activation of the relu that is applied to it, or None.
      taken: the nodes that no Fusion may have.
    """
    found = {kind: [] for kind in _ORDER}
    for name in graph_range.nodes:
        if _is_free(graph_range, name, taken):
            for fusion in _at(graph_range, name, relus):
                found[fusion.kind].append(fusion)
    chosen, used = [], set()
    for kind in _ORDER:
        for fusion in sorted(found[kind], key=lambda fusion: -len(fusion.nodes)):  # with its factor, if it has one
            if used.isdisjoint(fusion.nodes) and all(_is_free(graph_range, node, taken) for node in fusion.nodes):
                used.update(fusion.nodes)
                chosen.append(fusion)
    return sorted(chosen, key=lambda fusion: graph_range.view.order(fusion.node))


def _is_free(graph_range, name, taken):
    return (name in graph_range and name not in taken and name not in graph_range.input_nodes
            and not graph_range.is_static(name) and graph_range.view.dtype(name) == tf.float32)


def _at(graph_range, name, relus):
    """The fusions whose last op, a relu aside, is `name`."""
    op_type = graph_range.view.op(name)
    for kind, pattern in _PATTERNS.get(op_type, ()):
        match = find(graph_range.view, name, pattern)
        if match:
            yield _matched(graph_range, kind, name, match)
    if op_type in ADD_OPS:
        yield from _batch_norm(graph_range, name, relus)
    if op_type in ('Maximum', 'Minimum'):
        yield from _clip(graph_range, name, 'Minimum' if op_type == 'Maximum' else 'Maximum')


def _matched(graph_range, kind, name, match):
    source, sigmoid = graph_range.source(match['x']), match.get('hard_sigmoid')
    inner = tuple(tensor for tensor in (sigmoid, match.get('sigmoid')) if tensor and tensor != name)
    return Fusion(kind, name, frozenset(match.nodes), (source,), inner, hard_sigmoid=sigmoid,
                  shifted=source if sigmoid else '')


def _batch_norm(graph_range, name, relus):
    """Addition of a constant per channel to the product with a constant per channel."""
    view, added = graph_range.view, _static_operand(graph_range, name)
    product = node_name(graph_range.source(view.inputs(name)[1 - added])) if added is not None else ''
    if not product or view.op(product) != 'Mul' or product not in graph_range:
        return
    factor = _static_operand(graph_range, product)
    if factor is None:
        return
    data = view.inputs(product)[1 - factor]
    axis = channel_axis(view, view.inputs(product)[factor], data)
    if axis is not None and axis == channel_axis(view, view.inputs(name)[added], data):
        relu = relus(name)
        nodes = frozenset((product, name)) | (relu.nodes if relu else frozenset())
        yield Fusion('batch_norm', relu.node if relu else name, nodes, (graph_range.source(data),),
                     scale=(product, factor), offset=(name, added))


def _static_operand(graph_range, name):
    """The index of the constant operand of a node with one constant and one computed operand, else None."""
    static = [graph_range.is_static(tensor) for tensor in graph_range.view.inputs(name)]
    return static.index(True) if sorted(static) == [False, True] else None


def channel_axis(view, constant, data):
    """The axis, from the end, along which a constant has one value for each channel of the data; None if it has not.

    The constant is a vector, [1, .., 1, C] (axis -1) or [1, C, 1, ..]; one of one element fits data of one channel.
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


def _clip(graph_range, name, inner_op):
    view = graph_range.view
    for operand in view.inputs(name):
        inner = node_name(graph_range.source(operand))
        if view.op(inner) == inner_op and inner in graph_range and not graph_range.is_static(inner):
            operands = view.inputs(inner) + tuple(other for other in view.inputs(name) if other != operand)
            yield Fusion('clip', name, frozenset((name, inner)),
                         tuple(graph_range.source(other) for other in operands if not graph_range.is_static(other)))
            return
