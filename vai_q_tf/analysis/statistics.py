"""Sums over tensors, computed in the graph: of a float tensor, the quantized one, and the quantized one of its layer alone.

So memory holds none of them.
"""
import collections
import functools
from typing import List, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import ops, tf_internal
from vai_q_tf.analysis.results import Histogram
from vai_q_tf.export.constants import ERRORS_ABOVE, errors_below
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.view import tensor_name
from vai_q_tf.passes.common.rewriter import make_node
from vai_q_tf.plan.positions.final_positions import error_table

BINS = 64
_FINE = 1024  # bins of a batch; they are put into BINS once the range of all batches is known
_MOST = 1 << 20  # elements of a batch that histograms count, evenly spaced
_OPERANDS = ('float', 'quantized', 'alone', 'rounded', 'edges', 'unit')
# Positions for which squares of values, and of their errors, are float32 numbers of full precision.
_USUAL = range(-40, 41)


class Sums(NamedTuple):
    """What is known of a tensor over all batches.

    elements: how many it has. energy: of the float values. error, alone_error: of the differences of the quantized ones, and of
    the quantized ones of the layer alone. saturated, zeroed: numbers of elements. low, high: of the float values.
    """
    elements: float
    energy: float
    error: float
    alone_error: float
    saturated: float
    zeroed: float
    low: float
    high: float


class _Form(NamedTuple):
    """name: of the function. outputs: (what it is, its type) of each output."""
    name: str
    outputs: List


class Statistics:
    """The ops for ModelTensors, and what they gave so far.

    Args:
      tensors: list of ModelTensor. sides: {name: (float tensor, quantized one, quantized one of its layer alone, the
        tensor whose errors at all positions are wanted)}.
      prefix: begins the names of the nodes. histograms: whether histograms are counted.

    Attributes:
      nodes: NodeDefs for the graph, which call the FunctionDefs `functions`, one for each form of tensors: a large network has
        thousands of tensors, and a graph takes its time for each op.
      fetches: names of what `add` takes the values of.
    """

    def __init__(self, tensors, sides, prefix, histograms=True):
        self._tensors, self._histograms, self._forms = list(tensors), histograms, {}
        self.nodes, self.functions, packs = [], [], collections.OrderedDict()
        for number, tensor in enumerate(self._tensors):
            where = '{}/{}'.format(prefix, number)
            form = self._form(prefix, tensor.bits, tensor.mode, tensor.narrow_range, _unit(tensor) != 1)
            operands = list(sides[tensor.name]) + [where + '/edges', where + '/unit']
            self.nodes += [editor.constant(operands[-2], tf.float32, tensor.edges),
                           editor.constant(operands[-1], tf.float32, _unit(tensor)),
                           tf.NodeDef(name=where, op=form.name, input=operands)]
            for index, (what, dtype) in enumerate(form.outputs):
                packs.setdefault((what, dtype, tensor.bits), []).append((number, tensor_name(where, index)))
        names = ['{}/pack_{}'.format(prefix, index) for index in range(len(packs))]
        self.nodes += [make_node('Pack', name, [output for _, output in members], T=dtype, N=len(members))
                       for name, ((_, dtype, _), members) in zip(names, packs.items())]
        self.fetches = [name + ':0' for name in names]
        self._packs = [(what, [number for number, _ in members]) for (what, _, _), members in packs.items()]
        self._sums, self._errors, self._counts = {}, {}, {}

    def _form(self, prefix, *form):
        """The _Form of tensors of one kind; adds its function."""
        if form not in self._forms:
            name = '{}_{}'.format(prefix.replace('/', '_'), len(self._forms))
            made, outputs = _function(*form, self._histograms)
            function = type(made)()
            function.CopyFrom(made)
            function.signature.name = name
            self.functions.append(function)
            self._forms[form] = _Form(name, outputs)
        return self._forms[form]

    def add(self, values):
        """Adds what one batch gave."""
        found = collections.defaultdict(dict)
        for (what, numbers), rows in zip(self._packs, values):
            for number, row in zip(numbers, rows):
                found[number][what] = row
        for number, of in found.items():
            sums = Sums(*of['sums'].tolist())
            if not sums.elements:
                continue
            unit = _unit(self._tensors[number])**2
            sums = sums._replace(energy=sums.energy * unit, error=sums.error * unit, alone_error=sums.alone_error * unit)
            old = self._sums.get(number)
            self._sums[number] = sums if old is None else Sums(
                *(one + other for one, other in zip(old[:-2], sums[:-2])), min(old.low, sums.low), max(old.high, sums.high))
            table = error_table(int(of['first']), of['errors'])
            self._errors[number] = table + self._errors.get(number, 0.0)
            if self._histograms:
                self._counts[number] = merged(
                    self._counts.get(number), (tuple(of['range'].tolist()), of['counts'].astype(np.int64)))

    def results(self):
        """[(ModelTensor, Sums, errors at all positions [256], Histogram or None)]; none where no element was added."""
        return [(tensor, self._sums[number], self._errors[number], histogram(self._counts.get(number)))
                for number, tensor in enumerate(self._tensors) if number in self._sums]


