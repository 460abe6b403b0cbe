"""Serializes a GraphDef piece by piece, so that no second copy of a large model is in memory."""
from typing import Iterator, List, Union

import tensorflow.compat.v1 as tf

from vai_q_tf import files
from vai_q_tf.graph import large_constants

_MOST = (1 << 31) - 1  # bytes of a protocol buffer message
# Tags of length-delimited fields: 8 * field number + wire type 2.
_NODE, _ATTR, _KEY, _VALUE, _TENSOR, _CONTENT = (bytes([number * 8 + 2]) for number in (1, 5, 1, 2, 8, 4))

_Piece = Union[bytes, memoryview]


class Serialized:
    """An iterable of the pieces of `graph_def.SerializeToString(deterministic=True)`; it can be iterated over repeatedly.

    Raises:
      QuantizeError: UNSUPPORTED_GRAPH for more bytes than the file `name` can have.
    """

    def __init__(self, name: str, graph_def: tf.GraphDef) -> None:
        self._graph_def = graph_def
        if sum(map(len, self)) > _MOST:
            raise files.too_large(name)

    def __iter__(self) -> Iterator[_Piece]:
        for node in self._graph_def.node:
            yield from _node(node)
        yield large_constants.without_nodes(self._graph_def).SerializeToString(deterministic=True)


def _node(node: tf.NodeDef) -> List[_Piece]:
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
    # The value is the last field of every message around it.
    for before, tag in ((b'', _TENSOR), (_KEY + _varint(len('value')) + b'value', _VALUE),
                        (rest.SerializeToString(deterministic=True), _ATTR), (b'', _NODE)):
        start = before + tag + _varint(len(start) + value.size) + start
    return [start, memoryview(value)]


def _varint(number: int) -> bytes:
    result = bytearray()
    while number > 127:
        result.append(number & 127 | 128)
        number >>= 7
    return bytes(result) + bytes([number])
