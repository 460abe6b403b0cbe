"""What a training graph has beside its network: gradients, losses, optimizers, savers and summaries."""
import re

from vai_q_tf.graph.dependence import reach, readers
from vai_q_tf.graph.traits import PASS_THROUGH_OPS, SHAPE_OPS

_GRADIENT = re.compile(r'.*(Grad(V\d|WithArgmax|Args|Ext)?|Gradient|GradientArgs|BackpropFilter(V2)?)$')
_UPDATE = re.compile(r'(Resource)?(Sparse)?Apply[A-Z]|Assign|Scatter(Add|Sub|Update|Nd)')
_REPORT = re.compile(r'(Save|Restore)(V2|Slice|Slices)?$|\w*Summary(V2)?$')
_LOSS = re.compile(r'(Sparse)?SoftmaxCrossEntropyWithLogits$|L2Loss$|CTCLoss$')
_NO_RESULT = SHAPE_OPS | {'Placeholder'}
_SCOPE = re.compile(r'(^|/)gradients(_\d+)?/')  # of tf.gradients, which names its ops after the forward ones


def gradient_nodes(view):
    """The nodes of a GraphView that compute gradients, or update variables by them, in graph order."""
    found = [name for name in view.names if view.op(name) not in PASS_THROUGH_OPS and (
        _GRADIENT.match(view.op(name)) or _SCOPE.search(name) and view.inputs(name))]
    applied = reach(found, readers(map(view.node, view.names))) if found else ()
    return tuple(name for name in view.names if name in applied)


def outputs_without_training(view, gradients):
    """The nodes of a training graph that nothing reads but what training adds, and that depend on a placeholder.

    gradients: from `gradient_nodes`. Where one is computed from more placeholders than another, as the accuracy from labels,
    it is left out.
    """
    following = readers(map(view.node, view.names), controls=False)
    seeds = [name for name in view.names if any(pattern.match(view.op(name)) for pattern in (_UPDATE, _REPORT, _LOSS))]
    training = reach(seeds + list(gradients), following)
    fed = {}
    for name in view.upstream(view.names):
        sources = [fed.get(tensor.partition(':')[0], frozenset()) for tensor in view.inputs(name)]
        fed[name] = frozenset([name]) if view.op(name) == 'Placeholder' else frozenset().union(*sources)
    ends = [name for name in view.names if name not in training and fed[name] and view.op(name) not in _NO_RESULT
            and training.issuperset(following(name)) and not any(_UPDATE.match(view.op(reader)) for reader in following(name))]
    return tuple(name for name in ends if not any(fed[other] < fed[name] for other in ends))
