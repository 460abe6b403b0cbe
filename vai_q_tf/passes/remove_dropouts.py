"""Removes the dropouts of training graphs, which hand their input on at inference."""
from vai_q_tf.passes.rewriter import Rewriter, node
from vai_q_tf.plan.dropout import find_dropouts


def remove_dropouts(graph_def, kept, config):
    """The graph where the readers of a dropout read its input; a kept dropout becomes an Identity."""
    edit = Rewriter(graph_def, kept)
    for name, source in find_dropouts(edit.view, edit.view.names)[0].items():
        if name in edit.kept:
            edit.add(node('Identity', name, [source], like=edit.node(name), T=edit.view.dtype(name)))
        else:
            edit.redirect(name, source)
    return edit.result()
