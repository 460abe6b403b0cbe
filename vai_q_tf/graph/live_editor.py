"""Edits of a live `tf.Graph`: ops are added and inputs rerouted to them; nothing is ever removed.

The checks come before the first edit, so that a refused graph is unchanged.
"""
import contextlib
import signal
import threading
from typing import Any, Collection, Container, Iterable, Iterator, List, Sequence, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf import errors, tf_internal
from vai_q_tf.types import NodeInput


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C takes effect after the body of the `with`, so that no edit is left half done."""
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    interrupts: List[Tuple[Any, ...]] = []
    signal.signal(signal.SIGINT, lambda *interrupt: interrupts.append(interrupt))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if interrupts:
        handler(*interrupts[0])


def check_not_finalized(graph: tf.Graph) -> None:
    """Raises a QuantizeError GRAPH_FINALIZED if `graph` is finalized."""
    if graph.finalized:
        raise errors.QuantizeError(
            errors.GRAPH_FINALIZED, 'Cannot modify',
            'The graph is finalized, as it is once a MonitoredSession or a Supervisor runs it. '
            'Rewrite it right after the network is built.')


def check_editable(graph: tf.Graph, excluded: Container[str] = frozenset()) -> None:
    """Raises a QuantizeError if `graph` is finalized, or has ops of gradients other than those called `excluded`."""
    check_not_finalized(graph)
    backward = next((op for op in graph.get_operations() if tf_internal.forward_op(op) is not None and op.name not in excluded),
                    None)
    if backward is not None:
        raise errors.QuantizeError(
            errors.GRAPH_HAS_GRADIENTS, 'Called too late',
            'The graph already has gradients (node {!r}), which would keep training the float network. '
            'Call it after the network is built and before tf.gradients or the optimizer.'.format(backward.name))


def check_no_control_flow(graph: tf.Graph, nodes: Iterable[str]) -> None:
    """Raises a QuantizeError UNSUPPORTED_GRAPH for the first of `nodes` that is inside a tf.while_loop or tf.cond."""
    for name in nodes:
        if tf_internal.is_in_control_flow(graph.get_operation_by_name(name)):
            raise errors.QuantizeError(
                errors.UNSUPPORTED_GRAPH, 'Control flow',
                'Node {!r} of the range to quantize is inside a tf.while_loop or tf.cond. Move input_nodes or '
                'output_nodes to leave the loop or condition out.'.format(name))


def tensor(graph: tf.Graph, name: str) -> tf.Tensor:
    """The tf.Tensor called 'node' or 'node:k' in a GraphDef."""
    return graph.get_tensor_by_name(name if ':' in name else name + ':0')


def consumers(value: tf.Tensor) -> List[NodeInput]:
    """The inputs that read the tf.Tensor `value`, in graph order."""
    return [(op.name, index) for op in sorted(set(value.consumers()), key=tf_internal.creation_number)
            for index, operand in enumerate(op.inputs) if operand is value]


def reroute(graph: tf.Graph, inputs: Iterable[NodeInput], value: tf.Tensor) -> None:
    """Makes the inputs read the tf.Tensor `value`."""
    for node, index in inputs:
        tf_internal.set_input(graph.get_operation_by_name(node), index, value)


def replace_control_inputs(waiter: tf.Operation, old: Collection[tf.Operation], new: Iterable[tf.Operation]) -> None:
    """Replaces the control inputs `old` of the tf.Operation `waiter` by `new`."""
    tf_internal.set_control_inputs(waiter, [op for op in waiter.control_inputs if op not in old] + list(new))


@contextlib.contextmanager
def with_placement_of(graph: tf.Graph, value: tf.Tensor, grouped: bool = False) -> Iterator[None]:
    """Places new ops on the device of `value`'s op, without the name scope and control dependencies of the caller's context.

    grouped: prefixes their names with that of the op, so that TensorBoard shows them there.
    """
    scope = value.op.name + '/quantize/' if grouped else None
    with graph.as_default(), tf.name_scope(scope), tf.control_dependencies(None), tf.device(None), tf.device(value.op.device):
        yield


def add_node(graph: tf.Graph, node: tf.NodeDef, inputs: Sequence[tf.Tensor], name: str) -> tf.Operation:
    """A new op for the NodeDef `node` with the inputs `inputs`, on the device of the first one.

    name: gets a numeric suffix if it is taken.
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
