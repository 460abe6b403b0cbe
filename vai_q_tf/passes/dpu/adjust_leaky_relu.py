"""Gives leaky relus the slope of the DPU, 26/256, instead of 0.1."""
from typing import Collection

import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.dpu import LEAKY_RELU_SLOPE, is_leaky_slope
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.passes.common.rewriter import Rewriter


def adjust_leaky_relu(graph_def: tf.GraphDef, protected: Collection[str], config: QuantizeConfig) -> tf.GraphDef:
    """The graph with the slope 26/256 in every LeakyRelu whose slope is 0.1.

    Other slopes stay, with a warning: the DPU's compiler refuses them. `replace_prelu` creates the LeakyRelu from other forms.

    >>> from vai_q_tf.passes.common.examples import print_before_and_after
    >>> print_before_and_after(adjust_leaky_relu, lambda x: tf.nn.leaky_relu(x, 0.1), attrs=['alpha'])
    LeakyRelu(x, alpha=0.1)
    LeakyRelu(x, alpha=0.101562)
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
