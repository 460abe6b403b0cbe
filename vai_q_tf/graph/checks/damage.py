"""What is damaged in a GraphDef, by the name of the node.

It is looked for before anything reads the graph: some of it makes TensorFlow abort the process, or compute without an end.
"""
import functools
import operator
import re
from typing import FrozenSet, NamedTuple, Optional, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.control_flow import NEXT_OPS
from vai_q_tf.graph.traits import FIX_NEURON_OPS
from vai_q_tf.graph.view import op_def

_REFERENCE = re.compile(r'(\^)?([^:^]+)(?::([0-9]{1,9}))?$')
_FIELDS = {'string': 's', 'int': 'i', 'float': 'f', 'bool': 'b', 'type': 'type', 'shape': 'shape', 'tensor': 'tensor',
           'func': 'func'}
# The fields of a TensorProto that hold values, other than tensor_content.
_VALUES = [name for name in tf.AttrValue().tensor.DESCRIPTOR.fields_by_name if name.endswith('_val')]
_REF = 100  # DataTypes above it are those of references, which no attr has
_MOST_TENSORS = 2**16  # of one op
_MOST_DIMENSIONS = 254  # of a tensor
_MOST_BYTES = 2**31  # of a constant; no GraphDef holds more


class _Fault(Exception):
    """What is wrong with a node, as the rest of a sentence that begins with the node."""


class _Signature(NamedTuple):
    """The DataTypes of what a node reads and gives, also of a reference; None for each where the op is not known."""
    inputs: Optional[Tuple[int, ...]]
    outputs: Optional[Tuple[int, ...]]


class _Attr(NamedTuple):
    """An attr of an op. field: that of its values in an AttrValue. default: an AttrValue, None for none."""
    name: str
    kind: str
    field: str
    is_list: bool
    least: Optional[int]
    allowed: Optional[FrozenSet]
    default: Optional[tf.AttrValue]


class _Op(NamedTuple):
    """What an OpDef says. inputs, outputs: of type ArgDef."""
    attrs: Tuple[_Attr, ...]
    inputs: Tuple
    outputs: Tuple


def check_nodes(graph_def, what='the graph'):
    """Raises a QuantizeError UNSUPPORTED_GRAPH for the first node of a GraphDef that is damaged.

    Looked at are names and references, attrs (their kinds, and values that the op allows), the number and the types of inputs,
    constants (type, shape, number of values), axes of concats, colocations, and cycles other than those of loops. Of ops that
    TensorFlow does not know, and of FixNeurons, only references are looked at.

    Args:
      what: what to call the graph in the message.
    """
    ops = {function.signature.name: _op(function.signature) for function in graph_def.library.function}
    signatures, references = {}, {}
    for node in graph_def.node:
        if node.name in signatures:
            raise _error('Two nodes in {} have the name {!r}; node names must be unique'.format(what, node.name))
        if node.op not in ops:
            # Models of other quantizers lack attrs of FixNeurons: `update` adds them, `check_attrs` checks the others.
            ops[node.op] = None if node.op in FIX_NEURON_OPS else _op(op_def(node.op))
        with _naming(node, what):
            _check_colocation(node)
            signatures[node.name] = _signature(node, ops[node.op])
            references[node.name] = [_parsed(reference) for reference in node.input]
    nodes = {node.name: node for node in graph_def.node}
    for node in graph_def.node:
        with _naming(node, what):
            _check_inputs(node, references[node.name], signatures)
            _check_axis(node, references[node.name], nodes)
    _check_cycles(graph_def.node, references, what)


def _check_colocation(node):
    """TensorFlow aborts the process where the name of the other node is no text."""
    for value in node.attr['_class'].list.s if '_class' in node.attr else ():
        try:
            value.decode()
        except UnicodeDecodeError:
            raise _Fault('has an attr \'_class\' of {!r}, which is no text'.format(value)) from None


class _naming:
    """Makes errors of _Faults of a node. As a class, since it is entered for every node of the graph."""

    def __init__(self, node, what):
        self._node, self._what = node, what

    def __enter__(self):
        pass

    def __exit__(self, kind, fault, trace):
        if kind is _Fault:
            raise _error('The {} {!r} in {} {}'.format(
                'constant' if self._node.op == 'Const' else 'node', self._node.name, self._what, fault)) from None


def _error(detail):
    return errors.QuantizeError(errors.UNSUPPORTED_GRAPH, 'Invalid graph', detail + '; export the graph anew.')


def _op(definition):
    return definition and _Op(tuple(map(_attr, definition.attr)), tuple(definition.input_arg), tuple(definition.output_arg))


def _attr(definition):
    is_list = definition.type.startswith('list(')
    field = _FIELDS[definition.type[len('list('):-1] if is_list else definition.type]
    return _Attr(
        definition.name, definition.type, field, is_list, definition.minimum if definition.has_minimum else None,
        frozenset(getattr(definition.allowed_values.list, field)) if definition.HasField('allowed_values') else None,
        definition.default_value if definition.HasField('default_value') else None)


def _signature(node, op):
    if op is None:
        return _Signature(None, None)
    attrs = {attr.name: _attr_value(node, attr) for attr in op.attrs}
    if node.op == 'Const' and not large_constants.is_apart(node):
        _check_constant(attrs['value'].tensor, attrs['dtype'].type)
    return _Signature(_types(op.inputs, attrs, 'inputs'), _types(op.outputs, attrs, 'outputs'))


