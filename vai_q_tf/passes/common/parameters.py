"""Parameters of a graph: nodes that depend on constants only. If one of those is a variable, the value is unknown."""
from typing import AbstractSet, Callable, Collection, Dict, Iterable, Iterator, Set

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.control_flow import CONTROL_FLOW_OPS, branch_nodes
from vai_q_tf.graph.sessions import cpu_only, exact
from vai_q_tf.graph.view import STANDS_FOR, GraphView, indexed_name, node_name

_NEVER = CONTROL_FLOW_OPS | {'Placeholder', 'PlaceholderV2', 'PlaceholderWithDefault', 'NoOp', 'ControlTrigger'}


def has_variables(graph_def: tf.GraphDef) -> bool:
    """Whether some Consts of the graph represent variables."""
    return any(STANDS_FOR in node.attr for node in graph_def.node)


def static_nodes(view: GraphView, in_branches: bool = False) -> Set[str]:
    """The nodes that depend on constants only.

    in_branches: whether nodes count that control inputs place in a branch or a loop.
    """
    static: Set[str] = set()
    for name in view.upstream(view.names):
        op, inputs = view.op(name), view.inputs(name)
        if view.control_inputs(name) and not in_branches:
            continue
        if op == 'Const' or (op not in _NEVER and inputs and all(node_name(tensor) in static for tensor in inputs)
                             and _computes_values(view, name)):
            static.add(name)
    return static


def _computes_values(view: GraphView, name: str) -> bool:
    """Whether the results of a node are values that depend on its inputs alone."""
    types = view.output_types(name)
    return bool(types) and not view.is_stateful(name) and tf.resource not in types and tf.variant not in types


def known_nodes(view: GraphView, static: AbstractSet[str]) -> Set[str]:
    """Those of the nodes `static` that depend on no variable, so that their values are known."""
    known: Set[str] = set()
    for name in view.upstream(static):
        if name in static and STANDS_FOR not in view.node(name).attr and all(
                node_name(tensor) in known for tensor in view.inputs(name)):
            known.add(name)
    return known


def computed_floats(view: GraphView, ops: Collection[str], static: AbstractSet[str]) -> Iterator[str]:
    """The float32 nodes of the op types `ops` that are neither parameters (`static`) nor in a branch or a loop."""
    branches = branch_nodes(view)
    return (name for name in view.names if view.op(name) in ops and view.dtype(name) == tf.float32
            and name not in static and name not in branches)


def evaluate(graph_def: tf.GraphDef, view: GraphView, wanted: Iterable[str],
             fits: Callable[[tf.Tensor], bool] = lambda tensor: True) -> Dict[str, np.ndarray]:
    """{tensor: value} of the tensors `wanted`, computed by TensorFlow's kernels; those that fail are left out.

    Args:
      graph_def: the graph that `view` views.
      wanted: tensors of known value.
      fits: whether to evaluate a tf.Tensor; it gets the tensors `wanted` in a tf.Graph of what they depend on.
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


def _one_by_one(session: tf.Session, fetches: Dict[str, str]) -> Dict[str, np.ndarray]:
    values = {}
    for name, fetch in fetches.items():
        try:
            values[name] = session.run(fetch)
        except tf.errors.OpError as error:
            tf.logging.info('fold_constants: %s is left as it is: %s', name, error.message.split('\n')[0])
    return values
