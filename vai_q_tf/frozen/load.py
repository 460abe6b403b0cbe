"""Loads a frozen graph, and says what a file is that is none."""
import os
import re

import tensorflow.compat.v1 as tf
from google.protobuf import text_format  # type: ignore
from google.protobuf.message import DecodeError  # type: ignore

from vai_q_tf import errors
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.checks.damage import check_nodes
from vai_q_tf.graph.checks.quantized_ops import require_unquantized
from vai_q_tf.graph.dependence import reach, readers
from vai_q_tf.graph.traits import FIX_NEURON_OPS
from vai_q_tf.graph.view import VARIABLE_OPS, GraphView, node_name, op_def

_FREEZE = ('give a frozen graph, which freeze_graph makes: freeze_graph --input_graph=... --input_checkpoint=... '
           '--output_node_names=... --output_graph=frozen.pb')
_GIVE_GRAPH = 'give a frozen TensorFlow graph (GraphDef, .pb or .pbtxt)'
_TEXT_FIELDS = {'node': 'GraphDef', 'versions': 'GraphDef', 'version': 'GraphDef', 'library': 'GraphDef',
                'saved_model_schema_version': 'a SavedModel', 'meta_graphs': 'a SavedModel',
                'meta_info_def': 'a MetaGraph', 'graph_def': 'a MetaGraph', 'saver_def': 'a MetaGraph',
                'collection_def': 'a MetaGraph', 'model_checkpoint_path': 'part of a checkpoint'}
# What other files begin with.
_SIGNATURES = ((b'\x89HDF', 'an HDF5 file (Keras)'), (b'\x89PNG', 'a PNG image'), (b'\xff\xd8\xff', 'a JPEG image'),
               (b'PK\x03\x04', 'a zip archive'), (b'\x1f\x8b', 'a gzip archive'), (b'\x93NUMPY', 'a NumPy array'))
_TABLE_MAGIC = b'\x57\xfb\x80\x8b\x24\x75\x47\xdb'  # ends the index of a checkpoint
_VARINT, _BYTES, _FIXED = 0, 2, {1: 8, 5: 4}  # wire types; bytes of those of fixed size
_UNFROZEN = frozenset(('a SavedModel', 'a MetaGraph'))
_UNSHAPED_PRODUCER = 24  # graphs of older producers write the shape [] where the rank is not known
# Attrs of newer TensorFlows that only act in training.
_TRAINING_ATTRS = frozenset(('exponential_avg_factor',))


def load_graph(path, with_shapes=False):
    """The GraphDef in the file `path`, binary or text, without what TensorFlow 1.15 does not know or does not need.

    Attrs that the ops do not have, and a function library that no node uses are left out, and so are noted shapes
    (`_output_shapes`), unless `with_shapes`, for `lint`, which judges a model by them.

    Raises:
      QuantizeError: INVALID_INPUT for a file that cannot be read or holds no graph; UNSUPPORTED_GRAPH for a damaged one, see
        `check_nodes`.
    """
    path = os.fspath(path or '')
    graph_def = _parse(path, _read(path))
    _clean(graph_def, with_shapes)
    check_nodes(graph_def, repr(path))
    return graph_def


def load_float_graph(source, output_nodes=(), input_nodes=()):
    """The GraphDef `source` (a path, or a GraphDef, which stays as it is) as `load_graph` gives it, ready to be run.

    Only what `output_nodes` depend on is looked at; without output nodes, or where one of them is not known, the whole graph.
    Ops of others that quantize may come before `input_nodes`.

    Raises:
      QuantizeError: as `load_graph`; ALREADY_QUANTIZED; INVALID_INPUT for variables; UNSUPPORTED_OP, all of them named.
    """
    if isinstance(source, tf.GraphDef):
        check_nodes(source)
        graph_def = large_constants.detached(source)
        if not graph_def.node:
            raise _invalid('Empty graph', 'The GraphDef has no nodes; ' + _GIVE_GRAPH)
        _clean(graph_def)
    else:
        graph_def = large_constants.detached(load_graph(source))
    _require_float(GraphView(graph_def), graph_def, output_nodes, input_nodes)
    return graph_def


def unknown_ops(graph_def, nodes):
    """{op type: name of a node} of the NodeDefs `nodes` of the graph whose op this TensorFlow does not have."""
    known = {function.signature.name: True for function in graph_def.library.function}
    found = {}
    for node in nodes:
        if node.op not in known:
            known[node.op] = op_def(node.op) is not None
        if not known[node.op]:
            found.setdefault(node.op, node.name)
    return found


def no_op(unknown):
    """Words for what `unknown_ops` gave."""
    return 'TensorFlow {} has no op {}'.format(
        tf.__version__, ', '.join('{} (node {!r})'.format(*item) for item in unknown.items()))


def runnable(graph_def):
    """The graph without ops that this TensorFlow does not have, and what depends on them; itself if there are none."""
    unknown = unknown_ops(graph_def, graph_def.node)
    if not unknown:
        return graph_def
    dropped = reach([node.name for node in graph_def.node if node.op in unknown], readers(graph_def.node))
    return editor.subgraph(graph_def, [node for node in graph_def.node if node.name not in dropped])


