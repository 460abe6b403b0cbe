"""Folds what multiplies and adds per channel behind a weighted op into its weights and its bias."""
from typing import NamedTuple, Optional

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.traits import WEIGHTED, trait
from vai_q_tf.graph.view import node_name
from vai_q_tf.passes.common.channels import Layout, channel_vector, layout_after, layout_of, scale_weights
from vai_q_tf.passes.common.rewriter import Rewriter, make_node

_MULTIPLY, _DIVIDE, _ADD, _SUBTRACT, _SUBTRACT_FROM = 'mul', 'div', 'add', 'sub', 'from'
_STRUCTURAL = 'structural'


class _Link(NamedTuple):
    """A node behind a weighted op. kind: one of the words above. vector: over the channels; constant: its tensor."""
    node: str
    kind: str
    vector: Optional[np.ndarray] = None
    constant: str = ''


class _AffineChain(NamedTuple):
    """The weighted op, the tensor of its weights, the Layout of its result, and the links behind it."""
    compute: str
    weights: str
    layout: Layout
    links: tuple


def fold_batch_norms(graph_def, protected, config):
    """The graph where weighted ops with constant weights have the factors and terms per channel behind them folded in.

    These are batch norms as `expand_batch_norms` writes them, decomposed ones, and single factors: any chain of Mul, Add,
    AddV2, BiasAdd, Sub and RealDiv with a constant per channel or for all, behind Conv2D, DepthwiseConv2dNative,
    Conv2DBackpropInput, Conv3D or MatMul. What is left is the op, whose weights keep their name, and a BiasAdd right behind
    it, or behind the BatchToSpaceND of a dilated convolution. A Squeeze, Reshape or BatchToSpaceND in between that keeps the
    channels comes behind the BiasAdd then. A single addition right behind the op stays as it is.

    The BiasAdd has the name of the op's own bias addition if there is one, else that of the last node of the chain, and that
    name in any case where it is protected. A bias that is made up is called `<scope>/biases`: scope is the name of the weights
    without '/weights' or '/depthwise_weights' at the end. Nothing is folded where others read the op, its weights, or
    what is in between.
    """
    rewriter = Rewriter(graph_def, protected)
    for name in rewriter.view.names:
        chain = _find_chain(rewriter, name) if trait(rewriter.view.op(name)).kind == WEIGHTED else None
        if chain:
            _fold(rewriter, chain)
    return rewriter.result()


def _find_chain(rewriter, name):
    """The _Chain behind the weighted op if there is something to fold, or None."""
    view = rewriter.view
    weights = view.inputs(name)[trait(view.op(name)).weight]
    if view.op(weights) != 'Const' or view.dtype(weights) != tf.float32 or not rewriter.is_read_only_by(weights, (name,)):
        return None
    layout = layout_of(view, name, view.shape(weights))
    links, tensor, current = [], name, layout
    while current and tensor not in rewriter.protected:
        readers = view.consumers(tensor)
        if len(readers) != 1:
            break
        reader, index = readers[0]
        link = _affine(rewriter, reader, index, current)
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


def _is_worth_it(view, links):
    if len(links) > 1 and view.op(links[0].node) == 'BatchToSpaceND':
        links = links[1:]
    return len(links) > 1 or any(link.kind != _ADD for link in links)


def _affine(rewriter, name, index, layout):
    """The _Link of a node that adds or multiplies its input `index`, which has that Layout, by a constant; None for others."""
    view = rewriter.view
    op, inputs = view.op(name), view.inputs(name)
    if op not in ('Mul', 'RealDiv', 'Add', 'AddV2', 'BiasAdd', 'Sub') or len(inputs) != 2 or inputs[0] == inputs[1]:
        return None
    constant = inputs[1 - index]
    value = rewriter.value(constant) if view.op(constant) == 'Const' else None
    if op == 'BiasAdd':
        axis = 1 if view.attr(name, 'data_format').s == b'NCHW' else layout.rank - 1
        fits = index == 0 and axis == layout.axis and value is not None and value.shape == (layout.channels,)
        return _Link(name, _ADD, value, constant) if fits else None
    vector = channel_vector(value, layout)
    if vector is None or _is_of_hard_sigmoid(view, name, value):
        return None
    if op == 'Mul':
        return _Link(name, _MULTIPLY, vector, constant)
    if op == 'RealDiv':
        return _Link(name, _DIVIDE, vector, constant) if index == 0 and np.all(vector) else None
    if op == 'Sub':
        return _Link(name, _SUBTRACT_FROM if index else _SUBTRACT, vector, constant)
    return _Link(name, _ADD, vector, constant)


