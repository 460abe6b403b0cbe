"""Prepares a model to be run for the values of its tensors."""
from typing import List, Optional

import tensorflow.compat.v1 as tf

from vai_q_tf import errors, ops
from vai_q_tf.dpu import has_narrow_range
from vai_q_tf.export.evaluation_model import require_evaluation_model
from vai_q_tf.frozen.load import runnable
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import live_editor
from vai_q_tf.graph.checks.damage import check_nodes
from vai_q_tf.graph.checks.make_graph import make_graph
from vai_q_tf.graph.dependence import operands, reach
from vai_q_tf.graph.view import GraphView, node_name, normalise
from vai_q_tf.plan.quant_plan import ACTIVATION_MODE

_FED = 'image_tensor'


def model_to_run(graph_def: tf.GraphDef, arch_type: str = 'DEFAULT', dump_input_tensors: str = '',
                 may_be_float: bool = False) -> tf.GraphDef:
    """A copy of the GraphDef that can be run.

    Args:
      graph_def: a model with FixNeurons in the evaluation phase.
      arch_type: with 'DPUCADF8H' activations have a symmetric range.
      dump_input_tensors: a tensor to replace by a new float32 placeholder `image_tensor`, '' for none.
      may_be_float: whether a graph without FixNeurons is accepted.

    Raises:
      QuantizeError: NOT_QUANTIZED without FixNeurons, or with one that has no position yet; UNKNOWN_NODE or INVALID_INPUT for a
        tensor that cannot be fed; INVALID_INPUT or UNSUPPORTED_GRAPH for a damaged model.
    """
    ops.load_library()  # a GraphView needs the OpDef of FixNeuron for types
    check_nodes(graph_def, 'the model')
    if not may_be_float or any(node.op == 'FixNeuron' for node in graph_def.node):
        require_evaluation_model(graph_def)
    graph_def = _prepared(runnable(graph_def), arch_type)
    make_graph(graph_def, 'the model')  # raises if TensorFlow refuses it
    return _with_input(graph_def, normalise(dump_input_tensors.strip())) if dump_input_tensors else graph_def


def _prepared(graph_def: tf.GraphDef, arch_type: str) -> tf.GraphDef:
    """A copy without noted shapes, which an import does not need, and with the attrs for the arch_type."""
    result = tf.GraphDef()
    result.CopyFrom(graph_def)
    for node in result.node:
        node.attr.pop('_output_shapes', None)
        if has_narrow_range(arch_type) and node.op == 'FixNeuron' and node.attr['mode'].i == ACTIVATION_MODE:
            node.attr['_symmetric'].b = True
    return result


def _with_input(graph_def: tf.GraphDef, tensor: str) -> tf.GraphDef:
    """The graph with a placeholder in place of `tensor`, without the nodes that only the tensor needed."""
    view = GraphView(graph_def)
    _require_replaceable(view, tensor)
    nodes = [editor.placeholder(_FED, tf.float32, _fed_shape(graph_def, tensor))] + [
        editor.with_inputs(node, [_FED if operand[:1] != '^' and normalise(operand) == tensor else operand
                                  for operand in node.input]) for node in graph_def.node]
    changed = GraphView(editor.subgraph(graph_def, nodes))
    read = {node_name(operand) for node in graph_def.node for operand in node.input}
    needed = reach([name for name in view.names if name not in read], lambda name: operands(changed, name))
    return editor.subgraph(graph_def, [node for node in nodes if node.name in needed])


def _require_replaceable(view: GraphView, tensor: str) -> None:
    if node_name(tensor) not in view:
        raise errors.QuantizeError(errors.UNKNOWN_NODE, 'Not found',
                                   'dump_input_tensors is {!r}, which is not in the graph.'.format(tensor))
    if view.dtype(tensor) != tf.float32 or _FED in view:
        raise errors.QuantizeError(
            errors.INVALID_INPUT, 'Cannot be fed', 'dump_input_tensors is {!r}: {}.'.format(
                tensor, 'the graph has a node {!r} already'.format(_FED) if _FED in view else
                'only a float32 tensor can be fed, it is {}'.format(getattr(view.dtype(tensor), 'name', 'unknown'))))


def _fed_shape(graph_def: tf.GraphDef, tensor: str) -> List[Optional[int]]:
    """The shape of the tensor for any batch; that of RGB images if its rank is unknown."""
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(graph_def, name='')
    shape = live_editor.tensor(graph, tensor).shape
    return [None] + shape.as_list()[1:] if shape.rank else [None, None, None, 3]