def _require_float(view, graph_def, output_nodes, input_nodes):
    outputs = [node_name(name) for name in output_nodes]
    names = view.upstream(outputs) if outputs and all(name in view for name in outputs) else view.names
    inner = view.upstream(outputs, map(node_name, input_nodes)) if names is not view.names else names
    require_unquantized(view, [name for name in names if view.op(name) in FIX_NEURON_OPS])
    require_unquantized(view, inner)
    for name in names:
        op = view.op(name)
        if op in VARIABLE_OPS:
            raise _invalid('Not frozen', 'The graph has variables, such as {!r}; {}'.format(name, _FREEZE))
    unknown = unknown_ops(graph_def, map(view.node, names))
    if unknown:
        raise errors.QuantizeError(
            errors.UNSUPPORTED_OP, 'Unknown op',
            '{}. Load its library with --custom_op_so, or export the graph with this TensorFlow.'.format(no_op(unknown)))


def _invalid(summary, detail):
    return errors.QuantizeError(errors.INVALID_INPUT, summary, detail + '.')


def _read(path):
    path = os.fspath(path) if path else ''
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


def _parse(path, data):
    field = _first_text_field(data)
    if field is not None:
        return _parse_text(path, data, _TEXT_FIELDS[field])
    graph_def, kind = tf.GraphDef(), _kind(path, data)
    if kind != 'GraphDef':
        raise _invalid('Not a graph', '{!r} {}; {}'.format(
            path, 'is ' + kind if kind else 'holds no GraphDef, or is cut off',
            _FREEZE if kind in _UNFROZEN else _GIVE_GRAPH))
    try:
        graph_def.ParseFromString(data)
    except (DecodeError, RuntimeError):
        raise _invalid('Not a graph', 'The graph in {!r} is damaged; {}'.format(path, _GIVE_GRAPH)) from None
    if not all(node.name and node.op for node in graph_def.node):
        raise _invalid('Not a graph', 'The graph in {!r} has a node without name or op; {}'.format(path, _GIVE_GRAPH))
    return graph_def


def _first_text_field(data):
    """The first field of a message in text form that may be given for a graph; None for anything else."""
    found = re.match(rb'(?:\s|#[^\n]*\n)*(\w+)\s*[:{<]', data)
    name = found.group(1).decode('ascii', 'replace') if found else None
    return name if name in _TEXT_FIELDS else None


def _parse_text(path, data, kind):
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


def _kind(path, data):
    """'GraphDef', or words for what else the bytes of a file are, '' if that is not known.

    Told without protobuf, which writes to stderr about every message that is not what it was told to read.
    """
    kind = next((kind for start, kind in _SIGNATURES if data.startswith(start)), '')
    if data.endswith(_TABLE_MAGIC) or re.search(r'\.data-\d+-of-\d+$', path):
        kind = 'part of a checkpoint'
    elif data[4:8] == b'TFL3':
        kind = 'a TensorFlow Lite model'
    try:
        fields = {}
        for field, wire, start, end in () if kind else _records(data):
            fields.setdefault((field, wire), (start, end))
        if (1, _VARINT) in fields and (2, _BYTES) in fields:
            kind = 'a SavedModel' if len(fields) == 2 else 'an ONNX model'
        elif (1, _BYTES) in fields:
            start, end = fields[1, _BYTES]
            kind = 'GraphDef' if _is_node(data[start:end]) else 'a MetaGraph' if (2, _BYTES) in fields else ''
        elif fields and all(wire == _BYTES for _, wire in fields):
            kind = 'a graph without nodes'
    except ValueError:
        pass
    return kind


def _is_node(data):
    """Whether the bytes are a NodeDef: its op is a word, unlike what other messages have in that field."""
    return any(field == 2 and re.match(rb'[\w./>-]+$', data[start:end]) for field, _, start, end in _records(data))


def _records(data):
    """The (field, wire type, start, end) of the fields of a protocol buffer message; ValueError for anything else."""
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        start, wire = place, tag & 7
        if wire == _VARINT:
            _, place = _varint(data, place)
        elif wire == _BYTES:
            size, start = _varint(data, place)
            place = start + size
        elif wire in _FIXED:
            place += _FIXED[wire]
        else:
            raise ValueError
        if not tag >> 3 or place > len(data):
            raise ValueError
        yield tag >> 3, wire, start, place


def _varint(data, place):
    """(number, where it ends)."""
    number = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            break
        byte, place = data[place], place + 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, place
    raise ValueError


def _clean(graph_def, with_shapes=False):
    known, unshaped = {}, graph_def.versions.producer < _UNSHAPED_PRODUCER
    warned = set()
    for node in graph_def.node:
        if not with_shapes:
            node.attr.pop('_output_shapes', None)
        if node.op not in known:
            definition = op_def(node.op)
            known[node.op] = None if definition is None else frozenset(attr.name for attr in definition.attr)
        attrs = known[node.op]
        if attrs is not None:
            for key in [key for key in node.attr if key not in attrs and not key.startswith('_')]:
                if (node.op, key) not in warned and not _is_default(key, node.attr[key]):
                    warned.add((node.op, key))
                    tf.logging.warning('The op %s of TensorFlow %s has no attr %r, which node %r has; it is left out.',
                                       node.op, tf.__version__, key, node.name)
                del node.attr[key]
        if unshaped and node.op == 'Placeholder' and not node.attr['shape'].shape.dim:
            node.attr['shape'].shape.unknown_rank = True
    if graph_def.HasField('library'):
        graph_def.library.CopyFrom(editor.used_functions(graph_def.library, graph_def.node))


def _is_default(key, value):
    """Whether the value of an attr that came with a newer TensorFlow most likely asks for what ops did before it."""
    kind = value.WhichOneof('value')
    if key in _TRAINING_ATTRS or kind is None:
        return True
    content = getattr(value, kind)
    return not (content.ListFields() if kind in ('list', 'shape', 'tensor', 'func') else content)
