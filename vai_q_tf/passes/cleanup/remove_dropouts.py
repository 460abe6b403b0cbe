"""Removes the dropouts of training graphs, which hand their input on at inference."""
from vai_q_tf.passes.common.rewriter import Rewriter, make_node
from vai_q_tf.patterns.dropout import find_dropouts


def remove_dropouts(graph_def, protected, config):
    """The graph where the readers of a dropout read its input; a protected dropout becomes an Identity."""
    rewriter = Rewriter(graph_def, protected)
    for name, source in find_dropouts(rewriter.view, rewriter.view.names)[0].items():
        if name in rewriter.protected:
            rewriter.add(make_node('Identity', name, [source], like=rewriter.node(name), T=rewriter.view.dtype(name)))
        else:
            rewriter.redirect(name, source)
    return rewriter.result()
