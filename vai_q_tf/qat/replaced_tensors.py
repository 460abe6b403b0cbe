"""Tensors of the float graph and their replacements in a rewritten graph, for programs that still refer to the former.

A rewrite reroutes all readers that a tensor has at that time. Python variables of the program still refer to the float tensor,
which it may return as a prediction or use to build more, such as a loss or a metric. An op that is created later therefore gets
the quantized tensor, so the graph is the same as if the op had been there before the rewrite.
"""
import weakref
from typing import Any, Dict, Mapping, MutableMapping

import tensorflow.compat.v1 as tf

from vai_q_tf import tf_internal

# For each rewritten graph {name of a tf.Tensor of the float graph: name of the tf.Tensor that replaces it}.
_REPLACED: MutableMapping[tf.Graph, Dict[str, str]] = weakref.WeakKeyDictionary()


def note(graph: tf.Graph, replaced: Mapping[str, tf.Tensor]) -> None:
    """Notes replacements in the live `graph`: {name of a tf.Tensor of the float graph: the tf.Tensor that replaces it}."""
    _REPLACED.setdefault(graph, {}).update((name, value.name) for name, value in replaced.items())


def exchange_in_new_ops(graph: tf.Graph) -> None:
    """Makes ops that are created from now on read the replacements of their inputs; call it once, after the rewrite.

    Gradients still read the tensors that they differentiate, except custom ones such as that of tf.nn.swish.
    """
    tf_internal.exchange_inputs(graph, in_place_of)


def in_place_of(value: Any) -> Any:
    """The replacement of the tf.Tensor `value` in its rewritten graph; `value` itself if it has none, or is another object.

    It gets the static shape of `value`, which the program may have set since.
    """
    name = _REPLACED.get(value.graph, {}).get(value.name) if isinstance(value, tf.Tensor) else None
    if name is None:
        return value
    result = value.graph.get_tensor_by_name(name)
    result.set_shape(value.shape)
    return result
