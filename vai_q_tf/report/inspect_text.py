"""The Inspection of a graph as text or JSON, and the command line that quantizes the graph."""
import collections
import shlex
from typing import Iterable, List, Optional, Sequence, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf.coverage.node_status import FLOAT, InspectedNode
from vai_q_tf.graph.control_flow import CONTROL_FLOW_OPS
from vai_q_tf.plan.draft import IN_LOOP
from vai_q_tf.report.inspect import Inspection
from vai_q_tf.terminal.json_text import json_text
from vai_q_tf.terminal.table import table

# {number of a type: its value in the enum of all types}
_TYPES = tf.AttrValue.DESCRIPTOR.fields_by_name['type'].enum_type.values_by_number


def to_text(inspection: Inspection, path: str) -> str:
    """The lines about the Inspection of the graph in the file `path`.

    The first three have the format of vai_q_tensorflow: op types, possible inputs, possible outputs.
    """
    lines = ['Op types used: ' + ', '.join('{} {}'.format(count, op) for op, count in inspection.op_types),
             _found('input', ('(name={}, type={}, shape={})'.format(node.name, _type(node.dtype), _shape(node.shape))
                              for node in inspection.inputs)),
             _found('output', ('(name={}, op={})'.format(node.name, node.op) for node in inspection.outputs))]
    lines += ['Shape of {!r}: its rank is not known; give --input_shapes.'.format(node.name)
              for node in inspection.inputs if node.shape is None and node.name in inspection.input_nodes]
    lines += inspection.notes
    if inspection.plan is not None:
        lines += ['', 'Quantize it with:', '  ' + quantize_command(inspection, path)]
    if inspection.nodes:
        lines += ['', _summary(inspection)] + _table(inspection.nodes)
    return '\n'.join(lines)


def to_json(inspection: Inspection) -> str:
    """The Inspection as JSON, with its field names as keys, and types and reasons as in the text."""
    fields = inspection._asdict()
    fields['op_types'] = dict(inspection.op_types)
    for name in ('inputs', 'outputs'):
        fields[name] = [dict(node._asdict(), **({'dtype': _type(node.dtype)} if hasattr(node, 'dtype') else {}))
                        for node in fields[name]]
    return json_text(fields)


def quantize_command(inspection: Inspection, path: str) -> str:
    """The command line that quantizes the inspected range of the graph in the file `path`."""
    shapes = {node.name: _dims(node.shape) for node in inspection.inputs if node.shape}
    words = ['vai_q_tensorflow', 'quantize', '--input_frozen_graph', path,
             '--input_nodes', ','.join(inspection.input_nodes)]
    if all(name in shapes for name in inspection.input_nodes):
        words += ['--input_shapes', ':'.join(shapes[name] for name in inspection.input_nodes)]
    words += ['--output_nodes', ','.join(inspection.output_nodes), '--input_fn', 'MODULE.FUNCTION']
    return ' '.join(map(shlex.quote, words))


def _found(what: str, nodes: Iterable[str]) -> str:
    nodes = list(nodes)
    return 'Found {} possible {}s: {}'.format(len(nodes), what, ' '.join(nodes)) if nodes else 'No {}s found.'.format(what)


def _type(dtype: Optional[tf.DType]) -> str:
    if dtype is None:
        return 'unknown'
    number = dtype.as_datatype_enum
    return '{}({})'.format(_TYPES[number].name[len('DT_'):].lower(), number)


def _shape(shape: Optional[Sequence[int]]) -> str:
    return '?' if shape is None else '[{}]'.format(_dims(shape))


def _dims(shape: Sequence[int]) -> str:
    return ','.join('?' if size == -1 else str(size) for size in shape)


def _summary(inspection: Inspection) -> str:
    if inspection.plan is None:
        return 'Quantized tensors:'
    unquantized = sum(node.status == FLOAT for node in inspection.nodes)
    text = 'From {} to {}: {} tensors are quantized, {} of {} ops stay float.'.format(
        ', '.join(inspection.input_nodes), ', '.join(inspection.output_nodes), len(inspection.plan.tensors), unquantized,
        len(inspection.nodes))
    if any(node.device for node in inspection.nodes):
        text += ' {} ops run on the DPU.'.format(sum(node.device == 'DPU' for node in inspection.nodes))
    return text


def _table(nodes: Sequence[InspectedNode]) -> List[str]:
    """Lines with the columns Name, Type, Device (if there are devices) and Note; a loop is one line."""
    has_devices = any(node.device for node in nodes)
    loops = collections.defaultdict(list)
    for node in nodes:
        if node.detail.startswith(IN_LOOP):
            loops[node.detail].append(node)
    rows: List[Tuple[str, ...]] = [('Name', 'Type', 'Device', 'Note')]
    for node in nodes:
        loop = loops.get(node.detail, ())
        if not loop:
            note = '{}: {}'.format(node.status, node.detail) if node.detail else node.status
            rows.append((node.name, node.op, node.device, note))
        elif node is loop[0]:
            rows.append((node.detail[len(IN_LOOP):].strip("'"), 'loop', 'CPU', _loop_note(loop)))
    return table(rows if has_devices else [row[:2] + row[3:] for row in rows])


def _loop_note(nodes: Sequence[InspectedNode]) -> str:
    ops = collections.Counter(node.op for node in nodes if node.op not in CONTROL_FLOW_OPS)
    return '{}: {} ops in a loop: {}'.format(FLOAT, len(nodes), ', '.join(
        '{} {}'.format(count, op) for op, count in ops.most_common()) or 'control flow only')
