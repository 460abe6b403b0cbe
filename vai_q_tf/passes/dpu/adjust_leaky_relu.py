"""The DPU's leaky relu has the slope 26/256; one of 0.1 becomes that."""
import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.dpu import LEAKY_RELU_SLOPE
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.passes.common import snippets
from vai_q_tf.passes.common.rewriter import Rewriter
from vai_q_tf.patterns.combinators import anything, either, find, op, same

_SCALED = op('Mul', op('Const', name='slope'), anything('x'), any_order=True, name='product')
_NEGATIVE = op('Mul', op('Const', name='slope'), op('Relu', op('Neg', same('x'))), any_order=True, name='product')
_COMPOSED = either(op('Maximum', _SCALED, same('x'), any_order=True), op('Sub', op('Relu', anything('x')), _NEGATIVE))


def adjust_leaky_relu(graph_def, protected, config):
    """The graph with the slope 26/256 in every leaky relu whose slope is 0.1.

    A leaky relu is the op LeakyRelu, max(a * x, x) or relu(x) - a * relu(-x). A constant that others read too stays as it is
    for them; the leaky relu gets one of its own, `<product>/slope`. Any other slope stays, with a warning: the DPU's
    compiler does not take it.
    """
    rewriter = Rewriter(graph_def, protected)
    others = []
    for name in rewriter.view.names:
        if rewriter.view.op(name) == 'LeakyRelu':
            slope = np.array(rewriter.view.attr(name, 'alpha').f)
            adjust = _set_attr
        elif rewriter.view.op(name) in ('Maximum', 'Sub'):
            match = find(rewriter.view, name, _COMPOSED)
            slope = rewriter.value(match['slope']) if match else None
            adjust = _set_constant
        else:
            continue
        if snippets.is_all(slope, 0.1):
            adjust(rewriter, name)
        elif (slope is not None and slope.size and 0 < slope.min() and slope.max() < 1
              and not snippets.is_all(slope, LEAKY_RELU_SLOPE)):
            others.append(name)
    if others:
        tf.logging.warning('The DPU computes a leaky relu with the slope 0.1 only; %s: %s. Train with 0.1 to deploy %s.',
                           'another slope has' if len(others) == 1 else 'other slopes have', ', '.join(others),
                           'it' if len(others) == 1 else 'them')
    return rewriter.result()


def _set_attr(rewriter, name):
    relu = editor.exact_copy(rewriter.node(name))
    relu.attr['alpha'].f = LEAKY_RELU_SLOPE
    rewriter.add(relu)


def _set_constant(rewriter, name):
    match = find(rewriter.view, name, _COMPOSED)
    product = match['product']
    index = [rewriter.view.skip_identity(operand) for operand in rewriter.view.inputs(product)].index(match['slope'])
    value = np.full_like(rewriter.value(match['slope']), LEAKY_RELU_SLOPE)
    if snippets.own_constant(rewriter, product, index):
        rewriter.set_value(match['slope'], value)
        return
    slope = snippets.constant(rewriter.unique(product + '/slope'), value)
    rewriter.inherit_sources(slope, match['slope'])
    rewriter.add(slope)
    rewriter.set_input(product, index, slope.name)
