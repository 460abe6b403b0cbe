"""Whether a float network is fed with data like those that it was trained on, told by what it remembers of those.

A batch norm has the mean and the variance that its input had in training. So the first ones after the inputs tell whether
images are in the range that the network knows. Where there is none, two things tell at least whether values are far too large:
the first Relu6s, which training does not leave at 6 nearly always, and the logits, which it leaves tens apart, not thousands.
Outputs that no softmax reads may be something else, so they count only where the values fed are large, too. Values that are far
too small nobody can tell without a batch norm.
"""
from typing import Callable, NamedTuple, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.graph.view import GraphView, indexed_name, node_name
from vai_q_tf.passes.cleanup.resolve_switches import resolve_switches
from vai_q_tf.patterns.graph_range import GraphRange
from vai_q_tf.patterns.normalisation import find_normalisation
from vai_q_tf.wording import percent

# By how many times values may vary more, or be farther from the mean, than in training, and by how many they may vary less: a
# batch may be one image of a wall. Of trained networks, batches of photos and digits have 0.5 to 1.2, single photos 0.4 to 1.8.
_MOST, _LEAST = 16.0, 1 / 32
_MOST_LOGITS = 300.0  # apart from each other
_MOST_OUTPUTS, _LARGE_INPUT = 1000.0, 32.0  # the same of outputs that no softmax reads, where values so large are fed
_MOST_CLIPPED = 0.6  # of the values above 0: a Relu6 makes them 6. Trained networks have 0.1 to 9 %, with images x 255 over 80.
_FIRST = 4  # as many batch norms, or Relu6s, are looked at


class _Watched(NamedTuple):
    """node: a batch norm, Relu6, softmax or output. inputs: the placeholders before it. fetches: tensors that tell of it.

    judge: makes a text from pairs (_Watched, values of its fetches) that have the same inputs, and what was fed.
    """
    judge: Callable
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
        try:
            graph_range = _range_at_inference(graph_def, config)
            norms = first_norms(graph_range)
        except errors.QuantizeError:  # which the passes will raise
            self._watched = []
            return
        with graph.as_default(), graph.device('/cpu:0'):
            watched = [_watch(graph_range.view, _of_norms, norm.root, _compared(graph, graph_range.view, norm))
                       for norm in norms]
            self._watched = list(filter(None, watched if norms else _without_norms(graph, graph_range)))

    @property
    def fetches(self):
        return [watched.fetches for watched in self._watched]

    def warnings(self, values, batch):
        """Sentences on what looks wrong; values: of the fetches, when `batch`, {tensor name: array}, was fed."""
        found = {}
        for watched, measured in zip(self._watched, values):
            found.setdefault((watched.judge, watched.inputs), []).append((watched, measured))
        texts = {}
        for (judge, inputs), pairs in found.items():
            texts[inputs] = texts.get(inputs) or judge(pairs, batch)
        return list(filter(None, texts.values()))


def _watch(view, judge, name, fetches):
    if not fetches:
        return None
    inputs = tuple(node for node in view.upstream([name]) if view.op(node).startswith('Placeholder'))
    return _Watched(judge, name, inputs, fetches)


def _without_norms(graph, graph_range):
    """What tells of values that are far too large, in the order in which it is believed."""
    view = graph_range.view

    def tensor(name):
        return graph.get_tensor_by_name(indexed_name(name))

    softmaxes = _last_softmaxes(graph_range)
    yield from (_watch(view, _of_softmax, name, _spread(tensor(view.inputs(name)[0]))) for name in softmaxes)
    yield from (_watch(view, _of_clips, name, _clipped(tensor(name))) for name in _first(graph_range, _is_relu6))
    if not softmaxes:
        yield from (_watch(view, _of_outputs, node_name(name), _spread(tensor(name))) for name in graph_range.output_nodes
                    if tensor(name).shape.rank == 2 and tensor(name).dtype.is_floating)


def _range_at_inference(graph_def, config):
    """The GraphRange without the branches of the training."""
    view = GraphView(graph_def)
    GraphRange(view, config.input_nodes, config.output_nodes)
    resolved = resolve_switches(graph_def, view, set(map(node_name, config.input_nodes + config.output_nodes)))
    return GraphRange(GraphView(resolved), config.input_nodes, config.output_nodes)


