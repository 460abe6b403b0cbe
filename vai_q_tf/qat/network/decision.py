"""Decides on the optimised inference graph what is quantized in a network, for training as for deploying it."""
from typing import Dict, List, NamedTuple

import tensorflow.compat.v1 as tf

from vai_q_tf import errors, passes
from vai_q_tf.export.finalize import narrow_input_shapes
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.view import STANDS_FOR, GraphView
from vai_q_tf.passes.common.parameters import static_nodes
from vai_q_tf.plan.annotate import annotate
from vai_q_tf.plan.quant_plan import QuantPlan
from vai_q_tf.qat.network.inference_form import all_inputs, with_stand_ins
from vai_q_tf.qat.network.plain_names import whole


class Decision(NamedTuple):
    """clean: the float network without what does nothing at inference, with a Const for each variable.

    optimised: what the passes made of it; arithmetic on variables is there as ops, with their shapes.
    shapes: {node of `optimised`: [TensorShapeProto of each output]}.
    plan: the QuantPlan of `optimised`.
    """
    clean: tf.GraphDef
    optimised: tf.GraphDef
    shapes: Dict[str, List]
    plan: QuantPlan


def decide(graph_def, config):
    """The Decision for the inference form of a network.

    Args:
      graph_def: see `inference_form.InferenceForm`.
      config: the QuantizeConfig, with the names of the plain network.

    Raises:
      QuantizeError: INVALID_CONFIG for do_cle; what passes and `annotate` raise.
    """
    if config.do_cle:
        raise errors.QuantizeError(
            errors.INVALID_CONFIG, 'Invalid parameter',
            'do_cle is 1: equalizing layers needs the values of their weights, which a graph with variables has not. Set '
            'do_cle=0, or equalize the float network before you train it.')
    config = all_inputs(graph_def, config)
    clean, optimised = passes.optimise_variables(with_stand_ins(graph_def), config)
    optimised = narrow_input_shapes(optimised, config, batch=True)
    shaped = GraphView(editor.with_shapes(optimised))
    shapes = {name: list(shaped.node(name).attr['_output_shapes'].list.shape) for name in shaped.names}
    static = static_nodes(shaped, in_branches=True)
    # As in a frozen graph, the shapes of values are not known.
    nodes = [shaped.node(name) if name in static and shaped.op(name) != 'Const' else node
             for name, node in zip(shaped.names, optimised.node)]
    optimised = editor.subgraph(optimised, nodes)
    return Decision(clean, optimised, shapes, annotate(GraphView(optimised), config))


def variables_of(decision):
    """{name of a quantized tensor: the variable that it is made of}, for those that are made of one, whole or in parts."""
    view, found = GraphView(decision.optimised), {}
    for record in decision.plan.tensors:
        sources = {whole(node.attr[STANDS_FOR].s.decode()) for node in map(view.node, view.upstream([record.tensor], ()))
                   if STANDS_FOR in node.attr} if record.role in ('weight', 'bias', 'constant') else ()
        if len(sources) == 1:
            found[record.name] = sources.pop()
    return found
