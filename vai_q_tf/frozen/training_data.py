"""Whether a float network is fed data like its training data, judged by statistics that its training left in it.

A batch norm has the mean and the variance of its input in training, so the first batch norms after the inputs show whether
images are in the right range. Without a batch norm, two things still show values that are far too large: the first Relu6s,
most of whose inputs training leaves below 6, and the logits, which training leaves tens apart, not thousands. Outputs that no
softmax reads may not be logits, so they count only if the values fed are large as well. Without a batch norm, values that are
far too small go unnoticed.
"""
import operator
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph.view import GraphView, indexed_name, node_name
from vai_q_tf.passes.cleanup.resolve_switches import resolve_switches
from vai_q_tf.patterns.graph_range import GraphRange
from vai_q_tf.patterns.normalisation import Normalisation, find_normalisation
from vai_q_tf.types import Feed
from vai_q_tf.wording import percent

# Limits on the spread and on the distance from the mean, relative to training; a batch may be one image of a wall. In trained
# networks, batches of photos and digits have 0.5 to 1.2, single photos 0.4 to 1.8.
_MOST, _LEAST = 16.0, 1 / 32
_MOST_LOGITS = 300.0  # max - min of a row
_MOST_OUTPUTS, _LARGE_INPUT = 1000.0, 32.0  # the same of outputs that no softmax reads; the input that is large enough for them
_MOST_CLIPPED = 0.6  # of the positive inputs of a Relu6. Trained networks have 0.1 to 9 %, with images x 255 more than 80 %.
_FIRST = 4  # the number of batch norms, or Relu6s, that are measured


class _Watched(NamedTuple):
    """A node that shows whether the data are like those of the training.

    judge: takes [(_Watched, values of its fetches)] that have the same inputs, and the batch; returns a sentence or ''.
    node: a batch norm, Relu6, softmax or output. inputs: the placeholders upstream. fetches: tensors to measure.
    """
    judge: Callable[..., str]
    node: str
    inputs: Tuple[str, ...]
    fetches: Tuple[tf.Tensor, ...]


class _Statistics(NamedTuple):
    """Tensors, or their values. mean, variance: of the training. deviation: mean of (x - mean)^2. own_variance: that of x."""
    mean: tf.Tensor
    variance: tf.Tensor
    deviation: tf.Tensor
    own_variance: tf.Tensor


_Measured = Sequence[Tuple[_Watched, Tuple[np.ndarray, ...]]]
_values = operator.itemgetter(1)  # of an item of _Measured


class TrainingData:
    """Adds tensors to a tf.Graph that measure how far its data are from those of the training.

    Args:
      graph: the tf.Graph that is run. graph_def: the same graph, with fed phases as constants. config: names the range.

    Attributes:
      fetches: tensors of the graph; `warnings` takes their values.
    """

    def __init__(self, graph: tf.Graph, graph_def: tf.GraphDef, config: QuantizeConfig) -> None:
        self._watched: List[_Watched] = []
        try:
            graph_range = _range_at_inference(graph_def, config)
            norms = first_norms(graph_range)
        except errors.QuantizeError:  # the passes will raise it
            return
        with graph.as_default(), graph.device('/cpu:0'):
            self._watched.extend(_watch_norms(graph, graph_range.view, norms) if norms else _watch_others(graph, graph_range))

    @property
    def fetches(self) -> List[Tuple[tf.Tensor, ...]]:
        return [watched.fetches for watched in self._watched]

    def warnings(self, values: Sequence[Tuple[np.ndarray, ...]], batch: Feed) -> List[str]:
        """One sentence for each set of inputs whose data look wrong; values: of the fetches, measured on `batch`."""
        found: Dict[Tuple, List] = {}
        for watched, measured in zip(self._watched, values):
            found.setdefault((watched.judge, watched.inputs), []).append((watched, measured))
        texts: Dict[Tuple[str, ...], str] = {}
        for (judge, inputs), pairs in found.items():
            texts[inputs] = texts.get(inputs) or judge(pairs, batch)
        return list(filter(None, texts.values()))


