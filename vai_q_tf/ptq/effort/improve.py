"""From a float graph and its plan to values and positions, with the effort that was asked for."""
import sys
from typing import Dict, List, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf
from tabulate import tabulate

from vai_q_tf import errors
from vai_q_tf.graph.control_flow import CONTROL_FLOW_OPS, LOOP_OPS
from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.plan import final_positions
from vai_q_tf.ptq.calibration.calibrate import calibrate, calibrate_twice
from vai_q_tf.ptq.effort.data import FEWEST_IMAGES, Kept, split
from vai_q_tf.ptq.effort.effort import AIDS, Effort
from vai_q_tf.ptq.effort.judge import Judge

EFFORTS = ('fast', 'standard', 'high')


class Improved(NamedTuple):
    """values: {Const: float array} of weights and biases that are not those of the float graph any more.

    reference: {Const: float array} with which the float graph gives, before each activation function, what the quantized one is
    to give. positions: {name: position in fractional bits}. shapes: as in Calibrated.
    """
    values: Dict[str, np.ndarray]
    reference: Dict[str, np.ndarray]
    positions: Dict[str, int]
    shapes: Dict[str, List]


def check_effort(effort):
    """Raises QuantizeError INVALID_CONFIG for an effort that does not exist."""
    if effort not in EFFORTS:
        raise errors.QuantizeError(errors.INVALID_CONFIG, 'Invalid parameter', 'effort is {!r}; choose {}.'.format(
            effort, ', '.join(EFFORTS[:-1]) + ' or ' + EFFORTS[-1]))


def improve(float_graph, plan, config, feed, effort, gpu_memory_fraction=None):
    """The Improved of a float graph.

    `fast` calibrates by votes. The others also fit biases, and `high` weights, to what the float network gives, where that
    brings the outputs nearer to its outputs on data that nothing was fitted on. A summary on stderr tells what was gained.

    Args:
      float_graph, plan, config: the network; feed: as in `calibrate`, each step is asked for once.
      effort: one of EFFORTS.
    """
    obstacle = '' if effort == 'fast' else _obstacle(float_graph, plan)
    if effort == 'fast' or obstacle:
        return _as_observed(plan, config, calibrate(float_graph, plan, config, feed, gpu_memory_fraction), effort, obstacle)
    kept = Kept(feed, config.calib_iter)
    error_plan = _by_error(plan, config)
    votes, by_errors = calibrate_twice(float_graph, plan, error_plan, config, kept, gpu_memory_fraction)
    obstacle = _obstacle_in_data(kept)
    data = None if obstacle else _split(float_graph, plan, kept.feeds, gpu_memory_fraction)
    if data and not data.unseen:
        obstacle = 'the network takes no part of its only batch of calibration data, so that none is left to judge by'
    if obstacle:
        return _as_observed(plan, config, votes, effort, obstacle)
    course = Effort(float_graph, plan, error_plan, config, votes.observed, by_errors.observed, data, gpu_memory_fraction)
    course.run(AIDS[effort])
    state, reference = course.result()
    print(summary(course.rows, bool(state.values)), file=sys.stderr)
    return Improved(state.values, reference, state.positions, votes.shapes)


def _as_observed(plan, config, votes, effort, obstacle):
    """The Improved of the effort 'fast'; says so where another one was asked for."""
    if obstacle:
        print('The effort is fast instead of {}: {}.'.format(effort, obstacle), file=sys.stderr)
    return Improved({}, {}, final_positions.decide(plan, votes.observed, config), votes.shapes)


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
    if kept.images < FEWEST_IMAGES:
        return 'it takes {} images of calibration data or more; there {} {}'.format(
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
