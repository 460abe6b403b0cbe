"""Edits a live `tf.Graph`: adds ops beside those that exist and re-points inputs to them; nothing is ever removed.

An edit is refused while the graph is still untouched: when it is finalized or a session would not see the change, when it
is quantized already, and when gradients exist, because those would go on describing the float network.
"""
import contextlib

import tensorflow.compat.v1 as tf

from vai_q_tf import errors, tf_internal


def check_not_finalized(graph):
    """Raises a QuantizeError when `graph` is finalized."""
    if graph.finalized:
        raise errors.QuantizeError(
            errors.GRAPH_FINALIZED, 'Cannot modify',
            'The graph is finalized, as it is once a MonitoredSession or a Supervisor runs it. '
            'Rewrite it right after the network is built.')


def check_editable(graph, excluded=frozenset()):
    """Raises a QuantizeError when `graph` is finalized or already holds gradients other than the ops called `excluded`."""
    check_not_finalized(graph)
    # TensorFlow notes on every op made by a gradient function the forward op that it belongs to.
    backward = next((op for op in graph.get_operations() if tf_internal.forward_op(op) is not None and op.name not in excluded),
                    None)
    if backward is not None:
        raise errors.QuantizeError(
            errors.GRAPH_HAS_GRADIENTS, 'Called too late',
            'The graph already has gradients (node {!r}), which would go on training the float network. '
            'Call it after the network is built and before tf.gradients or the optimizer.'.format(backward.name))


def check_no_control_flow(graph, nodes):
    """Raises a QuantizeError naming the first of `nodes` that sits inside a tf.while_loop or tf.cond."""
    for name in nodes:
        if tf_internal.is_in_control_flow(graph.get_operation_by_name(name)):
            raise errors.QuantizeError(
                errors.UNSUPPORTED_GRAPH, 'Control flow',
                'Node {!r} of the range to quantize is inside a tf.while_loop or tf.cond. Move input_nodes or '
                'output_nodes so that the loop or condition lies outside.'.format(name))


def tensor(graph, name):
    """The tf.Tensor that a GraphDef calls 'node' or 'node:k'."""
    return graph.get_tensor_by_name(name if ':' in name else name + ':0')


def consumers(value):
    """Every (node name, input index) that reads the tf.Tensor `value`, in graph order."""
    return [(op.name, index) for op in sorted(set(value.consumers()), key=tf_internal.creation_number)
            for index, operand in enumerate(op.inputs) if operand is value]


def reroute(graph, inputs, value):
    """Makes each input (node name, index) read the tf.Tensor `value`."""
    for node, index in inputs:
        tf_internal.set_input(graph.get_operation_by_name(node), index, value)


def replace_control_inputs(waiter, old, new):
    """Makes the tf.Operation `waiter`, which waits for each op of `old` to run, wait for each op of `new` instead."""
    tf_internal.set_control_inputs(waiter, [op for op in waiter.control_inputs if op not in old] + list(new))


@contextlib.contextmanager
def with_placement_of(graph, value, grouped=False):
    """New ops get full names, the device of `value`'s op, and no control dependencies of the caller's context.

    grouped: whether their names begin with that of this op, where TensorBoard shows them.
    """
    scope = value.op.name + '/quantize/' if grouped else None
    with graph.as_default(), tf.name_scope(scope), tf.control_dependencies(None), tf.device(None), tf.device(value.op.device):
        yield


def add_node(graph, node, inputs, name):
    """A new op for the NodeDef `node` that reads the tf.Tensors `inputs`, called `name` or, where that is taken, with a number.

    It is placed with the first of them.
    """
    attrs = {key: attr for key, attr in node.attr.items() if not key.startswith('_')}
    with contextlib.ExitStack() as stack:
        if inputs:
            stack.enter_context(with_placement_of(graph, inputs[0]))
        else:
            stack.enter_context(graph.as_default())
            stack.enter_context(tf.name_scope(None))
            stack.enter_context(tf.control_dependencies(None))
        return graph.create_op(node.op, inputs, None, name=name, attrs=attrs)
