"""The types in which TensorFlow can compute an op, from its registry of kernels."""
import functools
from typing import FrozenSet, Set, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf import tf_internal

# XLA's devices only serve graphs that it compiles as a whole.
_DEVICES = frozenset(('CPU', 'GPU', 'DEFAULT'))
_NO_TYPE = tf.AttrValue().type  # DT_INVALID


def has_kernel(node: tf.NodeDef) -> bool:
    """Whether the op allows the types of the NodeDef, and a kernel for CPU or GPU is registered for them."""
    definition = tf_internal.python_op_defs()[node.op]
    types = {attr.name: _types(node.attr[attr.name] if attr.name in node.attr else attr.default_value)
             for attr in definition.attr if attr.type in ('type', 'list(type)')}
    for attr in definition.attr:
        if attr.HasField('allowed_values') and not types.get(attr.name, set()) <= set(attr.allowed_values.list.type):
            return False
    return any(all(types.get(name, set()) <= allowed for name, allowed in kernel) for kernel in _kernels(node.op))


def _types(value: tf.AttrValue) -> Set[int]:
    return set(value.list.type) if value.WhichOneof('value') == 'list' else {value.type} - {_NO_TYPE}


@functools.lru_cache(maxsize=None)
def _kernels(op: str) -> Tuple[Tuple[Tuple[str, FrozenSet[int]], ...], ...]:
    """The kernels of an op, each as ((attr, allowed types), ...)."""
    return tuple(tuple((constraint.name, frozenset(constraint.allowed_values.list.type)) for constraint in kernel.constraint)
                 for kernel in tf_internal.registered_kernels(op)
                 if kernel.device_type in _DEVICES and not kernel.label)
