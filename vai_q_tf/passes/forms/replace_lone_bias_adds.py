"""Writes the BiasAdds that belong to no weighted op as additions."""
import tensorflow.compat.v1 as tf

from vai_q_tf.graph.traits import WEIGHTED, trait
from vai_q_tf.graph.view import node_name
from vai_q_tf.passes.common.changed_parameter import reshape_parameter
from vai_q_tf.passes.common.parameters import static_nodes
from vai_q_tf.passes.common.rewriter import Rewriter, make_node


def replace_lone_bias_adds(graph_def, protected, config):
    """The graph with an Add of the same name in place of each BiasAdd that is not right after a weighted op.

    The compiler refuses such BiasAdds. NCHW ones stay where the bias is computed or no float32. For the name of their bias see
    `change_parameter`.
    """
    rewriter = Rewriter(graph_def, protected)
    view, static = rewriter.view, static_nodes(rewriter.view, in_branches=True)
    for name in view.names:
        if view.op(name) != 'BiasAdd' or _is_weighted(view, view.inputs(name)[0]):
            continue
        data, bias = view.inputs(name)
        if view.attr(name, 'data_format').s == b'NCHW':
            if node_name(bias) not in static or view.dtype(name) != tf.float32 or None in (view.shape(data), view.shape(bias)):
                continue
            bias = reshape_parameter(rewriter, name, 1, [1] + view.shape(bias) + [1] * (len(view.shape(data)) - 2))
        new = make_node('Add', name, [data, bias], like=rewriter.node(name), T=view.dtype(name))
        rewriter.inherit_sources(new)
        rewriter.add(new)
    return rewriter.result()


def _is_weighted(view, tensor):
    if view.op(tensor) == 'BatchToSpaceND':
        tensor = view.inputs(tensor)[0]
    return trait(view.op(tensor)).kind == WEIGHTED
