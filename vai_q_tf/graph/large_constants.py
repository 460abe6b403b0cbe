"""Large constants kept apart from their GraphDef, so that copying and running the graph does not copy them.

Within `kept_apart` the value of a large Const is an array outside the GraphDef, which holds a key instead, a digest of the
value. TensorFlow gets a variable instead of the Const, which shares the memory of the array. All code that reads values of
Consts, or makes Consts, uses this module. Other code fails: neither TensorFlow nor NumPy accepts a key as a value.
"""
import contextlib
import ctypes
import hashlib
import threading
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Union

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph.sessions import cpu_only
from vai_q_tf.types import TensorProto

_LEAST = 64 << 10  # bytes; TensorFlow may need the values of smaller ones to infer shapes
_PIECE = 1 << 18  # elements
_ALIGNMENT = 64  # bytes; TensorFlow copies the memory of an array that is not aligned to them
# Keys have an odd number of bytes, large constants never have.
_MARK = b'vai_q_tf/large/'
_KEY_LENGTH = len(_MARK) + 2 * hashlib.sha1().digest_size


class _Scopes(threading.local):
    """The values of each open scope, {key: bytes of the value as an aligned array}, the innermost last."""

    def __init__(self) -> None:
        self.open: List[Dict[bytes, np.ndarray]] = []


_scopes = _Scopes()


@contextlib.contextmanager
def kept_apart() -> Iterator[None]:
    """A scope, for a block or as a decorator. GraphDefs with large constants that are made in it are useless after it.

    Scopes may be nested; values added in an inner one are forgotten at its end.
    """
    _scopes.open.append({})
    try:
        yield
    finally:
        if _scopes.open.pop():
            _give_back()


def detached(graph_def: tf.GraphDef) -> tf.GraphDef:
    """A copy of a GraphDef that `check_nodes` accepts, with its large constants apart; without an open scope an exact copy."""
    if not _scopes.open:
        result = tf.GraphDef()
        result.CopyFrom(graph_def)
        return result
    result = without_nodes(graph_def)
    for node in graph_def.node:
        result.node.add().CopyFrom(_detached(node) if _is_large(node) else node)
    return result


def _is_large(node: tf.NodeDef) -> bool:
    if node.op != 'Const' or 'value' not in node.attr:
        return False
    tensor = node.attr['value'].tensor
    return len(tensor.tensor_content) >= _LEAST and tf.as_dtype(tensor.dtype).is_floating


def _detached(node: tf.NodeDef) -> tf.NodeDef:
    result, tensor = without_value(node), node.attr['value'].tensor
    result.attr['value'].tensor.CopyFrom(
        _keyed(tensor.dtype, [dim.size for dim in tensor.tensor_shape.dim], _keep(tensor.tensor_content)))
    if node.HasField('experimental_debug_info'):
        result.experimental_debug_info.CopyFrom(node.experimental_debug_info)
    return result


def without_value(node: tf.NodeDef) -> tf.NodeDef:
    """A copy of a Const NodeDef without value and debug info; the value is not copied on the way."""
    result = tf.NodeDef(name=node.name, op=node.op, input=node.input, device=node.device)
    for key in node.attr:
        if key != 'value':
            result.attr[key].CopyFrom(node.attr[key])
    return result


def without_nodes(graph_def: tf.GraphDef) -> tf.GraphDef:
    """A copy of the GraphDef without its nodes."""
    result = tf.GraphDef(version=graph_def.version)
    for field in ('versions', 'library'):
        if graph_def.HasField(field):
            getattr(result, field).CopyFrom(getattr(graph_def, field))
    return result


def forget_all_but(graph_defs: Iterable[tf.GraphDef]) -> None:
    """Forgets the values that are not in any of the GraphDefs, in all open scopes."""
    needed = {_key_of(node) for graph_def in graph_defs for node in graph_def.node}
    for scope in _scopes.open:
        for key in set(scope) - needed:
            del scope[key]


