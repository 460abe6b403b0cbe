"""Calibration: runs the float graph on a few batches and records the best position of each tensor.

Weights, biases and constants are searched once, before the first batch. If positions are chosen by votes, these are quantized
at once, and every other tensor is quantized in each batch at the position that suits this batch, so that later ops read
quantized inputs; otherwise the float network is observed. Only counts and sums of squared errors are kept between batches.
"""
import collections
import contextlib
import functools
from typing import Counter, Dict, FrozenSet, List, Mapping, NamedTuple, Optional

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.fixed_point import POSITION_ZERO
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.sessions import session_config
from vai_q_tf.plan.positions import final_positions
from vai_q_tf.plan.quant_plan import QuantPlan, QuantTensor
from vai_q_tf.position_histogram import HISTOGRAM_BINS
from vai_q_tf.ptq.calibration.calibration_network import CalibrationNetwork, Fetches, Observations
from vai_q_tf.ptq.calibration.histograms import entropy_position, percentile_position
from vai_q_tf.ptq.calibration.input_ranges import InputRange
from vai_q_tf.terminal.progress import progress
from vai_q_tf.types import Feed, InputFn, TensorShapeProto


class Calibrated(NamedTuple):
    """The result of a calibration.

    observed: {quantized tensor: Observation}. shapes: {node: [TensorShapeProto of each output]} of all nodes of the graph.
    not_finite: the steps in which a tensor of the network was NaN or infinite. inputs: {quantized input: InputRange}.
    """
    observed: Dict[str, final_positions.Observation]
    shapes: Dict[str, List[TensorShapeProto]]
    not_finite: FrozenSet[int] = frozenset()
    inputs: Dict[str, InputRange] = {}


@large_constants.kept_apart()
def calibrate(graph_def: tf.GraphDef, plan: QuantPlan, config: QuantizeConfig, feed: InputFn,
              gpu_memory_fraction: Optional[float] = None) -> Calibrated:
    """Calibrates the tensors of the plan on config.calib_iter batches.

    Args:
      graph_def: the float GraphDef that was annotated.
      plan: its QuantPlan.
      config: its positions_by chooses the positions of computed tensors of method 1. 'votes' and None: each batch votes. Over
        all batches of the float network, 'mse': the least squared error, the smallest of equal positions; 'percentile',
        'entropy': see `histograms`. On tensors of other methods each batch votes.
      feed: gives the batch of a step, and is called once for each.
      gpu_memory_fraction: see `session_config`.

    Raises:
      QuantizeError: MISSING_QUANTIZE_INFO for tensors that do not run; UNSUPPORTED_GRAPH if the graph fails; errors of `feed`.
    """
    return _run([CalibrationNetwork(graph_def, plan, config)], config, feed, gpu_memory_fraction)[0]


@large_constants.kept_apart()
def calibrate_twice(graph_def: tf.GraphDef, plan: QuantPlan, config: QuantizeConfig, feed: InputFn,
                    gpu_memory_fraction: Optional[float] = None) -> List[Calibrated]:
    """[by 'votes', by 'mse'], each equal to that of `calibrate`, from one pass over the batches."""
    return _run([CalibrationNetwork(graph_def, plan, config.replace(positions_by=choice)) for choice in ('votes', 'mse')],
                config, feed, gpu_memory_fraction)


def _run(networks: List[CalibrationNetwork], config: QuantizeConfig, feed: InputFn,
         gpu_memory_fraction: Optional[float]) -> List[Calibrated]:
    """Runs all networks on each batch."""
    with contextlib.ExitStack() as sessions:
        runs = [_Run(network, sessions.enter_context(
            large_constants.session(network.graph, session_config(gpu_memory_fraction)))) for network in networks]
        for step in progress(range(config.calib_iter), config.calib_iter, 'Calibration'):
            batch = feed(step)
            for run in runs:
                run.add(step, batch)
    networks[0].not_finite.warn(config.calib_iter)
    runs[0].warn_of_zeros()
    not_finite = frozenset().union(*(network.not_finite.steps() for network in networks))
    return [Calibrated(run.observed(config), network.shapes(), not_finite, network.inputs.found())
            for network, run in zip(networks, runs)]


