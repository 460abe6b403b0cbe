"""What a rewritten graph reads in place of the tensors of the float graph, for code that still holds those.

A rewrite re-points all that reads a tensor at that time. Python variables of the program go on naming the float tensor: it
may be returned as a prediction, or more may be built from it, as the loss of a second optimizer.
"""
import weakref
from typing import Dict, MutableMapping, NamedTuple

import tensorflow.compat.v1 as tf

from vai_q_tf import tf_internal
from vai_q_tf.graph import live_editor


class _Replaced(NamedTuple):
    """tensors: {name of a tf.Tensor of the float graph: name of what is read instead}. last: id of the rewrite's last op."""
    tensors: Dict[str, str]
    last: int


_REPLACED: MutableMapping[tf.Graph, _Replaced] = weakref.WeakKeyDictionary()


def note(graph, replaced):
    """Notes what was replaced in the live `graph`: {name of a tf.Tensor of the float graph: what is read in its place}."""
    tensors = dict(_REPLACED[graph].tensors) if graph in _REPLACED else {}
    tensors.update((name, value.name) for name, value in replaced.items())
    _REPLACED[graph] = _Replaced(tensors, tf_internal.last_creation_number(graph))


def in_place_of(value):
    """What is read instead of `value` in a rewritten graph; `value` itself where it is nothing that was replaced."""
    if not isinstance(value, tf.Tensor) or value.graph not in _REPLACED:
        return value
    name = _REPLACED[value.graph].tensors.get(value.name)
    return value if name is None else value.graph.get_tensor_by_name(name)


def reroute_late_readers(graph):
    """Re-points what was built after the rewrite as well. Gradients go on reading what they differentiate."""
    if graph not in _REPLACED:
        return
    tensors, last = _REPLACED[graph]
    for name, result in tensors.items():
        value = graph.get_tensor_by_name(name)
        late = {op.name for op in value.consumers()
                if tf_internal.creation_number(op) > last and tf_internal.forward_op(op) is None}
        if late:
            live_editor.reroute(graph, [reader for reader in live_editor.consumers(value) if reader[0] in late],
                                graph.get_tensor_by_name(result))
