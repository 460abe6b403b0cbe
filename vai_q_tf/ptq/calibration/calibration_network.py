"""The calibration graph: searches a position for every tensor of a plan in each batch, for constants once in advance."""
import collections
from typing import Any, Container, Dict, Iterable, List, Mapping, NamedTuple, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors, ops
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.export.constants import ERRORS_ABOVE, ConstantQuantizer, errors_below
from vai_q_tf.export.fix_neuron_nodes import insert
from vai_q_tf.fixed_point import POSITION_ZERO
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.sessions import skip_clustering
from vai_q_tf.graph.view import GraphView, indexed_name, node_name
from vai_q_tf.passes.common.rewriter import make_node
from vai_q_tf.plan.positions import final_positions
from vai_q_tf.plan.quant_plan import QuantPlan, QuantTensor
from vai_q_tf.ptq.calibration.counting import count_magnitudes, count_positions
from vai_q_tf.ptq.calibration.input_ranges import InputRanges
from vai_q_tf.ptq.calibration.not_finite import NotFinite, float_outputs
from vai_q_tf.types import TensorShapeProto

_TRACK = 'vai_q_tf/track'
_POSITIONS = 'vai_q_tf/positions'
_COUNTS = {'percentile': lambda record, x: count_positions(x, record.bits), 'entropy': lambda record, x: count_magnitudes(x)}


class Fetches(NamedTuple):
    """The names of the tensors that a run fetches, or their values. Few, as the first run of a session takes long for many.

    positions: [names]. windows: (first positions [n], errors [n, length]) for each length of windows of errors.
    counts: [[chosen, bins]], or empty. inputs, not_finite: of InputRanges and NotFinite.
    """
    positions: Any
    windows: List[List[Any]]
    counts: List[Any]
    inputs: List[List[Any]]
    not_finite: List[Any]


class Observations(NamedTuple):
    """The observations of a batch. positions: {quantized tensor: position}, that of an int; windows: {quantized tensor:
    (first position, squared errors from there on)}; counts: {quantized tensor: counts, see `histograms`}."""
    positions: Dict[str, np.ndarray]
    windows: Dict[str, Tuple[np.ndarray, np.ndarray]]
    counts: Dict[str, np.ndarray]


class CalibrationNetwork:
    """The calibration graph of a plan.

    By votes every tensor is quantized before the next one is searched. Otherwise the float network is observed: of tensors of
    method 1, 'mse' measures the errors, 'percentile' and 'entropy' count the elements. The errors of tensors that are to be
    aligned are always measured.

    Args:
      graph_def, plan, config: as in `calibrate`.

    Attributes:
      positions_by: that of the config, 'votes' instead of None.
      graph: a tf.Graph in which the tensors of the plan are observed.
      names: the quantized tensors that are not constants. measured: those of them whose errors are measured.
      chosen: the QuantTensors whose position `positions_by` decides over all batches; empty for 'votes'.
      constants: {quantized tensor that is a constant: Observation}.
      not_finite: the NotFinite that watches the quantized tensors and the outputs that stay float.
      inputs: the InputRanges of the input nodes.
      fetches: the Fetches of each run.
    """

    def __init__(self, graph_def: tf.GraphDef, plan: QuantPlan, config: QuantizeConfig) -> None:
        ops.load_library()
        view = GraphView(graph_def)
        self._nodes = view.names
        self.positions_by = config.positions_by or 'votes'
        by_votes = self.positions_by == 'votes'
        if not by_votes:
            plan = _with_inputs(plan, config)
        measured = final_positions.measured(plan, config)
        with ConstantQuantizer() as quantizer:
            self.constants = _search_constants(quantizer, view, plan, measured)
            values = _quantized_constants(quantizer, view, plan, self.constants) if by_votes else {}
        computed = [record for record in plan.tensors if record.name not in self.constants]
        self.names = [record.name for record in computed]
        self.chosen = [record for record in computed if record.method == 1 and not by_votes]
        if self.positions_by == 'mse':
            measured = measured.union(record.name for record in self.chosen)
        self._windows = _windows(computed, measured)
        calibrating = _calibration_graph(editor.with_values(graph_def, values), computed, self._windows, by_votes)
        watched = dict({indexed_name(record.tensor): record.tensor for record in computed}, **float_outputs(view, plan))
        self.graph = tf.Graph()
        with self.graph.as_default():
            large_constants.import_graph_def(calibrating, name='')
            self.not_finite, self.inputs = NotFinite(watched), InputRanges(computed)
            windows = [[node + ':0' for node in _packs(size)] for size in self._windows]
            self.fetches = Fetches(_POSITIONS + ':0', windows, self._add_counts(), self.inputs.fetches, self.not_finite.fetches)
        skip_clustering(self.graph.get_operation_by_name(_POSITIONS))

    def _add_counts(self) -> List[str]:
        """Adds the ops that count the elements of the chosen tensors; the name of all counts in a list, or an empty list."""
        if self.positions_by not in _COUNTS or not self.chosen:
            return []
        count = _COUNTS[self.positions_by]
        return [tf.stack([count(record, self.graph.get_tensor_by_name(indexed_name(record.tensor)))
                          for record in self.chosen]).name]

    @property
    def measured(self) -> List[str]:
        return [name for names in self._windows.values() for name in names]

    def observations(self, fetched: Fetches) -> Observations:
        """The Observations in the values of `fetches`."""
        windows: Dict[str, Tuple[np.ndarray, np.ndarray]] = {}
        for names, (first, errors_at) in zip(self._windows.values(), fetched.windows):
            windows.update(zip(names, zip(first, errors_at)))
        counts = {record.name: row for rows in fetched.counts for record, row in zip(self.chosen, rows)}
        return Observations(dict(zip(self.names, fetched.positions)), windows, counts)

    @staticmethod
    def position(name: str) -> str:
        """The tensor with the position of a quantized tensor in the current batch."""
        return name + '/position:0'

    def shapes(self) -> Dict[str, List[TensorShapeProto]]:
        """{node: [TensorShapeProto of each output]} of the nodes of the float graph."""
        return {name: [output.shape.as_proto() for output in self.graph.get_operation_by_name(name).outputs]
                for name in self._nodes}


