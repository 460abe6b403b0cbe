"""Large constants apart from their graph, so that copies of a GraphDef and runs of it do not copy them.

Within `kept_apart` the value of a large Const is an array beside the GraphDef, which has a key in its place, a digest of the
value. TensorFlow gets a variable instead of the Const, which has the memory of the array. All that reads values of Consts, or
makes Consts, does so here. What is not aware of it fails: neither TensorFlow nor NumPy takes the key for a value.
"""
import contextlib
import ctypes
import hashlib
import threading

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph.sessions import cpu_only

_LEAST = 64 << 10  # bytes; the values of smaller ones may decide about shapes
_PIECE = 1 << 18  # elements
_ALIGNMENT = 64  # bytes, with which TensorFlow takes the memory of an array as it is
# Keys have an odd number of bytes, as no large constant has.
_MARK = b'vai_q_tf/large/'
_KEY_LENGTH = len(_MARK) + 2 * hashlib.sha1().digest_size


class _Scopes(threading.local):
    """The values of each scope that is open, {key: its bytes as an aligned array}, the innermost last."""

    def __init__(self):
        self.open = []


_scopes = _Scopes()


@contextlib.contextmanager
def kept_apart():
    """A scope, for a block or as a decorator; GraphDefs that get large constants within it are of no use after it.

    Scopes may be nested; what an inner one adds is forgotten with it.
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


def without_nodes(graph_def):
    """A copy of the GraphDef with all but its nodes."""
    result = tf.GraphDef(version=graph_def.version)
    for field in ('versions', 'library'):
        if graph_def.HasField(field):
            getattr(result, field).CopyFrom(getattr(graph_def, field))
    return result


def forget_all_but(graph_defs):
    """Forgets the values that none of the GraphDefs has, in all scopes that are open."""
    needed = {_key_of(node) for graph_def in graph_defs for node in graph_def.node}
    for scope in _scopes.open:
        for key in set(scope) - needed:
            del scope[key]


def attached(node):
    """The NodeDef with its value in it; itself if it has that."""
    key = _key_of(node)
    if not key:
        return node
    result = tf.NodeDef()
    result.CopyFrom(node)
    result.attr['value'].tensor.tensor_content = _bytes_of(key).tobytes()
    return result


def whole(graph_def):
    """The GraphDef with all values in it; itself if none is apart."""
    if not any(map(_key_of, graph_def.node)):
        return graph_def
    result = without_nodes(graph_def)
    for node in graph_def.node:
        result.node.add().CopyFrom(attached(node))
    return result


def is_apart(node):
    """Whether the NodeDef is a Const whose value is apart."""
    return bool(_key_of(node))


def bytes_apart(node):
    """The bytes of the value of a Const NodeDef as an array, None where they are not apart."""
    key = _key_of(node)
    return _bytes_of(key) if key else None


def byte_size(node):
    """How many bytes the NodeDef has with its value in it, up to a few."""
    key = _key_of(node)
    return node.ByteSize() + (_bytes_of(key).size if key else 0)


def array(tensor):
    """The value of the TensorProto of a Const as an ndarray; it cannot be written to where it is apart."""
    key = _key(tensor)
    return _view(key, tensor.dtype, [dim.size for dim in tensor.tensor_shape.dim]) if key else tf.make_ndarray(tensor)


def tensor_proto(value, dtype):
    """The TensorProto of a value for a Const; that of a large array has a key."""
    dtype = tf.as_dtype(dtype)
    if _scopes.open and isinstance(value, np.ndarray) and dtype.is_floating and value.size * dtype.size >= _LEAST:
        value = np.ascontiguousarray(value, dtype.as_numpy_dtype)
        return _keyed(dtype.as_datatype_enum, value.shape, _keep(value))
    return tf.make_tensor_proto(value, dtype)


def kept(value):
    """The array, where it is large the one that Consts with this value share; it cannot be written to then."""
    if not _scopes.open or value.nbytes < _LEAST:
        return value
    return _bytes_of(_keep(np.ascontiguousarray(value))).view(value.dtype).reshape(value.shape)


def by_pieces(function, value):
    """What the function makes of each element of an array as float32, piece by piece, since it needs memory for them."""
    result, flat = np.empty(value.shape, np.float32), value.reshape(-1)
    for start in range(0, value.size, _PIECE):
        result.reshape(-1)[start:start + _PIECE] = function(flat[start:start + _PIECE])
    return result


def import_graph_def(graph_def, *args, **kwargs):
    """`tf.import_graph_def` of a GraphDef whose large constants may be apart; see `session`."""
    return tf.import_graph_def(_with_variables(graph_def), *args, **kwargs)


def session(graph, config=None):
    """A tf.Session in which the graph's large constants have their values."""
    result = tf.Session(graph=graph, config=config)
    handles = {op.get_attr('shared_name'): op for op in graph.get_operations() if is_stand_in(op)}
    if handles:
        assignments, values = [], {}
        with graph.as_default():
            for name, op in handles.items():
                dtype, shape = op.get_attr('dtype'), op.get_attr('shape')
                source = tf.placeholder(dtype, tf.TensorShape(shape))
                assignments.append(tf.raw_ops.AssignVariableOp(resource=op.outputs[0], value=source))
                values[source] = _view(name[:_KEY_LENGTH], dtype, [dim.size for dim in shape.dim])
        result.run(assignments, values)
    return result


