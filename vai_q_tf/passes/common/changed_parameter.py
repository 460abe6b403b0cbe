"""Changes of parameters, written as arithmetic on the parameters."""
from typing import Any, Iterable, Optional, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.view import node_name
from vai_q_tf.passes.common import snippets
from vai_q_tf.passes.common.rewriter import Rewriter


def change_parameter(rewriter: Rewriter, name: str, index: int, op: str, operands: Iterable[str], end: str,
                     dims: Optional[Sequence[int]] = None, keep: bool = False, **attrs: Any) -> str:
    """Adds an op that changes the parameter which input `index` of the node `name` reads; returns the name of the op.

    The op takes the name of the parameter if nothing else reads that, and then reads it as `<parameter>/unfolded`. If
    something else does, it is called `<parameter>/<end>`. `evaluate_folded` replaces it by its value.

    Args:
      rewriter: the Rewriter; the caller makes the node read the result.
      op: the op type. operands: its inputs after the parameter. attrs: its attrs besides T.
      end: see above.
      dims: the shape of the result; None: that of the parameter.
      keep: whether the parameter stays in use, because the node survives under another name or for other readers.
    """
    view, operand = rewriter.view, rewriter.view.inputs(name)[index]
    source = view.skip_identity(operand)
    if not keep and _is_own(rewriter, name, operand, source):
        target = node_name(source)
        unchanged = editor.exact_copy(rewriter.node(source))
        unchanged.name = rewriter.unique(target + '/unfolded')
        rewriter.add(unchanged)
        read = unchanged.name
    else:
        target = rewriter.unique('{}/{}'.format(node_name(source), end))
        read = source
    new = snippets.arithmetic(op, target, [read, *operands], dims or view.shape(source), **attrs)
    rewriter.inherit_sources(new, node_name(source), node_name(operand))
    rewriter.add(new)
    return target


def reshape_parameter(rewriter: Rewriter, name: str, index: int, dims: Sequence[int]) -> str:
    """As `change_parameter`, by a Reshape to the shape `dims`."""
    parameter = node_name(rewriter.view.inputs(name)[index])
    shape = snippets.add_constant(rewriter, parameter + '/shape', np.array(dims, np.int32))
    return change_parameter(rewriter, name, index, 'Reshape', [shape], 'reshaped', dims, Tshape=tf.int32)


def _is_own(rewriter: Rewriter, name: str, operand: str, source: str) -> bool:
    """Whether the node `name` alone reads `operand`, the Identity nodes before that, and their `source`, once each."""
    view = rewriter.view
    if not rewriter.is_read_only_by(operand, (name,)) or len(view.consumers(operand)) != 1:
        return False
    while operand != source:
        operand = view.inputs(operand)[0]
        if node_name(operand) in rewriter.protected or len(view.consumers(operand)) != 1:
            return False
    return ':' not in operand
