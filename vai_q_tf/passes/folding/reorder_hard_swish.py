"""Writes a hard swish as the DPU computes it: x times a hard sigmoid."""
from typing import Collection, Optional

import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.passes.common.rewriter import Rewriter, redefined
from vai_q_tf.patterns.combinators import Match, Pattern, anything, either, find, named, number, op


def reorder_hard_swish(graph_def: tf.GraphDef, protected: Collection[str], config: QuantizeConfig) -> tf.GraphDef:
    """The graph in which (x * relu6(y + 3)) * (1/6) and (x * (1/6)) * relu6(y + 3) are x * (relu6(y + 3) * (1/6)).

    The operands may be in any order, and / 6 counts as well. The result keeps its name; the hard sigmoid takes the name of the
    former product or quotient. Nothing is reordered if others read that.

    >>> from vai_q_tf.passes.common.examples import print_before_and_after
    >>> print_before_and_after(reorder_hard_swish, lambda x: x * tf.nn.relu6(x + 3.0) / 6.0)
    RealDiv(Mul(x, Relu6(AddV2(x, 3))), 6)
    Mul(x, RealDiv(Relu6(AddV2(x, 3)), 6))
    """
    rewriter = Rewriter(graph_def, protected)
    for name in rewriter.view.names:
        match = find(rewriter.view, name, _PATTERN) if rewriter.view.op(name) in ('Mul', 'RealDiv') else None
        if match and rewriter.is_read_only_by(match['inner'], (name,)):
            _reorder(rewriter, name, match)
    return rewriter.result()


def _reorder(rewriter: Rewriter, name: str, match: Match) -> None:
    inner = match['inner']
    scaling, product = (name, inner) if match.get('outer_sixth') else (inner, name)
    sixth = match.get('outer_sixth') or match['inner_sixth']
    sigmoid = editor.copy(rewriter.node(scaling), name=inner, inputs=[match['relu6'], sixth])
    swish = editor.copy(rewriter.node(product), name=name, inputs=[match['x'], inner])
    for new in (redefined(sigmoid), swish):
        if '_output_shapes' in rewriter.node(name).attr:
            new.attr['_output_shapes'].CopyFrom(rewriter.node(name).attr['_output_shapes'])
        rewriter.inherit_sources(new)
        rewriter.add(new)


def _by_six(pattern: Pattern, sixth: str, name: Optional[str] = None) -> Pattern:
    return either(op('Mul', pattern, number(1 / 6, sixth), any_order=True, name=name),
                  op('RealDiv', pattern, number(6, sixth), name=name))


_RELU6 = named('relu6', op('Relu6', op('Add|AddV2', anything(), number(3), any_order=True)))
_OTHER = anything('x', where=lambda view, tensor: find(view, tensor, _RELU6) is None)  # with two Relu6 it is in order already
_PATTERN = either(
    _by_six(op('Mul', anything('x'), _RELU6, any_order=True, name='inner'), 'outer_sixth'),
    op('Mul', _by_six(_OTHER, 'inner_sixth', 'inner'), _RELU6, any_order=True))
