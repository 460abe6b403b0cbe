"""Dropouts of training graphs. At inference they forward their input unchanged, so quantization ignores them."""
from typing import Dict, Iterable, Set, Tuple

from vai_q_tf.graph.view import GraphView
from vai_q_tf.patterns.combinators import Pattern, anything, either, find, op


def _dropout() -> Pattern:
    uniform = op('RandomUniform')
    scaled = either(op('Mul', uniform, anything()), uniform)
    draw = either(op('Add|AddV2', scaled, anything()), scaled)
    mask = either(op('Cast', op('GreaterEqual', draw, anything())),
                  op('Floor', op('Add|AddV2', draw, anything(), any_order=True)))
    return op('Mul', op('Mul|RealDiv', anything('input'), anything()), mask, any_order=True)


_DROPOUT = _dropout()


def find_dropouts(view: GraphView, nodes: Iterable[str]) -> Tuple[Dict[str, str], Set[str]]:
    """The dropouts whose result is among `nodes`: {result: input tensor}, and the set of all nodes that they consist of.

    >>> import tensorflow.compat.v1 as tf
    >>> with tf.Graph().as_default() as graph:
    ...     x = tf.placeholder(tf.float32, [8, 4], name='x')
    ...     y = tf.nn.dropout(x, rate=0.5, name='drop')
    >>> view = GraphView(graph.as_graph_def())
    >>> inputs, members = find_dropouts(view, view.names)
    >>> inputs
    {'drop/mul_1': 'x'}
    >>> 'drop/random_uniform/RandomUniform' in members, 'x' in members
    (True, False)
    """
    inputs: Dict[str, str] = {}
    members: Set[str] = set()
    for name in nodes:
        match = find(view, name, _DROPOUT) if view.op(name) == 'Mul' else None
        if match:
            inputs[name] = match['input']
            members.update(match.nodes)
    return inputs, members
