"""The evaluation model: a float graph with FixNeurons at their final positions, in the form that the compiler reads."""
from typing import Callable, Dict, Optional, Sequence

import tensorflow.compat.v1 as tf

from vai_q_tf import errors, ops
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.export.constants import ConstantQuantizer
from vai_q_tf.export.fix_neuron_nodes import fix_neuron, insert
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.control_flow import branch_nodes, placing
from vai_q_tf.graph.view import GraphView, node_name, output_index
from vai_q_tf.passes.common.infer_shapes import infer_shapes
from vai_q_tf.plan.quant_plan import QuantPlan
from vai_q_tf.types import OutputShapes, Positions


def finalize(graph_def: tf.GraphDef, plan: QuantPlan, positions: Positions, shapes: OutputShapes) -> tf.GraphDef:
    """The evaluation model with float weights before their FixNeurons.

    Of the control inputs only those stay that put a node into a branch or a loop.

    Args:
      graph_def: the float GraphDef that was annotated.
      plan: its QuantPlan. positions: {name of a quantized tensor: position in fractional bits}.
      shapes: they become `_output_shapes`; empty for a model without.
    """
    model = insert(graph_def, plan.tensors, lambda record: [
        fix_neuron(record, record.tensor, 1, positions[record.name])])
    view, noted = GraphView(graph_def), _with_fix_neurons(shapes, plan)
    branches = branch_nodes(view)
    axes = {node.input[-1] for node in model.node if node.op == 'ConcatV2'}
    nodes = []
    for node in model.node:
        plain = editor.concat_axis(node) if node.op == 'Const' and node.name in axes else _without_private_attrs(node)
        if node.name in view:
            plain.input.extend('^' + control for control in placing(view, node.name, branches))
        if node.name in noted:
            plain.attr['_output_shapes'].list.shape.extend(noted[node.name])
        nodes.append(plain)
    return _in_order(editor.subgraph(graph_def, nodes))


def _with_fix_neurons(shapes: OutputShapes, plan: QuantPlan) -> OutputShapes:
    """The shapes with those of the FixNeurons; empty if `shapes` are."""
    quantized = {record.name: [shapes[node_name(record.tensor)][output_index(record.tensor)]]
                 for record in (plan.tensors if shapes else ())}
    return {**shapes, **quantized}


def _without_private_attrs(node: tf.NodeDef) -> tf.NodeDef:
    """A copy for another graph, only with the private attr of a FixNeuron."""
    plain = editor.copy(node)
    for attr in [name for name in plain.attr if name.startswith('_') and name != '_symmetric']:
        del plain.attr[attr]
    return plain


def _in_order(model: tf.GraphDef) -> tf.GraphDef:
    """The model with every node after the producers of its inputs."""
    view = GraphView(model)
    return editor.subgraph(model, [view.node(name) for name in view.upstream(view.names)])


def narrow_input_shapes(graph_def: tf.GraphDef, config: QuantizeConfig, batch: bool = False) -> tf.GraphDef:
    """The graph whose input nodes have the sizes of config.input_shapes in place of unknown ones.

    batch: whether an unknown batch is replaced, too.
    """
    def narrow(node: tf.NodeDef, given: Sequence[int]) -> Sequence[int]:
        own = [dim.size for dim in node.attr['shape'].shape.dim] or [-1] * len(given)
        sizes = [size if dim == -1 else dim for dim, size in zip(own, given)]
        return sizes if batch else own[:1] + sizes[1:]
    return _with_input_shapes(graph_def, config, narrow)


def fix_input_shapes(model: tf.GraphDef, config: QuantizeConfig, part: Optional[tf.GraphDef] = None) -> tf.GraphDef:
    """The model whose input nodes have exactly config.input_shapes, and whose noted shapes follow from these.

    part: the model without nodes that TensorFlow cannot load; None for the whole model.

    Raises:
      QuantizeError: LENGTH_MISMATCH if the network does not accept the shapes.
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


def _check_batch(graph_def: tf.GraphDef, shaped: GraphView, config: QuantizeConfig) -> None:
    """Raises LENGTH_MISMATCH if an output node of `shaped` still has the batch of the graph, or a node has lost all values."""
    batches = _changed_batches(GraphView(graph_def), shaped, config)
    if not batches:
        return
    before, outputs = GraphView(infer_shapes(graph_def, (), config)), set(map(node_name, config.output_nodes))
    for name in shaped.names:
        old, new = before.shape(name) or [], shaped.shape(name) or []
        own = old[0] if old and old[0] in batches else max(batches)
        keeps_batch = name in outputs and old[:1] == [own] and new[:1] not in ([], [-1], [batches[own]])
        if keeps_batch or (0 in new and 0 not in old):
            raise errors.QuantizeError(
                errors.LENGTH_MISMATCH, 'Invalid parameter', 'input_shapes has a batch of {}, and the graph is made for {}: '
                'node {!r} has the shape {}. Give that batch, or freeze the graph with an open one.'.format(
                    batches[own], own, name, new))


def _changed_batches(view: GraphView, shaped: GraphView, config: QuantizeConfig) -> Dict[int, int]:
    """{known batch of an input node: its known batch in `shaped`}, if they differ."""
    inputs = [name for name in map(node_name, config.input_nodes) if name in view]
    return {old[0]: new[0] for old, new in ((view.shape(name), shaped.shape(name)) for name in inputs)
            if old and new and -1 not in (old[0], new[0]) and old[0] != new[0]}


def _with_input_shapes(graph_def: tf.GraphDef, config: QuantizeConfig,
                       choose: Callable[[tf.NodeDef, Sequence[int]], Sequence[int]]) -> tf.GraphDef:
    """choose: function from the NodeDef of an input node and its shape in config.input_shapes to its new shape."""
    given, nodes = dict(zip(map(node_name, config.input_nodes), config.input_shapes)), []
    for node in graph_def.node:
        if node.op == 'Placeholder' and node.name in given:
            noted = '_output_shapes' in node.attr
            node = editor.placeholder(node.name, node.attr['dtype'].type, choose(node, given[node.name]))
            if noted:
                node.attr['_output_shapes'].list.shape.add().CopyFrom(node.attr['shape'].shape)
        nodes.append(node)
    return editor.subgraph(graph_def, nodes)


def quantize_weights(model: tf.GraphDef) -> tf.GraphDef:
    """The model whose weights, biases and constants have the values after their FixNeurons."""
    view, values = GraphView(model), {}
    with ConstantQuantizer() as quantizer:
        for node in model.node:
            if node.op == 'FixNeuron' and view.op(node.input[0]) == 'Const':
                values[node.input[0]] = quantizer.quantize(
                    view.value(node.input[0]), node.attr['quantize_pos'].i, node.attr['bit_width'].i, node.attr['mode'].i,
                    narrow_range='_symmetric' in node.attr)
    return editor.with_values(model, values)
