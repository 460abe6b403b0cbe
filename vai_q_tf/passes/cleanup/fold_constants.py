"""Constant folding."""
from typing import Callable, Collection, Set

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.traits import ADD_OPS, BATCH_NORM_OPS, WEIGHTED, trait
from vai_q_tf.graph.view import GraphView, node_name, normalise, output_index
from vai_q_tf.passes.common.parameters import evaluate, known_nodes, static_nodes
from vai_q_tf.passes.common.rewriter import Rewriter, make_node
from vai_q_tf.passes.common.snippets import FOLDED

# Results of more bytes are stored only if they are not much larger than the constants they are computed from.
_LARGE = 10 << 20
_PARAMETER_READERS = ADD_OPS | BATCH_NORM_OPS | {'Mul', 'Sub', 'RealDiv', 'BatchNormWithGlobalNormalization'}
_IsWanted = Callable[[GraphView, str, str], bool]


def fold_constants(graph_def: tf.GraphDef, protected: Collection[str], config: QuantizeConfig) -> tf.GraphDef:
    """Replaces each node that depends only on constants with a Const of the same name.

    Only nodes that are protected or read by other nodes are evaluated, and never stateful ones nor those that depend on a
    variable. Results of more than 10 MB that are larger than the constants they are computed from stay, unless they are
    weights, and so do nodes whose evaluation fails.

    >>> from vai_q_tf.passes.common.examples import print_before_and_after
    >>> print_before_and_after(fold_constants, lambda x: x * tf.exp(tf.constant([0.0, 0.0])), [-1, 2])
    Mul(x, Exp([0, 0]))
    Mul(x, [1, 1])
    """
    return _fold(graph_def, protected, lambda view, reader, tensor: True)


def fold_parameters(graph_def: tf.GraphDef, protected: Collection[str], config: QuantizeConfig) -> tf.GraphDef:
    """The same as `fold_constants`, but only for float32 operands of additions, multiplications and batch norms.

    >>> from vai_q_tf.passes.common.examples import print_before_and_after
    >>> print_before_and_after(fold_parameters, lambda x: tf.transpose(x * tf.exp([0.0, 0.0]), tf.range(2)), [-1, 2])
    Transpose(Mul(x, Exp([0, 0])), Range(0, 2, 1))
    Transpose(Mul(x, [1, 1]), Range(0, 2, 1))
    """
    return _fold(graph_def, protected, lambda view, reader, tensor: (
        view.op(reader) in _PARAMETER_READERS and view.dtype(tensor) == tf.float32))


def evaluate_folded(graph_def: tf.GraphDef, protected: Collection[str], config: QuantizeConfig) -> tf.GraphDef:
    """Replaces the arithmetic on constants that passes added (`FOLDED`) with Consts of the same names.

    Constants in a branch or a loop stay there.

    >>> from vai_q_tf.passes.common.examples import print_before_and_after
    >>> from vai_q_tf.passes.folding.replace_div_and_sub import replace_div_and_sub
    >>> def both(*graph_and_settings):
    ...     return evaluate_folded(replace_div_and_sub(*graph_and_settings), *graph_and_settings[1:])
    >>> print_before_and_after(both, lambda x: x / tf.constant([2.0, 4.0]), [-1, 2])
    RealDiv(x, [2, 4])
    Mul(x, [0.5, 0.25])
    """
    return _fold(graph_def, protected, lambda view, reader, tensor: FOLDED in view.node(node_name(tensor)).attr,
                 in_branches=True, largest=float('inf'))


