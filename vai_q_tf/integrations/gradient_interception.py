"""Rewrites a graph right before its first gradients, for integrations that cannot know when a program asks for them.

In a rewritten graph, gradients are those of the tensors that replaced the ones a program names.
"""
import contextlib
import threading
import weakref
from typing import Any, Callable, Iterator, List, MutableSet, NamedTuple

import tensorflow.compat.v1 as tf

from vai_q_tf import tf_internal
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.qat import graph_record, replaced_tensors, training

_BeforeGradients = Callable[[List[tf.Tensor], List[tf.Tensor], Any], List[tf.Tensor]]


class _Call(NamedTuple):
    """A function to call before the gradients of a graph."""
    graph: tf.Graph
    function: _BeforeGradients


def rewrite_for_training(graph: tf.Graph, config: QuantizeConfig) -> bool:
    """Rewrites the float training graph unless it is rewritten already.

    Returns:
      Whether this call rewrote the graph.

    Raises:
      QuantizeError: same as `create_training_graph`; ALREADY_QUANTIZED for a graph with other input_nodes or output_nodes.
    """
    first = not graph_record.is_training(graph)
    if first:
        with outside_of_contexts(graph):
            training.create_training_graph(graph, config)
        follow(graph)
    else:
        graph_record.check_same_range(graph_record.training_plan(graph), config)
    return first


@contextlib.contextmanager
def outside_of_contexts(graph: tf.Graph) -> Iterator[None]:
    """New ops of `graph` do not get the caller's name scope, device, control dependencies, loops and conditions."""
    with graph.as_default(), tf.control_dependencies(None), tf.name_scope(None), tf.device(None):
        yield


_active = threading.local()  # .calls: the _Calls of the contexts of a thread, the innermost last
_lock = threading.Lock()
_users = 0
_followed: MutableSet[tf.Graph] = weakref.WeakSet()
_original = tf_internal.gradients_function()


def follow(graph: tf.Graph) -> None:
    """From now on tf.gradients of a rewritten graph, in all threads, differentiates the tensors that replaced its arguments."""
    with _lock:
        _followed.add(graph)
        tf_internal.set_gradients_function(_gradients)


@contextlib.contextmanager
def called_before_gradients(graph: tf.Graph, function: _BeforeGradients) -> Iterator[None]:
    """In this context, `function(ys, xs, grad_ys)` runs before each tf.gradients of `graph` in this thread.

    It gets the arguments of tf.gradients, `ys` and `xs` as lists, and returns the tensors to differentiate: `ys`, or others
    instead.

    Optimizers and everything else that differentiates a graph call one function of TensorFlow. It is wrapped as long as a
    context or a rewritten graph needs it.
    """
    global _users
    calls = _calls()
    with _lock:
        _users += 1
        tf_internal.set_gradients_function(_gradients)
    calls.append(_Call(graph, function))
    try:
        yield
    finally:
        calls.pop()
        with _lock:
            _users -= 1
            if not _users and not _followed:
                tf_internal.set_gradients_function(_original)


def _calls() -> List[_Call]:
    if not hasattr(_active, 'calls'):
        _active.calls = []
    return _active.calls


def _gradients(ys: Any, xs: Any, *args: Any, **kwargs: Any) -> Any:
    """TensorFlow's function, which differentiates `ys` by `xs`, on the tensors that replaced `ys`."""
    graph = tf.get_default_graph()
    functions = [call.function for call in _calls() if call.graph is graph]
    if functions:
        ys = functions[-1](_as_list(ys), _as_list(xs), kwargs.get('grad_ys', args[0] if args else None))
    if functions or graph in _followed:
        ys = [replaced_tensors.in_place_of(y) for y in _as_list(ys)]
    return _original(ys, xs, *args, **kwargs)


def _as_list(values: Any) -> List[Any]:
    return list(values) if isinstance(values, (list, tuple)) else [values]
