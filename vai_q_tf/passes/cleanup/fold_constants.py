"""Evaluates what depends on constants only."""
import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.traits import ADD_OPS, BATCH_NORM_OPS, WEIGHTED, trait
from vai_q_tf.graph.view import node_name, normalise, output_index
from vai_q_tf.passes.common.parameters import evaluate, known_nodes, static_nodes
from vai_q_tf.passes.common.rewriter import Rewriter, make_node
from vai_q_tf.passes.common.snippets import FOLDED

# Results above this many bytes are only stored where they are not much larger than the constants they come from.
_LARGE = 10 << 20
_PARAMETER_READERS = ADD_OPS | BATCH_NORM_OPS | {'Mul', 'Sub', 'RealDiv', 'BatchNormWithGlobalNormalization'}


def fold_constants(graph_def, protected, config):
    """The graph where a Const of the same name has the value of each node that depends on constants only.

    Only what other nodes read, or is protected, gets a value; stateful nodes are never evaluated, nor what depends on a
    variable. Results of more than 10 MB that are larger than the constants they are made of stay, unless they are weights.
    A node that cannot be evaluated stays as well.
    """
    return _fold(graph_def, protected, lambda view, reader, tensor: True)


def fold_parameters(graph_def, protected, config):
    """As `fold_constants`, but only float constants that are added to or multiplied with values, as a batch norm's are."""
    return _fold(graph_def, protected, lambda view, reader, tensor: (
        view.op(reader) in _PARAMETER_READERS and view.dtype(tensor) == tf.float32))


def evaluate_folded(graph_def, protected, config):
    """The graph where a Const of the same name has the value of what folding wrote as arithmetic on constants.

    What puts its constants into a branch or a loop does so with the Const.
    """
    return _fold(graph_def, protected, lambda view, reader, tensor: FOLDED in view.node(node_name(tensor)).attr,
                 in_branches=True)


def _fold(graph_def, protected, is_wanted, in_branches=False):
    rewriter = Rewriter(graph_def, protected)
    view = rewriter.view
    static = static_nodes(view, in_branches)
    known = known_nodes(view, static)
    wanted = {}  # tensor -> whether it is the weights of a node
    for reader in view.names:
        if reader in known:
            continue
        for index, tensor in enumerate(view.inputs(reader)):
            if node_name(tensor) in known and view.op(tensor) != 'Const' and is_wanted(view, reader, tensor):
                spec = trait(view.op(reader))
                wanted[tensor] = wanted.get(tensor, False) or (spec.kind == WEIGHTED and index == spec.weight)
    for name in known:
        if name in rewriter.protected and view.op(name) != 'Const' and len(view.output_types(name)) == 1:
            if is_wanted(view, name, name):
                wanted.setdefault(name, False)
    values = evaluate(graph_def, view, wanted, lambda imported: (
        in_branches or wanted[normalise(imported.name)] or _is_small(view, imported)))
    for tensor in list(values):
        _replace(rewriter, tensor, values.pop(tensor))
    _name_outputs(rewriter, static.difference(known), is_wanted)
    _write_axes_out(rewriter)
    return rewriter.result()


def _is_small(view, imported):
    size = (imported.shape.num_elements() or 0) * max(1, imported.dtype.size or 1)
    if size <= _LARGE:
        return True
    sources = (view.node(name) for name in view.upstream([imported.op.name]) if view.op(name) == 'Const')
    return size <= 2 * sum(map(large_constants.byte_size, sources))


def _name_outputs(rewriter, computed, is_wanted):
    """Gives each output of the nodes `computed`, of those that have several, a node of the name that its value would have."""
    view, named = rewriter.view, set()
    for reader in view.names:
        for tensor in () if reader in computed else view.inputs(reader):
            if (node_name(tensor) in computed and len(view.output_types(node_name(tensor))) > 1 and tensor not in named
                    and view.dtype(tensor) == tf.float32 and is_wanted(view, reader, tensor)):
                named.add(tensor)
                # An AddN of one tensor is that tensor, and nobody looks through it as through an Identity.
                node = make_node('AddN', _output_name(rewriter, tensor), [tensor], T=tf.float32, N=1)
                rewriter.add(node)
                rewriter.redirect(tensor, node.name, but=computed.union([node.name]))


def _output_name(rewriter, tensor):
    return rewriter.unique('{}/output_{}'.format(node_name(tensor), output_index(tensor)))


def _replace(rewriter, tensor, value):
    name = node_name(tensor)
    if len(rewriter.view.output_types(name)) > 1:
        name = _output_name(rewriter, tensor)
        rewriter.redirect(tensor, name)
    constant = editor.constant(name, rewriter.view.dtype(tensor), np.asarray(value))
    sources = [source for source in rewriter.view.upstream([node_name(tensor)]) if rewriter.view.op(source) == 'Const']
    rewriter.inherit_sources(constant, name)
    constant.input.extend(dict.fromkeys(control for source in sources for control in rewriter.node(source).input))
    # What is made of one constant, such as weights that are cast, stands for it.
    rewriter.inherit_sources(constant, *[source for source in sources if rewriter.view.dtype(source).is_floating][:1]
                if sum(rewriter.view.dtype(source).is_floating for source in sources) == 1 else [])
    rewriter.add(constant)


def _write_axes_out(rewriter):
    """Gives the axis of a ConcatV2 the form that the compiler reads. Its type stays, as the ConcatV2 has it too."""
    view = rewriter.view
    for name in view.names:
        axis = view.inputs(name)[-1] if view.op(name) == 'ConcatV2' else ''
        if axis and view.op(axis) == 'Const' and not view.node(axis).attr['value'].tensor.int_val:
            rewriter.replace(editor.concat_axis(view.node(axis), view.dtype(axis)))