def first_norms(graph_range):
    """The Normalisations in inference form that no other one comes before."""
    def norm_at(graph_range, name):
        norm = find_normalisation(graph_range, name)
        return norm if norm and not norm.training else None

    return [norm_at(graph_range, name) for name in _first(graph_range, norm_at)]


def _first(graph_range, is_one):
    """The nodes of the range that are what `is_one(graph_range, name)` looks for, and that no other such node comes before."""
    view, after, found = graph_range.view, set(), []
    for name in view.upstream(graph_range.output_nodes, graph_range.input_nodes):
        if any(node_name(operand) in after for operand in view.inputs(name)):
            after.add(name)
        elif name in graph_range and is_one(graph_range, name):
            after.add(name)
            found.append(name)
    return found[:_FIRST]


def _is_relu6(graph_range, name):
    return graph_range.view.op(name) == 'Relu6'


def _last_softmaxes(graph_range):
    """The softmaxes that are an output node or read one."""
    view, outputs = graph_range.view, set(map(node_name, graph_range.output_nodes))
    return [name for name in view.names if view.op(name) == 'Softmax'
            and (name in outputs or node_name(view.skip_identity(view.inputs(name)[0])) in outputs)]


def _compared(graph, view, norm):
    """(mean and variance in training, mean squared deviation from that mean, own variance); () where they cannot be told."""
    x, mean, variance = (graph.get_tensor_by_name(indexed_name(name)) for name in (norm.input, norm.mean, norm.variance))
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


def _clipped(activations):
    """(the share of the values above 0 that are 6,)"""
    above, clipped = (tf.reduce_sum(tf.cast(activations >= least, tf.float32)) for least in (np.float32(1e-30), 6))
    return (clipped / tf.maximum(above, 1),)


def _of_norms(pairs, batch):
    """Of several, the one in the middle counts."""
    ratios = []
    for watched, (mean, variance, deviation, own_variance) in pairs:
        trained = float(np.mean(variance))
        if trained > 0 and np.any(mean) | np.any(variance != 1):  # else they were never updated
            ratios.append((np.sqrt(float(own_variance) / trained), np.sqrt(float(deviation) / trained), watched))
    if not ratios:
        return ''
    spread, distance, watched = sorted(ratios)[len(ratios) // 2]
    if spread > _MOST or spread < _LEAST:
        return _text(watched, batch, spread, 'what the batch norm {!r} gets varies {:.3g} times as much as then'.format(
            watched.node, spread))
    if distance > _MOST:
        return _text(watched, batch, distance, 'what the batch norm {!r} gets is {:.3g} times as far from the mean as '
                     'then'.format(watched.node, distance))
    return ''


def _of_softmax(pairs, batch):
    watched, (spread,) = max(pairs, key=lambda pair: pair[1])
    if not spread > _MOST_LOGITS:
        return ''
    return _text(watched, batch, None, 'the logits of the softmax {!r} are {:.3g} apart from each other, where training '
                 'leaves some tens'.format(watched.node, spread))


def _of_clips(pairs, batch):
    watched, (clipped,) = min(pairs, key=lambda pair: pair[1])
    if not clipped > _MOST_CLIPPED:
        return ''
    return _text(watched, batch, None, '{} of the values above 0 that the Relu6 {!r} gets are above 6, where training leaves '
                 'most of them below'.format(percent(clipped), watched.node))


def _of_outputs(pairs, batch):
    watched, (spread,) = max(pairs, key=lambda pair: pair[1])
    fed = [np.abs(batch[name + ':0']).max() for name in watched.inputs if np.size(batch.get(name + ':0', ()))]
    if not spread > _MOST_OUTPUTS or not max(fed, default=0) > _LARGE_INPUT:
        return ''
    return _text(watched, batch, None, 'the values of the output {!r} are {:.3g} apart from each other, where training leaves '
                 'some tens'.format(watched.node, spread), ', if these are logits')


def _text(watched, batch, factor, evidence, condition=''):
    fed, fitting = [], []
    for name in watched.inputs:
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
    return '{}{}, unlike the data of the training{}: {}. {}et input_fn prepare them as for the training.'.format(
        text[0].upper(), text[1:], condition, evidence,
        'Values from about {} would fit: l'.format(' and '.join(fitting)) if fitting else 'L')
