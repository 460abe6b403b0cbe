"""Removes the dropouts of training graphs, which at inference forward their input unchanged."""
from typing import Collection

import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.passes.common.rewriter import Rewriter, make_node
from vai_q_tf.patterns.dropout import find_dropouts


def remove_dropouts(graph_def: tf.GraphDef, protected: Collection[str], config: QuantizeConfig) -> tf.GraphDef:
    """The graph in which the readers of a dropout read its input; a protected dropout becomes an Identity.

    >>> from vai_q_tf.passes.common.examples import print_before_and_after
    >>> print_before_and_after(remove_dropouts, lambda x: tf.nn.relu(tf.nn.dropout(x, rate=0.5)), [2, 2])
    Relu(Mul(Mul(x, RealDiv(1, Sub(1, 0.5))), Cast(GreaterEqual(Add(Mul(RandomUniform([2, 2]), Sub(1, 0)), 0), 0.5))))
    Relu(x)
    """
    rewriter = Rewriter(graph_def, protected)
    for name, source in find_dropouts(rewriter.view, rewriter.view.names)[0].items():
        if name in rewriter.protected:
            rewriter.add(make_node('Identity', name, [source], like=rewriter.node(name), T=rewriter.view.dtype(name)))
        else:
            rewriter.redirect(name, source)
    return rewriter.result()
