"""QuantizePositionHook: shows how the quantize positions move during a training.

Lifecycle. `begin()` adds the ops of the statistics. Once the session exists, the hook finds the table of votes in the
rewritten graph. After each run it reads the votes in a separate run, so a run other than a training step needs no inputs of
the network and casts no vote. It shows the positions that a model has by these votes, within the limits of the hardware. A
change is written to the history at once. At intervals of steps or seconds, the positions and the statistics of a step go to
TensorBoard, and the changes are logged. Statistics are computed only in the last steps before such a report, for the tensors
that these steps compute anyway. With `freeze_step`, the hook keeps the positions as they are from that global step on, by
feeding the tensor that lets them move. `end()` reports once more.

TensorBoard groups charts by the part of their tags before the first slash. So a tag is `quantize.<layer>/<what>/<tensor>`, with
dots for the slashes in the name of the layer; <what> is position, threshold (of a learned position), saturated or noise_db.

The history is a file in `output_dir` with one JSON object per line, {"step", "tensor", "position"}: the first position of each
tensor and every change, with the global step after the run that caused it. A restarted training first drops the part that is
later than its checkpoint, so the history is that of an uninterrupted training. In a cluster only the chief writes it.
"""
import os
from typing import Any, Dict, List, Optional, Tuple, Union

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import files, position_histogram
from vai_q_tf.config import QuantizeConfig, require_config
from vai_q_tf.hooks.tensor_statistics import TensorStatistics, statistic
from vai_q_tf.plan.quant_plan import QuantPlan
from vai_q_tf.qat import distribution, graph_record, training
from vai_q_tf.qat.positions import savers
from vai_q_tf.qat.reading.history import HISTORY_FILE, PositionChange, read_history, to_line


