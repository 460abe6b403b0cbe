"""Chains of multiplications and additions per channel after a weighted op."""
from typing import AbstractSet, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph.traits import SHAPE_OPS, WEIGHTED, trait
from vai_q_tf.graph.view import GraphView
from vai_q_tf.passes.common.channels import Layout, acts_per_channel, layout_after, layout_of
from vai_q_tf.passes.common.rewriter import Rewriter
from vai_q_tf.passes.folding.folded_parameters import ADD, DIVIDE, MULTIPLY, SUBTRACT, SUBTRACT_FROM
from vai_q_tf.patterns.combinators import is_number
from vai_q_tf.types import NodeInput

# Kinds of links besides those of folded_parameters: ops that move values, and a Reshape that restores the op's shape.
_STRUCTURAL, _RESTORES = 'structural', 'restores'


class Link(NamedTuple):
    """A node after a weighted op, its kind, and the constant that it adds or multiplies by."""
    node: str
    kind: str
    operand: str = ''


class AffineChain(NamedTuple):
    """A weighted op and what is to be folded into it.

    compute: the op. weights: the tensor of its weights. layout: of its result.
    links: the nodes of the chain, first to last. affine: those of them that multiply or add.
    anchor: the node that a bias is added to: the op, or the BatchToSpaceND after it if it is a dilated convolution.
    moved: the nodes that move values to the shape of the result, and follow the bias after folding.
    """
    compute: str
    weights: str
    layout: Layout
    links: Tuple[Link, ...]
    affine: Tuple[Link, ...]
    anchor: str
    moved: Tuple[str, ...]

    @property
    def result(self) -> str:
        """The last node."""
        return self.links[-1].node


def find_chain(rewriter: Rewriter, name: str, static: AbstractSet[str]) -> Optional[AffineChain]:
    """The AffineChain after the node `name`; None if it is no weighted op, or has nothing to fold.

    static: the parameters of the graph.
    """
    view = rewriter.view
    if trait(view.op(name)).kind != WEIGHTED or name in static:
        return None
    weights = view.inputs(name)[trait(view.op(name)).weight]
    shape = view.shape(weights)
    if weights not in static or view.dtype(weights) != tf.float32 or not rewriter.is_read_only_by(weights, (name,)):
        return None
    layout = layout_of(view, name, shape) if shape and min(shape) >= 0 else None
    if layout is None:
        return None
    links = _Walk(rewriter, name, layout, static).links()
    affine = tuple(link for link in links if link.kind not in (_STRUCTURAL, _RESTORES))
    if not affine or not _is_worth_folding(view, links, affine[0]):
        return None
    moved = _moved(links)
    anchor = moved.pop(0) if moved[:1] == [links[0].node] and _is_dilation(view, links[0]) else name
    return AffineChain(name, weights, layout, tuple(links), affine, anchor, tuple(moved))


def _is_worth_folding(view: GraphView, links: Sequence[Link], first: Link) -> bool:
    """Whether the chain is more than the addition `first` in a form that the compiler reads."""
    if len(links) > 1 and _is_dilation(view, links[0]):
        return len(links) > 2 or first.kind != ADD or view.op(first.node) != 'BiasAdd'
    return len(links) > 1 or first.kind != ADD


def _is_dilation(view: GraphView, link: Link) -> bool:
    return view.op(link.node) == 'BatchToSpaceND'


def _moved(links: Sequence[Link]) -> List[str]:
    """The structural nodes, without those whose effect a Reshape undoes."""
    kinds = [link.kind for link in links]
    start = kinds.index(_RESTORES) + 1 if _RESTORES in kinds else 0
    return [link.node for link in links[start:] if link.kind == _STRUCTURAL]


class _Walk:
    """The walk from the weighted op `compute`, whose result has the Layout `layout`, to its readers."""

    def __init__(self, rewriter: Rewriter, compute: str, layout: Layout, static: AbstractSet[str]) -> None:
        self._rewriter = rewriter
        self._compute = compute
        self._layout = layout
        self._static = static

    def links(self) -> List[Link]:
        """The Links up to the last affine one."""
        links: List[Link] = []
        tensor, layout = self._compute, self._layout
        while tensor not in self._rewriter.protected:
            readers = self._readers(tensor, links)
            if len(readers) != 1:
                break
            (reader, index), = readers
            link, following = self._link(reader, index, layout, is_first=not links)
            if not following:
                break
            links.append(link)
            tensor, layout = link.node, following
        while links and links[-1].kind == _STRUCTURAL:
            links.pop()
        return links

    def _readers(self, tensor: str, links: Sequence[Link]) -> List[NodeInput]:
        """The readers of the tensor, without those that ask for the shape that the op itself and structural nodes give it."""
        view = self._rewriter.view
        changes_values = links and links[-1].kind != _STRUCTURAL
        return [reader for reader in view.consumers(tensor) if changes_values or view.op(reader[0]) not in SHAPE_OPS]

    def _link(self, name: str, index: int, layout: Layout, is_first: bool) -> Tuple[Link, Optional[Layout]]:
        """(the Link of the node, whose input `index` has the Layout `layout`; the Layout of its result, None to stop)"""
        link = _affine_link(self._rewriter, name, index, layout, self._static)
        if link:
            return link, layout
        if not is_first and self._restores(name):
            return Link(name, _RESTORES), self._layout
        return Link(name, _STRUCTURAL), layout_after(self._rewriter, name, layout)

    def _restores(self, name: str) -> bool:
        """Whether the node is a Reshape to the shape of the result of the weighted op."""
        view = self._rewriter.view
        if view.op(name) != 'Reshape' or view.op(view.inputs(name)[1]) != 'Shape':
            return False
        return view.inputs(view.inputs(name)[1])[0] == self._compute


def _affine_link(rewriter: Rewriter, name: str, index: int, layout: Layout, static: AbstractSet[str]) -> Optional[Link]:
    """The Link of a node that multiplies its input `index` by a constant per channel, or adds one; None for others."""
    view = rewriter.view
    op, inputs = view.op(name), view.inputs(name)
    if op not in ('Mul', 'RealDiv', 'Add', 'AddV2', 'BiasAdd', 'Sub') or len(inputs) != 2 or inputs[0] == inputs[1]:
        return None
    operand = inputs[1 - index]
    if operand not in static:
        return None
    if op == 'BiasAdd':
        axis = 1 if view.attr(name, 'data_format').s == b'NCHW' else layout.rank - 1
        fits = index == 0 and axis == layout.axis and view.shape(operand) == [layout.channels]
        return Link(name, ADD, operand) if fits else None
    value = rewriter.value(operand)
    if not acts_per_channel(view, operand, layout) or _is_of_hard_sigmoid(view, name, value):
        return None
    if op == 'RealDiv' and (index == 1 or value is not None and not np.all(value)):
        return None
    kind = {'Mul': MULTIPLY, 'RealDiv': DIVIDE, 'Sub': SUBTRACT_FROM if index else SUBTRACT}.get(op, ADD)
    return Link(name, kind, operand)


def _is_of_hard_sigmoid(view: GraphView, name: str, value: Optional[np.ndarray]) -> bool:
    """Whether the node adds 3, the `value`, before a Relu6."""
    return (view.op(name) in ('Add', 'AddV2') and is_number(value, 3)
            and any(view.op(reader) == 'Relu6' for reader, _ in view.consumers(name)))
