"""From a float graph and its plan to values and positions, with the effort that was asked for."""
from typing import Dict, List, NamedTuple, Optional

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.decibels import decibels
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.control_flow import CONTROL_FLOW_OPS, LOOP_OPS
from vai_q_tf.graph.view import GraphView
from vai_q_tf.plan.positions import final_positions
from vai_q_tf.plan.quant_plan import QuantPlan
from vai_q_tf.ptq.calibration.calibrate import calibrate, calibrate_twice
from vai_q_tf.ptq.calibration.input_ranges import InputRange
from vai_q_tf.ptq.effort.data import FEWEST_IMAGES, Data, Kept, split
from vai_q_tf.ptq.effort.effort import AIDS, Effort, Row, Setting, Trial, why_not
from vai_q_tf.ptq.effort.judge import Judge
from vai_q_tf.ptq.fitting.state import State, quantized_graph
from vai_q_tf.terminal.verbosity import note

EFFORTS = ('fast', 'standard', 'high')


class Network(NamedTuple):
    """graph: a float GraphDef. plan: its QuantPlan."""
    graph: tf.GraphDef
    plan: QuantPlan


class Improved(NamedTuple):
    """chosen: the number of the Network that was taken.

    values: {Const: float array} of weights and biases that are not those of the float graph any more.
    reference: {Const: float array} with which the float graph gives, before each activation function, what the quantized one is
    to give. positions: {name: position in fractional bits}. shapes: as in Calibrated. rows: a Row for each aid.
    inputs: {name: InputRange} of the input nodes.
    effort: that was used, 'fast' where another one could not be. fitted: whether weights or biases are other ones now.
    scales: {weighted op: what the channels of its result were multiplied by}.
    data: Data, and judge: a Judge on it of the float network without cross-layer equalization; None with the effort `fast`, and
    the judge also where there is nothing to judge by.
    """
    chosen: int
    values: Dict[str, np.ndarray]
    reference: Dict[str, np.ndarray]
    positions: Dict[str, int]
    shapes: Dict[str, List]
    rows: List[Row]
    inputs: Dict[str, InputRange]
    effort: str = 'fast'
    fitted: bool = False
    data: Optional[Data] = None
    judge: Optional[Judge] = None
    scales: Dict[str, np.ndarray] = {}


def check_effort(effort):
    """Raises QuantizeError INVALID_CONFIG for an effort that does not exist."""
    if effort not in EFFORTS:
        raise errors.QuantizeError(errors.INVALID_CONFIG, 'Invalid parameter', 'effort is {!r}; choose {}.'.format(
            effort, ', '.join(EFFORTS[:-1]) + ' or ' + EFFORTS[-1]))


def improve(networks, config, feed, effort, gpu_memory_fraction=None):
    """The Improved of a float network.

    `fast` only calibrates. The others also fit biases, and `high` weights, to what the float network gives, where that brings
    the outputs nearer to its outputs on data that nothing was fitted on.
    config.positions_by chooses positions and is not overruled; without it `fast` takes votes, the others errors if they gain.

    Args:
      networks: the Network, and after it the one with cross-layer equalization, if there is a choice. That is taken if its
        outputs come nearer to those of the first one in float, or where nothing can judge.
      config; feed: as in `calibrate`, each step is asked for once.
      effort: one of EFFORTS.
    """
    network, last = networks[0], len(networks) - 1
    obstacle = '' if effort == 'fast' else _obstacle(*network)
    if effort == 'fast' or obstacle:
        _say(effort, obstacle)
        return _as_observed(networks[last].plan, config, calibrate(*networks[last], config, feed, gpu_memory_fraction), last)
    kept = Kept(feed, config.calib_iter)
    calibrated = _calibrate(network, config, kept, gpu_memory_fraction)
    dropped = kept.drop(calibrated[0].not_finite)
    if dropped:
        note('{} of {} batches that were kept to fit and to judge are left out: the network has NaN or infinity there.'.format(
            dropped, dropped + len(kept.feeds)))
    obstacle = _obstacle_in_data(kept)
    data = Data(kept.feeds, kept.feeds) if obstacle else _split(*network, kept.feeds, gpu_memory_fraction)
    if not data.unseen:
        obstacle = 'the network takes no part of its only batch of calibration data, so that none is left to judge by'
        data = Data(kept.feeds, kept.feeds)
    _say(effort, obstacle)
    if obstacle and not last:
        return _as_observed(network.plan, config, calibrated[0], 0)
    judge = Judge(*network, data.fitted, data.unseen, gpu_memory_fraction)
    choice = _Choice(config, 'fast' if obstacle else effort, data, judge, gpu_memory_fraction)
    chosen, (trial, rows) = 0, choice.quantize(network, *calibrated)
    if last:
        again = _calibrate(networks[last], config.replace(calib_iter=len(kept.feeds)), kept.feeds.__getitem__,
                           gpu_memory_fraction)
        other, other_rows = choice.quantize(networks[last], *again)
        row = Row('cross-layer equalization', trial.unseen, other.unseen, why_not(trial, other))
        if row.kept:
            chosen, trial, rows = last, other, other_rows
        rows.append(row)
    return Improved(chosen, trial.state.values, trial.setting.values, trial.state.positions, calibrated[0].shapes, rows,
                    calibrated[0].inputs, 'fast' if obstacle else effort, bool(trial.state.values), data, judge,
                    trial.setting.scales)


