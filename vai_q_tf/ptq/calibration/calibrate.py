"""Calibration: runs a float graph over a few batches and observes which positions suit its tensors.

Weights, biases and constants are searched and quantized once, before the first batch. By votes, every other tensor is
searched in every batch and quantized with what was found for that batch, so that what lies after it sees quantized input.
Otherwise the float network is observed. Only counts, and sums of squared errors, are kept from one batch to the next.
"""
import collections
import contextlib
import functools
from typing import Dict, FrozenSet, List, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.fixed_point import HISTOGRAM_BINS, POSITION_ZERO
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.sessions import session_config
from vai_q_tf.plan.positions import final_positions
from vai_q_tf.ptq.calibration.calibration_network import CalibrationNetwork
from vai_q_tf.ptq.calibration.histograms import entropy_position, percentile_position
from vai_q_tf.ptq.calibration.input_ranges import InputRange
from vai_q_tf.terminal.progress import progress


class Calibrated(NamedTuple):
    """observed: {name: Observation}. shapes: {node: [TensorShapeProto of each output]} of all nodes of the graph.

    not_finite: the steps in which a tensor of the network was NaN or infinite. inputs: {name: InputRange} of the input nodes.
    """
    observed: Dict[str, final_positions.Observation]
    shapes: Dict[str, List]
    not_finite: FrozenSet[int] = frozenset()
    inputs: Dict[str, InputRange] = {}


@large_constants.kept_apart()
def calibrate(graph_def, plan, config, feed, gpu_memory_fraction=None):
    """What config.calib_iter batches tell of the tensors of the plan.

    Args:
      graph_def: the float GraphDef that was annotated.
      plan: its QuantPlan.
      config: QuantizeConfig. positions_by says how the positions of computed tensors of method 1 are chosen. 'votes' and
        None: each batch votes. Over all batches of the float network, 'mse': the least squared error, the smallest of equal
        ones; 'percentile', 'entropy': see `histograms`. Each batch votes on the others.
      feed: a function from the step to what is fed, {tensor name: array}; each step is asked for once.
      gpu_memory_fraction: see `session_config`.

    Returns:
      Calibrated.

    Raises:
      QuantizeError: MISSING_QUANTIZE_INFO for tensors that do not run; what `feed` raises.
    """
    return _run([CalibrationNetwork(graph_def, plan, config)], config, feed, gpu_memory_fraction)[0]


@large_constants.kept_apart()
def calibrate_twice(graph_def, plan, config, feed, gpu_memory_fraction=None):
    """(by 'votes', by 'mse'), both as `calibrate` gives them, from one pass over the batches."""
    return _run([CalibrationNetwork(graph_def, plan, config.replace(positions_by=way)) for way in ('votes', 'mse')],
                config, feed, gpu_memory_fraction)


class _Totals:
    """What the batches told of the tensors of a CalibrationNetwork, added up.

    Attributes:
      votes: {name: Counter of positions}.
    """

    def __init__(self, network):
        self._network = network
        self.votes = {name: collections.Counter() for name in network.names}
        self._errors = {name: np.zeros(HISTOGRAM_BINS) for name in network.measured}
        self._counts = {record.name: 0 for record in network.chosen}

    def add(self, fetched):
        """Adds a batch, the values of the network's fetches."""
        positions, windows, counts = self._network.observations(fetched)
        for name, position in positions.items():
            self.votes[name][int(position)] += 1
        for name, (first, errors_at) in windows.items():
            if first != POSITION_ZERO:
                self._errors[name] += final_positions.error_table(int(first), errors_at)
        for name, row in counts.items():
            self._counts[name] = self._counts[name] + row.astype(np.int64)

    def observed(self, config):
        """{name: Observation} of all tensors of the plan."""
        found = dict(self._network.constants, **{
            name: final_positions.Observation(_most_frequent(votes), self._errors.get(name))
            for name, votes in self.votes.items()})
        for record in self._network.chosen:
            if found[record.name].position != POSITION_ZERO:
                found[record.name] = found[record.name]._replace(position=self._chosen(record, config))
        return found

    def _chosen(self, record, config):
        if self._network.way == 'mse':
            return final_positions.least_error(self._errors[record.name])
        counts = self._counts[record.name]
        if self._network.way == 'percentile':
            return percentile_position(counts, config.percentile)
        return entropy_position(counts, record.bits)


def _run(networks, config, feed, gpu_memory_fraction):
    """The Calibrated of each network, over all batches, each asked for once."""
    totals = [_Totals(network) for network in networks]
    with contextlib.ExitStack() as sessions:
        opened = [sessions.enter_context(large_constants.session(network.graph, session_config(gpu_memory_fraction)))
                  for network in networks]
        for step in progress(range(config.calib_iter), config.calib_iter, 'Calibration'):
            batch = feed(step)
            for network, session, total in zip(networks, opened, totals):
                fetched = _fetch(session, network, batch, step)
                total.add(fetched)
                network.inputs.add(fetched[-2])
                network.not_finite.add(fetched[-1], step, functools.partial(session.run, feed_dict=batch))
    networks[0].not_finite.warn(config.calib_iter)
    for name, votes in totals[0].votes.items():
        if _most_frequent(votes) == POSITION_ZERO:
            tf.logging.warning('%s had nothing but zeros in calibration', name)
    not_finite = frozenset().union(*(network.not_finite.steps() for network in networks))
    return [Calibrated(total.observed(config), network.shapes(), not_finite, network.inputs.found())
            for network, total in zip(networks, totals)]


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


