"""Evaluates what depends on constants only."""
import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.control_flow import CONTROL_FLOW_OPS
from vai_q_tf.graph.sessions import cpu_only, exact
from vai_q_tf.graph.traits import ADD_OPS, BATCH_NORM_OPS, WEIGHTED, trait
from vai_q_tf.graph.view import indexed_name, node_name, output_index
from vai_q_tf.passes.common.rewriter import Rewriter

# Results above this many bytes are only stored where they are not much larger than the constants they come from.
_LARGE = 10 << 20
_PARAMETER_READERS = ADD_OPS | BATCH_NORM_OPS | {'Mul', 'Sub', 'RealDiv', 'BatchNormWithGlobalNormalization'}
_NEVER = CONTROL_FLOW_OPS | {'Placeholder', 'PlaceholderV2', 'PlaceholderWithDefault', 'NoOp', 'ControlTrigger'}


def fold_constants(graph_def, protected, config):
    """The graph where a Const of the same name has the value of each node that depends on constants only.

    Only what other nodes read, or is protected, gets a value; stateful nodes are never evaluated. Results of more than 10 MB
    that are larger than the constants they are made of stay, unless they are weights. A node that cannot be evaluated
    stays as well.
    """
    return _fold(graph_def, protected, lambda view, reader, tensor: True)


def fold_parameters(graph_def, protected, config):
    """As `fold_constants`, but only float constants that are added to or multiplied with values, as a batch norm's are."""
    return _fold(graph_def, protected, lambda view, reader, tensor: (
        view.op(reader) in _PARAMETER_READERS and view.dtype(tensor) == tf.float32))


def _fold(graph_def, protected, is_wanted):
    rewriter = Rewriter(graph_def, protected)
    view = rewriter.view
    static = _static_nodes(view)
    wanted = {}  # tensor -> whether it is the weights of a node
    for reader in view.names:
        if reader in static:
            continue
        for index, tensor in enumerate(view.inputs(reader)):
            if node_name(tensor) in static and view.op(tensor) != 'Const' and is_wanted(view, reader, tensor):
                spec = trait(view.op(reader))
                wanted[tensor] = wanted.get(tensor, False) or (spec.kind == WEIGHTED and index == spec.weight)
    for name in static:
        if name in rewriter.protected and view.op(name) != 'Const' and len(view.output_types(name)) == 1:
            if is_wanted(view, name, name):
                wanted.setdefault(name, False)
    for tensor, value in _evaluate(graph_def, view, wanted).items():
        _replace(rewriter, tensor, value)
    _write_axes_out(rewriter)
    return rewriter.result()


def _static_nodes(view):
    """The nodes that depend on constants only. What control inputs put into a branch or a loop is none of them."""
    static = set()
    for name in view.upstream(view.names):
        op, inputs, types = view.op(name), view.inputs(name), view.output_types(name)
        if view.control_inputs(name):
            continue
        if op == 'Const' or (op not in _NEVER and inputs and types and not view.is_stateful(name)
                             and tf.resource not in types and tf.variant not in types
                             and all(node_name(tensor) in static for tensor in inputs)):
            static.add(name)
    return static


def _evaluate(graph_def, view, wanted):
    """{tensor: ndarray} of those of the tensors `wanted` that can be evaluated and are not too large."""
    if not wanted:
        return {}
    nodes = [editor.copy(view.node(name)) for name in view.upstream(map(node_name, wanted))]
    source = editor.subgraph(graph_def, nodes)
    options = exact(cpu_only())
    options.graph_options.rewrite_options.constant_folding = options.graph_options.rewrite_options.OFF
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(source, name='')
        with tf.Session(graph=graph, config=options) as session:
            names = [tensor for tensor in wanted if wanted[tensor] or _is_small(graph, view, tensor)]
            fetches = {name: indexed_name(name) for name in names}
            try:
                return session.run(fetches)
            except tf.errors.OpError:
                return _one_by_one(session, fetches)


def _one_by_one(session, fetches):
    values = {}
    for name, fetch in fetches.items():
        try:
            values[name] = session.run(fetch)
        except tf.errors.OpError as error:
            tf.logging.info('fold_constants: %s is left as it is: %s', name, error.message.split('\n')[0])
    return values


def _is_small(graph, view, tensor):
    imported = graph.get_tensor_by_name(indexed_name(tensor))
    size = (imported.shape.num_elements() or 0) * max(1, imported.dtype.size or 1)
    if size <= _LARGE:
        return True
    sources = (view.node(name) for name in view.upstream([node_name(tensor)]) if view.op(name) == 'Const')
    return size <= 2 * sum(node.ByteSize() for node in sources)


def _replace(rewriter, tensor, value):
    name = node_name(tensor)
    if output_index(tensor):
        name = rewriter.unique('{}/output_{}'.format(name, output_index(tensor)))
        rewriter.redirect(tensor, name)
    elif len(rewriter.view.output_types(name)) > 1:
        name = rewriter.unique(name + '/output_0')
        rewriter.redirect(tensor, name)
    constant = editor.constant(name, rewriter.view.dtype(tensor), np.asarray(value))
    sources = [source for source in rewriter.view.upstream([node_name(tensor)]) if rewriter.view.op(source) == 'Const']
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
