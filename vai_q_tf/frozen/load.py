"""Loads frozen graphs, and diagnoses files that are something else."""
import os
import re
from typing import Dict, FrozenSet, Iterable, Iterator, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import tensorflow.compat.v1 as tf
from google.protobuf import text_format
from google.protobuf.message import DecodeError

from vai_q_tf import errors
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.checks.damage import check_nodes
from vai_q_tf.graph.checks.quantized_ops import require_unquantized
from vai_q_tf.graph.dependence import reach, readers
from vai_q_tf.graph.traits import FIX_NEURON_OPS
from vai_q_tf.graph.view import VARIABLE_OPS, GraphView, node_name, op_def

_FREEZE = ('give a frozen graph, as written by freeze_graph: freeze_graph --input_graph=... --input_checkpoint=... '
           '--output_node_names=... --output_graph=frozen.pb')
_GIVE_GRAPH = 'give a frozen TensorFlow graph (GraphDef, .pb or .pbtxt)'
_TEXT_FIELDS = {'node': 'GraphDef', 'versions': 'GraphDef', 'version': 'GraphDef', 'library': 'GraphDef',
                'saved_model_schema_version': 'a SavedModel', 'meta_graphs': 'a SavedModel',
                'meta_info_def': 'a MetaGraph', 'graph_def': 'a MetaGraph', 'saver_def': 'a MetaGraph',
                'collection_def': 'a MetaGraph', 'model_checkpoint_path': 'part of a checkpoint'}
_KERAS = 'an HDF5 file (Keras)'
_FREEZE_KERAS = ('load it after tf.keras.backend.set_learning_phase(0), and freeze the graph of tf.keras.backend.get_session() '
                 'with tf.graph_util.convert_variables_to_constants')
# What to do with a file of another kind; for all others _GIVE_GRAPH.
_REMEDIES = {'a SavedModel': _FREEZE, 'a MetaGraph': _FREEZE, _KERAS: _FREEZE_KERAS}
# The first bytes of other files.
_SIGNATURES = ((b'\x89HDF', _KERAS), (b'\x89PNG', 'a PNG image'), (b'\xff\xd8\xff', 'a JPEG image'),
               (b'PK\x03\x04', 'a zip archive'), (b'\x1f\x8b', 'a gzip archive'), (b'\x93NUMPY', 'a NumPy array'))
_TABLE_MAGIC = b'\x57\xfb\x80\x8b\x24\x75\x47\xdb'  # ends the index of a checkpoint
_VARINT, _BYTES, _FIXED = 0, 2, {1: 8, 5: 4}  # wire types of protocol buffers; {wire type of fixed size: its bytes}
_UNSHAPED_PRODUCER = 24  # graphs of older producers write the shape [] for an unknown rank
# Attrs of newer TensorFlows that only act in training.
_TRAINING_ATTRS = frozenset(('exponential_avg_factor',))


Path = Union[str, 'os.PathLike[str]']


class _Field(NamedTuple):
    """A field of a protocol buffer message: its number, its wire type and its content."""
    number: int
    wire: int
    content: memoryview


def load_graph(path: Optional[Path], with_shapes: bool = False) -> tf.GraphDef:
    """The GraphDef in the file `path`, binary or text, without the parts that TensorFlow 1.15 does not know or need.

    Removed are attrs that the ops do not have, functions that no node uses, and noted shapes (`_output_shapes`) unless
    `with_shapes`; `lint` judges a model by them.

    Raises:
      QuantizeError: INVALID_INPUT for a file that cannot be read or holds no graph; UNSUPPORTED_GRAPH for a damaged graph, see
        `check_nodes`.
    """
    path = os.fspath(path or '')
    graph_def = _parse(path, _read(path))
    if not with_shapes:
        _drop_noted_shapes(graph_def)
    _clean(graph_def)
    check_nodes(graph_def, repr(path))
    return graph_def


def load_float_graph(source: Union[tf.GraphDef, Path, None], output_nodes: Sequence[str] = (),
                     input_nodes: Sequence[str] = ()) -> tf.GraphDef:
    """The GraphDef `source` (a path, or a GraphDef, which is not changed) as from `load_graph`, checked to be a float graph.

    Only nodes that `output_nodes` depend on are checked; without output nodes, or if one of them is unknown, all nodes. Ops of
    other quantizers may come before `input_nodes`.

    Raises:
      QuantizeError: see `load_graph`; ALREADY_QUANTIZED; INVALID_INPUT for variables; UNSUPPORTED_OP, naming all unknown ops.
    """
    if isinstance(source, tf.GraphDef):
        check_nodes(source)
        graph_def = large_constants.detached(source)
        if not graph_def.node:
            raise _invalid('Empty graph', 'The GraphDef has no nodes; ' + _GIVE_GRAPH)
        _drop_noted_shapes(graph_def)
        _clean(graph_def)
    else:
        graph_def = large_constants.detached(load_graph(source))
    _require_float(GraphView(graph_def), graph_def, output_nodes, input_nodes)
    return graph_def


