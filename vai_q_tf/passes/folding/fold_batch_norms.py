"""Folds what multiplies and adds per channel after a weighted op into its weights and its bias."""
import json
from typing import NamedTuple, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.traits import SHAPE_OPS, WEIGHTED, trait
from vai_q_tf.passes.common.channels import Layout, acts_per_channel, layout_after, layout_of
from vai_q_tf.passes.common.parameters import static_nodes
from vai_q_tf.passes.common.rewriter import Rewriter, make_node, redefined
from vai_q_tf.passes.folding.folded_parameters import ADD, DIVIDE, MULTIPLY, SUBTRACT, SUBTRACT_FROM, FoldedParameters
from vai_q_tf.patterns.combinators import is_number

_STRUCTURAL, _BACK = 'structural', 'back'  # moves values; a Reshape to the shape that the op gave
_FOLD = '_fold'


class Fold(NamedTuple):
    """What was folded into a weighted op, as the node of its folded weights notes it.

    result: the node before folding whose result the chain has. nodes: the nodes of the chain behind the op.
    moves: those of them that move values after the bias now.
    weights, scale: the tensors of the weights before folding, and of the factor of each channel ([channels] or [1]).
    factors: the tensors of the single factors, and of the op's own biases before the first of them.
    """
    result: str
    nodes: Tuple[str, ...]
    moves: Tuple[str, ...]
    weights: str
    scale: str
    factors: Tuple[str, ...]


def fold_of(node):
    """The Fold of the NodeDef of folded weights; None for another node."""
    if _FOLD not in node.attr:
        return None
    fields = json.loads(node.attr[_FOLD].s.decode())
    return Fold(*(tuple(field) if isinstance(field, list) else field for field in fields))


def bias_add_of(view, compute):
    """(the BiasAdd of a weighted op that was folded into, the tensor that this reads); None where it has none."""
    readers = [name for name, _ in view.consumers(compute) if view.op(name) not in SHAPE_OPS]
    if readers and view.op(readers[0]) == 'BatchToSpaceND':
        return bias_add_of(view, readers[0])
    return (readers[0], compute) if readers and view.op(readers[0]) == 'BiasAdd' else None


class _Link(NamedTuple):
    """A node after a weighted op. kind: one of the words above. operand: the tensor that it adds or multiplies with."""
    node: str
    kind: str
    operand: str = ''


class _AffineChain(NamedTuple):
    """The weighted op, the tensor of its weights, the Layout of its result, and the links after it."""
    compute: str
    weights: str
    layout: Layout
    links: tuple


def fold_batch_norms(graph_def, protected, config):
    """The graph where weighted ops with constant weights have the factors and terms per channel after them folded in.

    These are batch norms as `expand_batch_norms` writes them, decomposed ones, and single factors: any chain of Mul, Add,
    AddV2, BiasAdd, Sub and RealDiv with a constant per channel or for all, after Conv2D, DepthwiseConv2dNative,
    Conv2DBackpropInput, Conv3D or MatMul. What is left is the op, whose weights keep their name, and a BiasAdd right after
    it, or after the BatchToSpaceND of a dilated convolution. A Squeeze, Reshape or BatchToSpaceND in between that keeps the
    channels comes after the BiasAdd then. A single addition right after the op stays as it is, but after a
    BatchToSpaceND, where the compiler wants a BiasAdd.

    The BiasAdd has the name of the op's own bias addition if there is one, else that of the last node of the chain, and that
    name in any case where it is protected. A bias that is made up is called `<scope>/biases`: scope is the name of the weights
    without '/weights' or '/depthwise_weights' at the end. Nothing is folded where others read values of the op, its weights,
    or what is in between. Weights and bias are arithmetic on the constants, see `evaluate_folded`; `fold_of` tells of what.
    """
    rewriter = Rewriter(graph_def, protected)
    static = static_nodes(rewriter.view, in_branches=True)
    for name in rewriter.view.names:
        chain = _find_chain(rewriter, name, static) if trait(rewriter.view.op(name)).kind == WEIGHTED else None
        if chain:
            _fold(rewriter, chain)
    return rewriter.result()


def _find_chain(rewriter, name, static):
    """The _AffineChain behind the weighted op if there is something to fold, or None."""
    view = rewriter.view
    weights = view.inputs(name)[trait(view.op(name)).weight]
    shape = view.shape(weights)
    if weights not in static or view.dtype(weights) != tf.float32 or not rewriter.is_read_only_by(weights, (name,)):
        return None
    if not shape or min(shape) < 0 or name in static:
        return None
    layout = layout_of(view, name, shape)
    links, tensor, current = [], name, layout
    while current and tensor not in rewriter.protected:
        readers = [reader for reader in view.consumers(tensor)
                   if view.op(reader[0]) not in SHAPE_OPS or (links and links[-1].kind != _STRUCTURAL)]
        if len(readers) != 1:
            break
        reader, index = readers[0]
        link = _affine(rewriter, reader, index, current, static)
        if not link and links and index == 0 and _is_back(view, reader, name):
            link, current = _Link(reader, _BACK), layout
        if not link:
            current = layout_after(rewriter, reader, current) if index == 0 else None
            if not current:
                break
            link = _Link(reader, _STRUCTURAL)
        links.append(link)
        tensor = reader
    while links and links[-1].kind == _STRUCTURAL:
        links.pop()
    return _AffineChain(name, weights, layout, tuple(links)) if _is_worth_it(view, links) else None


