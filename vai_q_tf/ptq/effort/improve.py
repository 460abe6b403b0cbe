"""From a float graph and its plan to values and positions, with the effort that was asked for."""
from typing import Dict, List, NamedTuple, Optional

import numpy as np
import tensorflow.compat.v1 as tf
from tabulate import tabulate

from vai_q_tf import errors
from vai_q_tf.graph.control_flow import CONTROL_FLOW_OPS, LOOP_OPS
from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.plan import final_positions
from vai_q_tf.plan.quant_plan import QuantPlan
from vai_q_tf.ptq.calibration.calibrate import calibrate, calibrate_twice
from vai_q_tf.ptq.effort.data import FEWEST_IMAGES, Data, Kept, split
from vai_q_tf.ptq.effort.effort import Effort, Row, Setting, Trial, why_not
from vai_q_tf.ptq.effort.judge import Judge, decibels
from vai_q_tf.ptq.fitting.state import State, quantized_graph

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
    data: Data, and judge: a Judge on it of the float network without cross-layer equalization; None with the effort `fast`, and
    the judge also where there is nothing to judge by.
    """
    chosen: int
    values: Dict[str, np.ndarray]
    reference: Dict[str, np.ndarray]
    positions: Dict[str, int]
    shapes: Dict[str, List]
    rows: List[Row]
    data: Optional[Data] = None
    judge: Optional[Judge] = None


def check_effort(effort):
    """Raises QuantizeError INVALID_CONFIG for an effort that does not exist."""
    if effort not in EFFORTS:
        raise errors.QuantizeError(errors.INVALID_CONFIG, 'Invalid parameter', 'effort is {!r}; choose {}.'.format(
            effort, ', '.join(EFFORTS[:-1]) + ' or ' + EFFORTS[-1]))


def improve(networks, config, feed, effort, gpu_memory_fraction=None):
    """The Improved of a float network.

    `fast` calibrates by votes. The others also fit biases, and `high` weights, to what the float network gives, where that
    brings the outputs nearer to its outputs on data that nothing was fitted on.

    Args:
      networks: the Network, and after it the one with cross-layer equalization, if there is a choice. That is taken if its
        outputs come nearer to those of the first one in float.
      config; feed: as in `calibrate`, each step is asked for once.
      effort: one of EFFORTS.
    """
    network = networks[0]
    if effort == 'fast':
        calibrated = calibrate(network.graph, network.plan, config, feed, gpu_memory_fraction)
        return Improved(0, {}, {}, final_positions.decide(network.plan, calibrated.observed, config), calibrated.shapes, [])
    kept = Kept(feed, config.calib_iter)
    votes, by_errors = calibrate_twice(*network, _by_error(network.plan, config), config, kept, gpu_memory_fraction)
    data = split(kept.feeds, kept.images >= FEWEST_IMAGES and _takes_any_batch(network.graph))
    obstacle = _obstacle(network, kept, data)
    if obstacle:
        tf.logging.warning('The effort %s becomes fast: %s.', effort, obstacle)
        effort = 'fast'
    judge = Judge(*network, data.fitted, data.unseen, gpu_memory_fraction) if _has_numbers(network) else None
    choice = _Choice(config, effort, data, judge, gpu_memory_fraction)
    chosen, (trial, rows) = 0, choice.quantize(network, votes, by_errors)
    if judge and len(networks) > 1:
        equalized = networks[1]
        again = calibrate_twice(*equalized, _by_error(equalized.plan, config), config.replace(calib_iter=len(kept.feeds)),
                                kept.feeds.__getitem__, gpu_memory_fraction)
        other, other_rows = choice.quantize(equalized, *again)
        row = Row('cross-layer equalization', trial.unseen, other.unseen, why_not(trial, other))
        if row.kept:
            chosen, trial, rows = 1, other, other_rows
        rows.append(row)
    return Improved(chosen, trial.state.values, trial.setting.values, trial.state.positions, votes.shapes, rows, data, judge)


class _Choice:
    """Quantizes networks with an effort, to choose one of them. effort: 'fast' for votes alone."""

    def __init__(self, config, effort, data, judge, gpu_memory_fraction):
        self._config, self._effort, self._data, self._judge = config, effort, data, judge
        self._fraction = gpu_memory_fraction

    def quantize(self, network, votes, by_errors):
        """(the Trial, its Rows); votes, by_errors: Calibrated of the Network."""
        if self._effort == 'fast':
            return self._by_votes(network, votes), []
        course = Effort(*network, self._config, votes.observed, self._data, self._fraction, self._judge)
        course.standard(by_errors.observed)
        if self._effort == 'high':
            course.high(_by_error(network.plan, self._config))
        return course.result(), course.rows

    def _by_votes(self, network, votes):
        setting = Setting({}, votes.observed, self._config.align_pool, {})
        state = State({}, final_positions.decide(network.plan, votes.observed, self._config))
        # Nothing is fitted, so all data judge.
        error = np.mean(self._judge.errors(quantized_graph(*network, state))) if self._judge else 0.0
        return Trial(setting, state, decibels(error), decibels(error))


def summary(rows, changed):
    """The table of what each aid did; changed: whether weights or biases are other ones now."""
    table = tabulate(
        [(row.aid, _decibels(row.before), _decibels(row.after), row.rejected or 'kept') for row in rows],
        headers=('Aid', 'without', 'with', ''), disable_numparse=True, colalign=('left', 'right', 'right', 'left'))
    text = 'Signal to quantization noise of the outputs, in dB, on calibration data that nothing was fitted on:\n' + table
    if changed:
        text += "\nThe weights and biases of the model are fitted; they are no longer those of the float graph."
    return text


def _decibels(value):
    return '{:.1f}'.format(value)


def _by_error(plan, config):
    """The plan in which inputs are chosen by error, too, unless the config asks for another method."""
    named = {node_name(entry.rpartition(':')[0]) for entry in config.nodes_method}
    return plan._replace(tensors=tuple(
        record._replace(method=1) if record.role == 'input' and config.method == 1 and node_name(record.tensor) not in named
        else record for record in plan.tensors))


def _obstacle(network, kept, data):
    """Why a network cannot be improved; '' if it can."""
    view = GraphView(network.graph)
    if any(view.op(name) in CONTROL_FLOW_OPS | LOOP_OPS for name in view.upstream(network.plan.output_nodes)):
        return 'the graph has conditions or loops'
    if not _has_numbers(network):
        return 'no output node gives floating-point numbers'
    if kept.images < FEWEST_IMAGES:
        return 'it takes {} images of calibration data or more, and there are {}'.format(FEWEST_IMAGES, kept.images)
    if data.fitted is data.unseen:
        return 'the calibration data cannot be cut into three parts'
    return ''


def _takes_any_batch(graph_def):
    """Whether no placeholder has a first dimension of a certain size."""
    shapes = [node.attr['shape'].shape for node in graph_def.node if node.op == 'Placeholder']
    return all(not shape.dim or shape.dim[0].size == -1 for shape in shapes)


def _has_numbers(network):
    view = GraphView(network.graph)
    return any(dtype.is_floating for name in network.plan.output_nodes for dtype in view.output_types(name))
