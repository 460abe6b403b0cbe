"""The DPU's hard sigmoid multiplies by a fixed-point 1/6; the graph does the same."""
import tensorflow.compat.v1 as tf

from vai_q_tf.dpu import HARD_SIGMOID_FACTOR
from vai_q_tf.passes.common import snippets
from vai_q_tf.passes.common.rewriter import Rewriter
from vai_q_tf.patterns.combinators import anything, either, find, op

_TOLERANCE = 1e-3  # constants that passed through half precision count

_CLIPPED = op('Relu6', op('Add|AddV2', anything(), op('Const', name='offset'), any_order=True))
_MULTIPLIED = op('Mul', _CLIPPED, op('Const', name='sixth'), any_order=True)
_HARD_SIGMOID = either(_MULTIPLIED, op('RealDiv', _CLIPPED, op('Const', name='six')))


def scale_hard_sigmoid(graph_def, protected, config):
    """The graph with every hard sigmoid, relu6(x + 3) * (1/6) or relu6(x + 3) / 6, multiplied by 6 * 2731 / 2^14.

    The product is `<hard sigmoid>/vitis_hard_sigmoid_mul`, its constant `.../vitis_hard_sigmoid_mul/scale`; where the hard
    sigmoid is protected the product has its name, and the former result is `<hard sigmoid>/hard_sigmoid`.
    """
    rewriter = Rewriter(graph_def, protected)
    for name in rewriter.view.names:
        if rewriter.view.op(name) in ('Mul', 'RealDiv') and _is_hard_sigmoid(rewriter, name):
            product = name + '/vitis_hard_sigmoid_mul'
            snippets.append_multiplier(rewriter, name, HARD_SIGMOID_FACTOR, (product, product + '/scale'),
                                       inner=name + '/hard_sigmoid')
    return rewriter.result()


def _is_hard_sigmoid(rewriter, name):
    match = find(rewriter.view, name, _HARD_SIGMOID)
    if match is None or rewriter.view.dtype(name) != tf.float32 or not snippets.is_all(
            rewriter.value(match['offset']), 3, _TOLERANCE):
        return False
    if match.get('six'):
        return snippets.is_all(rewriter.value(match['six']), 6, _TOLERANCE)
    return snippets.is_all(rewriter.value(match['sixth']), 1 / 6, _TOLERANCE / 6)