class QuantizePositionHook(tf.estimator.SessionRunHook):
    """Follows the moving quantize positions of a training graph.

    Args:
      config: the QuantizeConfig of the training. A directory in its place is the output_dir of a training with any config.
      every_n_steps: how often positions are summarized and logged; by default every 100 steps.
      every_n_secs: the same in seconds, instead of every_n_steps.
      freeze_step: global step from which positions stay as they are; None leaves that to the config of the graph.
      output_dir: directory of the history file and of the TensorBoard summaries; None: that of the config.
      statistics: whether to summarize the share of values out of range and the noise, too. This requires a graph that is
        quantized before `begin`; list the hook after QuantizeTrainingHook.

    Attributes:
      history: list of PositionChange.

    Raises:
      ValueError: both every_n_steps and every_n_secs.
      TypeError: a config of a wrong type.
    """

    def __init__(self, config: Union[QuantizeConfig, str, 'os.PathLike[str]', None] = None,
                 every_n_steps: Optional[int] = None, every_n_secs: Optional[float] = None,
                 freeze_step: Optional[int] = None, output_dir: Union[str, 'os.PathLike[str]', None] = None,
                 statistics: bool = True) -> None:
        if every_n_steps is not None and every_n_secs is not None:
            raise ValueError('Give every_n_steps or every_n_secs, not both.')
        if every_n_steps is None and every_n_secs is None:
            every_n_steps = 100
        if isinstance(config, (str, os.PathLike)) and output_dir is None:
            config, output_dir = None, config
        self._config = None if config is None and output_dir is not None else require_config(config)
        self._timer = tf.estimator.SecondOrStepTimer(every_secs=every_n_secs, every_steps=every_n_steps)
        if output_dir is None and self._config is not None:
            output_dir = self._config.output_dir
        assert output_dir is not None  # without it there is a config
        self._output_dir = os.fspath(output_dir)
        self._freeze_step = freeze_step
        self._statistics = statistics
        self.history: List[PositionChange] = []

    def begin(self) -> None:
        """Adds the ops of the statistics; raises QuantizeError if the default graph has no global step."""
        self._global_step = training.require_global_step(tf.get_default_graph(), 'QuantizePositionHook counts')
        self._timer.reset()
        graph = tf.get_default_graph()
        self._tensors = TensorStatistics(graph) if self._statistics and graph_record.is_training(graph) else None
        self._latest: Dict[str, np.ndarray] = {}

    def after_create_session(self, session: tf.Session, coord: Optional[tf.train.Coordinator]) -> None:
        """Resumes the history; raises QuantizeError if the graph is not a quantize training graph of the config's range."""
        graph = session.graph
        plan = graph_record.training_plan(graph)
        if self._config is not None:
            graph_record.check_same_range(plan, self._config)
        savers.warn_of_missing_positions(graph)
        self._describe(plan)
        self._track = graph_record.track(graph)
        self._votes, self._legal = graph_record.votes(graph), graph_record.legal_positions(graph)
        self._writes = distribution.is_chief()
        if self._writes:
            files.make_directory(self._output_dir)
            self._writer = tf.summary.FileWriterCache.get(self._output_dir)
        self._step = self._last_seen = int(session.run(self._global_step))
        self._histograms = session.run(self._votes)
        self._is_tracked = bool(self._histograms.any())
        self._resume_history()
        self._timer.update_last_triggered_step(self._step)

    def _describe(self, plan: QuantPlan) -> None:
        """Notes the name, the bits and the layer of each quantized tensor."""
        self._names = [tensor.name for tensor in plan.tensors]
        self._bits = {tensor.name: tensor.bits for tensor in plan.tensors}
        self._layers = {name: node.replace('/', '.') for name, node in plan.layers().items()}

    def _resume_history(self) -> None:
        """Reads the history up to the current step, and writes it without the rest."""
        self.history = [change for change in read_history(self._output_dir) if change.step <= self._step]
        self._current = {change.tensor: change.position for change in self.history}
        self._reported = dict(self._current)
        if self._writes:
            files.write(self._output_dir, HISTORY_FILE, ''.join(map(to_line, self.history)).encode())

    def before_run(self, run_context: tf.estimator.SessionRunContext) -> tf.estimator.SessionRunArgs:
        """Fetches the step, and statistics shortly before a report; freezes positions from `freeze_step` if there are any."""
        frozen = self._freeze_step is not None and self._step >= self._freeze_step and self._is_tracked
        fetches: Dict[str, Any] = {'step': self._global_step, 'statistics': {}}
        # The step seen last may be the one before the latest.
        if self._tensors and self._writes and self._timer.should_trigger_for_step(self._last_seen + 2):
            fetches['statistics'] = self._tensors.of_run(run_context.original_args.fetches)
        return tf.estimator.SessionRunArgs(fetches, feed_dict={self._track: False} if frozen else None)

    def after_run(self, run_context: tf.estimator.SessionRunContext, run_values: tf.estimator.SessionRunValues) -> None:
        """Records changes of positions, and reports if it is time to."""
        self._latest.update(run_values.results['statistics'])
        self.follow(run_context.session, int(run_values.results['step']))

    def follow(self, session: tf.Session, stale_step: int) -> None:
        """Same as `after_run`, for loops that run no hooks; stale_step: the global step before or after the run."""
        self._last_seen = stale_step
        positions = self._positions(session)
        changed = [(name, position) for name, position in positions.items() if self._current.get(name) != position]
        if changed or self._freeze_step is not None or self._timer.should_trigger_for_step(stale_step + 1):
            self._step = int(session.run(self._global_step))
        if changed:
            self._add(changed)
        if self._timer.should_trigger_for_step(self._step):
            self._timer.update_last_triggered_step(self._step)
            self._report()

    def _positions(self, session: tf.Session) -> Dict[str, int]:
        """Reads the votes; returns {tensor: the position that a model has by them}, of tensors that have voted."""
        fetches = [self._votes] if self._legal is None else [self._votes, self._legal]
        self._histograms, *legal = session.run(fetches)
        voted = self._histograms.any(axis=1)
        self._is_tracked = bool(voted.any())
        found = legal[0] if legal else {
            row: position_histogram.mode_position(self._histograms[row]) for row in np.flatnonzero(voted)}
        return {name: int(found[row]) for row, name in enumerate(self._names) if voted[row]}

    def end(self, session: tf.Session) -> None:
        """Reports once more."""
        self._step = int(session.run(self._global_step))
        self._report()

    def _add(self, changed: List[Tuple[str, int]]) -> None:
        """Appends (tensor, new position) pairs to the history."""
        self._current.update(changed)
        changes = [PositionChange(self._step, name, position) for name, position in changed]
        self.history += changes
        if self._writes:
            files.append(self._output_dir, HISTORY_FILE, ''.join(map(to_line, changes)).encode())

    def _report(self) -> None:
        moved = {name: position for name, position in self._current.items() if self._reported.get(name) != position}
        if self._writes:
            self._writer.add_summary(self._summary(len(moved)), self._step)
            self._writer.flush()
        self._latest = {}
        shown = ', '.join('{} {} -> {}'.format(name, self._reported.get(name, 'new'), position)
                          for name, position in sorted(moved.items())[:10])
        tf.logging.info('Quantize positions at step %d: %d of %d %s%s%s', self._step, len(moved), len(self._names),
                        'moved since the last report' if self._reported else 'found', ': ' + shown if moved else '',
                        ', ...' if len(moved) > 10 else '')
        self._reported = dict(self._current)

    def _summary(self, moved: int) -> tf.Summary:
        """A tf.Summary of the number of positions that moved, and of all values of the tensors."""
        summary = tf.Summary()
        for name, histogram in zip(self._names, self._histograms):
            for what, value in self._values(name, histogram).items():
                if value is not None:
                    summary.value.add(tag='quantize.{}/{}/{}'.format(self._layers[name], what, name), simple_value=value)
        summary.value.add(tag='quantize/moved', simple_value=moved)
        return summary

    def _values(self, name: str, histogram: np.ndarray) -> Dict[str, Optional[float]]:
        """{chart: value} of a tensor with this row of votes."""
        values: Dict[str, Optional[float]] = {}
        if name in self._current:
            values['position'] = self._current[name]
        if position_histogram.is_learned(histogram):
            values['threshold'] = position_histogram.learned_threshold(histogram, self._bits[name])
        if name in self._latest:
            values['saturated'], values['noise_db'] = statistic(self._latest[name])
        return values
