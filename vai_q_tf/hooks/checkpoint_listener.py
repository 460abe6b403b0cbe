"""QuantizeCheckpointListener: writes the quantized evaluation files of every saved checkpoint.

Lifecycle. `begin()` runs when the training graph is complete and before the session exists: it builds the quantized
evaluation graph in a separate `tf.Graph` and prepares everything that does not depend on a checkpoint, so a graph that cannot
be exported is an error before the first step. If a hook has yet to quantize the training graph, the first `before_save()` does
this instead, still before the first step, because savers save once before it. `after_save()` reads positions and variables
from the files of the checkpoint. It touches neither the training graph nor its session, so losses are the same as without the
listener. Saving may run in another thread than training; a lock serializes exports. Errors are logged and never stop the
training.
"""
import glob
import os
import threading
import time
from typing import Callable, List, NamedTuple, Optional

import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.config import QuantizeConfig, require_config
from vai_q_tf.hooks.training_report import report_training
from vai_q_tf.html_report.packages import require_report
from vai_q_tf.qat import checkpoints, evaluation, graph_record
from vai_q_tf.qat.averages.averaged_reader import has_averages
from vai_q_tf.qat.deploy import EvaluationFreezer, FrozenFiles, derive_evaluation_graph
from vai_q_tf.qat.positions import savers
from vai_q_tf.qat.reading.checkpoint_reader import CheckpointReader

_ALL = 2**31 - 1  # checkpoints to keep


class _Export(NamedTuple):
    """The files written for a checkpoint: of its weights, and of its averaged weights if it has any."""
    checkpoint: str
    written: List[FrozenFiles]