class _Run:
    """A CalibrationNetwork in a session, and its observations summed over the batches."""

    def __init__(self, network: CalibrationNetwork, session: tf.Session) -> None:
        self._network, self._session = network, session
        self._votes: Dict[str, Counter[int]] = {name: collections.Counter() for name in network.names}
        self._errors = {name: np.zeros(HISTOGRAM_BINS) for name in network.measured}
        self._counts = {record.name: 0 for record in network.chosen}

    def add(self, step: int, batch: Feed) -> None:
        """Runs the network on a batch and adds what it observes."""
        fetched = self._fetch(step, batch)
        self._sum_up(self._network.observations(fetched))
        self._network.inputs.add(fetched.inputs)
        self._network.not_finite.add(fetched.not_finite, step, functools.partial(self._session.run, feed_dict=batch))

    def _sum_up(self, batch: Observations) -> None:
        for name, position in batch.positions.items():
            self._votes[name][int(position)] += 1
        for name, (first, errors_at) in batch.windows.items():
            if first != POSITION_ZERO:
                self._errors[name] += final_positions.error_table(int(first), errors_at)
        for name, row in batch.counts.items():
            self._counts[name] = self._counts[name] + row.astype(np.int64)

    def _fetch(self, step: int, batch: Feed) -> Fetches:
        try:
            return self._session.run(self._network.fetches, batch)
        except tf.errors.InvalidArgumentError as error:
            if 'does not have value' not in error.message:
                raise _failed(error, step) from error
        except tf.errors.OpError as error:
            raise _failed(error, step) from error
        idle = [name for name in self._network.names if not self._runs(self._network.position(name), batch)]
        raise errors.QuantizeError(
            errors.MISSING_QUANTIZE_INFO, 'Not found',
            'In step {} these FixNeurons did not run, because they are in a branch that is not taken: {}. Fix the condition '
            'before freezing the graph, or move output_nodes before it.'.format(step, ', '.join(idle)))

    def _runs(self, fetch: str, batch: Feed) -> bool:
        try:
            self._session.run(fetch, batch)
        except tf.errors.InvalidArgumentError:
            return False
        return True

    def warn_of_zeros(self) -> None:
        for name, votes in self._votes.items():
            if _most_frequent(votes) == POSITION_ZERO:
                tf.logging.warning('%s had nothing but zeros in calibration', name)

    def observed(self, config: QuantizeConfig) -> Dict[str, final_positions.Observation]:
        """{quantized tensor: Observation} of all tensors of the plan."""
        found = dict(self._network.constants, **{
            name: final_positions.Observation(_most_frequent(votes), self._errors.get(name))
            for name, votes in self._votes.items()})
        for record in self._network.chosen:
            if found[record.name].position != POSITION_ZERO:
                found[record.name] = found[record.name]._replace(position=self._chosen(record, config))
        return found

    def _chosen(self, record: QuantTensor, config: QuantizeConfig) -> int:
        """The position of a tensor over all batches, for a positions_by other than votes."""
        if self._network.positions_by == 'mse':
            return final_positions.least_error(self._errors[record.name])
        if self._network.positions_by == 'percentile':
            return percentile_position(self._counts[record.name], config.percentile)
        return entropy_position(self._counts[record.name], record.bits)


def _failed(error: tf.errors.OpError, step: int) -> errors.QuantizeError:
    where = ' (node {!r})'.format(error.op.name) if error.op is not None else ''
    return errors.QuantizeError(errors.UNSUPPORTED_GRAPH, 'Cannot run',
                                'Calibration step {} failed{}: {}'.format(step, where, error.message.splitlines()[0]))


def _most_frequent(counts: Mapping[int, int]) -> int:
    """The position with the most votes, the smallest of equal ones; POSITION_ZERO only without any other vote."""
    seen = {position: count for position, count in counts.items() if position != POSITION_ZERO}
    return min(seen, key=lambda position: (-seen[position], position)) if seen else POSITION_ZERO
