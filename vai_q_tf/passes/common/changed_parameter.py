"""A parameter that a pass changes, as arithmetic on what it was."""
import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.view import node_name
from vai_q_tf.passes.common import snippets


def change_parameter(rewriter, name, index, op, operands, end, dims=None, keep=False, **attrs):
    """What an op makes of the parameter that input `index` of the node `name` reads, as a tensor for the node to read.

    It has the name of the parameter where nothing else reads that; the op then reads `<parameter>/unfolded`. Otherwise it is
    called `<parameter>/<end>`. See `evaluate_folded` for its value.

    Args:
      rewriter: the Rewriter; the caller makes the node read the result.
      op: the op type. operands: what it reads after the parameter. attrs: its attrs beside T.
      end: see above. dims: the shape of the result, None for that of the parameter.
      keep: whether the node, under another name or for others, goes on reading the parameter as it is.
    """
    view, operand = rewriter.view, rewriter.view.inputs(name)[index]
    source = view.skip_identity(operand)
    own = (not keep and rewriter.is_read_only_by(operand, (name,)) and len(view.consumers(operand)) == 1
           and _is_own(rewriter, operand, source))
    target = node_name(source) if own else rewriter.unique('{}/{}'.format(node_name(source), end))
    if own:
        raw = editor.exact_copy(rewriter.node(source))
        raw.name = rewriter.unique(target + '/unfolded')
        rewriter.add(raw)
    new = snippets.arithmetic(op, target, [raw.name if own else source] + list(operands), dims or view.shape(source), **attrs)
    rewriter.inherit_sources(new, node_name(source), node_name(operand))
    rewriter.add(new)
    return target


def reshape_parameter(rewriter, name, index, dims):
    """The parameter that input `index` of the node `name` reads in the shape `dims`; see `change_parameter`."""
    parameter = node_name(rewriter.view.inputs(name)[index])
    shape = snippets.constant(rewriter.unique(parameter + '/shape'), np.array(dims, np.int32))
    rewriter.add(shape)
    return change_parameter(rewriter, name, index, 'Reshape', [shape.name], 'reshaped', dims, Tshape=tf.int32)


def _is_own(rewriter, operand, source):
    """Whether the Identity nodes from the source to the operand, and the source itself, are read by one node each."""
    while operand != source:
        operand = rewriter.view.inputs(operand)[0]
        if node_name(operand) in rewriter.protected or len(rewriter.view.consumers(operand)) != 1:
            return False
    return ':' not in operand
