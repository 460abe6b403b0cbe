"""Parameters of a graph: what depends on constants only. The value of one that depends on a variable is not known."""
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.control_flow import CONTROL_FLOW_OPS
from vai_q_tf.graph.sessions import cpu_only, exact
from vai_q_tf.graph.view import STANDS_FOR, indexed_name, node_name

_NEVER = CONTROL_FLOW_OPS | {'Placeholder', 'PlaceholderV2', 'PlaceholderWithDefault', 'NoOp', 'ControlTrigger'}


def has_variables(graph_def):
    """Whether Consts of the graph stand for variables."""
    return any(STANDS_FOR in node.attr for node in graph_def.node)


def static_nodes(view, in_branches=False):
    """The nodes that depend on constants only.

    in_branches: whether those count that control inputs put into a branch or a loop.
    """
    static = set()
    for name in view.upstream(view.names):
        op, inputs, types = view.op(name), view.inputs(name), view.output_types(name)
        if view.control_inputs(name) and not in_branches:
            continue
        if op == 'Const' or (op not in _NEVER and inputs and types and not view.is_stateful(name)
                             and tf.resource not in types and tf.variant not in types
                             and all(node_name(tensor) in static for tensor in inputs)):
            static.add(name)
    return static


def known_nodes(view, static):
    """Those of the nodes `static` whose values are known: they depend on no variable."""
    known = set()
    for name in view.upstream(static):
        if name in static and STANDS_FOR not in view.node(name).attr and all(
                node_name(tensor) in known for tensor in view.inputs(name)):
            known.add(name)
    return known


def evaluate(graph_def, view, wanted, fits=lambda tensor: True):
    """{tensor: ndarray} of those of the tensors `wanted` that can be evaluated, with TensorFlow's own kernels.

    Args:
      graph_def: the graph that `view` views.
      wanted: tensors of known value.
      fits: whether a tf.Tensor of the graph of `wanted` alone is to be evaluated.
    """
    wanted = list(wanted)
    if not wanted:
        return {}
    nodes = [editor.copy(view.node(name)) for name in view.upstream(map(node_name, wanted))]
    options = exact(cpu_only())
    options.graph_options.rewrite_options.constant_folding = options.graph_options.rewrite_options.OFF
    with tf.Graph().as_default() as graph:
        large_constants.import_graph_def(editor.subgraph(graph_def, nodes), name='')
        with large_constants.session(graph, options) as session:
            fetches = {name: indexed_name(name) for name in wanted if fits(graph.get_tensor_by_name(indexed_name(name)))}
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
