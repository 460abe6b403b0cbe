"""Whether a float network is fed with data like those that it was trained on, told by what it remembers of those.

A batch norm has the mean and the variance that its input had in training. So the first ones after the inputs tell whether
images are in the range that the network knows. Where there is none, the logits before a softmax tell at least whether values
are far too large: training leaves them tens apart, not thousands. They cannot tell where values are far too small, nor where a
Relu6 keeps the logits small; then nothing is said.
"""
from typing import NamedTuple, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.graph.view import GraphView, indexed_name, node_name
from vai_q_tf.passes.cleanup.resolve_switches import resolve_switches
from vai_q_tf.patterns.graph_range import GraphRange
from vai_q_tf.patterns.normalisation import find_normalisation

# By how many times values may vary more, or be farther from the mean, than in training, and by how many they may vary less: a
# batch may be one image of a wall. Of trained networks, batches of photos and digits have 0.5 to 1.2, single photos 0.4 to 1.8.
_MOST, _LEAST = 16.0, 1 / 32
_MOST_LOGITS = 300.0  # apart from each other
_NORMS = 4  # as many of the first ones are looked at


class _Watched(NamedTuple):
    """node: a batch norm, or a softmax. inputs: the placeholders before it. fetches: tensors that tell of it."""
    node: str
    inputs: Tuple[str, ...]
    fetches: Tuple[tf.Tensor, ...]


class TrainingData:
    """Adds to a tf.Graph what tells how far data are from those of the training.

    Args:
      graph: the tf.Graph as it runs. graph_def: the same, in which fed phases are constants. config: names the range.

    Attributes:
      fetches: tensors of the graph, whose values `warnings` takes.
    """

    def __init__(self, graph, graph_def, config):
        self._norms, self._softmaxes = [], []
        try:
            graph_range = _range_at_inference(graph_def, config)
            view, parts = graph_range.view, first_norms(graph_range)
        except errors.QuantizeError:  # which the passes will raise
            graph_range, view, parts = None, None, []
        with graph.as_default(), graph.device('/cpu:0'):
            for norm in parts:
                self._watch(self._norms, view, norm.root, norm.input, lambda x, norm=norm: _compared(graph, view, norm, x))
            for name in _last_softmaxes(graph_range) if graph_range and not parts else ():
                self._watch(self._softmaxes, view, name, view.inputs(name)[0], _spread)

    def _watch(self, watched, view, name, tensor, measure):
        fetches = measure(tf.get_default_graph().get_tensor_by_name(indexed_name(tensor)))
        if fetches:
            inputs = tuple(node for node in view.upstream([node_name(tensor)]) if view.op(node).startswith('Placeholder'))
            watched.append(_Watched(name, inputs, fetches))

    @property
    def fetches(self):
        return [watched.fetches for watched in self._norms + self._softmaxes]

    def warnings(self, values, batch):
        """Sentences on what looks wrong; values: of the fetches, when `batch`, {tensor name: array}, was fed."""
        norms, softmaxes = values[:len(self._norms)], values[len(self._norms):]
        found = {}
        for watched, (mean, variance, deviation, own_variance) in zip(self._norms, norms):
            trained = float(np.mean(variance))
            if trained > 0 and np.any(mean) | np.any(variance != 1):  # else they were never updated
                found.setdefault(watched.inputs, []).append(
                    (np.sqrt(float(own_variance) / trained), np.sqrt(float(deviation) / trained), watched.node))
        texts = [_of_norm(inputs, sorted(measured)[len(measured) // 2], batch) for inputs, measured in found.items()]
        texts += [_of_softmax(watched, float(spread), batch) for watched, (spread,) in zip(self._softmaxes, softmaxes)]
        return list(filter(None, texts))


def _range_at_inference(graph_def, config):
    """The GraphRange without the branches of the training."""
    view = GraphView(graph_def)
    GraphRange(view, config.input_nodes, config.output_nodes)
    resolved = resolve_switches(graph_def, view, set(map(node_name, config.input_nodes + config.output_nodes)))
    return GraphRange(GraphView(resolved), config.input_nodes, config.output_nodes)


def first_norms(graph_range):
    """The Normalisations in inference form that no other one comes before."""
    view, after, found = graph_range.view, set(), []
    for name in view.upstream(graph_range.output_nodes, graph_range.input_nodes):
        if any(node_name(operand) in after for operand in view.inputs(name)):
            after.add(name)
        elif name in graph_range:
            norm = find_normalisation(graph_range, name)
            if norm and not norm.training:
                after.add(name)
                found.append(norm)
    return found[:_NORMS]


def _last_softmaxes(graph_range):
    """The softmaxes that are an output node or read one."""
    view, outputs = graph_range.view, set(map(node_name, graph_range.output_nodes))
    return [name for name in view.names if view.op(name) == 'Softmax'
            and (name in outputs or node_name(view.skip_identity(view.inputs(name)[0])) in outputs)]


def _compared(graph, view, norm, x):
    """(mean and variance in training, mean squared deviation from that mean, own variance); () where they cannot be told."""
    mean, variance = (graph.get_tensor_by_name(indexed_name(tensor)) for tensor in (norm.mean, norm.variance))
    if x.shape.rank is None or not mean.shape.is_fully_defined() or mean.shape.rank > x.shape.rank:
        return ()
    shape = mean.shape.as_list()
    if norm.node and view.attr(norm.node, 'data_format').s == b'NCHW':
        shape += [1, 1]
    shape = [1] * (x.shape.rank - len(shape)) + shape
    over = [axis for axis, size in enumerate(shape) if size == 1]
    centred = x - tf.reshape(mean, shape)
    own = tf.nn.moments(centred, over)[1]
    return mean, variance, tf.reduce_mean(tf.square(centred)), tf.reduce_mean(own)


def _spread(logits):
    return (tf.reduce_mean(tf.reduce_max(logits, -1) - tf.reduce_min(logits, -1)),)


def _of_norm(inputs, measured, batch):
    spread, distance, node = measured
    if spread > _MOST or spread < _LEAST:
        return _text(inputs, batch, spread, 'what the batch norm {!r} gets varies {:.3g} times as much as then'.format(
            node, spread))
    if distance > _MOST:
        return _text(inputs, batch, distance, 'what the batch norm {!r} gets is {:.3g} times as far from the mean as '
                     'then'.format(node, distance))
    return ''


def _of_softmax(watched, spread, batch):
    if not spread > _MOST_LOGITS:
        return ''
    return _text(watched.inputs, batch, None, 'the logits of the softmax {!r} are {:.3g} apart from each other, where training '
                 'leaves some tens'.format(watched.node, spread))


def _text(inputs, batch, factor, evidence):
    fed, fitting = [], []
    for name in inputs:
        value = batch.get(name + ':0')
        if value is not None and np.asarray(value).dtype.kind in 'fiu':
            low, high = float(np.min(value)), float(np.max(value))
            fed.append('the input {!r} is fed with values from {:.4g} to {:.4g}'.format(name, low, high) if low < high else
                       'all values of the input {!r} are {:.4g}'.format(name, low + 0.0))
            if factor and low < high:
                fitting.append('{:.3g} to {:.3g}'.format(low / factor, high / factor))
    if not fed:
        return ''
    text = ' and '.join(fed)
    return '{}{}, unlike the data of the training: {}. {}et input_fn prepare them as for the training.'.format(
        text[0].upper(), text[1:], evidence,
        'Values from about {} would fit: l'.format(' and '.join(fitting)) if fitting else 'L')