def unknown_ops(graph_def: tf.GraphDef, nodes: Iterable[tf.NodeDef]) -> Dict[str, str]:
    """{op type: name of its first node} for the ops of `nodes` that neither TensorFlow nor the graph's library has."""
    known = {function.signature.name: True for function in graph_def.library.function}
    found: Dict[str, str] = {}
    for node in nodes:
        if node.op not in known:
            known[node.op] = op_def(node.op) is not None
        if not known[node.op]:
            found.setdefault(node.op, node.name)
    return found


def no_op(unknown: Mapping[str, str]) -> str:
    """The message about the result of `unknown_ops`, without a full stop."""
    return 'TensorFlow {} has no op {}'.format(
        tf.__version__, ', '.join('{} (node {!r})'.format(*item) for item in unknown.items()))


def runnable(graph_def: tf.GraphDef) -> tf.GraphDef:
    """The graph without unknown ops and the nodes that depend on them; the graph itself if all ops are known."""
    unknown = unknown_ops(graph_def, graph_def.node)
    if not unknown:
        return graph_def
    dropped = reach([node.name for node in graph_def.node if node.op in unknown], readers(graph_def.node))
    return editor.subgraph(graph_def, [node for node in graph_def.node if node.name not in dropped])


def _require_float(view: GraphView, graph_def: tf.GraphDef, output_nodes: Iterable[str], input_nodes: Iterable[str]) -> None:
    outputs = list(map(node_name, output_nodes))
    names: Sequence[str] = view.names
    inner = names
    if outputs and all(name in view for name in outputs):
        names, inner = view.upstream(outputs), view.upstream(outputs, map(node_name, input_nodes))
    require_unquantized(view, [name for name in names if view.op(name) in FIX_NEURON_OPS])
    require_unquantized(view, inner)
    for name in names:
        if view.op(name) in VARIABLE_OPS:
            raise _invalid('Not frozen', 'The graph has variables, such as {!r}; {}'.format(name, _FREEZE))
    unknown = unknown_ops(graph_def, map(view.node, names))
    if unknown:
        raise errors.QuantizeError(
            errors.UNSUPPORTED_OP, 'Unknown op',
            '{}. Load its library with --custom_op_so, or export the graph with this TensorFlow.'.format(no_op(unknown)))


def _invalid(summary: str, detail: str) -> errors.QuantizeError:
    return errors.QuantizeError(errors.INVALID_INPUT, summary, detail + '.')


def _read(path: str) -> bytes:
    if not path:
        raise _invalid('Not found', 'No graph is given (--input_frozen_graph); ' + _GIVE_GRAPH)
    if os.path.isdir(path):
        kind = 'a SavedModel' if os.path.exists(os.path.join(path, 'saved_model.pb')) else 'a directory'
        raise _invalid('Not a frozen graph', '{!r} is {}; {}'.format(path, kind, _FREEZE))
    try:
        with open(path, 'rb') as stream:
            data = stream.read()
    except OSError as error:
        raise _invalid('Not found', 'Cannot read {!r}: {}; check --input_frozen_graph'.format(path, error.strerror)) from error
    if not data:
        raise _invalid('Empty file', '{!r} is empty; {}'.format(path, _GIVE_GRAPH))
    return data


def _parse(path: str, data: bytes) -> tf.GraphDef:
    field = _first_text_field(data)
    if field is not None:
        return _parse_text(path, data, _TEXT_FIELDS[field])
    graph_def, kind = tf.GraphDef(), _kind(path, data)
    if kind != 'GraphDef':
        raise _invalid('Not a graph', '{!r} {}; {}'.format(
            path, 'is ' + kind if kind else 'holds no GraphDef, or is cut off',
            _REMEDIES.get(kind, _GIVE_GRAPH)))
    try:
        graph_def.ParseFromString(data)
    except (DecodeError, RuntimeError):
        raise _invalid('Not a graph', 'The graph in {!r} is damaged; {}'.format(path, _GIVE_GRAPH)) from None
    if not all(node.name and node.op for node in graph_def.node):
        raise _invalid('Not a graph', 'The graph in {!r} has a node without name or op; {}'.format(path, _GIVE_GRAPH))
    return graph_def


def _first_text_field(data: bytes) -> Optional[str]:
    """The first field of a message in text form, if it is one of _TEXT_FIELDS."""
    found = re.match(rb'(?:\s|#[^\n]*\n)*(\w+)\s*[:{<]', data)
    name = found.group(1).decode('ascii', 'replace') if found else None
    return name if name in _TEXT_FIELDS else None


