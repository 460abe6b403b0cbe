"""The DPU's leaky relu has the slope 26/256; one of 0.1 becomes that."""
import tensorflow.compat.v1 as tf

from vai_q_tf.dpu import LEAKY_RELU_SLOPE, is_leaky_slope
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.passes.common.rewriter import Rewriter


def adjust_leaky_relu(graph_def, protected, config):
    """The graph with the slope 26/256 in every LeakyRelu whose slope is 0.1.

    Any other slope stays, with a warning: the DPU's compiler does not take it. `replace_prelu` makes the op of what is spelled
    otherwise.
    """
    rewriter = Rewriter(graph_def, protected)
    others = []
    for name in rewriter.view.names:
        if rewriter.view.op(name) != 'LeakyRelu':
            continue
        slope = rewriter.view.attr(name, 'alpha').f
        if slope == LEAKY_RELU_SLOPE:
            continue
        if is_leaky_slope(slope):
            relu = editor.exact_copy(rewriter.node(name))
            relu.attr['alpha'].f = LEAKY_RELU_SLOPE
            rewriter.add(relu)
        elif 0 < slope < 1:
            others.append(name)
    if others:
        tf.logging.warning('The DPU computes a leaky relu with the slope 0.1 only; %s: %s. Train with 0.1 to deploy %s.',
                           'another slope has' if len(others) == 1 else 'other slopes have', ', '.join(others),
                           'it' if len(others) == 1 else 'them')
    return rewriter.result()