def _is_of_hard_sigmoid(view, name, value):
    """Whether the node is the addition of 3 in front of a Relu6."""
    readers = view.consumers(name)
    return (view.op(name) in ('Add', 'AddV2') and value.size == 1 and value.reshape(()) == 3
            and any(view.op(reader) == 'Relu6' for reader, _ in readers))


def _folded(rewriter, chain):
    """The weights, and the bias or None, that the chain comes to."""
    weights, bias = rewriter.value(chain.weights), None
    for link in chain.links:
        if link.kind == _MULTIPLY or link.kind == _DIVIDE:
            operation = np.multiply if link.kind == _MULTIPLY else np.divide
            weights = scale_weights(rewriter.view, chain.compute, weights, link.vector, operation)
            bias = None if bias is None else operation(bias, link.vector)
        elif link.kind == _ADD:
            bias = link.vector if bias is None else bias + link.vector
        elif link.kind == _SUBTRACT:
            bias = -link.vector if bias is None else bias - link.vector
        elif link.kind == _SUBTRACT_FROM:
            weights, bias = -weights, link.vector if bias is None else link.vector - bias
    return weights, bias


def _fold(rewriter, chain):
    """Replaces the chain: weighted op, BatchToSpaceND, BiasAdd, then the other structural nodes."""
    view, final = rewriter.view, chain.links[-1].node
    weights, bias = _folded(rewriter, chain)
    rewriter.set_value(chain.weights, weights)
    affine = [link for link in chain.links if link.kind != _STRUCTURAL]
    structural = [link.node for link in chain.links if link.kind == _STRUCTURAL]
    anchor = chain.compute
    if chain.links[0].kind == _STRUCTURAL and view.op(structural[0]) == 'BatchToSpaceND':
        anchor = structural.pop(0)
    spine = [editor.copy(rewriter.node(moved)) for moved in structural]
    if bias is not None:
        spine.insert(0, _bias_add(rewriter, chain, affine, bias, anchor, last=not structural))
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
        rewriter.add(step)


def _bias_add(rewriter, chain, affine, bias, anchor, last):
    """The BiasAdd NodeDef; its Const is added to the graph. last: whether the result of the chain is its result."""
    first, final = affine[0], chain.links[-1].node
    own = first.kind == _ADD and first.node != affine[-1].node
    name = first.node if own else final
    if final in rewriter.protected:
        name = final if last else rewriter.unique(first.node + '/bias_add') if name == final else name
    constant = _bias_constant(rewriter, chain, affine, bias, own)
    rewriter.add(constant)
    data_format = 'NHWC' if chain.layout.axis == chain.layout.rank - 1 else 'NCHW'
    result = make_node('BiasAdd', name, [anchor, constant.name], T=tf.float32, data_format=data_format)
    rewriter.inherit_sources(result, *[link.node for link in affine])
    return result


def _bias_constant(rewriter, chain, affine, bias, own):
    first = affine[0]
    single = first.kind == _ADD and (own or len(affine) == 1)
    if single and rewriter.is_read_only_by(first.constant, (first.node,)):
        name = node_name(first.constant)
    else:
        scope = chain.weights
        for end in ('/weights', '/depthwise_weights'):
            if scope.endswith(end):
                scope = scope[:-len(end)]
                break
        name = rewriter.unique(scope + '/biases')
    constant = editor.constant(name, tf.float32, bias)
    terms = [link.constant for link in affine if link.kind not in (_MULTIPLY, _DIVIDE)]
    constant.input.extend(rewriter.node(terms[0]).input)  # the control inputs that put it into a loop or a branch
    for term in terms:
        rewriter.inherit_sources(constant, node_name(term))
    return constant