def attached(node: tf.NodeDef) -> tf.NodeDef:
    """The NodeDef with its value inside; itself if that is so already."""
    key = _key_of(node)
    if not key:
        return node
    result = tf.NodeDef()
    result.CopyFrom(node)
    result.attr['value'].tensor.tensor_content = _bytes_of(key).tobytes()
    return result


def whole(graph_def: tf.GraphDef) -> tf.GraphDef:
    """The GraphDef with all values inside; itself if none is apart."""
    if not any(map(_key_of, graph_def.node)):
        return graph_def
    result = without_nodes(graph_def)
    for node in graph_def.node:
        result.node.add().CopyFrom(attached(node))
    return result


def is_apart(node: tf.NodeDef) -> bool:
    """Whether the NodeDef is a Const whose value is apart."""
    return bool(_key_of(node))


def bytes_apart(node: tf.NodeDef) -> Optional[np.ndarray]:
    """The bytes of the value of a Const NodeDef as an array; None if they are not apart."""
    key = _key_of(node)
    return _bytes_of(key) if key else None


def byte_size(node: tf.NodeDef) -> int:
    """The approximate number of bytes of the NodeDef with its value inside."""
    key = _key_of(node)
    return node.ByteSize() + (_bytes_of(key).size if key else 0)


def array(tensor: TensorProto) -> np.ndarray:
    """The value of the TensorProto of a Const; read-only if it is apart."""
    key = _key(tensor)
    return _view(key, tensor.dtype, [dim.size for dim in tensor.tensor_shape.dim]) if key else tf.make_ndarray(tensor)


def tensor_proto(value: Any, dtype: tf.DType) -> TensorProto:
    """The TensorProto of a value for a Const; of a large array, one with a key."""
    dtype = tf.as_dtype(dtype)
    if _scopes.open and isinstance(value, np.ndarray) and dtype.is_floating and value.size * dtype.size >= _LEAST:
        value = np.ascontiguousarray(value, dtype.as_numpy_dtype)
        return _keyed(dtype.as_datatype_enum, value.shape, _keep(value))
    return tf.make_tensor_proto(value, dtype)


def kept(value: np.ndarray) -> np.ndarray:
    """The array itself if it is small, else the read-only array that all Consts with this value share."""
    if not _scopes.open or value.nbytes < _LEAST:
        return value
    return _bytes_of(_keep(np.ascontiguousarray(value))).view(value.dtype).reshape(value.shape)


def by_pieces(function: Callable[[np.ndarray], np.ndarray], value: np.ndarray) -> np.ndarray:
    """An elementwise function of an array as float32, computed piece by piece to save memory."""
    result, flat = np.empty(value.shape, np.float32), value.reshape(-1)
    for start in range(0, value.size, _PIECE):
        result.reshape(-1)[start:start + _PIECE] = function(flat[start:start + _PIECE])
    return result


def import_graph_def(graph_def: tf.GraphDef, *args: Any, **kwargs: Any) -> Any:
    """`tf.import_graph_def` of a GraphDef whose large constants may be apart; see `session`."""
    return tf.import_graph_def(_with_variables(graph_def), *args, **kwargs)


def session(graph: tf.Graph, config: Optional[tf.ConfigProto] = None) -> tf.Session:
    """A tf.Session in which the graph's large constants have their values."""
    result = tf.Session(graph=graph, config=config)
    stand_ins = [op for op in graph.get_operations() if is_stand_in(op)]
    if stand_ins:
        _assign(result, {op.get_attr('shared_name'): op for op in stand_ins})
    return result


def _assign(run: tf.Session, stand_ins: Dict[bytes, tf.Operation]) -> None:
    """Gives their values to variables {shared name: op}."""
    assignments, values = [], {}
    with run.graph.as_default():
        for name, op in stand_ins.items():
            dtype, shape = op.get_attr('dtype'), op.get_attr('shape')
            source = tf.placeholder(dtype, tf.TensorShape(shape))
            assignments.append(tf.raw_ops.AssignVariableOp(resource=op.outputs[0], value=source))
            values[source] = _view(name[:_KEY_LENGTH], dtype, [dim.size for dim in shape.dim])
    run.run(assignments, values)


