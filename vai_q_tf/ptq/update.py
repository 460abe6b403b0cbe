"""update: completes the FixNeurons of a model that an old quantizer wrote."""
import collections
import os
from typing import Dict, Iterator, Tuple

import tensorflow.compat.v1 as tf
from google.protobuf import text_format
from google.protobuf.message import DecodeError

from vai_q_tf import errors, files
from vai_q_tf.export.evaluation_model import check_attrs
from vai_q_tf.frozen.load import load_graph
from vai_q_tf.frozen.write_model import check_model

# The defaults of the op, which the compiler does not know. A node without a phase is that of a model.
_DEFAULTS = (('T', tf.AttrValue(type=tf.float32.as_datatype_enum)), ('bit_width', tf.AttrValue(i=8)),
             ('method', tf.AttrValue(i=1)), ('output_dir', tf.AttrValue(s=b'')), ('phase', tf.AttrValue(i=1)))
_EVALUATION = 1


def update(path: str) -> Dict[str, int]:
    """Adds the missing attrs of FixNeurons to a model, and replaces its file; nothing else changes.

    These are T, bit_width, method, output_dir and phase, and quantize_pos in phase 1; each gets its default.

    Args:
      path: the path of the model.

    Returns:
      {attr: number of nodes that got it}; if it is empty, the file is not written.

    Raises:
      QuantizeError: INVALID_INPUT for a file that is not a graph, or FixNeurons with impossible attrs; UNSUPPORTED_GRAPH for a
        model that does not load or run, even if no attr is missing; INVALID_CONFIG for a file that cannot be written, which
        then does not change; NOT_QUANTIZED for a graph without FixNeurons.
    """
    load_graph(path)
    graph_def, is_text = _parse(path)
    nodes = [node for node in graph_def.node if node.op == 'FixNeuron']
    if not nodes:
        raise errors.QuantizeError(errors.NOT_QUANTIZED, 'Not quantized',
                                   '{!r} has no FixNeuron; give a model that was quantized.'.format(path))
    for node in nodes:
        check_attrs(node)
    added = collections.Counter(key for node in nodes for key in _complete(node))
    directory, name = os.path.split(path)
    data = text_format.MessageToString(graph_def).encode() if is_text else files.to_bytes(name, graph_def)
    check_model(graph_def, name)
    if added:
        files.write(directory, name, data)
    return dict(added)


def _parse(path: str) -> Tuple[tf.GraphDef, bool]:
    """(GraphDef with everything in the file, whether the file is text)."""
    with open(path, 'rb') as stream:
        data = stream.read()
    graph_def = tf.GraphDef()
    try:
        graph_def.ParseFromString(data)
        return graph_def, False
    except (DecodeError, RuntimeError):
        return text_format.Parse(data, tf.GraphDef()), True


def _complete(node: tf.NodeDef) -> Iterator[str]:
    """Adds the missing attrs of a FixNeuron; yields their names."""
    for key, value in _DEFAULTS:
        if key not in node.attr:
            node.attr[key].CopyFrom(value)
            yield key
    if 'quantize_pos' not in node.attr and node.attr['phase'].i == _EVALUATION:
        node.attr['quantize_pos'].i = 0
        yield 'quantize_pos'
