"""Opens the batch dimension of a network that was built for one batch size, which TensorFlow then writes into constants."""
import re
from typing import Callable, Collection, Dict, List, NamedTuple, Optional, Sequence, Union

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.traits import SHAPE_OPS
from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.passes.common.any_batch_shapes import with_batch
from vai_q_tf.passes.common.parameters import evaluate, known_nodes, static_nodes
from vai_q_tf.passes.common.rewriter import Rewriter, make_node
from vai_q_tf.qat.network.decision import Decision

# The static shape of a tensor, -1 for unknown sizes; None for an unknown rank.
ShapeOf = Callable[[str], Optional[List[int]]]


class _Operands(NamedTuple):
    """Indices of the input with the shape of the result and of that with the data."""
    shape: int
    data: int


_REFUSED = re.compile(r"\bfor '([^']+)' \(op: '(\w+)'\)")  # in a message of TensorFlow about shapes
_SHAPED = {'Reshape': _Operands(shape=1, data=0), 'Conv2DBackpropInput': _Operands(shape=0, data=2)}


def take_any_batch(graph_def: tf.GraphDef, input_nodes: Sequence[str], output_nodes: Sequence[str],
                   shape: ShapeOf) -> tf.GraphDef:
    """The graph whose placeholders `input_nodes` have an open first dimension, and what was computed from that as well.

    The shapes of Reshapes that begin with a multiple of the batch size begin with -1, those of transposed convolutions with the
    batch size of their data. A graph whose batch is open, or whose inputs differ in batch size, is returned as it is.

    Args:
      graph_def: the inference form of a network.
      input_nodes, output_nodes: names of its nodes.
      shape: shapes of its tensors for the fixed batch size.
    """
    batches = {_first(shape(name)) for name in input_nodes}
    batch = batches.pop()
    if batches or batch < 1:
        return graph_def
    rewriter = Rewriter(graph_def, list(input_nodes) + list(output_nodes))
    for name in input_nodes:
        _open_placeholder(rewriter, name)
    for name, sizes in _constant_shapes(graph_def, rewriter.view).items():
        op = rewriter.view.op(name)
        data = rewriter.view.inputs(name)[_SHAPED[op].data]
        if not sizes.size or sizes[0] < 1 or sizes[0] % batch or _first(shape(data)) != batch:
            continue
        if op == 'Conv2DBackpropInput':
            if sizes[0] == batch:
                _take_batch_of(rewriter, name, data, sizes)
            continue
        result = shape(name)
        if result and -1 not in result[1:]:
            _reshape_to(rewriter, name, [-1] + result[1:])
    return rewriter.result()


def _first(shape: Optional[List[int]]) -> int:
    return shape[0] if shape else -1


def _open_placeholder(rewriter: Rewriter, name: str) -> None:
    placeholder = editor.exact_copy(rewriter.view.node(name))
    placeholder.attr['shape'].shape.dim[0].size = -1
    rewriter.add(placeholder)


def _constant_shapes(graph_def: tf.GraphDef, view: GraphView) -> Dict[str, np.ndarray]:
    """{node that computes with data: the constant shape that it gives its result}."""
    static = static_nodes(view)
    known = known_nodes(view, static)
    operands = {name: view.inputs(name)[_SHAPED[view.op(name)].shape] for name in view.names
                if view.op(name) in _SHAPED and name not in static}
    values = evaluate(graph_def, view, {tensor for tensor in operands.values() if node_name(tensor) in known})
    return {name: values[tensor] for name, tensor in operands.items() if tensor in values}


def _reshape_to(rewriter: Rewriter, name: str, sizes: List[int]) -> None:
    operand = rewriter.view.inputs(name)[_SHAPED['Reshape'].shape]
    is_own = ':' not in operand and rewriter.is_read_only_by(operand, (name,))
    shape = editor.constant(operand if is_own else rewriter.unique(name + '/shape'), tf.int32, np.array(sizes, np.int32))
    rewriter.add(shape)
    node = editor.exact_copy(rewriter.node(name))
    node.input[_SHAPED['Reshape'].shape] = shape.name
    if 'Tshape' in node.attr:
        node.attr['Tshape'].type = tf.int32.as_datatype_enum
    rewriter.add(node)


def _take_batch_of(rewriter: Rewriter, name: str, data: str, sizes: np.ndarray) -> None:
    """Makes a transposed convolution read `sizes` with the batch size of the tensor `data`."""
    def add(node: tf.NodeDef) -> str:
        rewriter.add(node)
        return node.name

    def constant(end: str, value: Union[int, List[int]]) -> str:
        return add(editor.constant(rewriter.unique('{}/{}'.format(name, end)), tf.int32, np.array(value, np.int32)))

    shape = add(make_node('Shape', rewriter.unique(name + '/batch_of'), [data], T=tf.float32, out_type=tf.int32))
    batch = add(make_node(
        'StridedSlice', rewriter.unique(name + '/batch'),
        [shape] + [constant('batch/' + end, [number]) for end, number in (('begin', 0), ('end', 1), ('strides', 1))],
        T=tf.int32, Index=tf.int32, shrink_axis_mask=1))
    rest = [constant('size_{}'.format(axis), int(size)) for axis, size in enumerate(sizes[1:], 1)]
    rewriter.set_input(name, _SHAPED['Conv2DBackpropInput'].shape, add(make_node(
        'Pack', rewriter.unique(name + '/sizes'), [batch] + rest, T=tf.int32, N=len(sizes), axis=0)))


def check_any_batch(decision: Decision, batches: Collection[int]) -> None:
    """Raises a QuantizeError UNSUPPORTED_GRAPH naming the first node that takes only one of the batch sizes `batches`.

    decision: the Decision on a network whose inputs take any batch.
    """
    if not batches:
        return
    other = 2 * max(batches) + 1  # no multiple of a batch, nor of a part of one
    try:
        view = GraphView(editor.with_shapes(with_batch(decision.optimised, other)))
    except ValueError as error:
        found = _REFUSED.search(str(error))
        raise _fixed_batch('Node {!r} ({})'.format(*found.groups()) if found else 'The network', max(batches)) from error
    for name in view.upstream(decision.plan.output_nodes):
        sizes = view.shape(name) or []
        if _first(sizes) in batches and other not in sizes and view.op(name) not in SHAPE_OPS and any(
                view.dtype(tensor) == tf.float32 and _first(view.shape(tensor)) == other for tensor in view.inputs(name)):
            raise _fixed_batch('Node {!r} ({})'.format(name, view.op(name)), sizes[0])


def _fixed_batch(what: str, batch: int) -> errors.QuantizeError:
    return errors.QuantizeError(
        errors.UNSUPPORTED_GRAPH, 'Batch size',
        '{} has the batch size of the training, {}, as a constant, so the model would accept no other. Build the network for '
        'any batch size (-1 in a shape, tf.shape of a tensor with an open batch), or give a function that builds the '
        'evaluation graph.'.format(what, batch))