def is_stand_in(op: tf.Operation) -> bool:
    """Whether an op is the variable of a large constant."""
    return op.type == 'VarHandleOp' and op.get_attr('shared_name').startswith(_MARK)


def _give_back() -> None:
    """Returns the memory of unused arrays to the system."""
    with tf.Graph().as_default(), tf.Session(config=cpu_only()) as run:
        run.run(tf.no_op())  # TensorFlow releases the arrays that it was fed in the next run
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)  # the C library keeps a heap for each thread
    if trim:
        trim(0)


def _keep(value: Union[bytes, np.ndarray]) -> bytes:
    """The key of the bytes of a value, a contiguous array if it is one, which the innermost scope keeps from now on."""
    data = np.frombuffer(value, np.uint8) if isinstance(value, bytes) else value.reshape(-1).view(np.uint8)
    key = _MARK + hashlib.sha1(data).hexdigest().encode()
    if not any(key in scope for scope in _scopes.open):
        room = np.empty(data.size + _ALIGNMENT, np.uint8)
        start = -room.ctypes.data % _ALIGNMENT
        kept = room[start:start + data.size]
        kept[:] = data
        kept.setflags(write=False)
        _scopes.open[-1][key] = kept
    return key


def _keyed(dtype: int, shape: Sequence[int], key: bytes) -> TensorProto:
    result = tf.AttrValue().tensor
    result.dtype, result.tensor_content = dtype, key
    for size in shape:
        result.tensor_shape.dim.add().size = size
    return result


def _key_of(node: tf.NodeDef) -> bytes:
    """The key of a Const NodeDef whose value is apart; b'' for other nodes."""
    return _key(node.attr['value'].tensor) if _scopes.open and node.op == 'Const' and 'value' in node.attr else b''


def _key(tensor: TensorProto) -> bytes:
    """The key in a TensorProto; b'' if it holds a value. Only small ones are read, because reading copies the content."""
    is_small = _scopes.open and tensor.ByteSize() < 4 * _KEY_LENGTH
    return tensor.tensor_content if is_small and tensor.tensor_content.startswith(_MARK) else b''


def _bytes_of(key: bytes) -> np.ndarray:
    return next(scope[key] for scope in _scopes.open if key in scope)


def _view(key: bytes, dtype: tf.DType, shape: Sequence[int]) -> np.ndarray:
    return _bytes_of(key).view(tf.as_dtype(dtype).as_numpy_dtype).reshape(shape)


def _with_variables(graph_def: tf.GraphDef) -> tf.GraphDef:
    """The GraphDef with variables for large constants.

    Those with control inputs stay Consts, because control inputs may place them in a loop or a branch.
    """
    if not any(map(_key_of, graph_def.node)):
        return graph_def
    result = without_nodes(graph_def)
    handles = set()
    for node in graph_def.node:
        if node.input or not _key_of(node):
            result.node.add().CopyFrom(attached(node))
            continue
        handle = _handle(node)
        if handle.name not in handles:
            handles.add(handle.name)
            result.node.add().CopyFrom(handle)
        read = result.node.add(name=node.name, op='ReadVariableOp', device=node.device, input=[handle.name])
        read.attr['dtype'].type = handle.attr['dtype'].type
    return result


def _handle(node: tf.NodeDef) -> tf.NodeDef:
    """The VarHandleOp of a large constant, which `session` finds by its shared_name; equal values share it."""
    tensor = node.attr['value'].tensor
    shape = 'x'.join(str(dim.size) for dim in tensor.tensor_shape.dim)
    name = '{}_{}_{}'.format(_key_of(node).decode(), tensor.dtype, shape)
    handle = tf.NodeDef(name=name, op='VarHandleOp', device=node.device)
    handle.attr['dtype'].type, handle.attr['shared_name'].s = tensor.dtype, name.encode()
    handle.attr['shape'].shape.CopyFrom(tensor.tensor_shape)
    return handle
