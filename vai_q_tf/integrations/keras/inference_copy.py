"""The evaluation network beside the training network, in one live graph and on the same variables and positions.

What trains a model and evaluates it in one graph, as tf.keras does, needs both: the training network normalises with the
statistics of the batch and moves positions, the evaluation network is the one that is deployed. Ops that are in one network
only do not run when the other one is fetched.
"""
import tensorflow.compat.v1 as tf

from vai_q_tf import errors, tf_internal
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import live_editor
from vai_q_tf.graph.control_flow import LOOP_OPS
from vai_q_tf.graph.dependence import reach
from vai_q_tf.graph.view import VARIABLE_OPS, GraphView
from vai_q_tf.qat.deploy import derive_evaluation_graph
from vai_q_tf.qat.network.inference_form import training_only

_SCOPE = 'vai_q_tf/inference'


def add_inference_network(graph, config):
    """Adds the evaluation network to the live training graph.

    Args:
      graph: a tf.Graph that `create_training_graph` rewrote.
      config: the QuantizeConfig.

    Returns:
      The tf.Tensors that have its results, one for each of the config's output nodes.

    Raises:
      QuantizeError: the evaluation network cannot be derived from the training network.
    """
    evaluation_graph, decision = derive_evaluation_graph(graph, config)
    graph_def, plan = evaluation_graph.as_graph_def(), decision.plan
    outputs = [next((record.name for record in plan.tensors if record.tensor == node), node) for node in plan.output_nodes]
    view = GraphView(graph_def)
    nodes, shared = [], {}
    live = {op.name for op in graph.get_operations()}
    for name in view.upstream(outputs):
        if name in plan.input_nodes or view.op(name) in VARIABLE_OPS and name in live:
            shared[name + ':0'] = live_editor.tensor(graph, name)
        else:
            nodes.append(view.node(name))
    return _import(graph, editor.subgraph(graph_def, nodes), shared, [name + ':0' for name in outputs])


def copy_dependents(graph, replaced, fetches):
    """Copies of the tensors `fetches`, which read other tensors than they do.

    Args:
      graph: the live tf.Graph.
      replaced: list of (tf.Tensor, the tf.Tensor that the copies read in its place).
      fetches: list of tf.Tensor.

    Returns:
      A tf.Tensor for each of `fetches`: its copy, or itself where it depends on none of the replaced ones.

    Raises:
      QuantizeError: UNSUPPORTED_GRAPH naming a loop, which cannot be copied in part.
    """
    twins = {old.name: new for old, new in replaced}
    needed = reach([tensor.op for tensor in fetches],
                    lambda op: [tensor.op for tensor in op.inputs if tensor.name not in twins] + list(op.control_inputs))
    changed = reach([op for old, _ in replaced for op in old.consumers()],
                     lambda op: [reader for tensor in op.outputs for reader in tensor.consumers()]
                     + tf_internal.waiting_ops(op))
    copied = [op for op in graph.get_operations() if op in needed and op in changed]
    nodes = []
    for op in copied:
        _check_inference(op)
        node = editor.with_inputs(op.node_def, [tensor.name for tensor in op.inputs] + [
            '^' + before.name for before in op.control_inputs if before in changed and before in needed])
        node.attr.pop('_class', None)
        nodes.append(node)
    inside = set(copied)
    shared = {tensor.name: twins.get(tensor.name, tensor) for op in copied for tensor in op.inputs
              if tensor.name in twins or tensor.op not in inside}
    if not copied:
        return [twins.get(tensor.name, tensor) for tensor in fetches]
    graph_def = tf.GraphDef(node=nodes)
    graph_def.versions.CopyFrom(graph.graph_def_versions)
    moved = [tensor for tensor in fetches if tensor.op in inside]
    names = [tensor.name for tensor in moved] + [op.name for op in copied]
    imported = _import(graph, graph_def, shared, names)
    for op, copy in zip(copied, imported[len(moved):]):
        tf_internal.add_control_inputs(copy, [before for before in op.control_inputs if before not in inside])
    copies = dict(zip([tensor.name for tensor in moved], imported))
    return [copies.get(tensor.name, twins.get(tensor.name, tensor)) for tensor in fetches]


def _check_inference(op):
    what = 'a loop' if op.type in LOOP_OPS else training_only(op.type, lambda: op.get_attr('is_training'))
    if what:
        raise errors.QuantizeError(
            errors.UNSUPPORTED_GRAPH, 'Cannot derive',
            'Node {!r} ({}) after the output nodes is {}, which cannot be turned into its inference form. Let output_nodes '
            'reach after it, or remove it.'.format(op.name, op.type, what))


def _import(graph, graph_def, shared, names):
    with graph.as_default(), tf.name_scope(None), tf.control_dependencies(None), tf.device(None):
        return tf.import_graph_def(graph_def, shared, names, name=_SCOPE)
