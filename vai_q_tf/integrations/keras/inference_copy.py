"""The evaluation network next to the training network, in one live graph and with the same variables and positions.

tf.keras trains and evaluates a model in one graph, so it needs both: the training network normalizes with the statistics of the
batch and moves positions, the evaluation network is the one that is deployed. Ops of one network do not run when only the other
one is fetched.
"""
from typing import AbstractSet, Any, Dict, List, Sequence, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf import errors, tf_internal
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import live_editor
from vai_q_tf.graph.control_flow import LOOP_OPS
from vai_q_tf.graph.dependence import operands, reach
from vai_q_tf.graph.view import VARIABLE_OPS, GraphView
from vai_q_tf.qat.network.decision import Decision
from vai_q_tf.qat.network.inference_form import training_only

_SCOPE = 'vai_q_tf/inference'


def add_inference_network(graph: tf.Graph, evaluation_graph: tf.Graph, decision: Decision) -> List[tf.Tensor]:
    """Adds the evaluation network to the live training graph.

    Args:
      graph: a tf.Graph that `create_training_graph` rewrote.
      evaluation_graph, decision: its quantized evaluation graph, and the Decision that was applied to that.

    Returns:
      The tf.Tensors with its results, one per output node of the config.
    """
    graph_def, plan = evaluation_graph.as_graph_def(), decision.plan
    outputs = [next((record.name for record in plan.tensors if record.tensor == node), node) for node in plan.output_nodes]
    view = GraphView(graph_def)
    nodes, shared = [], {}
    live = {op.name for op in graph.get_operations()}
    needed = reach(outputs, lambda name: operands(view, name))
    for name in filter(needed.__contains__, view.names):
        if name in plan.input_nodes or view.op(name) in VARIABLE_OPS and name in live:
            shared[name + ':0'] = live_editor.tensor(graph, name)
        else:
            nodes.append(view.node(name))
    return _import(graph, editor.subgraph(graph_def, nodes), shared, [name + ':0' for name in outputs])


def copy_dependents(graph: tf.Graph, replaced: Sequence[Tuple[tf.Tensor, tf.Tensor]],
                    fetches: Sequence[tf.Tensor]) -> List[tf.Tensor]:
    """Copies of the tensors `fetches` that read other tensors.

    Args:
      graph: the live tf.Graph.
      replaced: list of (tf.Tensor, the tf.Tensor that the copies read instead).
      fetches: list of tf.Tensor.

    Returns:
      A tf.Tensor for each of `fetches`: its copy, or itself if it depends on none of the replaced ones.

    Raises:
      QuantizeError: UNSUPPORTED_GRAPH naming a loop, which cannot be copied in part.
    """
    substitutes = {old.name: new for old, new in replaced}
    ops = _ops_between(graph, substitutes, [op for old, _ in replaced for op in old.consumers()], fetches)
    copies = _copies(graph, ops, substitutes, fetches) if ops else {}
    return [copies.get(tensor.name, substitutes.get(tensor.name, tensor)) for tensor in fetches]


def _ops_between(graph: tf.Graph, substitutes: Dict[str, tf.Tensor], readers: Sequence[tf.Operation],
                 fetches: Sequence[tf.Tensor]) -> List[tf.Operation]:
    """The ops downstream of `readers`, these included, on which `fetches` depend other than through a replaced tensor."""
    needed = reach([tensor.op for tensor in fetches], lambda op: [
        tensor.op for tensor in op.inputs if tensor.name not in substitutes] + list(op.control_inputs))
    changed = reach(readers, lambda op: [
        reader for tensor in op.outputs for reader in tensor.consumers()] + list(tf_internal.waiting_ops(op)))
    return [op for op in graph.get_operations() if op in needed and op in changed]


def _copies(graph: tf.Graph, ops: Sequence[tf.Operation], substitutes: Dict[str, tf.Tensor],
            fetches: Sequence[tf.Tensor]) -> Dict[str, tf.Tensor]:
    """Copies `ops`; {name of one of `fetches`: its copy} for the results of these ops."""
    inside = set(ops)
    graph_def = tf.GraphDef(node=[_node_of_copy(op, inside) for op in ops])
    graph_def.versions.CopyFrom(graph.graph_def_versions)
    read = {tensor.name: tensor for op in ops for tensor in op.inputs}
    shared = {name: substitutes.get(name, tensor) for name, tensor in read.items()
              if name in substitutes or tensor.op not in inside}
    copied = [tensor.name for tensor in fetches if tensor.op in inside]
    imported = _import(graph, graph_def, shared, copied + [op.name for op in ops])
    for op, copy in zip(ops, imported[len(copied):]):
        tf_internal.add_control_inputs(copy, [before for before in op.control_inputs if before not in inside])
    return dict(zip(copied, imported))


def _node_of_copy(op: tf.Operation, inside: AbstractSet[tf.Operation]) -> tf.NodeDef:
    """The NodeDef of the copy of an op, which waits for other copied ops only."""
    what = 'a loop' if op.type in LOOP_OPS else training_only(op.type, lambda: op.get_attr('is_training'))
    if what:
        raise errors.QuantizeError(
            errors.UNSUPPORTED_GRAPH, 'Cannot derive',
            'Node {!r} ({}) after the output nodes is {}, which cannot be turned into its inference form. Let output_nodes '
            'reach after it, or remove it.'.format(op.name, op.type, what))
    node = editor.with_inputs(op.node_def, [tensor.name for tensor in op.inputs] + [
        '^' + before.name for before in op.control_inputs if before in inside])
    node.attr.pop('_class', None)
    return node


def _import(graph: tf.Graph, graph_def: tf.GraphDef, shared: Dict[str, tf.Tensor], names: Sequence[str]) -> List[Any]:
    """The tf.Tensors and tf.Operations `names` of a GraphDef, imported with the tensors `shared` as its inputs."""
    with graph.as_default(), tf.name_scope(None), tf.control_dependencies(None), tf.device(None):
        return tf.import_graph_def(graph_def, shared, names, name=_SCOPE)
