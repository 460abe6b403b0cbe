"""Damage in a GraphDef, reported by the name of the node.

It is searched for before anything else reads the graph: some damage makes TensorFlow abort the process or never finish.
"""
import functools
import operator
import re
from types import TracebackType
from typing import Any, Dict, FrozenSet, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple, Type

import tensorflow.compat.v1 as tf
from google.protobuf.message import Message

from vai_q_tf import errors
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.control_flow import NEXT_OPS
from vai_q_tf.graph.dependence import in_order
from vai_q_tf.graph.traits import FIX_NEURON_OPS
from vai_q_tf.graph.view import op_def
from vai_q_tf.types import OpDef, TensorProto

_REFERENCE = re.compile(r'(\^)?([^:^]+)(?::([0-9]{1,9}))?$')
_FIELDS = {'string': 's', 'int': 'i', 'float': 'f', 'bool': 'b', 'type': 'type', 'shape': 'shape', 'tensor': 'tensor',
           'func': 'func'}
# The fields of a TensorProto that hold values, other than tensor_content.
_VALUES = [name for name in tf.AttrValue().tensor.DESCRIPTOR.fields_by_name if name.endswith('_val')]
_REF = 100  # DataTypes above it are reference types, which no attr has
_MOST_TENSORS = 2**16  # of one op
_MOST_DIMENSIONS = 254  # of a tensor
_MOST_BYTES = 2**31  # of a constant; no GraphDef holds more

# (node, index of its output; -1 for a control input)
_Reference = Tuple[str, int]


class _Fault(Exception):
    """The predicate of a sentence about a node: 'has ...', 'reads ...'."""


class _Signature(NamedTuple):
    """The DataTypes of the inputs and outputs of a node, never reference types; None for both if the op is unknown."""
    inputs: Optional[Tuple[int, ...]]
    outputs: Optional[Tuple[int, ...]]


class _Attr(NamedTuple):
    """An attr of an op.

    kind: as in the OpDef, 'int' or 'list(int)'.
    field: the field of an AttrValue, or of its ListValue, that holds the values.
    least: the smallest value, or the smallest number of values of a list.
    """
    name: str
    kind: str
    field: str
    is_list: bool
    least: Optional[int]
    allowed: Optional[FrozenSet]
    default: Optional[tf.AttrValue]


class _Op(NamedTuple):
    """An OpDef. inputs, outputs: ArgDefs."""
    attrs: Tuple[_Attr, ...]
    inputs: Tuple[Message, ...]
    outputs: Tuple[Message, ...]


def check_nodes(graph_def: tf.GraphDef, what: str = 'the graph') -> None:
    """Raises a QuantizeError UNSUPPORTED_GRAPH for the first damaged node.

    Checks names and references, attrs (kinds, and the values that the op allows), the number and types of inputs, constants
    (type, shape, number of values), axes of concats, colocations, and cycles other than loops. Of ops unknown to TensorFlow and
    of FixNeurons it checks only the references.

    Args:
      what: the name of the graph in the message.
    """
    ops = {function.signature.name: _op(function.signature) for function in graph_def.library.function}
    signatures: Dict[str, _Signature] = {}
    references: Dict[str, List[_Reference]] = {}
    for node in graph_def.node:
        if node.name in signatures:
            raise _error('Two nodes in {} have the name {!r}; node names must be unique'.format(what, node.name))
        if node.op not in ops:
            # FixNeurons of other quantizers lack attrs: `update` adds them, `check_attrs` checks the others.
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


def _check_colocation(node: tf.NodeDef) -> None:
    """TensorFlow aborts the process if the name of the other node is not text."""
    for value in node.attr['_class'].list.s if '_class' in node.attr else ():
        try:
            value.decode()
        except UnicodeDecodeError:
            raise _Fault('has an attr \'_class\' of {!r}, which is not text'.format(value)) from None


class _naming:
    """Turns the _Fault of a node into a QuantizeError. A class, because entering a generator is slow, once for each node."""

    def __init__(self, node: tf.NodeDef, what: str) -> None:
        self._node, self._what = node, what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Optional[Type[BaseException]], fault: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        if kind is _Fault:
            raise _error('The {} {!r} in {} {}'.format(
                'constant' if self._node.op == 'Const' else 'node', self._node.name, self._what, fault)) from None


def _error(detail: str) -> errors.QuantizeError:
    return errors.QuantizeError(errors.UNSUPPORTED_GRAPH, 'Invalid graph', detail + '; export the graph anew.')


def _op(definition: Optional[OpDef]) -> Optional[_Op]:
    return definition and _Op(tuple(map(_attr, definition.attr)), tuple(definition.input_arg), tuple(definition.output_arg))


