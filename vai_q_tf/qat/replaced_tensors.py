"""What a rewritten graph reads in place of the tensors of the float graph, for code that still holds those.

A rewrite re-points all that reads a tensor at that time. Python variables of the program go on naming the float tensor: it
may be returned as a prediction, or more may be built from it, as a loss or a metric. An op that is built later is therefore
given the quantized tensor, so it is what it would have been before the rewrite, and no session has run it otherwise.
"""
import weakref
from typing import Dict, MutableMapping

import tensorflow.compat.v1 as tf

from vai_q_tf import tf_internal

# For each rewritten graph {name of a tf.Tensor of the float graph: name of what is read instead}.
_REPLACED: MutableMapping[tf.Graph, Dict[str, str]] = weakref.WeakKeyDictionary()


def note(graph, replaced):
    """Notes what was replaced in the live `graph`: {name of a tf.Tensor of the float graph: what is read in its place}."""
    _REPLACED.setdefault(graph, {}).update((name, value.name) for name, value in replaced.items())


def exchange_in_new_ops(graph):
    """Lets what is built from now on read what took the place of the tensors that it is given; call it once, after the rewrite.

    Gradients go on reading what they differentiate, but for custom ones, as that of tf.nn.swish.
    """
    tf_internal.exchange_inputs(graph, in_place_of)


def in_place_of(value):
    """What is read instead of `value` in a rewritten graph; `value` itself where it is nothing that was replaced.

    It has the static shape of `value`, which the program may have set since.
    """
    name = _REPLACED.get(value.graph, {}).get(value.name) if isinstance(value, tf.Tensor) else None
    if name is None:
        return value
    result = value.graph.get_tensor_by_name(name)
    result.set_shape(value.shape)
    return result
