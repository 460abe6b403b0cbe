"""The GraphDef that is written for a rewritten live graph, with FixNeuron ops instead of the ops of training."""
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.export.fix_neuron_nodes import fix_neuron
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.dependence import reach, readers
from vai_q_tf.graph.view import node_name, output_index
from vai_q_tf.passes.common.rewriter import make_node
from vai_q_tf.plan.quant_plan import QuantTensor
from vai_q_tf.qat.recipe.recipe import USE_BATCH
from vai_q_tf.types import Positions

_PHASE_OPS = ('VaiSplitPhases', 'VaiJoinPhases', 'VaiSelectPhase', 'VaiFoldingScales')
_EVALUATION, _TRAINING = 1, 2  # the attr `phase` of FixNeuron


class _Form(NamedTuple):
    """The NodeDefs that replace a node.

    nodes: in its place. appended: at the end of the graph.
    moved: {tensor of the node: the tensor that its readers read instead}.
    """
    nodes: List[tf.NodeDef]
    appended: Sequence[tf.NodeDef] = ()
    moved: Mapping[str, str] = {}


def fix_neurons(graph_def: tf.GraphDef, tensors: Sequence[QuantTensor], positions: Optional[Positions] = None) -> tf.GraphDef:
    """The graph with FixNeuron ops instead of the ops of a rewritten live graph.

    Args:
      graph_def: of a live graph, with shapes.
      tensors: the QuantTensors, with the names of their FixNeurons in it.
      positions: of an evaluation graph; None: it is a training graph.

    Returns:
      A GraphDef without the ops that only serve moving positions: state, search, saving and restoring.
    """
    records = {record.name: record for record in tensors}
    nodes = {node.name: node for node in graph_def.node}
    dropped = _ops_of_positions(graph_def, records)
    forms = [_form(node, nodes, records, positions) for node in graph_def.node if node.name not in dropped]
    moved = {tensor: target for form in forms for tensor, target in form.moved.items()}
    kept = [_with_moved_inputs(node, moved) for form in forms for node in form.nodes]
    appended = [_with_moved_inputs(node, {tensor: target for tensor, target in moved.items() if tensor not in form.moved})
                for form in forms for node in form.appended]
    return editor.subgraph(graph_def, kept + appended)


def _ops_of_positions(graph_def: tf.GraphDef, records: Mapping[str, QuantTensor]) -> Set[str]:
    """The ops that only serve moving positions."""
    following = readers(graph_def.node)
    starts = [node.name for node in graph_def.node if node.name not in records and node.op not in _PHASE_OPS and (
        node.op.startswith('Vai') or node.name.startswith('vai_q_tf/positions'))]
    return reach(starts, lambda name: [reader for reader in following(name) if reader not in records and reader != USE_BATCH])


def _with_moved_inputs(node: tf.NodeDef, moved: Mapping[str, str]) -> tf.NodeDef:
    if not any(operand in moved for operand in node.input):
        return node
    return editor.with_inputs(node, [moved.get(operand, operand) for operand in node.input])


def _form(node: tf.NodeDef, nodes: Mapping[str, tf.NodeDef], records: Mapping[str, QuantTensor],
          positions: Optional[Positions]) -> _Form:
    if node.name in records:
        before, after = _scaling(nodes, node) if node.op == 'VaiScaledFixNeuron' else ([], [])
        operand = before[-1].name if before else node.input[0]
        return _Form([*before, _fix_neuron(node, records[node.name], operand, positions)], after,
                     {node.name: after[-1].name} if after else {})
    if node.name == USE_BATCH:
        return _Form([editor.placeholder(node.name, tf.bool.as_datatype_enum, [])])
    if node.op == 'VaiSplitPhases':
        split = _split(node)
        return _Form([], split, {node.name + ':1': split[-1].name})
    if node.op in ('VaiSelectPhase', 'VaiFoldingScales'):
        return (_selects if node.op == 'VaiSelectPhase' else _folding_scales)(node)
    return _Form(_join(node) if node.op == 'VaiJoinPhases' else [node])


def _scaling(nodes: Mapping[str, tf.NodeDef], scaled: tf.NodeDef) -> Tuple[List[tf.NodeDef], List[tf.NodeDef]]:
    """The NodeDefs that scale weights before the FixNeuron and those that undo it after, which are one op in the live graph."""
    weights, scale, rescale = scaled.input[:3]
    sizes = [[dim.size for dim in nodes[node_name(tensor)].attr['_output_shapes'].list.shape[output_index(tensor)].dim]
             for tensor in (weights, scale)]
    name = scaled.name.rpartition('/')[0]
    dims = _dims_of_scale(sizes[0], sizes[1][0], scaled.attr['inner'].i)
    shape = editor.constant(name + '/scale_shape', tf.int32, np.array(dims, np.int32))
    before = [shape, *_times(name + '/scaled', weights, scale, shape.name)]
    return before, _times(name + '/unscaled', scaled.name, rescale, shape.name)


