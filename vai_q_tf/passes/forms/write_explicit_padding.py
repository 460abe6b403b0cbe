"""Explicit padding of convolutions becomes a Pad; the compiler knows the paddings SAME and VALID only."""
import numpy as np

from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.control_flow import branch_nodes
from vai_q_tf.passes.common import snippets
from vai_q_tf.passes.common.rewriter import Rewriter, make_node


def write_explicit_padding(graph_def, protected, config):
    """The graph with a Pad `<conv>/pad`, and padding VALID, in place of the padding EXPLICIT of every Conv2D.

    Where it pads nothing there is no Pad. Convolutions in branches and loops stay.
    """
    rewriter = Rewriter(graph_def, protected)
    view, branches = rewriter.view, branch_nodes(rewriter.view)
    for name in view.names:
        if view.op(name) != 'Conv2D' or view.attr(name, 'padding').s != b'EXPLICIT' or name in branches:
            continue
        pads = np.array(view.attr(name, 'explicit_paddings').list.i, np.int32).reshape(-1, 2)
        conv = editor.exact_copy(rewriter.node(name))
        conv.attr['padding'].s = b'VALID'
        del conv.attr['explicit_paddings']
        if pads.any():
            conv.input[0] = _pad(rewriter, name, pads)
        rewriter.add(conv)
    return rewriter.result()


def _pad(rewriter, name, pads):
    """Adds the Pad before the convolution `name`; returns its name. pads: array [rank, 2]."""
    view, data = rewriter.view, rewriter.view.inputs(name)[0]
    dims = [dim if dim == -1 else int(dim + sum(added)) for dim, added in zip(view.shape(data) or [-1] * len(pads), pads)]
    pad = rewriter.unique(name + '/pad')
    paddings = snippets.constant(rewriter.unique(pad + '/paddings'), pads)
    rewriter.add(paddings)
    rewriter.add(snippets.shaped(make_node('Pad', pad, [data, paddings.name], T=view.dtype(data)), dims))
    return pad
