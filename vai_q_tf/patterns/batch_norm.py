"""Batch norms: fused and decomposed, training and inference form, behind convolutions and alone, as BatchNorm records."""
from typing import FrozenSet, NamedTuple

from vai_q_tf import errors
from vai_q_tf.graph.traits import trait
from vai_q_tf.graph.view import node_name
from vai_q_tf.patterns.bias import is_bias_of, split_bias_add
from vai_q_tf.patterns.moving_average import find_moving_average, variable_read
from vai_q_tf.patterns.normalisation import find_normalisation, forms, raise_learning_phase

_FOLDABLE_OPS = frozenset(('Conv2D', 'DepthwiseConv2dNative', 'MatMul', 'Conv2DBackpropInput'))


class BatchNorm(NamedTuple):
    """A batch norm behind a weighted op, to be folded into it, or one that stands alone.

    scope: the name of `compute` without a trailing '/Conv2D', the node of `output` for one that stands alone; the folding
      ops are named below '<scope>/BatchNorm_Fold'.
    compute: the convolution or MatMul node, '' for one that stands alone. weights: the tensor that it reads as weights.
    conv_bias, bias_add: bias tensor of the convolution and the node that adds it, '' without bias.
    node: the FusedBatchNorm op; '' for the decomposed forms.
    gamma, beta: tensors; '' where the batch norm has none. epsilon: added to the variance.
    moving_mean, moving_variance: tensors that read the moving statistics.
    batch_mean, batch_variance: tensors with the statistics of the batch as the moving averages take them; '' in the
      inference form.
    input, output: the tensor that is normalised, and the result.
    data_format: 'NHWC' or 'NCHW'.
    """
    scope: str
    compute: str
    weights: str
    conv_bias: str
    bias_add: str
    node: str
    gamma: str
    beta: str
    epsilon: float
    moving_mean: str
    moving_variance: str
    batch_mean: str
    batch_variance: str
    input: str
    output: str
    data_format: str = 'NHWC'

    @property
    def training(self):
        """Whether it normalises with the statistics of the batch."""
        return bool(self.batch_mean)

    def folding_node(self, name):
        """Name of the op `name` among those that fold this batch norm."""
        return '{}/BatchNorm_Fold/{}'.format(self.scope, name)

    @property
    def weight_name(self):
        """Name of the quantized folded weights, or of the quantized scale of one that stands alone."""
        return self.folding_node('mul_1/wquant' if self.compute else 'mul_0/wquant')

    @property
    def bias_name(self):
        """Name of the quantized folded bias."""
        return self.folding_node('add_1/wquant' if self.conv_bias else 'sub/wquant')

    @property
    def result_node(self):
        """The node that adds the folded bias in the evaluation graph."""
        if not self.compute:
            return self.scope + '/add'
        return self.scope + ('/biasadd_fold' if self.conv_bias else '/biasadd')


class FoundBatchNorm(NamedTuple):
    """record: the BatchNorm. nodes: what it consists of behind the convolution, statistics and parameters included."""
    record: BatchNorm
    nodes: FrozenSet[str]


class _Compute(NamedTuple):
    """The weighted op that a batch norm comes after, with its bias."""
    node: str
    bias_add: str
    bias: str
    output: str


def find_batch_norms(graph_range, ignored=frozenset()):
    """The batch norms of the range: those to fold into the weighted op in front of them, and those that stand alone.

    Those that have a node in `ignored`, or sit behind one, stay float. A batch norm whose convolution is read by other
    nodes of the range, or is an output, stands alone.

    Returns:
      a list of FoundBatchNorm in graph order; a list of (nodes, reason) of those that have to stay float; a list of the nodes
      of those that `ignored` keeps float.

    Raises:
      QuantizeError: LEARNING_PHASE for one that chooses its statistics while the graph runs; UNSUPPORTED_GRAPH for one
        in training form whose moving statistics cannot be told.
    """
    found, unquantized, excluded = [], [], []
    for name in graph_range.nodes:
        parts = find_normalisation(graph_range, name)
        if not parts:
            continue
        compute = _compute_before(graph_range, parts.input)
        whole = _through_reshape(graph_range, parts, compute) if compute else parts
        nodes = _inner_nodes(graph_range, whole, compute)
        inner = _computed(graph_range, nodes)
        around = [node for node in (compute.node, compute.bias_add) if node] if compute else []
        if not ignored.isdisjoint(nodes.union(around)):
            excluded.append(around + inner)
        elif compute and _is_read_only_by(graph_range, whole, [compute.node, compute.output] + inner, compute.bias_add):
            found.append(FoundBatchNorm(_folded_record(graph_range, whole, compute), nodes))
        else:
            nodes = _inner_nodes(graph_range, parts, None)
            inner = _computed(graph_range, nodes)
            record, reason = _standalone_record(graph_range, parts, inner)
            if record:
                found.append(FoundBatchNorm(record, nodes))
            else:
                unquantized.append((inner, reason))
    return found, unquantized, excluded


def _compute_before(graph_range, tensor):
    """The _Compute that makes the tensor, Identity nodes and a Reshape looked through, or None."""
    view = graph_range.view
    tensor = graph_range.source(tensor)
    reshaped = view.op(tensor) == 'Reshape' and tensor in graph_range and tensor not in graph_range.input_nodes
    if reshaped:
        tensor = graph_range.source(view.inputs(tensor)[0])
    output, name = tensor, node_name(tensor)
    bias_add = bias = ''
    split = split_bias_add(graph_range, name) if name not in graph_range.input_nodes else None
    if split:
        tensor, bias, bias_add = graph_range.source(split[0]), split[1], name
        name = node_name(tensor)
    if name in graph_range.input_nodes or view.op(name) not in (('MatMul',) if reshaped else _FOLDABLE_OPS):
        return None
    if bias and not is_bias_of(view, name, bias_add, bias):
        return None
    if not graph_range.is_static(view.inputs(name)[trait(view.op(name)).weight]):
        return None
    return _Compute(name, bias_add, bias, output)


