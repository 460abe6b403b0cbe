"""Parameters of a graph: what depends on constants only."""
import tensorflow.compat.v1 as tf

from vai_q_tf.graph.control_flow import CONTROL_FLOW_OPS
from vai_q_tf.graph.view import node_name

_NEVER = CONTROL_FLOW_OPS | {'Placeholder', 'PlaceholderV2', 'PlaceholderWithDefault', 'NoOp', 'ControlTrigger'}


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