def _split(node: tf.NodeDef) -> List[tf.NodeDef]:
    """A VaiSplitPhases in TensorFlow's ops: value[:end] is its first result, value[end:] the second one.

    `end` is 0 or the largest int32; a slice beyond the last example is empty.
    """
    value, first = node.input
    limits = [editor.constant(node.name + part, tf.int32, [number])
              for part, number in (('/begin', 0), ('/step', 1), ('/most', tf.int32.max))]
    begin, step, most = (limit.name for limit in limits)
    number = tf.NodeDef(name=node.name + '/number', op='Cast', input=[first])
    number.attr['SrcT'].type, number.attr['DstT'].type = tf.bool.as_datatype_enum, tf.int32.as_datatype_enum
    end = tf.NodeDef(name=node.name + '/end', op='Mul', input=[number.name, most])
    end.attr['T'].type = tf.int32.as_datatype_enum
    slices = [tf.NodeDef(name=node.name, op='StridedSlice', input=[value, begin, end.name, step]),
              tf.NodeDef(name=node.name + '/second', op='StridedSlice', input=[value, end.name, most, step])]
    for part in slices:
        part.attr['T'].type, part.attr['Index'].type = node.attr['T'].type, tf.int32.as_datatype_enum
    return [*limits, number, end, *slices]


def _join(node: tf.NodeDef) -> List[tf.NodeDef]:
    """A VaiJoinPhases in TensorFlow's ops: a concat, as one of the two parts has no examples."""
    axis = editor.constant(node.name + '/axis', tf.int32, 0)
    joined = tf.NodeDef(name=node.name, op='ConcatV2', input=[*node.input[:2], axis.name])
    joined.attr['N'].i, joined.attr['T'].type = 2, node.attr['T'].type
    joined.attr['Tidx'].type = tf.int32.as_datatype_enum
    return [axis, joined]


def _selects(node: tf.NodeDef) -> _Form:
    """A VaiSelectPhase in TensorFlow's ops, one Select for each value."""
    count, dtype = node.attr['N'].i, tf.as_dtype(node.attr['T'].type)
    names = [node.name] + ['{}/value_{}'.format(node.name, index) for index in range(1, count)]
    return _Form([make_node('Select', name, [node.input[2 * count], *values], T=dtype)
                  for name, *values in zip(names, node.input[:count], node.input[count:])],
                 moved=_moved(node, names[1:]))


def _folding_scales(node: tf.NodeDef) -> _Form:
    """A VaiFoldingScales in TensorFlow's ops."""
    def add(op: str, part: str, inputs: Sequence[str], **attrs: Any) -> str:
        nodes.append(make_node(op, node.name + part, inputs, T=tf.float32, **attrs))
        return node.name + part

    flags, count = node.attr['M'].i, node.attr['N'].i
    scale, typical = node.input[:2]
    nodes = [editor.constant(node.name + '/axis', tf.int32, [0]), editor.constant(node.name + '/tiny', tf.float32, 1e-20)]
    axis, tiny = (constant.name for constant in nodes)
    magnitude = add('Abs', '/magnitude', [scale])
    largest = add('Max', '/largest', [magnitude, axis], Tidx=tf.int32)
    filled = add('Fill', '/filled', [add('Shape', '/shape', [scale], out_type=tf.int32), largest], index_type=tf.int32)
    replacement = add('Select', '/replacement', [add('Less', '/none', [largest, tiny]), typical, filled])
    nonzero = add('Select', '/nonzero', [add('Less', '/zero', [magnitude, tiny]), replacement, scale])
    rescale = add('Reciprocal', '/reciprocal', [nonzero])
    for first in node.input[2:2 + flags]:
        add('Select', '', [first, nonzero, scale])
        rescale = add('Select', '/rescale', [first, rescale, add('OnesLike', '/ones', [scale])])
    moved = _moved(node, [rescale, *node.input[2 + flags:2 + flags + count]])
    return _Form(nodes, moved=moved if flags else {**moved, node.name: nonzero})


def _moved(node: tf.NodeDef, targets: Sequence[str]) -> Dict[str, str]:
    """{output of the node: tensor that its readers read instead}, from its second output on."""
    return {'{}:{}'.format(node.name, index): target for index, target in enumerate(targets, 1)}


def _dims_of_scale(weights: Sequence[int], channels: int, inner: int) -> List[int]:
    """The shape in which a vector [channels] multiplies weights; `inner` consecutive weights share a channel."""
    dims: List[int] = []
    size = 1
    for dim in reversed(weights):
        if size >= channels * inner:
            break
        dims.insert(0, 1 if size * dim <= inner else dim)
        size *= dim
    return dims


def _times(name: str, value: str, vector: str, shape: str) -> List[tf.NodeDef]:
    """NodeDefs that multiply the tensor `value` with `vector` in the shape of the node `shape`; the last is called `name`."""
    reshaped = tf.NodeDef(name=name + '/by', op='Reshape', input=[vector, shape])
    reshaped.attr['T'].type, reshaped.attr['Tshape'].type = tf.float32.as_datatype_enum, tf.int32.as_datatype_enum
    product = tf.NodeDef(name=name, op='Mul', input=[value, reshaped.name])
    product.attr['T'].type = tf.float32.as_datatype_enum
    return [reshaped, product]


def _fix_neuron(live: tf.NodeDef, record: QuantTensor, operand: str, positions: Optional[Positions]) -> tf.NodeDef:
    if positions is None:
        node = fix_neuron(record, operand, _TRAINING, None)
    else:
        node = fix_neuron(record, operand, _EVALUATION, positions[record.name])
    node.device = live.device
    if '_output_shapes' in live.attr:
        node.attr['_output_shapes'].CopyFrom(live.attr['_output_shapes'])
    return node
