"""Replaces BiasAdds that do not follow a weighted op by additions."""
from typing import AbstractSet, Collection, Optional

import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph.traits import WEIGHTED, trait
from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.passes.common.changed_parameter import reshape_parameter
from vai_q_tf.passes.common.parameters import static_nodes
from vai_q_tf.passes.common.rewriter import Rewriter, make_node


def replace_lone_bias_adds(graph_def: tf.GraphDef, protected: Collection[str], config: QuantizeConfig) -> tf.GraphDef:
    """The graph with an Add of the same name in place of each BiasAdd that is not right after a weighted op.

    The compiler refuses such BiasAdds. In NCHW they stay if the bias is computed or not float32; for the name of the reshaped
    bias see `change_parameter`.

    >>> from vai_q_tf.passes.common.examples import print_before_and_after
    >>> print_before_and_after(replace_lone_bias_adds, lambda x: tf.nn.bias_add(tf.nn.relu(x), [1.0, 2.0]), [-1, 2])
    BiasAdd(Relu(x), [1, 2])
    Add(Relu(x), [1, 2])
    """
    rewriter = Rewriter(graph_def, protected)
    view, static = rewriter.view, static_nodes(rewriter.view, in_branches=True)
    for name in view.names:
        if view.op(name) != 'BiasAdd' or _is_weighted(view, view.inputs(name)[0]):
            continue
        bias = _broadcast_bias(rewriter, name, static)
        if bias:
            new = make_node('Add', name, [view.inputs(name)[0], bias], like=rewriter.node(name), T=view.dtype(name))
            rewriter.inherit_sources(new)
            rewriter.add(new)
    return rewriter.result()


def _is_weighted(view: GraphView, tensor: str) -> bool:
    """Whether the tensor is the result of a weighted op, or of the BatchToSpaceND after it if it is dilated."""
    if view.op(tensor) == 'BatchToSpaceND':
        tensor = view.inputs(tensor)[0]
    return trait(view.op(tensor)).kind == WEIGHTED


def _broadcast_bias(rewriter: Rewriter, name: str, static: AbstractSet[str]) -> Optional[str]:
    """The bias of a BiasAdd in a shape that an Add broadcasts over the channels; None if it cannot be reshaped."""
    view, (data, bias) = rewriter.view, rewriter.view.inputs(name)
    if view.attr(name, 'data_format').s != b'NCHW':
        return bias
    dims, channels = view.shape(data), view.shape(bias)
    if node_name(bias) not in static or view.dtype(name) != tf.float32 or dims is None or channels is None:
        return None
    return reshape_parameter(rewriter, name, 1, [1] + channels + [1] * (len(dims) - 2))