def _watch_norms(graph: tf.Graph, view: GraphView, norms: Sequence[Normalisation]) -> Iterator[_Watched]:
    for norm in norms:
        statistics = _norm_statistics(graph, view, norm)
        if statistics:
            yield _watch(view, _judge_norms, norm.root, statistics)


def _watch_others(graph: tf.Graph, graph_range: GraphRange) -> Iterator[_Watched]:
    """Softmaxes, Relu6s or outputs; the first of them that complains is believed."""
    view = graph_range.view

    def tensor(name: str) -> tf.Tensor:
        return graph.get_tensor_by_name(indexed_name(name))

    softmaxes = _last_softmaxes(graph_range)
    for name in softmaxes:
        yield _watch(view, _judge_softmaxes, name, _spread(tensor(view.inputs(name)[0])))
    for name in _first(graph_range, _is_relu6):
        yield _watch(view, _judge_clips, name, _clipped(tensor(name)))
    for name in graph_range.output_nodes if not softmaxes else ():
        if tensor(name).shape.rank == 2 and tensor(name).dtype.is_floating:
            yield _watch(view, _judge_outputs, node_name(name), _spread(tensor(name)))


def _watch(view: GraphView, judge: Callable[..., str], name: str, fetches: Tuple[tf.Tensor, ...]) -> _Watched:
    inputs = tuple(node for node in view.upstream([name]) if view.op(node).startswith('Placeholder'))
    return _Watched(judge, name, inputs, fetches)


def _range_at_inference(graph_def: tf.GraphDef, config: QuantizeConfig) -> GraphRange:
    """The GraphRange without the branches for training."""
    view = GraphView(graph_def)
    GraphRange(view, config.input_nodes, config.output_nodes)  # raises for a range that is not one
    resolved = resolve_switches(graph_def, view, set(map(node_name, config.input_nodes + config.output_nodes)))
    return GraphRange(GraphView(resolved), config.input_nodes, config.output_nodes)


def first_norms(graph_range: GraphRange) -> List[Normalisation]:
    """The first Normalisations in inference form, those with no other one upstream."""
    def norm_at(graph_range: GraphRange, name: str) -> Optional[Normalisation]:
        norm = find_normalisation(graph_range, name)
        return norm if norm and not norm.training else None

    return list(filter(None, (norm_at(graph_range, name) for name in _first(graph_range, norm_at))))


def _first(graph_range: GraphRange, is_one: Callable[[GraphRange, str], object]) -> List[str]:
    """The first nodes of the range for which `is_one` is true, those with no other such node upstream; at most _FIRST."""
    view, found = graph_range.view, []
    after: Set[str] = set()
    for name in view.upstream(graph_range.output_nodes, graph_range.input_nodes):
        if any(node_name(operand) in after for operand in view.inputs(name)):
            after.add(name)
        elif name in graph_range and is_one(graph_range, name):
            after.add(name)
            found.append(name)
    return found[:_FIRST]


def _is_relu6(graph_range: GraphRange, name: str) -> bool:
    return graph_range.view.op(name) == 'Relu6'


def _last_softmaxes(graph_range: GraphRange) -> List[str]:
    """The softmaxes that are an output node or read one."""
    view, outputs = graph_range.view, set(map(node_name, graph_range.output_nodes))
    return [name for name in view.names if view.op(name) == 'Softmax'
            and (name in outputs or node_name(view.skip_identity(view.inputs(name)[0])) in outputs)]


def _norm_statistics(graph: tf.Graph, view: GraphView, norm: Normalisation) -> Optional[_Statistics]:
    """None if the shapes are not known."""
    x, mean, variance = (graph.get_tensor_by_name(indexed_name(name)) for name in (norm.input, norm.mean, norm.variance))
    if x.shape.rank is None or not mean.shape.is_fully_defined() or mean.shape.rank > x.shape.rank:
        return None
    shape = mean.shape.as_list()
    if norm.node and view.attr(norm.node, 'data_format').s == b'NCHW':
        shape += [1, 1]
    shape = [1] * (x.shape.rank - len(shape)) + shape
    over = [axis for axis, size in enumerate(shape) if size == 1]
    centred = x - tf.reshape(mean, shape)
    own = tf.nn.moments(centred, over)[1]
    return _Statistics(mean, variance, tf.reduce_mean(tf.square(centred)), tf.reduce_mean(own))