def _attr(definition: Message) -> _Attr:
    is_list = definition.type.startswith('list(')
    field = _FIELDS[definition.type[len('list('):-1] if is_list else definition.type]
    return _Attr(
        definition.name, definition.type, field, is_list, definition.minimum if definition.has_minimum else None,
        frozenset(getattr(definition.allowed_values.list, field)) if definition.HasField('allowed_values') else None,
        definition.default_value if definition.HasField('default_value') else None)


def _signature(node: tf.NodeDef, op: Optional[_Op]) -> _Signature:
    if op is None:
        return _Signature(None, None)
    attrs = {attr.name: _attr_value(node, attr) for attr in op.attrs}
    if node.op == 'Const' and not large_constants.is_apart(node):
        _check_constant(attrs['value'].tensor, attrs['dtype'].type)
    return _Signature(_types(op.inputs, attrs, 'inputs'), _types(op.outputs, attrs, 'outputs'))


def _attr_value(node: tf.NodeDef, attr: _Attr) -> tf.AttrValue:
    """The AttrValue of the node, or the default."""
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


def _check_values(node: tf.NodeDef, attr: _Attr, values: Sequence[Any]) -> None:
    """values: ints, floats, bytes or protos, as the kind of the attr says."""
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
def _is_type(number: int) -> bool:
    """Whether this TensorFlow has the DataType, and it is not a reference type."""
    try:
        return number < _REF and bool(tf.as_dtype(number))
    except TypeError:
        return False


def _types(args: Iterable[Message], attrs: Mapping[str, tf.AttrValue], what: str) -> Tuple[int, ...]:
    """The DataTypes of the tensors of the ArgDefs `args`."""
    types: List[int] = []
    for arg in args:
        if arg.type_list_attr:
            types += attrs[arg.type_list_attr].list.type
        else:
            count = attrs[arg.number_attr].i if arg.number_attr else 1
            if len(types) + count > _MOST_TENSORS:
                raise _Fault('has {} {} by its attrs, more than {}'.format(len(types) + count, what, _MOST_TENSORS))
            types += [attrs[arg.type_attr].type if arg.type_attr else arg.type] * count
    return tuple(types)


def _check_constant(tensor: TensorProto, dtype: int) -> None:
    sizes = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.dtype != dtype:
        raise _Fault('has a value whose type is not that of the attr dtype')
    if tensor.tensor_shape.unknown_rank or any(size < 0 for size in sizes):
        raise _Fault('has a value without a shape')
    count, item = functools.reduce(operator.mul, sizes, 1), tf.as_dtype(dtype).size
    if count * item > _MOST_BYTES:
        raise _Fault('has a value of {} bytes, more than a graph can hold'.format(count * item))
    given = max(len(getattr(tensor, field)) // (1 + field.endswith('complex_val')) for field in _VALUES)
    if given > max(count, 1) or tensor.tensor_content and len(tensor.tensor_content) != count * item:
        raise _Fault('has a value whose size does not fit its shape, {}'.format(sizes))


def _parsed(reference: str) -> _Reference:
    match = _REFERENCE.match(reference)
    if not match:
        raise _Fault('reads {!r}, which is not a reference to a node or tensor'.format(reference))
    control, name, index = match.groups()
    return name, -1 if control else int(index or 0)


def _check_inputs(node: tf.NodeDef, references: List[_Reference], signatures: Mapping[str, _Signature]) -> None:
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


def _check_axis(node: tf.NodeDef, references: List[_Reference], nodes: Mapping[str, tf.NodeDef]) -> None:
    """TensorFlow aborts the process if axis + 1 of a concat overflows."""
    place = {'ConcatV2': -1, 'Concat': 0}.get(node.op)
    if place is None:
        return
    axis = nodes[[name for name, index in references if index >= 0][place]]
    for value in large_constants.array(axis.attr['value'].tensor).ravel() if axis.op == 'Const' else ():
        if abs(int(value)) > _MOST_DIMENSIONS:
            raise _Fault('joins its inputs along the axis {}, which no tensor has'.format(value))


def _check_cycles(nodes: Iterable[tf.NodeDef], references: Mapping[str, List[_Reference]], what: str) -> None:
    loops = {node.name for node in nodes if node.op in NEXT_OPS}
    needed = {name: {producer for producer, _ in read} - loops for name, read in references.items()}
    done = set(in_order(needed))
    waiting = {name: producers - done for name, producers in needed.items() if name not in done}
    if waiting:
        raise _error('The node {!r} in {} depends on itself'.format(_on_a_cycle(waiting), what))


def _on_a_cycle(waiting: Mapping[str, Set[str]]) -> str:
    """A node on a cycle of {node: the nodes that it waits for, at least one}."""
    passed: Set[str] = set()
    name = next(iter(waiting))
    while name not in passed:
        passed.add(name)
        name = min(waiting[name])
    return name
