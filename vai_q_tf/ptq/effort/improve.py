"""From a float graph and its plan to values and positions, with an effort."""
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.control_flow import CONTROL_FLOW_OPS, LOOP_OPS
from vai_q_tf.graph.view import GraphView
from vai_q_tf.plan.positions import final_positions
from vai_q_tf.plan.quant_plan import QuantPlan
from vai_q_tf.ptq.calibration.calibrate import Calibrated, calibrate, calibrate_twice
from vai_q_tf.ptq.calibration.input_ranges import InputRange
from vai_q_tf.ptq.effort.data import FEWEST_IMAGES, Data, Kept, split
from vai_q_tf.ptq.effort.effort import AIDS, Effort, Row
from vai_q_tf.ptq.effort.judge import Judge
from vai_q_tf.ptq.effort.trial import Observed, Setting, Trial, judged, why_not
from vai_q_tf.ptq.fitting.state import State, quantized_graph
from vai_q_tf.terminal.verbosity import note
from vai_q_tf.types import Feed, InputFn, TensorShapeProto

EFFORTS = ('fast', 'standard', 'high')
_WIDE = 12  # bits


class Network(NamedTuple):
    """A float GraphDef and its QuantPlan."""
    graph: tf.GraphDef
    plan: QuantPlan


class Improved(NamedTuple):
    """The result of an effort.

    chosen: the index of the Network that was chosen.
    values: {Const: float array} of weights and biases that are no longer those of the float graph.
    reference: {Const: float array} with which the results of the float graph, before activation functions, are those that the
    quantized graph approximates.
    positions: {quantized tensor: position in fractional bits}. shapes: as in Calibrated. rows: a Row for each aid.
    inputs: {quantized input: InputRange}.
    effort: the effort that was made, 'fast' if another one was impossible. fitted: whether weights or biases changed.
    data, judge: the Data, and the Judge on it of the first Network; both None after calibration alone.
    scales: {weighted op: factors on the channels of its result}. unclipped: as in State.
    obstacle: why the effort is 'fast' although another one was asked for, '' if it is not.
    """
    chosen: int
    values: Dict[str, np.ndarray]
    reference: Dict[str, np.ndarray]
    positions: Dict[str, int]
    shapes: Dict[str, List[TensorShapeProto]]
    rows: List[Row]
    inputs: Dict[str, InputRange]
    effort: str = 'fast'
    fitted: bool = False
    data: Optional[Data] = None
    judge: Optional[Judge] = None
    scales: Dict[str, np.ndarray] = {}
    unclipped: Dict[str, str] = {}
    obstacle: str = ''


def check_effort(effort: str) -> None:
    """Raises QuantizeError INVALID_CONFIG for an effort that does not exist."""
    if effort not in EFFORTS:
        raise errors.QuantizeError(errors.INVALID_CONFIG, 'Invalid parameter', 'effort is {!r}; choose {}.'.format(
            effort, ', '.join(EFFORTS[:-1]) + ' or ' + EFFORTS[-1]))


def improve(networks: Sequence[Network], config: QuantizeConfig, feed: InputFn, effort: str,
            gpu_memory_fraction: Optional[float] = None) -> Improved:
    """The Improved of a float network.

    `fast` only calibrates. The others also fit weights and biases to the results of the float network, and `high` scales
    channels, if that brings the outputs nearer to its outputs on data that nothing was fitted on. config.positions_by chooses
    positions and is not overruled; if it is None, `fast` takes votes, the others errors if they gain.

    Args:
      networks: the Network, and optionally the one with cross-layer equalization. The latter is chosen if its outputs come
        nearer to the float outputs of the former, or if nothing can be judged.
      config; feed: as in `calibrate`, which is called once for each step.
      effort: one of EFFORTS.
    """
    network, last = networks[0], len(networks) - 1
    obstacle = '' if effort == 'fast' else _obstacle(network)
    if effort == 'fast' or obstacle:
        _report(effort, obstacle)
        return _as_calibrated(networks[last], last, config, calibrate(
            networks[last].graph, networks[last].plan, config, feed, gpu_memory_fraction), obstacle)
    kept = Kept(feed, config.calib_iter)
    calibrated = _calibrate(network, config, kept, gpu_memory_fraction)
    _drop_not_finite(kept, calibrated.found)
    data, obstacle = _data(network, kept, gpu_memory_fraction)
    _report(effort, obstacle)
    if obstacle:
        calibrated = _wide_by_errors(network, calibrated)
        if not last:
            return _as_calibrated(network, 0, config, calibrated.found, obstacle)
    made = 'fast' if obstacle else effort
    judge = Judge(network.graph, network.plan, data.fitted, data.unseen, gpu_memory_fraction)
    quantizer = _Quantizer(config, made, data, judge, gpu_memory_fraction)
    chosen, (trial, rows) = 0, quantizer.quantize(network, calibrated)
    if last:
        again = _calibrate(networks[last], config.replace(calib_iter=len(kept.feeds)), kept.feeds.__getitem__,
                           gpu_memory_fraction)
        again = _wide_by_errors(networks[last], again) if obstacle else again
        chosen, trial, rows = _better(trial, rows, *quantizer.quantize(networks[last], again))
    return Improved(
        chosen, trial.state.values, trial.setting.values, trial.state.positions, calibrated.found.shapes, rows,
        calibrated.found.inputs, made, bool(trial.state.values), data, judge, trial.setting.scales,
        trial.setting.unclipped, obstacle)


class _Calibration(NamedTuple):
    """found: Calibrated. by_errors: {quantized tensor: Observation} by 'mse', None if the config has positions_by."""
    found: Calibrated
    by_errors: Optional[Observed]


