"""Sigmoids become hard sigmoids, which the DPU computes."""
import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.passes.common import snippets
from vai_q_tf.passes.common.rewriter import Rewriter, make_node


def replace_sigmoid(graph_def, protected, config):
    """The graph with relu6(x + 3) * (1/6) in place of every float32 Sigmoid; so x * sigmoid(x) becomes the hard swish.

    The result is `<sigmoid>/h_sigmoid/mul`, or has the name of the Sigmoid where that is protected. It is off by 0.07 at most.
    """
    rewriter = Rewriter(graph_def, protected)
    for name in rewriter.view.names:
        if rewriter.view.op(name) == 'Sigmoid' and rewriter.view.dtype(name) == tf.float32:
            _replace(rewriter, name)
    return rewriter.result()


def _replace(rewriter, name):
    sigmoid = rewriter.node(name)
    offset, added, relu6, scale = [rewriter.unique(name + suffix) for suffix in (
        '/offset', '/h_sigmoid/add', '/h_sigmoid/relu6', '/h_sigmoid/scale')]
    result = name if name in rewriter.protected else rewriter.unique(name + '/h_sigmoid/mul')
    product = make_node('Mul', result, [relu6, scale], like=sigmoid, T=tf.float32)
    rewriter.inherit_sources(product, name)
    for node in (snippets.constant(offset, np.array([3], np.float32)),
                 make_node('Add', added, [rewriter.view.inputs(name)[0], offset], like=sigmoid, T=tf.float32),
                 make_node('Relu6', relu6, [added], like=sigmoid, T=tf.float32),
                 snippets.constant(scale, np.array([1 / 6], np.float32)), product):
        rewriter.add(node)
    if result != name:
        rewriter.redirect(name, result)