def _unit(tensor):
    """What values are divided by before they are squared, a power of 2."""
    return 1.0 if tensor.position in _USUAL or not tensor.step else tensor.step


@functools.lru_cache(maxsize=None)
def _function(*form):
    """(FunctionDef, the outputs of the _Form) of tensors of one kind; making it takes as long as a run of a small network."""
    with tf.Graph().as_default() as graph:
        given = [tf.placeholder(tf.float32, name=operand) for operand in _OPERANDS]
        measured = _measures(*given, *form)
    return (tf_internal.function_def(graph, 'statistics', given, list(measured.values())),
            [(what, output.dtype) for what, output in measured.items()])


def _measures(value, quantized, alone, rounded, edges, unit, bits, mode, narrow_range, has_unit, histograms):
    """{what: tensor} of the operands; edges: as of a ModelTensor."""
    flat, changed, own = (tf.reshape(tensor, [-1]) for tensor in (value, quantized, alone))

    def energy(values):
        return tf.reduce_sum(tf.square(values / unit if has_unit else values))

    def count(condition):
        return tf.reduce_sum(tf.cast(condition, tf.float32))

    saturated = tf.logical_or(tf.less(flat, edges[0]), tf.greater(flat, edges[1]))
    zeroed = tf.logical_and(tf.logical_and(tf.greater(flat, edges[2]), tf.less(flat, edges[3])), tf.not_equal(flat, 0))
    sums = [tf.cast(tf.size(flat), tf.float32), energy(flat), energy(changed - flat), energy(own - flat), count(saturated),
            count(zeroed), tf.reduce_min(flat), tf.reduce_max(flat)]
    first, errors = ops.position_errors(rounded, errors_below(bits), ERRORS_ABOVE, bits, mode, narrow_range)
    found = collections.OrderedDict([('sums', tf.stack(sums)), ('first', first), ('errors', errors)])
    if histograms:
        both = [_some(values) for values in (flat, changed)]
        low, high = (reduce(tf.stack([reduce(values) for values in both])) for reduce in (tf.reduce_min, tf.reduce_max))
        low = tf.minimum(low, 1e37)  # without elements it is infinite
        high = tf.maximum(high, low + tf.maximum(tf.abs(low), 1e-30) * 1e-3)
        found['range'] = tf.stack([low, high])
        found['counts'] = tf.stack([tf.histogram_fixed_width(values, found['range'], _FINE) for values in both])
    return found


def _some(values):
    """At most _MOST of the finite values, evenly spaced; the others as zeros."""
    some = tf.strided_slice(values, [0], tf.shape(values), tf.maximum(1, 1 + (tf.shape(values) - 1) // _MOST))
    return tf.clip_by_value(tf.where_v2(tf.math.is_finite(some), some, tf.zeros_like(some)), -1e37, 1e37)


def merged(old, new):
    """Two of ((low, high), counts [2, _FINE]) as one; what is in a bin counts as being in its middle. `old` may be None."""
    if old is None:
        return new
    low, high = min(old[0][0], new[0][0]), max(old[0][1], new[0][1])
    return (low, high), sum(_in_bins(counts, limits, (low, high), _FINE) for limits, counts in (old, new))


def histogram(found):
    """The Histogram of ((low, high), counts [2, _FINE]); None for None."""
    if found is None:
        return None
    (low, high), counts = found
    return Histogram(float(low), float(high), *(tuple(map(int, row)) for row in counts.reshape(2, BINS, -1).sum(-1)))


def _in_bins(counts, limits, wanted, bins):
    """Counts [2, n] of equal bins within `limits` as those of `bins` bins within `wanted`, int64 [2, bins]."""
    if tuple(limits) == tuple(wanted) and counts.shape[1] == bins:
        return counts
    middles = limits[0] + (np.arange(counts.shape[1]) + 0.5) * ((limits[1] - limits[0]) / counts.shape[1])
    places = np.clip((middles - wanted[0]) / (wanted[1] - wanted[0]) * bins, 0, bins - 1).astype(int)
    return np.array([np.bincount(places, row, bins) for row in counts]).astype(np.int64)
