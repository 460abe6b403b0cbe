"""The evaluation model: a float graph with FixNeurons at their final positions, in the form that the compiler reads."""
import tensorflow.compat.v1 as tf

from vai_q_tf.export.constants import ConstantQuantizer
from vai_q_tf.export.fix_neuron_nodes import fix_neuron, insert
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.control_flow import branch_nodes, placing
from vai_q_tf.graph.view import GraphView, node_name, output_index


def finalize(graph_def, plan, positions, shapes, config):
    """The evaluation model with float weights before their FixNeurons, as a GraphDef.

    Of the control inputs only those stay that put a node into a branch or a loop.

    Args:
      graph_def: the float GraphDef that was annotated.
      plan: its QuantPlan. positions: {name of a quantized tensor: position in fractional bits}.
      shapes: {node: [TensorShapeProto of each output]}, which become `_output_shapes`; empty for a model without.
      config: QuantizeConfig; output_dir becomes an attr of the FixNeurons.
    """
    model = insert(graph_def, plan.tensors, lambda record: [
        fix_neuron(record, record.tensor, 1, config.output_dir, positions[record.name])])
    sources = {record.name: record.tensor for record in plan.tensors}
    axes = {node.input[-1] for node in model.node if node.op == 'ConcatV2'}
    nodes, view = [], GraphView(graph_def)
    branches = branch_nodes(view)
    for node in model.node:
        plain = editor.copy(node)
        for attr in [name for name in plain.attr if name.startswith('_') and name != '_symmetric']:
            del plain.attr[attr]
        if node.name in axes and node.op == 'Const':
            plain = editor.concat_axis(node)
        if node.name in view:
            plain.input.extend('^' + control for control in placing(view, node.name, branches))
        known = shapes.get(node.name)
        if node.name in sources and shapes:
            source = sources[node.name]
            known = [shapes[node_name(source)][output_index(source)]]
        if known is not None:
            plain.attr['_output_shapes'].list.shape.extend(known)
        nodes.append(plain)
    return _in_order(editor.subgraph(graph_def, nodes))


def _in_order(model):
    """The model with every node after those that it reads."""
    view = GraphView(model)
    return editor.subgraph(model, [view.node(name) for name in view.upstream(view.names)])


def narrow_input_shapes(graph_def, config, batch=False):
    """The graph whose input nodes have the sizes in config.input_shapes where they have none.

    batch: whether that is so for the batch, too; else it stays as it is.
    """
    def narrow(node, given):
        own = [dim.size for dim in node.attr['shape'].shape.dim] or [-1] * len(given)
        sizes = [size if dim == -1 else dim for dim, size in zip(own, given)]
        return sizes if batch else own[:1] + sizes[1:]
    return _with_input_shapes(graph_def, config, narrow)


def fix_input_shapes(model, config):
    """The model whose input nodes have exactly config.input_shapes."""
    return _with_input_shapes(model, config, lambda node, given: given)


def _with_input_shapes(graph_def, config, choose):
    """choose: function from the NodeDef of an input node and its shape in config.input_shapes to the one it gets."""
    given, nodes = dict(zip(map(node_name, config.input_nodes), config.input_shapes)), []
    for node in graph_def.node:
        if node.op == 'Placeholder' and node.name in given:
            noted = '_output_shapes' in node.attr
            node = editor.placeholder(node.name, node.attr['dtype'].type, choose(node, given[node.name]))
            if noted:
                node.attr['_output_shapes'].list.shape.add().CopyFrom(node.attr['shape'].shape)
        nodes.append(node)
    return editor.subgraph(graph_def, nodes)


def quantize_weights(model):
    """The model whose weights, biases and constants have the values that their FixNeurons give them."""
    view, values = GraphView(model), {}
    with ConstantQuantizer() as quantizer:
        for node in model.node:
            if node.op == 'FixNeuron' and view.op(node.input[0]) == 'Const':
                value = tf.make_ndarray(view.attr(node.input[0], 'value').tensor)
                values[node.input[0]] = quantizer.quantize(
                    value, node.attr['quantize_pos'].i, node.attr['bit_width'].i, node.attr['mode'].i,
                    narrow_range='_symmetric' in node.attr)
    return editor.with_values(model, values)
