"""Sums over a float tensor, the quantized one, and the quantized one of its layer alone, computed in the graph.

No tensor ever leaves the graph, so memory is bounded by one batch.
"""
import collections
import functools
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import ops, tf_internal
from vai_q_tf.analysis.model_tensors import ModelTensor
from vai_q_tf.analysis.results import Histogram
from vai_q_tf.export.constants import ERRORS_ABOVE, errors_below
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.view import tensor_name
from vai_q_tf.passes.common.rewriter import make_node
from vai_q_tf.plan.positions.final_positions import error_table

BINS = 64
_FINE = 1024  # bins per batch, merged into BINS once the range of all batches is known
_MOST = 1 << 20  # elements per batch that histograms count, evenly spaced
_OPERANDS = ('float', 'quantized', 'alone', 'rounded', 'edges', 'unit')
# Positions at which squares of values and errors have full float32 precision.
_USUAL = range(-40, 41)


class Sums(NamedTuple):
    """Sums over the elements of a tensor in all batches.

    energy: of the float values. error, alone_error: energy of the differences to the quantized values, and to those of the
    layer alone. saturated, zeroed: numbers of elements. low, high: range of the float values.
    """
    elements: float
    energy: float
    error: float
    alone_error: float
    saturated: float
    zeroed: float
    low: float
    high: float


class Measured(NamedTuple):
    """A tensor with its sums, its squared error at every position [256], and its Histogram, if those are counted."""
    tensor: ModelTensor
    sums: Sums
    errors: np.ndarray
    histogram: Optional[Histogram]


class Operands(NamedTuple):
    """The tensors that are compared: float, quantized, quantized with the layer alone, and the one to try all positions on."""
    value: str
    quantized: str
    alone: str
    rounded: str


class _Form(NamedTuple):
    """A function of the graph: its name, and (measure, type) of each output."""
    name: str
    outputs: List[Tuple[str, tf.DType]]


# ((low, high), counts [2, bins]) of float and quantized values.
_Counts = Tuple[Tuple[float, float], np.ndarray]


class Statistics:
    """The ops that measure ModelTensors, and the sums so far.

    Args:
      sides: {name of the tensor: its Operands}.
      prefix: begins the names of the nodes. histograms: whether histograms are counted.

    Attributes:
      nodes: NodeDefs for the graph. They call `functions`, FunctionDefs, one for each form of tensors: a large network has
        thousands of tensors, and every op of a graph costs time.
      fetches: the tensors whose values `add` takes.
    """

    def __init__(self, tensors: Iterable[ModelTensor], sides: Mapping[str, Operands], prefix: str,
                 histograms: bool = True) -> None:
        self._tensors, self._histograms = list(tensors), histograms
        self._forms: Dict[Tuple, _Form] = {}
        self.nodes: List[tf.NodeDef] = []
        self.functions: List[Any] = []
        packs: Dict[Tuple[str, tf.DType, int], List[Tuple[int, str]]] = {}
        for number, tensor in enumerate(self._tensors):
            where = '{}/{}'.format(prefix, number)
            form = self._form(prefix, tensor.bits, tensor.mode, tensor.narrow_range, _unit(tensor) != 1)
            operands = [*sides[tensor.name], where + '/edges', where + '/unit']
            self.nodes += [editor.constant(operands[-2], tf.float32, tensor.edges),
                           editor.constant(operands[-1], tf.float32, _unit(tensor)),
                           tf.NodeDef(name=where, op=form.name, input=operands)]
            for index, (measure, dtype) in enumerate(form.outputs):
                packs.setdefault((measure, dtype, tensor.bits), []).append((number, tensor_name(where, index)))
        names = ['{}/pack_{}'.format(prefix, index) for index in range(len(packs))]
        self.nodes += [make_node('Pack', name, [output for _, output in members], T=dtype, N=len(members))
                       for name, ((_, dtype, _), members) in zip(names, packs.items())]
        self.fetches = [name + ':0' for name in names]
        self._packs = [(measure, [number for number, _ in members]) for (measure, _, _), members in packs.items()]
        self._sums: Dict[int, Sums] = {}
        self._errors: Dict[int, np.ndarray] = {}
        self._counts: Dict[int, _Counts] = {}

    def _form(self, prefix: str, *form: Any) -> _Form:
        """The _Form of tensors of one kind; adds its function at the first call."""
        if form not in self._forms:
            name = '{}_{}'.format(prefix.replace('/', '_'), len(self._forms))
            made, outputs = _function(*form, self._histograms)
            function = type(made)()
            function.CopyFrom(made)
            function.signature.name = name
            self.functions.append(function)
            self._forms[form] = _Form(name, outputs)
        return self._forms[form]

    def add(self, values: Sequence[np.ndarray]) -> None:
        """Adds the values that `fetches` have for one batch."""
        found: Dict[int, Dict[str, np.ndarray]] = collections.defaultdict(dict)
        for (measure, numbers), rows in zip(self._packs, values):
            for number, row in zip(numbers, rows):
                found[number][measure] = row
        for number, measures in found.items():
            sums = _in_units(Sums(*measures['sums'].tolist()), _unit(self._tensors[number]))
            if sums.elements:
                self._sums[number] = _total(self._sums.get(number), sums)
                table = error_table(int(measures['first']), measures['errors'])
                self._errors[number] = table + self._errors.get(number, 0.0)
                if self._histograms:
                    low, high = measures['range'].tolist()
                    self._counts[number] = merged(
                        self._counts.get(number), ((low, high), measures['counts'].astype(np.int64)))

    def results(self) -> List[Measured]:
        """The Measured tensors; tensors without elements are left out."""
        return [Measured(tensor, self._sums[number], self._errors[number], histogram(self._counts.get(number)))
                for number, tensor in enumerate(self._tensors) if number in self._sums]


