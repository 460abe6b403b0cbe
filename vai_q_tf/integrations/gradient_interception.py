"""Rewrites a graph right before its first gradients, for the ways that do not know when a program asks for them.

Gradients of a rewritten graph are those of what took the place of the tensors that a program names.
"""
import contextlib
import threading
import weakref
from typing import MutableSet

import tensorflow.compat.v1 as tf

from vai_q_tf import tf_internal
from vai_q_tf.qat import graph_record, replaced_tensors, training


def rewrite_for_training(graph, config):
    """Rewrites the float training graph, unless that was done.

    Returns:
      whether it was the first call for the graph.

    Raises:
      QuantizeError: what `create_training_graph` raises; ALREADY_QUANTIZED for a graph of other input_nodes or output_nodes.
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
def outside_of_contexts(graph):
    """New ops of `graph` are free of the caller's name scope, device, control dependencies, loops and conditions."""
    with graph.as_default(), tf.control_dependencies(None), tf.name_scope(None), tf.device(None):
        yield


_active = threading.local()  # .calls: the innermost (graph, function) last
_lock = threading.Lock()
_users = 0
_followed: MutableSet[tf.Graph] = weakref.WeakSet()
_original = tf_internal.gradients_function()


def follow(graph):
    """Lets tf.gradients of a rewritten graph, in all threads, differentiate what took the place of the tensors it is given."""
    with _lock:
        _followed.add(graph)
        tf_internal.set_gradients_function(_gradients)


@contextlib.contextmanager
def called_before_gradients(graph, function):
    """Within the context, `function(ys, xs, grad_ys)` runs before each tf.gradients of `graph` in this thread.

    It is given lists, or None for `grad_ys`, and returns the tensors to differentiate, `ys` or others in their place.

    Optimizers and all else that differentiates a graph come through one function of TensorFlow, which is wrapped as long as a
    context or a rewritten graph needs it.
    """
    global _users
    calls = _calls()
    with _lock:
        _users += 1
        tf_internal.set_gradients_function(_gradients)
    calls.append((graph, function))
    try:
        yield
    finally:
        calls.pop()
        with _lock:
            _users -= 1
            if not _users and not _followed:
                tf_internal.set_gradients_function(_original)


def _calls():
    if not hasattr(_active, 'calls'):
        _active.calls = []
    return _active.calls


def _gradients(ys, xs, *args, **kwargs):
    graph = tf.get_default_graph()
    functions = [function for called_for, function in _calls() if called_for is graph]
    if functions:
        ys = functions[-1](_as_list(ys), _as_list(xs), kwargs.get('grad_ys', args[0] if args else None))
    if functions or graph in _followed:
        ys = [replaced_tensors.in_place_of(y) for y in _as_list(ys)]
    return _original(ys, xs, *args, **kwargs)


def _as_list(values):
    return list(values) if isinstance(values, (list, tuple)) else [values]