class _Choice:
    """Quantizes networks with an effort, to choose one of them. effort: 'fast' for calibration alone."""

    def __init__(self, config, effort, data, judge, gpu_memory_fraction):
        self._config, self._effort, self._data, self._judge = config, effort, data, judge
        self._fraction = gpu_memory_fraction

    def quantize(self, network, found, by_errors):
        """(the Trial, its Rows) of a Network; found, by_errors: as from `_calibrate`."""
        if self._effort == 'fast':
            return self._as_calibrated(network, found), []
        course = Effort(*network, self._config, found.observed, by_errors, self._data, self._fraction, self._judge)
        course.run(AIDS[self._effort])
        return course.result(), course.rows

    @large_constants.kept_apart()
    def _as_calibrated(self, network, found):
        setting = Setting({}, found.observed, self._config.align_pool, {})
        state = State({}, final_positions.decide(network.plan, found.observed, self._config))
        return Trial(setting, state, *map(decibels, self._judge.errors(quantized_graph(*network, state))))


def _calibrate(network, config, feed, gpu_memory_fraction):
    """(Calibrated, {name: Observation} by 'mse', None where the config says how positions are chosen)."""
    if config.positions_by:
        return calibrate(*network, config, feed, gpu_memory_fraction), None
    found, by_errors = calibrate_twice(*network, config, feed, gpu_memory_fraction)
    return found, by_errors.observed


def _say(effort, obstacle):
    if obstacle:
        note('The effort is fast instead of {}: {}.'.format(effort, obstacle))


def _as_observed(plan, config, found, chosen):
    return Improved(chosen, {}, {}, final_positions.decide(plan, found.observed, config), found.shapes, [],
                    found.inputs)


def _obstacle(float_graph, plan):
    """Why a network cannot be improved; '' if it can."""
    view = GraphView(float_graph)
    if any(view.op(name) in CONTROL_FLOW_OPS | LOOP_OPS for name in view.upstream(plan.output_nodes)):
        return 'the graph has conditions or loops'
    if not any(dtype.is_floating for name in plan.output_nodes for dtype in view.output_types(name)):
        return 'no output node gives floating-point numbers'
    return ''


def _obstacle_in_data(kept):
    """Why nothing can be fitted on what was Kept; '' if it can."""
    if kept.spoilt:
        return 'the network has NaN or infinity in every batch of the calibration data that was kept'
    if kept.images < FEWEST_IMAGES:
        return 'other efforts need {} images of calibration data or more; there {} {}'.format(
            FEWEST_IMAGES, 'is' if kept.images == 1 else 'are', kept.images)
    if len(set(map(frozenset, kept.feeds))) > 1:
        return 'input_fn returns other placeholders in one step than in another'
    return ''


def _split(float_graph, plan, feeds, gpu_memory_fraction):
    """The Data of feeds, which are cut only where the network, which may be made for one size of a batch, takes the parts."""
    data = split(feeds)
    if len(data.everything) > len(feeds):
        try:
            Judge(float_graph, plan, data.fitted, data.unseen, gpu_memory_fraction)
        except (ValueError, tf.errors.InvalidArgumentError):
            return split(feeds, cut=False)
    return data