class QuantizeCheckpointListener(tf.estimator.CheckpointSaverListener):
    """Writes `quantize_eval_graph_<suffix>.pb` and `quantize_eval_model_<suffix>.pb` after each save from the first step on.

    Args:
      config: the QuantizeConfig of the training; files go to its output_dir.
      eval_graph_fn: function without arguments that builds the float evaluation graph in the default graph, with the node
        names of training; None derives it from the training graph.
      checkpoint_dir: directory of the checkpoints; None asks the saver.
      saver: the tf.train.Saver that saves; None takes the one in the graph's collection, which Estimator and
        MonitoredTrainingSession use.
      averaged: whether to write the same files for the averaged weights of a checkpoint that has them, with a suffix that
        begins with 'averaged_'. None: if the config has an average_step.
      report: whether to write `quantize_report_<suffix>.html` next to each model. It shows the positions over the steps, if a
        QuantizePositionHook has the same output_dir, and the losses in the event files next to the checkpoint.

    Raises:
      QuantizeError: MISSING_LIBRARY if a report is wanted and its packages are not installed.
    """

    def __init__(self, config: QuantizeConfig, eval_graph_fn: Optional[Callable[[], object]] = None,
                 checkpoint_dir: Optional[str] = None, saver: Optional[tf.train.Saver] = None,
                 averaged: Optional[bool] = None, report: bool = False) -> None:
        if checkpoint_dir is not None and saver is not None:
            raise ValueError('Give checkpoint_dir or saver, not both.')
        self._config = require_config(config)
        self._eval_graph_fn = eval_graph_fn
        self._checkpoint_dir = checkpoint_dir
        self._saver = saver
        self._averaged = config.average_step is not None if averaged is None else averaged
        self._report = report
        if report:
            require_report()
        self._training_graph: tf.Graph = None
        self._freezer: Optional[EvaluationFreezer] = None
        self._last_step: Optional[int] = None
        self._has_saved = False
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Builds the evaluation graph if the training graph is quantized by now; raises QuantizeError if that fails."""
        self._last_step = None
        self._freezer = None
        self._has_saved = False
        self._training_graph = tf.get_default_graph()
        self._list_checkpoints()
        if self._eval_graph_fn is not None or graph_record.is_training(self._training_graph):
            self._prepared()

    def before_save(self, session: tf.Session, global_step_value: int) -> None:
        """Builds the evaluation graph if `begin` could not; raises QuantizeError if that fails."""
        with self._lock:
            self._prepared()
            self._list_checkpoints()
            if not self._has_saved:
                self._has_saved = True
                self._warn_of_missing_positions()

    def after_save(self, session: tf.Session, global_step_value: int) -> None:
        """Writes the quantized files of the checkpoint, except for step 0 and a step that has them already."""
        with self._lock:
            if global_step_value in (0, self._last_step):
                return
            first, self._last_step = self._last_step is None, global_step_value
            try:
                export = self._export(global_step_value, first)
            except Exception as error:  # an export must never end a training
                tf.logging.error('No quantized model for step %d: %s', global_step_value, error)
                return
            if export is not None and self._report:
                self._write_reports(export)

    def _export(self, step: int, first: bool) -> Optional[_Export]:
        """Writes the quantized files of a step; None for a checkpoint from before the quantized training.

        first: whether it is the first step that is saved since `begin`.
        """
        started, freezer = time.time(), self._prepared()
        checkpoint = self._checkpoint(step)
        reader = CheckpointReader(checkpoint)
        # A float training that is resumed quantized is saved before its first quantized step, too.
        if first and checkpoints.is_before_training(reader):
            tf.logging.info('No quantized model of step %d, from which the training starts.', step)
            return None
        written = [freezer.write(checkpoint, step)]
        if self._averaged and has_averages(reader):
            written.append(freezer.write(checkpoint, step, averaged=True))
        tf.logging.info('Quantized model of step %d in %.2f s: %s (%s)', step, time.time() - started, written[0].eval_model,
                        freezer.summary)
        return _Export(checkpoint, written)

    def _warn_of_missing_positions(self) -> None:
        graph = self._training_graph
        if graph_record.is_training(graph):
            for saver in self._savers() or [None]:
                savers.warn_of_missing_positions(graph, saver)

    def _savers(self) -> List[tf.train.Saver]:
        return [self._saver] if self._saver else self._training_graph.get_collection(tf.GraphKeys.SAVERS)

    def _list_checkpoints(self) -> None:
        """Sets the limit of savers without one, which do not list what they saved."""
        for saver in self._savers():
            saver_def = saver.as_saver_def()  # None before a deferred build
            if saver_def is not None and not saver_def.max_to_keep:
                saver_def.max_to_keep = _ALL

    def _prepared(self) -> EvaluationFreezer:
        """The EvaluationFreezer; the first call builds it, and checks that checkpoints will have all positions."""
        if self._freezer is None:
            self._freezer = self._prepare()
        return self._freezer

    def _prepare(self) -> EvaluationFreezer:
        if self._eval_graph_fn is None:
            graph, decision = derive_evaluation_graph(self._training_graph, self._config)
        else:
            graph = tf.Graph()
            with graph.as_default():
                self._eval_graph_fn()
                decision = evaluation.create_evaluation_graph(graph, self._config)
        freezer = EvaluationFreezer(graph, self._config, decision)
        if graph_record.is_training(self._training_graph):
            freezer.require_positions_of(self._training_graph)
        return freezer

    def _write_reports(self, export: _Export) -> None:
        directory = os.path.dirname(export.checkpoint)
        if glob.glob(os.path.join(glob.escape(directory), '*tfevents*')):
            tf.summary.FileWriterCache.get(directory).flush()  # the hook that saves writes the losses with it
        for paths in export.written:
            report_training(paths, self._prepared().network, export.checkpoint, self._config.output_dir)

    def _checkpoint(self, step: int) -> str:
        """The prefix of the checkpoint that was just saved."""
        if self._checkpoint_dir is not None:
            state = tf.train.get_checkpoint_state(self._checkpoint_dir)
            saved = list(state.all_model_checkpoint_paths) if state else []
        else:
            saved = [path for saver in self._savers() for path in saver.last_checkpoints]
        found = [path for path in saved if path.endswith('-{}'.format(step))]
        if not found:
            raise errors.QuantizeError(
                errors.INVALID_INPUT, 'Not found',
                'No checkpoint of step {} among {}. Give the listener the saver or the checkpoint_dir.'.format(
                    step, saved or 'none'))
        return found[-1]
