"""Replaces sigmoids by hard sigmoids, which the DPU computes."""
from typing import Collection

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.passes.common import snippets
from vai_q_tf.passes.common.rewriter import Rewriter, make_node


def replace_sigmoid(graph_def: tf.GraphDef, protected: Collection[str], config: QuantizeConfig) -> tf.GraphDef:
    """The graph with relu6(x + 3) * (1/6) in place of every float32 Sigmoid, which turns x * sigmoid(x) into the hard swish.

    The result, `<sigmoid>/h_sigmoid/mul` or under the name of a protected Sigmoid, differs from the sigmoid by at most 0.07.

    >>> from vai_q_tf.passes.common.examples import print_before_and_after
    >>> print_before_and_after(replace_sigmoid, lambda x: x * tf.sigmoid(x))
    Mul(x, Sigmoid(x))
    Mul(x, Mul(Relu6(Add(x, [3])), [0.166667]))
    """
    rewriter = Rewriter(graph_def, protected)
    for name in rewriter.view.names:
        if rewriter.view.op(name) == 'Sigmoid' and rewriter.view.dtype(name) == tf.float32:
            _replace(rewriter, name)
    return rewriter.result()


def _replace(rewriter: Rewriter, name: str) -> None:
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
