"""Calibration: runs a float graph, quantized as it will be, over a few batches and observes which positions suit its tensors.

Weights, biases and constants are searched and quantized once, before the first batch. Every other tensor is searched in
every batch and quantized with what was found for that batch, so that what lies after it sees quantized input. Only
counts of positions, and sums of squared errors where positions have to be aligned, are kept from one batch to the next.
"""
import collections
import contextlib
from typing import Dict, List, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.fixed_point import HISTOGRAM_BINS, POSITION_ZERO
from vai_q_tf.graph.sessions import session_config
from vai_q_tf.plan import final_positions
from vai_q_tf.ptq.calibration.calibration_network import CalibrationNetwork
from vai_q_tf.ptq.calibration.progress import progress


class Calibrated(NamedTuple):
    """observed: {name: Observation}. shapes: {node: [TensorShapeProto of each output]} of all nodes of the graph."""
    observed: Dict[str, final_positions.Observation]
    shapes: Dict[str, List]


def calibrate(graph_def, plan, config, feed, gpu_memory_fraction=None):
    """What config.calib_iter batches tell of the tensors of the plan. Each batch votes on the position of a tensor.

    Args:
      graph_def: the float GraphDef that was annotated.
      plan: its QuantPlan.
      config: QuantizeConfig.
      feed: a function from the step to what is fed, {tensor name: array}.
      gpu_memory_fraction: see `session_config`.

    Returns:
      Calibrated.

    Raises:
      QuantizeError: MISSING_QUANTIZE_INFO for tensors that do not run; what `feed` raises.
    """
    return _run([CalibrationNetwork(graph_def, plan, config)], config, feed, gpu_memory_fraction)[0]


def calibrate_twice(graph_def, plan, error_plan, config, feed, gpu_memory_fraction=None):
    """(as `calibrate` gives it, by errors), from one pass over the batches.

    By errors, tensors of method 1 get the position with the least squared error over all batches of the float network, the
    smallest of equal ones.

    Args:
      error_plan: `plan` as it is for the second one, where methods may be others.
      the others: as those of `calibrate`.
    """
    by_votes, by_errors = _run([CalibrationNetwork(graph_def, plan, config),
                                CalibrationNetwork(graph_def, error_plan, config, by_error=True)],
                               config, feed, gpu_memory_fraction)
    return by_votes, _choose_by_errors(error_plan, by_errors)


def calibrate_by_errors(graph_def, error_plan, config, feed, gpu_memory_fraction=None):
    """The second result of `calibrate_twice` alone."""
    network = CalibrationNetwork(graph_def, error_plan, config, by_error=True)
    return _choose_by_errors(error_plan, _run([network], config, feed, gpu_memory_fraction)[0])


def _choose_by_errors(plan, calibrated):
    chosen = {}
    for record in plan.tensors:
        found = calibrated.observed[record.name]
        if record.method == 1 and found.errors is not None and found.position != POSITION_ZERO:
            chosen[record.name] = found._replace(position=final_positions.least_error(found.errors))
    return calibrated._replace(observed=dict(calibrated.observed, **chosen))


def _run(networks, config, feed, gpu_memory_fraction):
    """The Calibrated of each network, over all batches, each asked for once."""
    counts = [{name: collections.Counter() for name in network.names} for network in networks]
    tables = [{name: np.zeros(HISTOGRAM_BINS) for name in network.measured} for network in networks]
    with contextlib.ExitStack() as sessions:
        opened = [sessions.enter_context(tf.Session(graph=network.graph, config=session_config(gpu_memory_fraction)))
                  for network in networks]
        for step in progress(range(config.calib_iter), config.calib_iter, 'Calibration'):
            batch = feed(step)
            for network, session, votes, sums in zip(networks, opened, counts, tables):
                positions, windows = network.observations(_fetch(session, network, batch, step))
                for name, position in positions.items():
                    votes[name][int(position)] += 1
                for name, (first, errors_at) in windows.items():
                    if first != POSITION_ZERO:
                        sums[name] += final_positions.error_table(int(first), errors_at)
    for name, votes in counts[0].items():
        if _most_frequent(votes) == POSITION_ZERO:
            tf.logging.warning('%s had nothing but zeros in calibration', name)
    return [Calibrated(dict(network.constants, **{
        name: final_positions.Observation(_most_frequent(votes[name]), sums.get(name)) for name in network.names}),
                       network.shapes()) for network, votes, sums in zip(networks, counts, tables)]


def _fetch(session, network, batch, step):
    try:
        return session.run(network.fetches, batch)
    except tf.errors.InvalidArgumentError as error:
        if 'does not have value' not in error.message:
            raise _failed(error, step) from error
    except tf.errors.OpError as error:
        raise _failed(error, step) from error
    idle = [name for name in network.names if not _runs(session, network.position(name), batch)]
    raise errors.QuantizeError(
        errors.MISSING_QUANTIZE_INFO, 'Not found',
        'In step {} these FixNeurons did not run, because they are in a branch that is not taken: {}. Fix the condition before '
        'freezing the graph, or move output_nodes before it.'.format(step, ', '.join(idle)))


def _runs(session, fetch, batch):
    try:
        session.run(fetch, batch)
    except tf.errors.InvalidArgumentError:
        return False
    return True


def _failed(error, step):
    where = ' (node {!r})'.format(error.op.name) if error.op is not None else ''
    return errors.QuantizeError(errors.UNSUPPORTED_GRAPH, 'Cannot run',
                                'Calibration step {} failed{}: {}'.format(step, where, error.message.splitlines()[0]))


def _most_frequent(counts):
    """The position with the most batches, the smallest of equal ones; POSITION_ZERO only if no batch had anything else."""
    seen = {position: count for position, count in counts.items() if position != POSITION_ZERO}
    return min(seen, key=lambda position: (-seen[position], position)) if seen else POSITION_ZERO