def _spread(logits: tf.Tensor) -> Tuple[tf.Tensor]:
    """(the mean of max - min of the rows,)"""
    return (tf.reduce_mean(tf.reduce_max(logits, -1) - tf.reduce_min(logits, -1)),)


def _clipped(activations: tf.Tensor) -> Tuple[tf.Tensor]:
    """(the share of 6 among the positive values,)"""
    above, clipped = (tf.reduce_sum(tf.cast(activations >= least, tf.float32)) for least in (np.float32(1e-30), 6))
    return (clipped / tf.maximum(above, 1),)


def _judge_norms(measured: _Measured, batch: Feed) -> str:
    """Judges the norm with the median spread."""
    ratios = []
    for watched, values in measured:
        norm = _Statistics(*values)
        trained = float(np.mean(norm.variance))
        was_updated = np.any(norm.mean) or np.any(norm.variance != 1)
        if trained > 0 and was_updated:
            ratios.append((np.sqrt(float(norm.own_variance) / trained), np.sqrt(float(norm.deviation) / trained), watched))
    if not ratios:
        return ''
    spread, distance, watched = sorted(ratios)[len(ratios) // 2]
    if spread > _MOST or spread < _LEAST:
        return _text(watched, batch, 'the input of the batch norm {!r} varies {:.3g} times as much as in the training'.format(
            watched.node, spread), factor=spread)
    if distance > _MOST:
        return _text(watched, batch, 'the input of the batch norm {!r} is {:.3g} times as far from the mean as in the '
                     'training'.format(watched.node, distance), factor=distance)
    return ''


def _judge_softmaxes(measured: _Measured, batch: Feed) -> str:
    watched, (spread,) = max(measured, key=_values)
    if not spread > _MOST_LOGITS:
        return ''
    return _text(watched, batch, 'the logits of the softmax {!r} are {:.3g} apart; training leaves them some tens apart'.format(
        watched.node, spread))


def _judge_clips(measured: _Measured, batch: Feed) -> str:
    watched, (clipped,) = min(measured, key=_values)
    if not clipped > _MOST_CLIPPED:
        return ''
    return _text(watched, batch, '{} of the positive inputs of the Relu6 {!r} are above 6; training leaves most of them '
                 'below'.format(percent(clipped), watched.node))


def _judge_outputs(measured: _Measured, batch: Feed) -> str:
    watched, (spread,) = max(measured, key=_values)
    fed = [np.abs(batch[name + ':0']).max() for name in watched.inputs if np.size(batch.get(name + ':0', ()))]
    if not spread > _MOST_OUTPUTS or not max(fed, default=0) > _LARGE_INPUT:
        return ''
    return _text(watched, batch, 'the values of the output {!r} are {:.3g} apart; training leaves logits some tens '
                 'apart'.format(watched.node, spread), condition=', if these are logits')


def _text(watched: _Watched, batch: Feed, evidence: str, condition: str = '', factor: float = 0) -> str:
    """The warning; '' if no number is fed. factor: how many times too far apart the values are, 0 if not known."""
    values = {name: batch[name + ':0'] for name in watched.inputs if name + ':0' in batch}
    ranges = {name: (float(np.min(value)), float(np.max(value))) for name, value in values.items()
              if np.asarray(value).dtype.kind in 'fiu'}
    if not ranges:
        return ''
    fed = ' and '.join(
        'the input {!r} is fed with values from {:.4g} to {:.4g}'.format(name, low, high) if low < high else
        'all values of the input {!r} are {:.4g}'.format(name, low + 0.0) for name, (low, high) in ranges.items())
    fitting = ['{:.3g} to {:.3g}'.format(low / factor, high / factor) for low, high in ranges.values() if factor and low < high]
    return '{}{}, unlike the data of the training{}: {}. {}et input_fn prepare them as for the training.'.format(
        fed[0].upper(), fed[1:], condition, evidence,
        'Values from about {} have the right scale: l'.format(' and '.join(fitting)) if fitting else 'L')