def is_stand_in(op):
    """Whether a tf.Operation is the variable of a large constant."""
    return op.type == 'VarHandleOp' and op.get_attr('shared_name').startswith(_MARK)


def _give_back():
    """Gives the memory of arrays that nothing needs any more to the system."""
    with tf.Graph().as_default(), tf.Session(config=cpu_only()) as run:
        run.run(tf.no_op())  # TensorFlow lets go of arrays that it was fed when something runs
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)  # the C library keeps a heap for each thread
    if trim:
        trim(0)


def _keep(value):
    """The key of the bytes, or of those of a contiguous array."""
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


def _keyed(dtype, shape, key):
    result = tf.AttrValue().tensor
    result.dtype, result.tensor_content = dtype, key
    for size in shape:
        result.tensor_shape.dim.add().size = size
    return result


def _key_of(node):
    """The key of a Const NodeDef whose value is apart, b'' for another node."""
    return _key(node.attr['value'].tensor) if _scopes.open and node.op == 'Const' and 'value' in node.attr else b''


def _key(tensor):
    """The key in a TensorProto, b'' where there is a value. Reading the content copies it, so only of small ones."""
    is_small = _scopes.open and tensor.ByteSize() < 4 * _KEY_LENGTH
    return tensor.tensor_content if is_small and tensor.tensor_content.startswith(_MARK) else b''


def _bytes_of(key):
    return next(scope[key] for scope in _scopes.open if key in scope)


def _view(key, dtype, shape):
    return _bytes_of(key).view(tf.as_dtype(dtype).as_numpy_dtype).reshape(shape)


def _with_variables(graph_def):
    """The GraphDef in which large constants are read from variables.

    Those that wait for something stay Consts: that is how they are put into a loop or a branch.
    """
    if not any(map(_key_of, graph_def.node)):
        return graph_def
    result = without_nodes(graph_def)
    handles = set()
    for node in graph_def.node:
        key = _key_of(node)
        if not key or node.input:
            result.node.add().CopyFrom(attached(node))
            continue
        tensor = node.attr['value'].tensor
        name = '{}_{}_{}'.format(key.decode(), tensor.dtype, 'x'.join(str(dim.size) for dim in tensor.tensor_shape.dim))
        if name not in handles:
            handles.add(name)
            handle = result.node.add(name=name, op='VarHandleOp', device=node.device)
            handle.attr['dtype'].type, handle.attr['shared_name'].s = tensor.dtype, name.encode()
            handle.attr['shape'].shape.CopyFrom(tensor.tensor_shape)
        read = result.node.add(name=node.name, op='ReadVariableOp', device=node.device, input=[name])
        read.attr['dtype'].type = tensor.dtype
    return result