def _in_units(sums: Sums, unit: float) -> Sums:
    """Sums whose energies were computed from values divided by `unit`."""
    return sums._replace(energy=sums.energy * unit**2, error=sums.error * unit**2, alone_error=sums.alone_error * unit**2)


def _total(old: Optional[Sums], new: Sums) -> Sums:
    if old is None:
        return new
    total = Sums(*(one + other for one, other in zip(old, new)))
    return total._replace(low=min(old.low, new.low), high=max(old.high, new.high))


def _unit(tensor: ModelTensor) -> float:
    """The power of 2 that values are divided by before they are squared."""
    return 1.0 if tensor.position in _USUAL or not tensor.step else tensor.step


@functools.lru_cache(maxsize=None)
def _function(*form: Any) -> Tuple[Any, List[Tuple[str, tf.DType]]]:
    """(FunctionDef, outputs) of a _Form; cached because building it takes as long as running a small network."""
    with tf.Graph().as_default() as graph:
        given = [tf.placeholder(tf.float32, name=operand) for operand in _OPERANDS]
        measured = _measures(*given, *form)
    return (tf_internal.function_def(graph, 'statistics', given, list(measured.values())),
            [(measure, output.dtype) for measure, output in measured.items()])


def _measures(value: tf.Tensor, quantized: tf.Tensor, alone: tf.Tensor, rounded: tf.Tensor, edges: tf.Tensor, unit: tf.Tensor,
              bits: int, mode: int, narrow_range: bool, has_unit: bool, histograms: bool) -> Dict[str, tf.Tensor]:
    """{measure: tensor} of Operands; edges: see `ModelTensor.edges`."""
    flat, changed, own = (tf.reshape(tensor, [-1]) for tensor in (value, quantized, alone))

    def energy(values: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(tf.square(values / unit if has_unit else values))

    def count(condition: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(tf.cast(condition, tf.float32))

    saturated = tf.logical_or(tf.less(flat, edges[0]), tf.greater(flat, edges[1]))
    zeroed = tf.logical_and(tf.logical_and(tf.greater(flat, edges[2]), tf.less(flat, edges[3])), tf.not_equal(flat, 0))
    sums = [tf.cast(tf.size(flat), tf.float32), energy(flat), energy(changed - flat), energy(own - flat), count(saturated),
            count(zeroed), tf.reduce_min(flat), tf.reduce_max(flat)]
    first, errors = ops.position_errors(rounded, errors_below(bits), ERRORS_ABOVE, bits, mode, narrow_range)
    found = {'sums': tf.stack(sums), 'first': first, 'errors': errors}
    if histograms:
        both = [_some(values) for values in (flat, changed)]
        low, high = (reduce(tf.stack([reduce(values) for values in both])) for reduce in (tf.reduce_min, tf.reduce_max))
        low = tf.minimum(low, 1e37)  # without elements it is infinite
        high = tf.maximum(high, low + tf.maximum(tf.abs(low), 1e-30) * 1e-3)
        found['range'] = tf.stack([low, high])
        found['counts'] = tf.stack([tf.histogram_fixed_width(values, found['range'], _FINE) for values in both])
    return found


def _some(values: tf.Tensor) -> tf.Tensor:
    """At most _MOST of the values, evenly spaced; those that are not finite as zeros."""
    some = tf.strided_slice(values, [0], tf.shape(values), tf.maximum(1, 1 + (tf.shape(values) - 1) // _MOST))
    return tf.clip_by_value(tf.where_v2(tf.math.is_finite(some), some, tf.zeros_like(some)), -1e37, 1e37)


def merged(old: Optional[_Counts], new: _Counts) -> _Counts:
    """The sum of two counts of 1024 bins each, over their joint range; all values of a bin are taken to be in its middle."""
    if old is None:
        return new
    low, high = min(old[0][0], new[0][0]), max(old[0][1], new[0][1])
    return (low, high), sum(_in_bins(counts, limits, (low, high), _FINE) for limits, counts in (old, new))


def histogram(found: Optional[_Counts]) -> Optional[Histogram]:
    """The Histogram of counts; None for None."""
    if found is None:
        return None
    (low, high), counts = found
    return Histogram(float(low), float(high), *(tuple(map(int, row)) for row in counts.reshape(2, BINS, -1).sum(-1)))


def _in_bins(counts: np.ndarray, limits: Tuple[float, float], wanted: Tuple[float, float], bins: int) -> np.ndarray:
    """Counts [2, n] of equal bins over `limits`, as int64 [2, bins] of equal bins over `wanted`."""
    if limits == wanted and counts.shape[1] == bins:
        return counts
    middles = limits[0] + (np.arange(counts.shape[1]) + 0.5) * ((limits[1] - limits[0]) / counts.shape[1])
    places = np.clip((middles - wanted[0]) / (wanted[1] - wanted[0]) * bins, 0, bins - 1).astype(int)
    return np.array([np.bincount(places, row, bins) for row in counts]).astype(np.int64)
