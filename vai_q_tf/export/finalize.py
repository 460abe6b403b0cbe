"""The evaluation model: a float graph with FixNeurons at their final positions, in the form that the compiler reads."""
from vai_q_tf import errors, ops
from vai_q_tf.export.constants import ConstantQuantizer
from vai_q_tf.export.fix_neuron_nodes import fix_neuron, insert
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.control_flow import branch_nodes, placing
from vai_q_tf.graph.view import GraphView, node_name, output_index
from vai_q_tf.passes.common.infer_shapes import infer_shapes


def finalize(graph_def, plan, positions, shapes):
    """The evaluation model with float weights before their FixNeurons, as a GraphDef.

    Of the control inputs only those stay that put a node into a branch or a loop.

    Args:
      graph_def: the float GraphDef that was annotated.
      plan: its QuantPlan. positions: {name of a quantized tensor: position in fractional bits}.
      shapes: {node: [TensorShapeProto of each output]}, which become `_output_shapes`; empty for a model without.
    """
    model = insert(graph_def, plan.tensors, lambda record: [
        fix_neuron(record, record.tensor, 1, positions[record.name])])
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


def fix_input_shapes(model, config, part=None):
    """The model whose input nodes have exactly config.input_shapes, and whose noted shapes follow from these.

    part: the model without what TensorFlow cannot load, if that is not all of it.

    Raises:
      QuantizeError: LENGTH_MISMATCH where the network does not take the shapes.
    """
    ops.load_library()
    part = part or model
    fixed, fixed_part = (_with_input_shapes(graph, config, lambda node, given: given) for graph in (model, part))
    shaped = GraphView(infer_shapes(fixed_part, (), config))
    _check_batch(part, shaped, config)
    for node in fixed.node:
        if '_output_shapes' in node.attr:
            del node.attr['_output_shapes']
            if node.name in shaped:
                node.attr['_output_shapes'].CopyFrom(shaped.attr(node.name, '_output_shapes'))
    return fixed


def _check_batch(graph_def, shaped, config):
    """Raises LENGTH_MISMATCH where an output node of `shaped` still has the batch that the inputs of the graph had."""
    view = GraphView(graph_def)
    inputs = [node_name(name) for name in config.input_nodes]
    batches = {old[0]: new[0] for old, new in ((view.shape(name), shaped.shape(name)) for name in inputs if name in view)
               if old and new and -1 not in (old[0], new[0]) and old[0] != new[0]}
    before = GraphView(infer_shapes(graph_def, (), config)) if batches else view
    for name in map(node_name, config.output_nodes) if batches else ():
        old, new = before.shape(name), shaped.shape(name)
        if old and old[0] in batches and new and new[0] not in (-1, batches[old[0]]):
            raise errors.QuantizeError(
                errors.LENGTH_MISMATCH, 'Invalid parameter', 'input_shapes has a batch of {}, and the graph is made for {}: '
                'the output node {!r} has the shape {}. Give that batch, or freeze the graph with an open one.'.format(
                    batches[old[0]], old[0], name, new))


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
                value = view.value(node.input[0])
                values[node.input[0]] = quantizer.quantize(
                    value, node.attr['quantize_pos'].i, node.attr['bit_width'].i, node.attr['mode'].i,
                    narrow_range='_symmetric' in node.attr)
    return editor.with_values(model, values)