def _parse_text(path: str, data: bytes, kind: str) -> tf.GraphDef:
    if kind != 'GraphDef':
        raise _invalid('Not a frozen graph', '{!r} is {} in text form; {}'.format(path, kind, _FREEZE))
    try:
        graph_def = text_format.Parse(data.decode(), tf.GraphDef())
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise _invalid('Not a graph', 'The text in {!r} is not a GraphDef: {}; {}'.format(
            path, error, _GIVE_GRAPH)) from error
    if not graph_def.node:
        raise _invalid('Empty graph', 'The graph in {!r} has no nodes; {}'.format(path, _GIVE_GRAPH))
    return graph_def


def _kind(path: str, data: bytes) -> str:
    """'GraphDef', words for another kind of file, or '' for an unknown one.

    Does not use protobuf, which writes to stderr about each message that it cannot parse.
    """
    return _kind_by_signature(path, data) or _kind_by_fields(data)


def _kind_by_signature(path: str, data: bytes) -> str:
    if data.endswith(_TABLE_MAGIC) or re.search(r'\.data-\d+-of-\d+$', path):
        return 'part of a checkpoint'
    if data[4:8] == b'TFL3':
        return 'a TensorFlow Lite model'
    return next((kind for start, kind in _SIGNATURES if data.startswith(start)), '')


def _kind_by_fields(data: bytes) -> str:
    first: Dict[Tuple[int, int], memoryview] = {}
    try:
        for field in _fields(memoryview(data)):
            first.setdefault((field.number, field.wire), field.content)
        if (1, _VARINT) in first and (2, _BYTES) in first:
            return 'a SavedModel' if len(first) == 2 else 'an ONNX model'
        if (1, _BYTES) in first:
            return 'GraphDef' if _is_node(first[1, _BYTES]) else 'a MetaGraph' if (2, _BYTES) in first else ''
    except ValueError:
        return ''
    return 'a graph without nodes' if first and all(wire == _BYTES for _, wire in first) else ''


def _is_node(message: memoryview) -> bool:
    """Whether the message is a NodeDef: its field 2, the op, is a word, unlike in the other messages."""
    return any(field.number == 2 and re.match(rb'[\w./>-]+$', field.content) for field in _fields(message))


def _fields(message: memoryview) -> Iterator[_Field]:
    """The fields of a protocol buffer message; a ValueError for other bytes."""
    place = 0
    while place < len(message):
        tag, start = _varint(message, place)
        number, wire = tag >> 3, tag & 7
        start, place = _content(message, start, wire)
        if not number or place > len(message):
            raise ValueError
        yield _Field(number, wire, message[start:place])


def _content(message: memoryview, place: int, wire: int) -> Tuple[int, int]:
    """(start, end) of the content of a field after its tag."""
    if wire == _VARINT:
        return place, _varint(message, place)[1]
    if wire == _BYTES:
        size, start = _varint(message, place)
        return start, start + size
    if wire in _FIXED:
        return place, place + _FIXED[wire]
    raise ValueError


def _varint(data: memoryview, place: int) -> Tuple[int, int]:
    """(number, the place after it)."""
    number = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            break
        byte, place = data[place], place + 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, place
    raise ValueError


def _drop_noted_shapes(graph_def: tf.GraphDef) -> None:
    for node in graph_def.node:
        node.attr.pop('_output_shapes', None)


def _clean(graph_def: tf.GraphDef) -> None:
    _drop_unknown_attrs(graph_def.node)
    if graph_def.versions.producer < _UNSHAPED_PRODUCER:
        for node in graph_def.node:
            if node.op == 'Placeholder' and not node.attr['shape'].shape.dim:
                node.attr['shape'].shape.unknown_rank = True
    if graph_def.HasField('library'):
        graph_def.library.CopyFrom(editor.used_functions(graph_def.library, graph_def.node))


def _drop_unknown_attrs(nodes: Iterable[tf.NodeDef]) -> None:
    """Removes the attrs that the ops of this TensorFlow do not have, with a warning for each that may change results."""
    known: Dict[str, Optional[FrozenSet[str]]] = {}
    warned = set()
    for node in nodes:
        if node.op not in known:
            definition = op_def(node.op)
            known[node.op] = None if definition is None else frozenset(attr.name for attr in definition.attr)
        attrs = known[node.op]
        for key in [key for key in node.attr if attrs is not None and key not in attrs and not key.startswith('_')]:
            if (node.op, key) not in warned and not _is_default(key, node.attr[key]):
                warned.add((node.op, key))
                tf.logging.warning('The op %s of TensorFlow %s has no attr %r, which node %r has; it is left out.',
                                   node.op, tf.__version__, key, node.name)
            del node.attr[key]


def _is_default(key: str, value: tf.AttrValue) -> bool:
    """Whether an attr of a newer TensorFlow most likely asks for the behaviour that the op had before."""
    kind = value.WhichOneof('value')
    if key in _TRAINING_ATTRS or kind is None:
        return True
    content = getattr(value, kind)
    return not (content.ListFields() if kind in ('list', 'shape', 'tensor', 'func') else content)
