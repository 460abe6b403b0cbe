"""Nodes that several forms of a model need."""
from typing import List, Sequence, Set

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import graphdef_editor as editor


def new_name(name: str, taken: Set[str]) -> str:
    """`name`, with a number if it is in `taken`; adds it to `taken`."""
    unused = editor.unused_name(name, taken)
    taken.add(unused)
    return unused


def note_shape(node: tf.NodeDef, dims: Sequence[int]) -> None:
    """Adds a shape to `_output_shapes`."""
    node.attr['_output_shapes'].list.shape.add().CopyFrom(tf.TensorShape(dims).as_proto())


def slice_limits(name: str, limits: Sequence[np.ndarray], taken: Set[str], with_shapes: bool) -> List[tf.NodeDef]:
    """The Consts begin, end and strides of the StridedSlice `name`; adds their names to `taken`."""
    nodes = []
    for kind, value in zip(('begin', 'end', 'strides'), limits):
        const = editor.constant(new_name('{}/{}'.format(name, kind), taken), tf.as_dtype(value.dtype), value)
        if with_shapes:
            note_shape(const, value.shape)
        nodes.append(const)
    return nodes
