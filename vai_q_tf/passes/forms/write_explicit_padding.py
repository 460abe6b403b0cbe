"""Writes explicit padding of convolutions as a Pad; the compiler knows only the paddings SAME and VALID."""
from typing import Collection

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.control_flow import branch_nodes
from vai_q_tf.passes.common import snippets
from vai_q_tf.passes.common.rewriter import Rewriter, make_node


def write_explicit_padding(graph_def: tf.GraphDef, protected: Collection[str], config: QuantizeConfig) -> tf.GraphDef:
    """The graph with a Pad `<conv>/pad` and padding VALID in place of the padding EXPLICIT of every Conv2D.

    There is no Pad if all paddings are 0. Convolutions in branches and loops stay.

    >>> from vai_q_tf.passes.common.examples import print_before_and_after
    >>> pads = [[0, 0], [1, 1], [1, 1], [0, 0]]
    >>> print_before_and_after(write_explicit_padding, lambda x: tf.nn.conv2d(x, tf.ones([3, 3, 1, 1], name='w'), 1, pads),
    ...                        [-1, 5, 5, 1], ['padding'])
    Conv2D(x, w, padding=EXPLICIT)
    Conv2D(Pad(x, Conv2D/pad/paddings), w, padding=VALID)
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


def _pad(rewriter: Rewriter, name: str, pads: np.ndarray) -> str:
    """Adds the Pad before the convolution `name`; returns its name. pads: array [rank, 2]."""
    view, data = rewriter.view, rewriter.view.inputs(name)[0]
    dims = [dim if dim == -1 else int(dim + sum(added)) for dim, added in zip(view.shape(data) or [-1] * len(pads), pads)]
    pad = rewriter.unique(name + '/pad')
    paddings = snippets.add_constant(rewriter, pad + '/paddings', pads)
    rewriter.add(snippets.shaped(make_node('Pad', pad, [data, paddings], T=view.dtype(data)), dims))
    return pad
