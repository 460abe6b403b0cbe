"""The operands of batch norms, fused and decomposed, in training and inference form."""
from typing import Iterator, NamedTuple, NoReturn, Optional

from vai_q_tf import errors
from vai_q_tf.graph.control_flow import SWITCH_OPS
from vai_q_tf.graph.traits import ADD_OPS, BATCH_NORM_OPS, IDENTITY_OPS, SHAPING_OPS
from vai_q_tf.graph.view import node_name, tensor_name
from vai_q_tf.patterns.combinators import Match, Pattern, anything, either, find, named, op, optional, same
from vai_q_tf.patterns.graph_range import GraphRange

_FORM_OPS = IDENTITY_OPS | SHAPING_OPS | {'Cast'}


class Normalisation(NamedTuple):
    """output = gamma * (input - mean) / sqrt(variance + epsilon) + beta, by the names of its tensors.

    root: the node of the result.
    node: the fused op; '' for a decomposed form.
    gamma, beta: '' if there is none.
    training: whether mean and variance are those of the batch.
    """
    root: str
    node: str
    input: str
    output: str
    gamma: str
    beta: str
    mean: str
    variance: str
    epsilon: float
    training: bool


def _decomposed() -> Pattern:
    rsqrt = op('Rsqrt', op('Add|AddV2', anything('variance'), op('Const', name='epsilon'), any_order=True))
    scale = optional(lambda inverse: op('Mul', inverse, anything('gamma'), any_order=True), rsqrt)
    scaled = op('Mul', anything('input'), named('scale', scale), any_order=True)
    mean_term = op('Mul', anything('mean'), same('scale'), any_order=True)
    negative = either(op('Mul', op('Neg', anything('mean')), same('scale'), any_order=True), op('Neg', mean_term))
    offset = either(op('Sub', anything('beta'), mean_term), negative)
    return op('Add|AddV2', scaled, offset, any_order=True)


_DECOMPOSED = _decomposed()


def find_normalisation(graph_range: GraphRange, name: str) -> Optional[Normalisation]:
    """The Normalisation of the batch norm whose op or final add is `name`, or None.

    >>> import tensorflow.compat.v1 as tf
    >>> from vai_q_tf.graph.view import GraphView
    >>> with tf.Graph().as_default() as graph:
    ...     x = tf.placeholder(tf.float32, [None, 2], name='x')
    ...     mean, variance = tf.constant([1., 2.], name='mean'), tf.constant([3., 4.], name='variance')
    ...     y = tf.nn.batch_normalization(x, mean, variance, None, None, 0.25, name='norm')
    >>> graph_range = GraphRange(GraphView(graph.as_graph_def()), ['x'], [y.op.name])
    >>> found = find_normalisation(graph_range, y.op.name)
    >>> found.input, found.mean, found.variance, found.epsilon, found.gamma, found.training
    ('x', 'mean', 'variance', 0.25, '', False)

    Raises:
      QuantizeError: LEARNING_PHASE for a fused op that chooses its statistics while the graph runs.
    """
    view = graph_range.view
    if name in graph_range.input_nodes or graph_range.is_static(name):
        return None
    if view.op(name) in BATCH_NORM_OPS:
        return _fused(graph_range, name)
    match = find(view, name, _DECOMPOSED) if view.op(name) in ADD_OPS else None
    if not match or not _is_over_batch(graph_range, match):
        return None
    epsilon = view.value(match['epsilon'])
    if epsilon is None or epsilon.size != 1:
        return None
    mean, variance = match['mean'], match['variance']
    training = not (graph_range.is_static(mean) and graph_range.is_static(variance))
    return Normalisation(name, '', match['input'], name, match.get('gamma'), match.get('beta'), mean, variance,
                  float(epsilon), training)


def _fused(graph_range: GraphRange, name: str) -> Normalisation:
    view = graph_range.view
    data, gamma, beta, mean, variance = view.inputs(name)
    if view.op(graph_range.source(data)) in SWITCH_OPS:
        raise_learning_phase(graph_range, name, graph_range.source(data))
    training = view.attr(name, 'is_training').b
    if training:
        mean, variance = tensor_name(name, 1), tensor_name(name, 2)
    elif not (graph_range.is_static(mean) and graph_range.is_static(variance)):
        raise_learning_phase(graph_range, name, mean)
    return Normalisation(name, name, data, name, gamma, beta, mean, variance, view.attr(name, 'epsilon').f, training)


def _is_over_batch(graph_range: GraphRange, match: Match) -> bool:
    """Whether the statistics are constants, moving averages, or means over the batch, not those of a layer norm."""
    view = graph_range.view
    for statistic in (match['mean'], match['variance']):
        for tensor in forms(graph_range, statistic):
            if view.op(tensor) == 'Merge':
                return True
        if graph_range.is_static(statistic):
            continue
        if view.op(tensor) != 'Mean':
            return False
        axes = view.value(view.skip_identity(view.inputs(tensor)[1]))
        if axes is None or 0 not in axes:
            return False
    return True


def forms(graph_range: GraphRange, tensor: str) -> Iterator[str]:
    """The tensor and all that it is a reshaped copy of, from the last to the first."""
    yield tensor
    while graph_range.view.op(tensor) in _FORM_OPS:
        tensor = graph_range.view.inputs(tensor)[0]
        yield tensor


def raise_learning_phase(graph_range: GraphRange, root: str, tensor: str) -> NoReturn:
    """Raises LEARNING_PHASE for the batch norm `root`, whose statistics depend on the Switch or Merge `tensor`."""
    view, inputs = graph_range.view, graph_range.view.inputs(tensor)
    condition = inputs[-1] if inputs else tensor
    fed = [name for name in view.upstream([node_name(condition)]) if view.op(name).startswith('Placeholder')]
    named = [name for name in fed if name in graph_range.input_nodes]
    choice = ''
    if named:
        choice = ' For a frozen graph, take {} out of input_nodes, and let input_fn return False for it.'.format(
            ', '.join(map(repr, named)))
    elif fed:
        choice = ' For a frozen graph, let input_fn return False for {} in every step.'.format(', '.join(map(repr, fed)))
    raise errors.QuantizeError(
        errors.LEARNING_PHASE, 'Learning phase',
        'Batch norm {!r} decides between training and inference while the graph runs ({!r}, on {!r}). Fix the phase '
        'before the model is built: tf.keras.backend.set_learning_phase(0 or 1), or a Python bool for '
        'training/is_training.{}'.format(root, node_name(tensor), condition, choice))
