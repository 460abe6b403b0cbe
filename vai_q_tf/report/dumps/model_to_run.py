"""A model as it is run for the values of its tensors."""
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


def model_to_run(graph_def, arch_type='DEFAULT', dump_input_tensors='', may_be_float=False):
    """A copy of the GraphDef that can be run.

    Args:
      graph_def: a model with FixNeurons in the evaluation phase.
      arch_type: 'DPUCADF8H': activations have a symmetric range.
      dump_input_tensors: a tensor that a new float32 placeholder `image_tensor` stands in for, '' for none.
      may_be_float: whether a graph without FixNeurons will do.

    Raises:
      QuantizeError: NOT_QUANTIZED without FixNeurons, or with one that has no position yet; UNKNOWN_NODE or INVALID_INPUT for a
        tensor that cannot be fed; INVALID_INPUT or UNSUPPORTED_GRAPH for a damaged model.
    """
    ops.load_library()  # before views ask what FixNeuron gives
    check_nodes(graph_def, 'the model')
    if not may_be_float or any(node.op == 'FixNeuron' for node in graph_def.node):
        require_evaluation_model(graph_def)
    graph_def = _prepared(runnable(graph_def), arch_type)
    make_graph(graph_def, 'the model')  # says what is wrong with it
    return _with_input(graph_def, normalise(dump_input_tensors.strip())) if dump_input_tensors else graph_def


def _prepared(graph_def, arch_type):
    """A copy without noted shapes, which imports do not need, for the arch_type."""
    result = tf.GraphDef()
    result.CopyFrom(graph_def)
    for node in result.node:
        node.attr.pop('_output_shapes', None)
        if has_narrow_range(arch_type) and node.op == 'FixNeuron' and node.attr['mode'].i == ACTIVATION_MODE:
            node.attr['_symmetric'].b = True
    return result


def _with_input(graph_def, tensor):
    """The graph where a placeholder stands in for `tensor`, without the nodes that then nobody needs."""
    view = GraphView(graph_def)
    if node_name(tensor) not in view:
        raise errors.QuantizeError(errors.UNKNOWN_NODE, 'Not found',
                                   'dump_input_tensors is {!r}, which is not in the graph.'.format(tensor))
    if view.dtype(tensor) != tf.float32 or _FED in view:
        raise errors.QuantizeError(
            errors.INVALID_INPUT, 'Cannot be fed', 'dump_input_tensors is {!r}: {}.'.format(
                tensor, 'the graph has a node {!r} already'.format(_FED) if _FED in view else
                'only a float32 tensor can be fed, it is {}'.format(getattr(view.dtype(tensor), 'name', 'unknown'))))
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(graph_def, name='')
    shape = live_editor.tensor(graph, tensor).shape
    shape = [None] + shape.as_list()[1:] if shape.rank else [None, None, None, 3]
    nodes = [editor.placeholder(_FED, tf.float32, shape)]
    for node in graph_def.node:
        nodes.append(editor.with_inputs(node, [
            _FED if operand[:1] != '^' and normalise(operand) == tensor else operand for operand in node.input]))
    read = {node_name(operand) for node in graph_def.node for operand in node.input}
    changed = GraphView(editor.subgraph(graph_def, nodes))
    needed = reach([name for name in view.names if name not in read], lambda name: operands(changed, name))
    return editor.subgraph(graph_def, [node for node in nodes if node.name in needed])