def _attr_value(node, attr):
    """The AttrValue that the node has, or the default."""
    if attr.name not in node.attr:
        if attr.default is None:
            raise _Fault('lacks the attr {!r} of the op {}'.format(attr.name, node.op))
        return attr.default
    value = node.attr[attr.name]
    given = value.WhichOneof('value')
    if attr.is_list:
        fits = given in ('list', None) and all(field.name == attr.field for field, _ in value.list.ListFields())
    else:
        fits = given == attr.field
    if not fits:
        raise _Fault('has an attr {!r} of the kind {!r}; the op {} has {!r}'.format(attr.name, given, node.op, attr.kind))
    if attr.least is not None or attr.allowed is not None or attr.field == 'type':
        _check_values(node, attr, list(getattr(value.list, attr.field)) if attr.is_list else [getattr(value, attr.field)])
    return value


def _check_values(node, attr, values):
    size = len(values) if attr.is_list else values[0]
    if attr.least is not None and size < attr.least:
        raise _Fault('has an attr {!r} of {}{}, less than {}'.format(
            attr.name, size, ' values' if attr.is_list else '', attr.least))
    if attr.field == 'type' and not all(map(_is_type, values)):
        raise _Fault('has an attr {!r} with a type that TensorFlow {} does not have'.format(attr.name, tf.__version__))
    if attr.allowed is not None and not attr.allowed.issuperset(values):
        value = next(value for value in values if value not in attr.allowed)
        raise _Fault('has an attr {!r} with a value, {}, that the op {} does not allow'.format(
            attr.name, tf.as_dtype(value).name if attr.field == 'type' else repr(value.decode(errors='replace')), node.op))


@functools.lru_cache(maxsize=None)
def _is_type(number):
    """Whether it is a DataType of this TensorFlow, other than that of a reference."""
    try:
        return number < _REF and bool(tf.as_dtype(number))
    except TypeError:
        return False


def _types(args, attrs, what):
    """The DataTypes of what the ArgDefs `args` stand for."""
    types = []
    for arg in args:
        if arg.type_list_attr:
            types += attrs[arg.type_list_attr].list.type
        else:
            count = attrs[arg.number_attr].i if arg.number_attr else 1
            if len(types) + count > _MOST_TENSORS:
                raise _Fault('has {} {} by its attrs, more than {}'.format(len(types) + count, what, _MOST_TENSORS))
            types += [attrs[arg.type_attr].type if arg.type_attr else arg.type] * count
    return tuple(types)


def _check_constant(tensor, dtype):
    sizes = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.dtype != dtype:
        raise _Fault('has a value of another type than the attr dtype')
    if tensor.tensor_shape.unknown_rank or any(size < 0 for size in sizes):
        raise _Fault('has a value without a shape')
    count, item = functools.reduce(operator.mul, sizes, 1), tf.as_dtype(dtype).size
    if count * item > _MOST_BYTES:
        raise _Fault('has a value of {} bytes, more than a graph can hold'.format(count * item))
    given = max(len(getattr(tensor, field)) // (1 + field.endswith('complex_val')) for field in _VALUES)
    if given > max(count, 1) or tensor.tensor_content and len(tensor.tensor_content) != count * item:
        raise _Fault('has a value of another size than its shape, {}'.format(sizes))


def _parsed(reference):
    """(name of a node, which of its outputs, -1 for a control input)."""
    match = _REFERENCE.match(reference)
    if not match:
        raise _Fault('reads {!r}, which is no reference to a node or a tensor'.format(reference))
    control, name, index = match.groups()
    return name, -1 if control else int(index or 0)


def _check_inputs(node, references, signatures):
    for name, index in references:
        if name not in signatures:
            raise _Fault('reads {!r}, which is not in the graph'.format('^' * (index < 0) + name))
    read = [reference for reference in references if reference[1] >= 0]
    if read != references[:len(read)]:
        raise _Fault('has a control input before the last of its inputs')
    types = signatures[node.name].inputs
    if types is not None and len(types) != len(read):
        raise _Fault('reads {} tensors; the op {} with its attrs has {} inputs'.format(len(read), node.op, len(types)))
    for place, (name, index) in enumerate(read):
        given = signatures[name].outputs
        if given is not None and index >= len(given):
            raise _Fault('reads {!r}; that node has {} outputs'.format(node.input[place], len(given)))
        if given is not None and types is not None and given[index] != types[place]:
            raise _Fault('reads {!r}, which is {}, as {}'.format(
                node.input[place], tf.as_dtype(given[index]).name, tf.as_dtype(types[place]).name))


def _check_axis(node, references, nodes):
    """TensorFlow aborts the process where adding 1 to the axis of a concat overflows."""
    place = {'ConcatV2': -1, 'Concat': 0}.get(node.op)
    if place is None:
        return
    axis = nodes[[name for name, index in references if index >= 0][place]]
    for value in large_constants.array(axis.attr['value'].tensor).ravel() if axis.op == 'Const' else ():
        if abs(int(value)) > _MOST_DIMENSIONS:
            raise _Fault('joins its inputs along the axis {}, which no tensor has'.format(value))


def _check_cycles(nodes, references, what):
    loops = {node.name for node in nodes if node.op in NEXT_OPS}
    needed = {name: {producer for producer, _ in read} - loops for name, read in references.items()}
    readers, waits = {name: [] for name in needed}, {name: len(names) for name, names in needed.items()}
    for name, producers in needed.items():
        for producer in producers:
            readers[producer].append(name)
    ready = [name for name, count in waits.items() if not count]
    for name in ready:  # which grows
        for reader in readers[name]:
            waits[reader] -= 1
            if not waits[reader]:
                ready.append(reader)
    waiting = {name: names.difference(ready) for name, names in needed.items() if waits[name]}
    passed, name = set(), next(iter(waiting), None)
    while name not in passed and name is not None:  # each waits for another, so the walk comes to a cycle
        passed.add(name)
        name = min(waiting[name])
    if waiting:
        raise _error('The node {!r} in {} depends on itself'.format(name, what))