def _calibrate(network: Network, config: QuantizeConfig, feed: InputFn, gpu_memory_fraction: Optional[float]) -> _Calibration:
    """The _Calibration of a Network."""
    arguments = network.graph, network.plan, config, feed, gpu_memory_fraction
    if config.positions_by:
        return _Calibration(calibrate(*arguments), None)
    found, by_errors = calibrate_twice(*arguments)
    return _Calibration(found, by_errors.observed)


def _wide_by_errors(network: Network, calibrated: _Calibration) -> _Calibration:
    """The _Calibration, with the least error over all batches instead of votes for tensors of _WIDE bits or more.

    There a coarser step costs almost nothing, but if most batches outvote one with larger values, it saturates.
    """
    if calibrated.by_errors is None:
        return calibrated
    wide = {record.name: calibrated.by_errors[record.name] for record in network.plan.tensors if record.bits >= _WIDE}
    return calibrated._replace(found=calibrated.found._replace(observed=dict(calibrated.found.observed, **wide)))


def _as_calibrated(network: Network, chosen: int, config: QuantizeConfig, found: Calibrated, obstacle: str) -> Improved:
    """The Improved of calibration alone."""
    positions = final_positions.decide(network.plan, found.observed, config)
    return Improved(chosen, {}, {}, positions, found.shapes, [], found.inputs, obstacle=obstacle)


class _Quantizer:
    """Quantizes networks with an effort; 'fast' is calibration alone."""

    def __init__(self, config: QuantizeConfig, effort: str, data: Data, judge: Judge,
                 gpu_memory_fraction: Optional[float]) -> None:
        self._config, self._effort, self._data, self._judge = config, effort, data, judge
        self._fraction = gpu_memory_fraction

    def quantize(self, network: Network, calibrated: _Calibration) -> Tuple[Trial, List[Row]]:
        """The Trial of a Network, and a Row for each aid."""
        if self._effort == 'fast':
            return self._as_calibrated(network, calibrated.found), []
        effort = Effort(network.graph, network.plan, self._config, calibrated.found.observed, calibrated.by_errors, self._data,
                        self._judge, self._fraction)
        effort.run(AIDS[self._effort])
        return effort.result(), effort.rows

    @large_constants.kept_apart()
    def _as_calibrated(self, network: Network, found: Calibrated) -> Trial:
        setting = Setting({}, found.observed, self._config.align_pool, {})
        state = State({}, final_positions.decide(network.plan, found.observed, self._config))
        return judged(self._judge, setting, state, quantized_graph(network.graph, network.plan, state))


def _better(plain: Trial, plain_rows: List[Row], equalized: Trial, equalized_rows: List[Row]) -> Tuple[int, Trial, List[Row]]:
    """(index, Trial, rows) of the better network, with a Row for cross-layer equalization."""
    row = Row('cross-layer equalization', plain.unseen, equalized.unseen, why_not(plain, equalized))
    return (1, equalized, equalized_rows + [row]) if row.kept else (0, plain, plain_rows + [row])


def _report(effort: str, obstacle: str) -> None:
    if obstacle:
        note('The effort is fast instead of {}: {}.'.format(effort, obstacle))


def _obstacle(network: Network) -> str:
    """Why a network cannot be improved, '' if it can."""
    view, outputs = GraphView(network.graph), network.plan.output_nodes
    if any(view.op(name) in CONTROL_FLOW_OPS | LOOP_OPS for name in view.upstream(outputs)):
        return 'the graph has conditions or loops'
    if not any(dtype.is_floating for name in outputs for dtype in view.output_types(name)):
        return 'no output node gives floating-point numbers'
    return ''


def _drop_not_finite(kept: Kept, found: Calibrated) -> None:
    dropped = kept.drop(found.not_finite)
    if dropped:
        note('{} of {} batches that were kept to fit and to judge are left out: the network has NaN or infinity there.'.format(
            dropped, dropped + len(kept.feeds)))


def _data(network: Network, kept: Kept, gpu_memory_fraction: Optional[float]) -> Tuple[Data, str]:
    """(Data, '') of the Kept feeds; if aids cannot be fitted and judged on them, (all feeds as both parts, why)."""
    obstacle = _obstacle_in_data(kept)
    if not obstacle:
        data = _split(network, kept.feeds, gpu_memory_fraction)
        if data.unseen:
            return data, ''
        obstacle = 'the network takes no part of its only batch of calibration data, so that none is left to judge by'
    return Data(kept.feeds, kept.feeds), obstacle


def _obstacle_in_data(kept: Kept) -> str:
    """Why nothing can be fitted on the Kept feeds, '' if it can."""
    if kept.spoilt:
        return 'the network has NaN or infinity in every batch of the calibration data that was kept'
    if kept.images < FEWEST_IMAGES:
        return 'other efforts need {} images of calibration data or more; there {} {}'.format(
            FEWEST_IMAGES, 'is' if kept.images == 1 else 'are', kept.images)
    if len({frozenset(feed) for feed in kept.feeds}) > 1:
        return 'input_fn returns other placeholders in one step than in another'
    return ''


def _split(network: Network, feeds: List[Feed], gpu_memory_fraction: Optional[float]) -> Data:
    """The Data of feeds, which are cut unless the network, which may be made for one batch size, does not run on the parts."""
    data = split(feeds)
    if len(data.everything) > len(feeds):
        try:
            Judge(network.graph, network.plan, data.fitted, data.unseen, gpu_memory_fraction)
        except (ValueError, tf.errors.InvalidArgumentError):
            return split(feeds, cut=False)
    return data
