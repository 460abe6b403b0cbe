"""The bytes of a GraphDef, piece by piece, so that no second copy of a large model is in memory."""
import tensorflow.compat.v1 as tf

from vai_q_tf import files
from vai_q_tf.graph import large_constants

_MOST = (1 << 31) - 1  # bytes of a protocol buffer message
# Tags of fields of bytes: their numbers in the messages, times eight, plus two.
_NODE, _ATTR, _KEY, _VALUE, _TENSOR, _CONTENT = (bytes([number * 8 + 2]) for number in (1, 5, 1, 2, 8, 4))


class Serialized:
    """What `SerializeToString(deterministic=True)` would give for a GraphDef, as pieces, each time that this is iterated over.

    Raises:
      QuantizeError: UNSUPPORTED_GRAPH for more bytes than the file `name` can have.
    """

    def __init__(self, name, graph_def):
        self._graph_def = graph_def
        if sum(map(len, self)) > _MOST:
            raise files.too_large(name)

    def __iter__(self):
        for node in self._graph_def.node:
            yield from _node(node)
        yield large_constants.without_nodes(self._graph_def).SerializeToString(deterministic=True)


def _node(node):
    """The pieces of a NodeDef as a field of a GraphDef."""
    value = large_constants.bytes_apart(node)
    if value is None or max(node.attr) != 'value' or node.HasField('experimental_debug_info'):
        data = large_constants.attached(node).SerializeToString(deterministic=True)
        return [_NODE + _varint(len(data)), data]
    rest, tensor = tf.NodeDef(), tf.AttrValue().tensor
    rest.CopyFrom(node)
    tensor.CopyFrom(node.attr['value'].tensor)
    del rest.attr['value']
    tensor.ClearField('tensor_content')
    start = tensor.SerializeToString(deterministic=True) + _CONTENT + _varint(value.size)
    # The value is the last field of all that it is in.
    for before, tag in ((b'', _TENSOR), (_KEY + _varint(len('value')) + b'value', _VALUE),
                        (rest.SerializeToString(deterministic=True), _ATTR), (b'', _NODE)):
        start = before + tag + _varint(len(start) + value.size) + start
    return [start, memoryview(value)]


def _varint(number):
    result = bytearray()
    while number > 127:
        result.append(number & 127 | 128)
        number >>= 7
    return bytes(result) + bytes([number])
