"""The DPU's hard sigmoid multiplies by a fixed-point 1/6; the graph does the same."""
import tensorflow.compat.v1 as tf

from vai_q_tf.dpu import HARD_SIGMOID_FACTOR
from vai_q_tf.passes.common import snippets
from vai_q_tf.passes.common.rewriter import Rewriter
from vai_q_tf.patterns.activations import hard_sigmoid
from vai_q_tf.patterns.combinators import anything, find

_HARD_SIGMOID = hard_sigmoid(anything())


def scale_hard_sigmoid(graph_def, protected, config):
    """The graph with every hard sigmoid, relu6(x + 3) * (1/6) or relu6(x + 3) / 6, multiplied by 6 * 2731 / 2^14.

    The product is `<hard sigmoid>/vitis_hard_sigmoid_mul`, its constant `.../vitis_hard_sigmoid_mul/scale`; where the hard
    sigmoid is protected the product has its name, and the former result is `<hard sigmoid>/hard_sigmoid`.
    """
    rewriter = Rewriter(graph_def, protected)
    for name in rewriter.view.names:
        if (rewriter.view.op(name) in ('Mul', 'RealDiv') and rewriter.view.dtype(name) == tf.float32
                and find(rewriter.view, name, _HARD_SIGMOID)):
            product = name + '/vitis_hard_sigmoid_mul'
            snippets.append_multiplier(rewriter, name, HARD_SIGMOID_FACTOR, (product, product + '/scale'),
                                       inner=name + '/hard_sigmoid')
    return rewriter.result()
