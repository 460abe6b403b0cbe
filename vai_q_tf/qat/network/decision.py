"""Decides on the optimised inference graph which tensors of a network are quantized, for training and for deploying it."""
from typing import Dict, List, NamedTuple

import tensorflow.compat.v1 as tf

from vai_q_tf import errors, passes
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.export.finalize import narrow_input_shapes
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.view import GraphView
from vai_q_tf.passes.common.parameters import static_nodes
from vai_q_tf.plan.annotate import annotate
from vai_q_tf.plan.quant_plan import QuantPlan
from vai_q_tf.qat.network.plain_names import whole
from vai_q_tf.qat.network.stand_ins import all_inputs, variable_of, with_stand_ins
from vai_q_tf.types import TensorShapeProto

_PARAMETER_ROLES = ('weight', 'bias', 'constant')


class Decision(NamedTuple):
    """What is quantized in a network.

    clean: the float network without ops that do nothing at inference, with a Const for each variable.
    optimised: `clean` after the passes; arithmetic on variables is there as ops, with their shapes.
    shapes: {node of `optimised`: [TensorShapeProto of each output]}.
    plan: the QuantPlan of `optimised`.
    """
    clean: tf.GraphDef
    optimised: tf.GraphDef
    shapes: Dict[str, List[TensorShapeProto]]
    plan: QuantPlan


def decide(graph_def: tf.GraphDef, config: QuantizeConfig) -> Decision:
    """The Decision for the inference form of a network.

    Args:
      graph_def: see `inference_form.InferenceForm`.
      config: the QuantizeConfig, with the names of the plain network.

    Raises:
      QuantizeError: INVALID_CONFIG for do_cle; errors of passes and of `annotate`.
    """
    if config.do_cle:
        raise errors.QuantizeError(
            errors.INVALID_CONFIG, 'Invalid parameter',
            'do_cle is 1: equalizing layers needs the values of their weights, which a graph with variables lacks. Set '
            'do_cle=0, or equalize the float network before you train it.')
    config = all_inputs(graph_def, config)
    clean, optimised = passes.optimise_variables(with_stand_ins(graph_def), config)
    optimised = narrow_input_shapes(optimised, config, batch=True)
    shaped = GraphView(editor.with_shapes(optimised))
    shapes = {name: list(shaped.node(name).attr['_output_shapes'].list.shape) for name in shaped.names}
    optimised = _with_shapes_of_parameters(optimised, shaped)
    return Decision(clean, optimised, shapes, annotate(GraphView(optimised), config))


def _with_shapes_of_parameters(graph_def: tf.GraphDef, shaped: GraphView) -> tf.GraphDef:
    """The graph with the shapes of its arithmetic on parameters; as in a frozen graph, those of activations are not noted."""
    static = static_nodes(shaped, in_branches=True)
    return editor.subgraph(graph_def, [
        shaped.node(name) if name in static and shaped.op(name) != 'Const' else node
        for name, node in zip(shaped.names, graph_def.node)])


def variables_of(decision: Decision) -> Dict[str, str]:
    """{name of a quantized parameter: its variable}, for parameters made from one variable, whole or in parts."""
    view, found = GraphView(decision.optimised), {}
    for record in decision.plan.tensors:
        if record.role in _PARAMETER_ROLES:
            variables = {whole(variable) for variable in map(
                variable_of, map(view.node, view.upstream([record.tensor]))) if variable}
            if len(variables) == 1:
                found[record.name] = variables.pop()
    return found
