"""Makes hard sigmoids as inexact as the DPU's, which multiplies by a fixed-point 1/6."""
from typing import Collection

import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.dpu import HARD_SIGMOID_FACTOR
from vai_q_tf.passes.common import snippets
from vai_q_tf.passes.common.rewriter import Rewriter
from vai_q_tf.patterns.activations import hard_sigmoid
from vai_q_tf.patterns.combinators import anything, find

_HARD_SIGMOID = hard_sigmoid(anything())


def scale_hard_sigmoid(graph_def: tf.GraphDef, protected: Collection[str], config: QuantizeConfig) -> tf.GraphDef:
    """The graph with every hard sigmoid, relu6(x + 3) * (1/6) or relu6(x + 3) / 6, multiplied by 6 * 2731 / 2^14.

    The product is `<hard sigmoid>/vitis_hard_sigmoid_mul`, its constant `.../vitis_hard_sigmoid_mul/scale`; if the hard
    sigmoid is protected, the product has its name, and the former result is `<hard sigmoid>/hard_sigmoid`.

    >>> from vai_q_tf.passes.common.examples import print_before_and_after
    >>> print_before_and_after(scale_hard_sigmoid, lambda x: tf.nn.relu6(x + 3.0) / 6.0)
    RealDiv(Relu6(AddV2(x, 3)), 6)
    Mul(RealDiv(Relu6(AddV2(x, 3)), 6), [1.00012])
    """
    rewriter = Rewriter(graph_def, protected)
    for name in rewriter.view.names:
        if (rewriter.view.op(name) in ('Mul', 'RealDiv') and rewriter.view.dtype(name) == tf.float32
                and find(rewriter.view, name, _HARD_SIGMOID)):
            product = name + '/vitis_hard_sigmoid_mul'
            snippets.append_multiplier(rewriter, name, HARD_SIGMOID_FACTOR, product, product + '/scale',
                                       inner=name + '/hard_sigmoid')
    return rewriter.result()
