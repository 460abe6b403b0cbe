"""Shape inference."""
import re
from typing import Collection

import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.view import node_name

# Float constants of this many elements or more are not copied into TensorFlow: their values do not influence shapes.
_LARGE = 1024


def infer_shapes(graph_def: tf.GraphDef, protected: Collection[str], config: QuantizeConfig) -> tf.GraphDef:
    """The graph with `_output_shapes` on every node, as TensorFlow infers them from the placeholders.

    Raises:
      QuantizeError: LENGTH_MISMATCH for an op that does not take the shapes in config.input_shapes.
    """
    bare = graph_def
    if any('_output_shapes' in node.attr for node in graph_def.node):
        bare = tf.GraphDef()
        bare.CopyFrom(graph_def)
        for node in bare.node:
            node.attr.pop('_output_shapes', None)
    try:
        return editor.with_shapes(bare, [_placeholder_of(node) for node in bare.node if _is_large(node)])
    except ValueError as error:
        raise _mismatch(str(error), config) from error


def _is_large(node: tf.NodeDef) -> bool:
    if node.op != 'Const' or not tf.as_dtype(node.attr['dtype'].type).is_floating:
        return False
    size = 1
    for dim in node.attr['value'].tensor.tensor_shape.dim:
        size *= dim.size
    return size >= _LARGE


def _placeholder_of(node: tf.NodeDef) -> tf.NodeDef:
    """A Placeholder with the name, type and shape of a Const."""
    shape = [dim.size for dim in node.attr['value'].tensor.tensor_shape.dim]
    return editor.placeholder(node.name, node.attr['dtype'].type, shape)


def _mismatch(message: str, config: QuantizeConfig) -> errors.QuantizeError:
    found = re.search(r"(?:for|[Nn]ode) '([^']+)'|[Nn]ode ([^ :]+):", message)
    where = found and (found.group(1) or found.group(2))
    given = ', '.join('{}: {}'.format(node_name(name), list(shape))
                      for name, shape in zip(config.input_nodes, config.input_shapes))
    return errors.QuantizeError(
        errors.LENGTH_MISMATCH, 'Invalid parameter', '{} does not take the shapes of the input nodes ({}). Give the shapes '
        'that the network was made for in input_shapes. TensorFlow says: {}'.format(
            'Node {!r}'.format(where) if where else 'The graph', given or 'those of its placeholders', message.strip()))