def _through_reshape(graph_range, parts, compute):
    """The parts from the convolution's output to the reshape back, where the batch norm works on a reshaped copy."""
    if graph_range.view.op(graph_range.source(parts.input)) == 'Reshape':
        back = [name for name, index in graph_range.readers(parts.output)
                if graph_range.view.op(name) == 'Reshape' and index == 0]
        if len(back) == 1:
            parts = parts._replace(output=back[0])
    return parts._replace(input=compute.output)


def _inner_nodes(graph_range, parts, compute):
    """The nodes from the input of the batch norm, which is not among them, to its output."""
    ends = {node_name(parts.input)} | ({compute.node} if compute else set())
    return frozenset(graph_range.view.upstream([node_name(parts.output)], ends)) - ends


def _computed(graph_range, nodes):
    return sorted((node for node in nodes if not graph_range.is_static(node)), key=graph_range.view.order)


def _is_read_only_by(graph_range, parts, inner, bias_add=''):
    """Whether the tensors before the output are read by nothing in the range but the nodes `inner` and `bias_add`."""
    allowed = set(inner) | {bias_add}
    return all(not graph_range.is_output(tensor) and all(name in allowed for name, _ in graph_range.readers(tensor))
               for tensor in inner if tensor != parts.output)


def _folded_record(graph_range, parts, compute):
    view, name = graph_range.view, compute.node
    return _record(
        graph_range, parts, scope=name[:-len('/Conv2D')] if name.endswith('/Conv2D') else name, compute=name,
        weights=view.inputs(name)[trait(view.op(name)).weight], conv_bias=compute.bias, bias_add=compute.bias_add,
        data_format='NHWC' if view.op(name) == 'MatMul' else view.attr(name, 'data_format').s.decode())


def _standalone_record(graph_range, parts, inner):
    """(BatchNorm, '') of a batch norm that is to become a multiplication and an addition, or (None, why it cannot)."""
    if not _is_read_only_by(graph_range, parts, inner):
        return None, 'what the batch norm computes on its way is read elsewhere too'
    if not (parts.node or parts.gamma):
        return None, 'the batch norm is decomposed, has no gamma and is not right behind a convolution or MatMul'
    if parts.node:
        data_format = graph_range.view.attr(parts.node, 'data_format').s.decode()
    else:
        data_format = 'NHWC' if _vector(graph_range, parts.gamma) == parts.gamma else 'NCHW'
    try:
        return _record(graph_range, parts._replace(input=graph_range.source(parts.input)), scope=parts.root, compute='',
                       weights='', conv_bias='', bias_add='', data_format=data_format), ''
    except errors.QuantizeError as error:
        if error.code != errors.UNSUPPORTED_GRAPH:
            raise
        return None, error.detail


def _record(graph_range, parts, **compute):
    """The BatchNorm of the parts; `compute`: the fields that tell of the weighted op."""
    view = graph_range.view
    mean, variance, batch_mean, batch_variance = parts.mean, parts.variance, '', ''
    if parts.training:
        for statistic in (mean, variance):
            for tensor in forms(graph_range, statistic):
                if view.op(tensor) == 'Merge':
                    raise_learning_phase(graph_range, parts.root, tensor)
        for parameter in (parts.gamma, parts.beta):
            if parameter and not graph_range.is_static(parameter):
                _raise_unsupported(parts.root, 'its gamma or beta {!r} is computed from the batch, as in batch '
                                   'renormalization'.format(parameter))
        batch_mean, mean = _moving(graph_range, parts.root, mean, 'mean')
        batch_variance, variance = _moving(graph_range, parts.root, variance, 'variance')
    return BatchNorm(
        node=parts.node, gamma=_vector(graph_range, parts.gamma), beta=_vector(graph_range, parts.beta),
        epsilon=parts.epsilon, moving_mean=_vector(graph_range, mean), moving_variance=_vector(graph_range, variance),
        batch_mean=batch_mean, batch_variance=batch_variance, input=parts.input, output=parts.output, **compute)


def _moving(graph_range, root, statistic, what):
    """The form in which a moving average takes the statistic of the batch, and a tensor that reads the average."""
    for tensor in forms(graph_range, statistic):
        variable = find_moving_average(graph_range, tensor)
        read = variable and variable_read(graph_range.view, variable)
        if read:
            return tensor, read
    return _raise_unsupported(root, 'no op updates a moving average with its {} {!r} by plain decay'.format(
        what, statistic))


def _vector(graph_range, tensor):
    """The vector that a parameter of the shape [1, C, 1, 1] is made of by a Reshape."""
    while tensor and graph_range.view.op(tensor) in ('Reshape', 'ExpandDims'):
        tensor = graph_range.view.inputs(tensor)[0]
    return tensor


def _raise_unsupported(root, problem):
    raise errors.QuantizeError(
        errors.UNSUPPORTED_GRAPH, 'Batch norm',
        'Batch norm {!r} uses the statistics of the batch, but {}. Create its update ops (training=True of the layer, '
        'no renorm, no zero_debias_moving_mean), or name its convolution in ignore_nodes.'.format(root, problem))