def _with_inputs(plan: QuantPlan, config: QuantizeConfig) -> QuantPlan:
    """The plan with method 1 for inputs, so that their positions are chosen as those of activations, unless the config names
    another method."""
    named = {node_name(entry.rpartition(':')[0]) for entry in config.nodes_method}
    return plan._replace(tensors=tuple(
        record._replace(method=1) if record.role == 'input' and config.method == 1 and node_name(record.tensor) not in named
        else record for record in plan.tensors))


def _search_constants(quantizer: ConstantQuantizer, view: GraphView, plan: QuantPlan,
                      measured: Container[str]) -> Dict[str, final_positions.Observation]:
    """{quantized tensor: Observation} of the tensors that are Consts read only through their FixNeuron."""
    observed = {}
    for record in plan.tensors:
        if view.op(record.tensor) != 'Const':
            continue
        value = view.value(record.tensor)
        is_finite = np.isfinite(value).all()
        if not is_finite and record.role in ('weight', 'bias'):
            raise _not_finite(record, value)
        if set(view.consumers(record.tensor)) - set(record.consumers):
            continue
        observed[record.name] = quantizer.search(record, value, record.name in measured)
        if not is_finite:
            tf.logging.warning('%s has NaN or infinity', record.tensor)
        elif observed[record.name].position == POSITION_ZERO:
            tf.logging.warning('%s has nothing but zeros', record.name)
    return observed


def _not_finite(record: QuantTensor, value: np.ndarray) -> errors.QuantizeError:
    return errors.QuantizeError(
        errors.NOT_FINITE, 'Not finite',
        'The {} {!r} {} NaN or infinity in {} of {} elements. Freeze an earlier checkpoint if the training diverged; a batch '
        'norm that is folded into them may have a negative variance.'.format(
            *(('weights', record.tensor, 'have') if record.role == 'weight' else ('bias', record.tensor, 'has')),
            np.size(value) - np.isfinite(value).sum(), np.size(value)))


def _quantized_constants(quantizer: ConstantQuantizer, view: GraphView, plan: QuantPlan,
                         observed: Mapping[str, final_positions.Observation]) -> Dict[str, np.ndarray]:
    """{Const: quantized value} of the observed tensors."""
    return {record.tensor: large_constants.kept(quantizer.quantize(
        view.value(record.tensor), observed[record.name].position, record.bits, record.mode, record.narrow_range))
        for record in plan.tensors if record.name in observed}


def _windows(computed: Iterable[QuantTensor], measured: Container[str]) -> Dict[int, List[str]]:
    """{length of the window of errors: names of the tensors for which it is measured}"""
    windows = collections.defaultdict(list)
    for record in computed:
        if record.name in measured:
            windows[errors_below(record.bits) + ERRORS_ABOVE + 1].append(record.name)
    return dict(windows)


def _calibration_graph(graph_def: tf.GraphDef, computed: List[QuantTensor], windows: Mapping[int, List[str]],
                       by_votes: bool) -> tf.GraphDef:
    """The graph with a search after every computed tensor, and by votes with its quantization."""
    measured = {name for names in windows.values() for name in names}

    def observers(record: QuantTensor) -> List[tf.NodeDef]:
        search = kernel('VaiSearchPosition', record.name + '/position', [record.tensor, _TRACK], record, method=record.method)
        last = (kernel('VaiFixNeuron', record.name, [record.tensor, search.name], record) if by_votes else
                make_node('Identity', record.name, [record.tensor], T=tf.float32))
        return [search, last] + ([_error_window(record)] if record.name in measured else [])
    result = insert(graph_def, computed, observers)
    result.node.extend([editor.constant(_TRACK, tf.bool, True),
                        _pack(_POSITIONS, tf.int32, [record.name + '/position' for record in computed])])
    for size, names in windows.items():
        first, errors_at = _packs(size)
        result.node.extend([_pack(first, tf.int32, [name + '/errors' for name in names]),
                            _pack(errors_at, tf.float64, [name + '/errors:1' for name in names])])
    return result


def _packs(size: int) -> Tuple[str, str]:
    """The nodes that hold the first positions and the errors of all windows of a length."""
    return 'vai_q_tf/first_{}'.format(size), 'vai_q_tf/errors_{}'.format(size)


def _pack(name: str, dtype: tf.DType, inputs: List[str]) -> tf.NodeDef:
    return make_node('Pack', name, inputs, T=dtype, N=len(inputs))


def _error_window(record: QuantTensor) -> tf.NodeDef:
    return kernel('VaiPositionErrors', record.name + '/errors', [record.tensor], record,
                   below=errors_below(record.bits), above=ERRORS_ABOVE)


def kernel(op: str, name: str, inputs: List[str], record: QuantTensor, **attrs: Any) -> tf.NodeDef:
    """A node of an op of this package, for the number format of a QuantTensor."""
    return make_node(op, name, inputs, bit_width=record.bits, mode=record.mode, symmetric=bool(record.narrow_range), **attrs)
