"""Folds per-channel multiplications and additions after a weighted op into its weights and its bias."""
import json
from typing import Collection, NamedTuple, Optional, Sequence, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.traits import SHAPE_OPS
from vai_q_tf.graph.view import GraphView
from vai_q_tf.passes.common.parameters import static_nodes
from vai_q_tf.passes.common.rewriter import Rewriter, make_node, redefined
from vai_q_tf.passes.folding.affine_chains import AffineChain, find_chain
from vai_q_tf.passes.folding.folded_parameters import ADD, FoldedParameters

_FOLD = '_fold'


class Fold(NamedTuple):
    """A fold into the weights of an op, as recorded in the node of the folded weights.

    result: the node before folding whose result the op, or its BiasAdd, has now. nodes: the nodes of the chain after the op.
    moves: those of them that move values, and follow the bias now.
    weights, scale: the tensors of the weights before folding, and of the factor of each channel ([channels] or [1]).
    factors: the tensors of the single factors, and of the op's own biases before the first of them.
    """
    result: str
    nodes: Tuple[str, ...]
    moves: Tuple[str, ...]
    weights: str
    scale: str
    factors: Tuple[str, ...]


def fold_of(node: tf.NodeDef) -> Optional[Fold]:
    """The Fold of the NodeDef of folded weights; None for another node."""
    if _FOLD not in node.attr:
        return None
    fields = json.loads(node.attr[_FOLD].s.decode())
    return Fold(*(tuple(field) if isinstance(field, list) else field for field in fields))


def bias_add_of(view: GraphView, compute: str) -> Optional[Tuple[str, str]]:
    """(the BiasAdd of a weighted op after folding, the tensor that this reads); None if there is none."""
    readers = [name for name, _ in view.consumers(compute) if view.op(name) not in SHAPE_OPS]
    if readers and view.op(readers[0]) == 'BatchToSpaceND':
        return bias_add_of(view, readers[0])
    return (readers[0], compute) if readers and view.op(readers[0]) == 'BiasAdd' else None


def fold_batch_norms(graph_def: tf.GraphDef, protected: Collection[str], config: QuantizeConfig) -> tf.GraphDef:
    """The graph in which per-channel factors and terms after weighted ops with constant weights are folded into these.

    A chain is any sequence of Mul, Add, AddV2, BiasAdd, Sub and RealDiv with a constant per channel, or one for all, after
    Conv2D, DepthwiseConv2dNative, Conv2DBackpropInput, Conv3D or MatMul: batch norms as `expand_batch_norms` writes them,
    decomposed ones, single factors. The op remains, and a BiasAdd right after it, or after the BatchToSpaceND of a dilated
    convolution. A Squeeze, Reshape or BatchToSpaceND in the chain that keeps the channels follows the BiasAdd. A single
    addition stays as it is, except after a BatchToSpaceND, where the compiler needs a BiasAdd.

    The weights keep their name. The BiasAdd has the name of the op's own bias addition if there is one, else that of the last
    node of the chain; it has the latter in any case if that is protected. A new bias is called `<scope>/biases`: scope is the
    name of the weights without '/weights' or '/depthwise_weights' at the end.

    Nothing is folded if the op, its weights or an intermediate result have other readers. Weights and bias are arithmetic on
    the constants, which `evaluate_folded` computes; `fold_of` returns the record of a fold.

    >>> from vai_q_tf.passes.common.examples import print_before_and_after
    >>> def network(x):
    ...     return tf.add(tf.multiply(tf.matmul(x, [[1.0, 2.0]]), [3.0, 4.0]), [5.0, 6.0])
    >>> print_before_and_after(fold_batch_norms, network, [-1, 1])
    Add(Mul(MatMul(x, [[1, 2]]), [3, 4]), [5, 6])
    BiasAdd(MatMul(x, Mul([[1, 2]], [3, 4])), Reshape([5, 6], [2]))
    """
    rewriter = Rewriter(graph_def, protected)
    static = static_nodes(rewriter.view, in_branches=True)
    for name in rewriter.view.names:
        chain = find_chain(rewriter, name, static)
        if chain:
            _fold(rewriter, chain)
    return rewriter.result()


def _fold(rewriter: Rewriter, chain: AffineChain) -> None:
    """Replaces the AffineChain by its anchor, a BiasAdd and the moved nodes."""
    folded = FoldedParameters(rewriter, chain.compute, chain.weights, chain.layout.channels)
    for link in chain.affine:
        folded.apply(link.kind, link.operand)
    unfolded = folded.write_weights() if folded.has_factor else ''
    nodes = [editor.copy(rewriter.node(name)) for name in chain.moved]
    if folded.has_bias:
        nodes.insert(0, _bias_add(rewriter, chain, folded))
    if unfolded:  # after the bias, which may have renamed one of the factors
        _record_fold(rewriter, chain, folded, unfolded)
    for producer, node in zip([chain.anchor] + [node.name for node in nodes], nodes):
        node.input[0] = producer
    if not nodes:
        nodes = [editor.copy(rewriter.node(chain.anchor))]
        rewriter.inherit_sources(nodes[0], *[link.node for link in chain.affine])
    _take_over_result(rewriter, chain, nodes)
    for node in nodes:
        rewriter.add(node if node.name == chain.result else redefined(node))
    for name in (chain.compute, chain.anchor) if unfolded else ():
        rewriter.add(redefined(editor.exact_copy(rewriter.node(name))))


def _bias_add(rewriter: Rewriter, chain: AffineChain, folded: FoldedParameters) -> tf.NodeDef:
    """The BiasAdd NodeDef; its bias is added to the graph."""
    first = chain.affine[0]
    name = _bias_add_name(rewriter, chain)
    keeps_name = first.kind == ADD and rewriter.is_read_only_by(first.operand, (first.node,)) and ':' not in first.operand
    bias = folded.write_bias(first.operand if keeps_name else '')
    data_format = 'NHWC' if chain.layout.axis == chain.layout.rank - 1 else 'NCHW'
    result = make_node('BiasAdd', name, [chain.anchor, bias], T=tf.float32, data_format=data_format)
    rewriter.inherit_sources(result, *[link.node for link in chain.affine])
    return result


def _bias_add_name(rewriter: Rewriter, chain: AffineChain) -> str:
    first = chain.affine[0]
    name = first.node if first.kind == ADD and len(chain.affine) > 1 else chain.result
    if chain.result not in rewriter.protected:
        return name
    if not chain.moved:
        return chain.result
    return rewriter.unique(first.node + '/bias_add') if name == chain.result else name


def _record_fold(rewriter: Rewriter, chain: AffineChain, folded: FoldedParameters, unfolded: str) -> None:
    """Notes the Fold in the folded weights; unfolded: the tensor of the weights before folding."""
    record = Fold(chain.result, tuple(link.node for link in chain.links), chain.moved, unfolded, folded.scale,
                  tuple(folded.factors))
    node = editor.exact_copy(rewriter.node(chain.weights))
    node.attr[_FOLD].s = json.dumps(record).encode()
    rewriter.add(node)


def _take_over_result(rewriter: Rewriter, chain: AffineChain, nodes: Sequence[tf.NodeDef]) -> None:
    """Makes the last of the NodeDefs `nodes` the result of the chain: under its name if that is protected."""
    last = nodes[-1].name
    if last == chain.result:
        return
    if chain.result in rewriter.protected:
        nodes[-1].name = chain.result
        rewriter.inherit_sources(nodes[-1], last)
    else:
        rewriter.redirect(chain.result, last, but=[node.name for node in nodes])
