"""update: completes the FixNeurons of a model that an old quantizer wrote."""
import collections
import os

import tensorflow.compat.v1 as tf
from google.protobuf import text_format  # type: ignore
from google.protobuf.message import DecodeError  # type: ignore

from vai_q_tf import errors, files
from vai_q_tf.export.evaluation_model import check_attrs
from vai_q_tf.frozen.load import load_graph
from vai_q_tf.frozen.write_model import check_model

# What the op takes an attr to be that a node does not have; the compiler knows no defaults. Without a phase it is a model.
_DEFAULTS = (('T', tf.AttrValue(type=tf.float32.as_datatype_enum)), ('bit_width', tf.AttrValue(i=8)),
             ('method', tf.AttrValue(i=1)), ('output_dir', tf.AttrValue(s=b'')), ('phase', tf.AttrValue(i=1)))
_EVALUATION = 1


def update(path):
    """Writes the attrs that FixNeurons lack into the model `path`, which is replaced by it; the rest stays as it is.

    These are T, bit_width, method, output_dir and phase, and quantize_pos in phase 1; each gets the value that it has anyway.

    Returns:
      {attr: number of nodes that got it}; empty if nothing was missing, and then the file is not written.

    Raises:
      QuantizeError: INVALID_INPUT for what is no graph, or has FixNeurons with attrs that none can have; UNSUPPORTED_GRAPH
        for a model that does not load or run, whether it lacks attrs or not; INVALID_CONFIG for a
        file that cannot be written, which stays as it was; NOT_QUANTIZED for a graph without FixNeurons.
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


def _parse(path):
    """(GraphDef with all that the file has, whether the file is text)."""
    with open(path, 'rb') as stream:
        data = stream.read()
    graph_def = tf.GraphDef()
    try:
        graph_def.ParseFromString(data)
        return graph_def, False
    except (DecodeError, RuntimeError):
        return text_format.Parse(data, tf.GraphDef()), True


def _complete(node):
    """Adds what the FixNeuron lacks; yields the names of the attrs."""
    for key, value in _DEFAULTS:
        if key not in node.attr:
            node.attr[key].CopyFrom(value)
            yield key
    if 'quantize_pos' not in node.attr and node.attr['phase'].i == _EVALUATION:
        node.attr['quantize_pos'].i = 0
        yield 'quantize_pos'