def _fold(graph_def: tf.GraphDef, protected: Collection[str], is_wanted: _IsWanted, in_branches: bool = False,
          largest: float = _LARGE) -> tf.GraphDef:
    """Evaluates the tensors that have a known value and are wanted.

    Args:
      is_wanted: function (view, reader, tensor) to whether to evaluate the tensor, which the node `reader` reads.
      in_branches: whether tensors count that control inputs place in a branch or a loop.
      largest: see `_LARGE`.
    """
    rewriter = Rewriter(graph_def, protected)
    view = rewriter.view
    static = static_nodes(view, in_branches)
    known = known_nodes(view, static)
    reads = [(reader, index, tensor) for reader in view.names if reader not in known
             for index, tensor in enumerate(view.inputs(reader))
             if node_name(tensor) in known and view.op(tensor) != 'Const' and is_wanted(view, reader, tensor)]
    weights = {tensor for reader, index, tensor in reads if _is_weights(view, reader, index)}
    wanted = dict.fromkeys([tensor for _, _, tensor in reads] + [
        name for name in known if name in rewriter.protected and view.op(name) != 'Const'
        and len(view.output_types(name)) == 1 and is_wanted(view, name, name)])
    values = evaluate(graph_def, view, wanted, lambda imported: (
        normalise(imported.name) in weights or _is_worth_storing(view, imported, largest)))
    for tensor in list(values):
        _replace(rewriter, tensor, values.pop(tensor))
    _name_outputs(rewriter, static.difference(known), is_wanted)
    _write_axes_out(rewriter)
    return rewriter.result()


def _is_weights(view: GraphView, reader: str, index: int) -> bool:
    spec = trait(view.op(reader))
    return spec.kind == WEIGHTED and index == spec.weight


def _is_worth_storing(view: GraphView, imported: tf.Tensor, largest: float) -> bool:
    size = (imported.shape.num_elements() or 0) * max(1, imported.dtype.size or 1)
    if size <= largest:
        return True
    sources = (view.node(name) for name in view.upstream([imported.op.name]) if view.op(name) == 'Const')
    return size <= 2 * sum(map(large_constants.byte_size, sources))


def _name_outputs(rewriter: Rewriter, computed: Set[str], is_wanted: _IsWanted) -> None:
    """Adds a node for each output of the nodes `computed` with several outputs, with the name that a Const would have."""
    view, named = rewriter.view, set()
    for reader in view.names:
        for tensor in () if reader in computed else view.inputs(reader):
            if (node_name(tensor) in computed and len(view.output_types(node_name(tensor))) > 1 and tensor not in named
                    and view.dtype(tensor) == tf.float32 and is_wanted(view, reader, tensor)):
                named.add(tensor)
                # An AddN of one tensor is that tensor, but unlike an Identity no pass removes it.
                node = make_node('AddN', _output_name(rewriter, tensor), [tensor], T=tf.float32, N=1)
                rewriter.add(node)
                rewriter.redirect(tensor, node.name, but=computed.union([node.name]))


def _output_name(rewriter: Rewriter, tensor: str) -> str:
    return rewriter.unique('{}/output_{}'.format(node_name(tensor), output_index(tensor)))


def _replace(rewriter: Rewriter, tensor: str, value: np.ndarray) -> None:
    """Replaces a tensor by a Const of its value, which takes the control inputs of the constants it was computed from."""
    name, view = node_name(tensor), rewriter.view
    sources = [source for source in view.upstream([name]) if view.op(source) == 'Const']
    if len(view.output_types(name)) > 1:
        name = _output_name(rewriter, tensor)
        rewriter.redirect(tensor, name)
    constant = editor.constant(name, view.dtype(tensor), np.asarray(value))
    constant.input.extend(dict.fromkeys(control for source in sources for control in rewriter.node(source).input))
    rewriter.inherit_sources(constant, name)
    floats = [source for source in sources if tf.as_dtype(view.dtype(source)).is_floating]
    if len(floats) == 1:  # it replaces this one then, as cast weights do
        rewriter.inherit_sources(constant, *floats)
    rewriter.add(constant)


def _write_axes_out(rewriter: Rewriter) -> None:
    """Writes the axis of each ConcatV2 in the field that the compiler reads. Its type stays that of the ConcatV2."""
    view = rewriter.view
    for name in view.names:
        axis = view.inputs(name)[-1] if view.op(name) == 'ConcatV2' else ''
        if axis and view.op(axis) == 'Const' and not view.node(axis).attr['value'].tensor.int_val:
            rewriter.replace(editor.concat_axis(view.node(axis), view.dtype(axis)))
