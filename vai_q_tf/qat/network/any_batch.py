"""Lets a network that was built for one batch size take any: TensorFlow makes constants of a batch that it knows."""
import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.traits import SHAPE_OPS
from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.passes.common.parameters import evaluate, known_nodes, static_nodes
from vai_q_tf.passes.common.rewriter import Rewriter, make_node

# op -> (index of the shape that it takes, index of the data)
_SHAPED = {'Reshape': (1, 0), 'Conv2DBackpropInput': (0, 2)}


def take_any_batch(graph_def, input_nodes, output_nodes, shape):
    """The graph with an open first dimension in its placeholders `input_nodes`, and in what was computed from that.

    The shapes of Reshapes that begin with a multiple of the batch begin with -1, those of transposed convolutions with the
    batch of their data. A graph whose batch is open, or whose inputs have several, is returned as it is.

    Args:
      graph_def: the inference form of a network.
      input_nodes, output_nodes: names of its nodes.
      shape: function from a tensor of the graph to the shape that it has with the batch of now, None for an unknown one.
    """
    batches = {(shape(name) or [-1])[0] for name in input_nodes}
    batch = batches.pop()
    if batches or batch < 1:
        return graph_def
    rewriter = Rewriter(graph_def, list(input_nodes) + list(output_nodes))
    view = rewriter.view
    for name in input_nodes:
        placeholder = editor.exact_copy(view.node(name))
        placeholder.attr['shape'].shape.dim[0].size = -1
        rewriter.add(placeholder)
    static = static_nodes(view)
    known = known_nodes(view, static)
    shaped = {name: view.inputs(name)[_SHAPED[view.op(name)][0]] for name in view.names
              if view.op(name) in _SHAPED and name not in static}
    values = evaluate(graph_def, view, {tensor for tensor in shaped.values() if node_name(tensor) in known})
    for name, tensor in shaped.items():
        data = view.inputs(name)[_SHAPED[view.op(name)][1]]
        value = values.get(tensor)
        if value is None or not value.size or value[0] < 1 or value[0] % batch or (shape(data) or [0])[0] != batch:
            continue
        if view.op(name) == 'Reshape' and -1 not in (shape(name) or [-1])[1:]:
            new = editor.constant(_name(rewriter, tensor, name), tf.int32, np.array([-1] + shape(name)[1:], np.int32))
            _read(rewriter, new, name, 'Tshape')
        elif view.op(name) == 'Conv2DBackpropInput' and value[0] == batch:
            _read(rewriter, _sizes(rewriter, name, data, value), name, '')
    return rewriter.result()


def _name(rewriter, tensor, reader):
    if ':' not in tensor and rewriter.is_read_only_by(tensor, (reader,)):
        return tensor
    return rewriter.unique(reader + '/shape')


def _read(rewriter, new, reader, dtype):
    rewriter.add(new)
    node = editor.exact_copy(rewriter.node(reader))
    node.input[_SHAPED[node.op][0]] = new.name
    if dtype and dtype in node.attr:
        node.attr[dtype].type = tf.int32.as_datatype_enum
    rewriter.add(node)


def _sizes(rewriter, name, data, value):
    """Adds what computes the sizes `value` with the batch of `data`; returns the last NodeDef."""
    def add(node):
        rewriter.add(node)
        return node.name

    def constant(end, number):
        return add(editor.constant(rewriter.unique('{}/{}'.format(name, end)), tf.int32, np.array(number, np.int32)))

    shape = add(make_node('Shape', rewriter.unique(name + '/batch_of'), [data], T=tf.float32, out_type=tf.int32))
    batch = add(make_node(
        'StridedSlice', rewriter.unique(name + '/batch'),
        [shape] + [constant('batch/' + end, [number]) for end, number in (('begin', 0), ('end', 1), ('strides', 1))],
        T=tf.int32, Index=tf.int32, shrink_axis_mask=1))
    rest = [constant('size_{}'.format(axis), int(size)) for axis, size in enumerate(value[1:], 1)]
    return make_node('Pack', rewriter.unique(name + '/sizes'), [batch] + rest, T=tf.int32, N=len(value), axis=0)


def check_any_batch(decision, batches):
    """Raises a QuantizeError UNSUPPORTED_GRAPH naming the first node that makes the batch of its result one of `batches`.

    decision: the Decision on a network whose inputs take any batch.
    """
    view = GraphView(decision.optimised)
    first = {name: shapes[0].dim[0].size for name, shapes in decision.shapes.items() if shapes and shapes[0].dim}
    for name in view.upstream(decision.plan.output_nodes):
        data = next((node_name(tensor) for tensor in view.inputs(name) if view.dtype(tensor) == tf.float32), None)
        if first.get(name) in batches and first.get(data) == -1 and view.op(name) not in SHAPE_OPS:
            raise errors.QuantizeError(
                errors.UNSUPPORTED_GRAPH, 'Batch size',
                'Node {!r} ({}) has the batch size of the training, {}, as a constant, so the model would take no other one. '
                'Build the network for any batch (-1 in a shape, tf.shape of a tensor of an open batch), or give a function '
                'that builds the evaluation graph.'.format(name, view.op(name), first[name]))
