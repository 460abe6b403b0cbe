"""The ops that training adds to a network: gradients, losses, optimizers, savers and summaries."""
import re
from typing import Dict, FrozenSet, Iterable, Tuple

from vai_q_tf.graph.dependence import reach, readers
from vai_q_tf.graph.traits import PASS_THROUGH_OPS, SHAPE_OPS
from vai_q_tf.graph.view import GraphView, node_name

_GRADIENT = re.compile(r'.*(Grad(V\d|WithArgmax|Args|Ext)?|Gradient|GradientArgs|BackpropFilter(V2)?)$')
_UPDATE = re.compile(r'(Resource)?(Sparse)?Apply[A-Z]|Assign|Scatter(Add|Sub|Update|Nd)')
_REPORT = re.compile(r'(Save|Restore)(V2|Slice|Slices)?$|\w*Summary(V2)?$')
_LOSS = re.compile(r'(Sparse)?SoftmaxCrossEntropyWithLogits$|L2Loss$|CTCLoss$')
_NO_RESULT = SHAPE_OPS | {'Placeholder'}
_SCOPE = re.compile(r'(^|/)gradients(_\d+)?/')  # tf.gradients names its ops after the forward ones


def gradient_nodes(view: GraphView) -> Tuple[str, ...]:
    """The nodes that compute gradients, and all that depend on these, such as updates of variables, in graph order.

    >>> import tensorflow.compat.v1 as tf
    >>> with tf.Graph().as_default() as graph:
    ...     x = tf.placeholder(tf.float32, [8, 4], name='x')
    ...     loss = tf.reduce_mean(tf.nn.relu(x, name='relu'), name='loss')
    ...     slope, = tf.gradients(loss, x)
    >>> found = gradient_nodes(GraphView(graph.as_graph_def()))
    >>> slope.op.name, slope.op.name in found, 'relu' in found
    ('gradients/relu_grad/ReluGrad', True, False)
    """
    found = [name for name in view.names if view.op(name) not in PASS_THROUGH_OPS and (
        _GRADIENT.match(view.op(name)) or _SCOPE.search(name) and view.inputs(name))]
    applied = reach(found, readers(map(view.node, view.names))) if found else ()
    return tuple(name for name in view.names if name in applied)


def outputs_without_training(view: GraphView, gradients: Iterable[str]) -> Tuple[str, ...]:
    """The nodes of a training graph that depend on a placeholder and are read at most by ops that training adds.

    A node that depends on all placeholders of another one and more, as the accuracy does on labels, is left out.

    gradients: see `gradient_nodes`.
    """
    following = readers(map(view.node, view.names), controls=False)
    seeds = [name for name in view.names if any(pattern.match(view.op(name)) for pattern in (_UPDATE, _REPORT, _LOSS))]
    training = reach(seeds + list(gradients), following)
    fed: Dict[str, FrozenSet[str]] = {}
    for name in view.upstream(view.names):
        sources = [fed.get(node_name(tensor), frozenset()) for tensor in view.inputs(name)]
        fed[name] = frozenset([name]) if view.op(name) == 'Placeholder' else frozenset().union(*sources)
    ends = [name for name in view.names if name not in training and fed[name] and view.op(name) not in _NO_RESULT
            and training.issuperset(following(name)) and not any(_UPDATE.match(view.op(reader)) for reader in following(name))]
    return tuple(name for name in ends if not any(fed[other] < fed[name] for other in ends))
