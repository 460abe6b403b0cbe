"""Batch norms that normalise with the statistics of the batch, and their inference form."""
from typing import Collection, List, NamedTuple, NoReturn, Set, Tuple

from vai_q_tf import errors
from vai_q_tf.graph.traits import ADD_OPS, WEIGHTED, trait
from vai_q_tf.graph.view import node_name
from vai_q_tf.patterns.graph_range import GraphRange
from vai_q_tf.patterns.moving_average import find_moving_average, variable_read
from vai_q_tf.patterns.normalisation import Normalisation, find_normalisation, forms, raise_learning_phase


class TrainingNorm(NamedTuple):
    """A batch norm in training form, by the names of its tensors.

    node: the FusedBatchNorm op; '' for decomposed forms.
    gamma: the vector of its factors; '' if it has none.
    batch_mean, batch_variance: the statistics of the batch, in the shape that the moving averages are updated with.
    moving_mean, moving_variance: tensors that read the moving averages.
    output: the result.
    data_format: 'NHWC' or 'NCHW'.
    """
    node: str
    gamma: str
    batch_mean: str
    batch_variance: str
    moving_mean: str
    moving_variance: str
    output: str
    data_format: str = 'NHWC'


def find_training_norms(graph_range: GraphRange, ignored: Collection[str] = frozenset()) -> List[TrainingNorm]:
    """The TrainingNorms of the range, in graph order.

    A batch norm without recognisable moving averages is left out if it does not follow a weighted op, or if a node of the two
    is in `ignored`.

    >>> import tensorflow.compat.v1 as tf
    >>> from vai_q_tf.graph.view import GraphView
    >>> with tf.Graph().as_default() as graph:
    ...     x = tf.placeholder(tf.float32, [8, 4, 4, 2], name='x')
    ...     y = tf.layers.batch_normalization(x, training=True, name='norm')
    >>> norm, = find_training_norms(GraphRange(GraphView(graph.as_graph_def()), ['x'], [y.op.name]))
    >>> norm.node, norm.gamma, norm.moving_mean
    ('norm/FusedBatchNormV3', 'norm/gamma/read', 'norm/moving_mean/read')
    >>> norm.batch_mean
    'norm/FusedBatchNormV3:1'

    Raises:
      QuantizeError: LEARNING_PHASE for a batch norm that chooses its statistics while the graph runs; UNSUPPORTED_GRAPH for
        any other one without recognisable moving averages.
    """
    found = []
    for name in graph_range.nodes:
        parts = find_normalisation(graph_range, name)
        if not parts or not parts.training:
            continue
        try:
            found.append(_record(graph_range, parts))
        except errors.QuantizeError as error:
            if error.code != errors.UNSUPPORTED_GRAPH:
                raise
            if _is_of_weighted_op(graph_range, parts, ignored):
                raise
    return found


def require_inference_form(graph_range: GraphRange, ignored: Collection[str] = frozenset()) -> None:
    """Raises a QuantizeError LEARNING_PHASE for a batch norm in training form that follows a weighted op.

    It is accepted if a node of the two is in `ignored`.
    """
    for name in graph_range.nodes:
        parts = find_normalisation(graph_range, name)
        if parts and parts.training:
            _require_one_phase(graph_range, parts)
            if _is_of_weighted_op(graph_range, parts, ignored):
                raise errors.QuantizeError(
                    errors.LEARNING_PHASE, 'Batch norm',
                    'Batch norm {!r} uses the statistics of the batch. Freeze the inference form: build the network with '
                    'training=False or is_training=False, or after tf.keras.backend.set_learning_phase(0); or name its '
                    'convolution in ignore_nodes.'.format(parts.root))


def _is_of_weighted_op(graph_range: GraphRange, parts: Normalisation, ignored: Collection[str]) -> bool:
    """Whether a batch norm follows a weighted op, and no node of the two is in `ignored`."""
    around = _around(graph_range, parts)
    return around.isdisjoint(ignored) and any(trait(graph_range.view.op(node)).kind == WEIGHTED for node in around)


def _around(graph_range: GraphRange, parts: Normalisation) -> Set[str]:
    """The nodes of a batch norm, and of the weighted op and the bias before it."""
    view, tensor = graph_range.view, graph_range.source(parts.input)
    nodes = set(view.upstream([node_name(parts.output)], [node_name(tensor)]))
    while view.op(tensor) in ADD_OPS | {'Reshape'} and tensor in graph_range and tensor not in graph_range.input_nodes:
        data = [operand for operand in view.inputs(tensor) if not graph_range.is_static(operand)]
        if len(data) != 1 and view.op(tensor) != 'Reshape':
            break
        tensor = graph_range.source(data[0])
        nodes.add(node_name(tensor))
    return nodes


def _require_one_phase(graph_range: GraphRange, parts: Normalisation) -> None:
    for statistic in (parts.mean, parts.variance):
        for tensor in forms(graph_range, statistic):
            if graph_range.view.op(tensor) == 'Merge':
                raise_learning_phase(graph_range, parts.root, tensor)


def _record(graph_range: GraphRange, parts: Normalisation) -> TrainingNorm:
    _require_one_phase(graph_range, parts)
    for parameter in (parts.gamma, parts.beta):
        if parameter and not graph_range.is_static(parameter):
            _raise_unsupported(parts.root, 'its gamma or beta {!r} is computed from the batch, as in batch '
                               'renormalization'.format(parameter))
    batch_mean, moving_mean = _moving(graph_range, parts.root, parts.mean, 'mean')
    batch_variance, moving_variance = _moving(graph_range, parts.root, parts.variance, 'variance')
    gamma = _vector(graph_range, parts.gamma)
    if parts.node:
        data_format = graph_range.view.attr(parts.node, 'data_format').s.decode()
    else:
        data_format = 'NHWC' if gamma == parts.gamma else 'NCHW'
    return TrainingNorm(parts.node, gamma, batch_mean, batch_variance, moving_mean, moving_variance, parts.output, data_format)


def _moving(graph_range: GraphRange, root: str, statistic: str, what: str) -> Tuple[str, str]:
    """The form of the batch statistic that updates a moving average, and a tensor that reads the average."""
    for tensor in forms(graph_range, statistic):
        average = find_moving_average(graph_range, tensor)
        read = variable_read(graph_range.view, average.variable) if average else ''
        if read:
            return tensor, read
    _raise_unsupported(root, 'no op updates a moving average with its {} {!r} by plain decay'.format(
        what, statistic))


def _vector(graph_range: GraphRange, tensor: str) -> str:
    """The vector that a parameter of shape [1, C, 1, 1] is a reshaped copy of."""
    while tensor and graph_range.view.op(tensor) in ('Reshape', 'ExpandDims'):
        tensor = graph_range.view.inputs(tensor)[0]
    return tensor


def _raise_unsupported(root: str, problem: str) -> NoReturn:
    raise errors.QuantizeError(
        errors.UNSUPPORTED_GRAPH, 'Batch norm',
        'Batch norm {!r} uses the statistics of the batch, but {}. Create its update ops (training=True of the layer, '
        'no renorm), or name its convolution in ignore_nodes.'.format(root, problem))