def _is_back(view, name, compute):
    """Whether a Reshape gives its input the shape of the result of the weighted op `compute`."""
    return view.op(name) == 'Reshape' and view.op(view.inputs(name)[1]) == 'Shape' and view.inputs(
        view.inputs(name)[1])[0] == compute


def _is_worth_it(view, links):
    dilated = len(links) > 1 and view.op(links[0].node) == 'BatchToSpaceND'
    if dilated:
        links = links[1:]
    affine = [link for link in links if link.kind not in (_STRUCTURAL, _BACK)]
    return bool(affine) and (len(links) > 1 or affine[0].kind != ADD or dilated and view.op(affine[0].node) != 'BiasAdd')


def _affine(rewriter, name, index, layout, static):
    """The _Link of a node that adds or multiplies its input `index`, which has that Layout, by a constant; None for others."""
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
        return _Link(name, ADD, operand) if fits else None
    value = rewriter.value(operand)
    if not acts_per_channel(view, operand, layout) or _is_of_hard_sigmoid(view, name, value):
        return None
    if op == 'Mul':
        return _Link(name, MULTIPLY, operand)
    if op == 'RealDiv':
        return _Link(name, DIVIDE, operand) if index == 0 and (value is None or np.all(value)) else None
    if op == 'Sub':
        return _Link(name, SUBTRACT_FROM if index else SUBTRACT, operand)
    return _Link(name, ADD, operand)


def _is_of_hard_sigmoid(view, name, value):
    """Whether the node is the addition of 3 before a Relu6."""
    return (view.op(name) in ('Add', 'AddV2') and is_number(value, 3)
            and any(view.op(reader) == 'Relu6' for reader, _ in view.consumers(name)))


def _fold(rewriter, chain):
    """Replaces the chain: weighted op, BatchToSpaceND, BiasAdd, then the other structural nodes."""
    view, final = rewriter.view, chain.links[-1].node
    affine = [link for link in chain.links if link.kind not in (_STRUCTURAL, _BACK)]
    kinds = [link.kind for link in chain.links]
    moving = chain.links[kinds.index(_BACK) + 1:] if _BACK in kinds else chain.links
    folded = FoldedParameters(rewriter, chain.compute, chain.weights, chain.layout.channels)
    for link in affine:
        folded.apply(link.kind, link.operand)
    structural = [link.node for link in moving if link.kind == _STRUCTURAL]
    anchor = chain.compute
    if structural and structural[0] == chain.links[0].node and view.op(structural[0]) == 'BatchToSpaceND':
        anchor = structural.pop(0)
    unfolded = folded.write_weights() if folded.has_factor else None
    spine = [editor.copy(rewriter.node(moved)) for moved in structural]
    if folded.has_bias:
        spine.insert(0, _bias_add(rewriter, chain, affine, folded, anchor, last=not structural))
    if unfolded:  # noted last: writing the bias may rename one of the factors
        record = Fold(final, [link.node for link in chain.links], structural, unfolded, folded.scale, folded.factors)
        node = editor.exact_copy(rewriter.node(chain.weights))
        node.attr[_FOLD].s = json.dumps(record).encode()
        rewriter.add(node)
    if not spine:
        spine.append(editor.copy(rewriter.node(anchor)))
        rewriter.inherit_sources(spine[0], *[link.node for link in affine])
    else:
        for producer, reader in zip([anchor] + [step.name for step in spine], spine):
            reader.input[0] = producer
    if final in rewriter.protected:
        if spine[-1].name != final:
            renamed = spine[-1].name
            spine[-1].name = final
            rewriter.inherit_sources(spine[-1], renamed)
    elif final != spine[-1].name:
        rewriter.redirect(final, spine[-1].name, but=[step.name for step in spine])
    for step in spine:
        rewriter.add(step if step.name == final else redefined(step))
    for name in (chain.compute, anchor) if unfolded else ():
        rewriter.add(redefined(editor.exact_copy(rewriter.node(name))))


def _bias_add(rewriter, chain, affine, folded, anchor, last):
    """The BiasAdd NodeDef; what it adds is put into the graph. last: whether the result of the chain is its result."""
    first, final = affine[0], chain.links[-1].node
    own = first.kind == ADD and first.node != affine[-1].node
    name = first.node if own else final
    if final in rewriter.protected:
        name = final if last else rewriter.unique(first.node + '/bias_add') if name == final else name
    single = first.kind == ADD and (own or len(affine) == 1)
    keeps_name = single and rewriter.is_read_only_by(first.operand, (first.node,)) and ':' not in first.operand
    bias = folded.write_bias(first.operand if keeps_name else '')
    data_format = 'NHWC' if chain.layout.axis == chain.layout.rank - 1 else 'NCHW'
    result = make_node('BiasAdd', name, [anchor, bias], T=tf.float32, data_format=data_format)
    rewriter.inherit_sources(result, *[link.node for link in affine])
    return result
