"""QuantizeCheckpointListener: every saved checkpoint leaves its quantized evaluation files beside it.

Lifecycle. `begin()` runs after the training graph is complete and before the session exists: it builds the quantized
evaluation graph in a `tf.Graph` of its own and prepares all that does not depend on a checkpoint, so that a graph that cannot
be exported is an error before the first step. Where a hook is still to quantize the training graph, the first `before_save()`
does so; savers save before the first step. `after_save()` reads the positions and variables straight from the checkpoint
files; the training graph and its session are not touched, so losses are those of a training without the listener. Saving may
happen in another thread than training; a lock keeps exports apart. What fails there is logged with its reason and never stops
the training.
"""
import glob
import os
import threading
import time

import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.config import require_config
from vai_q_tf.hooks.training_report import report_training
from vai_q_tf.html_report.packages import require_report
from vai_q_tf.qat import checkpoints, evaluation, graph_record
from vai_q_tf.qat.averages.averaged_reader import has_averages
from vai_q_tf.qat.deploy import EvaluationFreezer, derive_evaluation_graph
from vai_q_tf.qat.positions import savers
from vai_q_tf.qat.reading.checkpoint_reader import CheckpointReader


class QuantizeCheckpointListener(tf.estimator.CheckpointSaverListener):
    """Writes `quantize_eval_graph_<suffix>.pb` and `quantize_eval_model_<suffix>.pb` after each save from the first step on.

    Args:
      config: the QuantizeConfig of the training; files go to its output_dir.
      eval_graph_fn: function without arguments that builds the float evaluation graph in the default graph, with the node
        names of training; None derives it from the training graph.
      checkpoint_dir: where the checkpoints are saved; None asks the saver.
      saver: the tf.train.Saver that saves; None takes the one of the graph's collection, as Estimator and
        MonitoredTrainingSession use it.
      averaged: whether the averaged weights, once a checkpoint has them, leave the same files beside these, with a suffix that
        begins with 'averaged_'. None: where the config has an average_step.
      report: whether `quantize_report_<suffix>.html` is written beside each model. It has the positions over the steps, where
        a QuantizePositionHook has the same output_dir, and the losses in the event files beside the checkpoint.

    Raises:
      QuantizeError: MISSING_LIBRARY where a report is wanted, and its packages are not installed.
    """

    def __init__(self, config, eval_graph_fn=None, checkpoint_dir=None, saver=None, averaged=None, report=False):
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
        self._training_graph = None
        self._freezer = None
        self._last_step = None
        self._is_begun = False
        self._lock = threading.Lock()

    def begin(self):
        """Builds the evaluation graph; a QuantizeError where that cannot be done."""
        self._last_step = None
        self._freezer = None
        self._is_begun = False
        self._training_graph = tf.get_default_graph()
        if self._eval_graph_fn is not None or graph_record.is_training(self._training_graph):
            self._prepare()

    def before_save(self, session, global_step_value):
        """Raises what `begin` raises where the training graph was quantized since then, or was not."""
        with self._lock:
            if self._freezer is None:
                self._prepare()
            if not self._is_begun:
                self._is_begun = True
                self._warn_of_missing_positions()

    def _warn_of_missing_positions(self):
        graph = self._training_graph
        if graph_record.is_training(graph):
            for saver in self._savers() or [None]:
                savers.warn_of_missing_positions(graph, saver)

    def _savers(self):
        return [self._saver] if self._saver else self._training_graph.get_collection(tf.GraphKeys.SAVERS)

    def _prepare(self):
        if self._eval_graph_fn is None:
            graph, decision = derive_evaluation_graph(self._training_graph, self._config)
        else:
            graph = tf.Graph()
            with graph.as_default():
                self._eval_graph_fn()
                decision = evaluation.create_evaluation_graph(graph, self._config)
        self._freezer = EvaluationFreezer(graph, self._config, decision)
        if graph_record.is_training(self._training_graph):
            self._freezer.require_positions_of(self._training_graph)

    def after_save(self, session, global_step_value):
        """Writes the quantized files of the checkpoint, but for step 0 and a step that has them."""
        with self._lock:
            if global_step_value in (0, self._last_step):
                return
            first, self._last_step = self._last_step is None, global_step_value
            started = time.time()
            try:
                checkpoint = self._checkpoint(global_step_value)
                # A float training that goes on quantized is saved before its next step, too.
                reader = CheckpointReader(checkpoint)
                if first and checkpoints.is_before_training(reader):
                    tf.logging.info('No quantized model of step %d, from which the training starts.', global_step_value)
                    return
                written = [self._freezer.write(checkpoint, global_step_value)]
                if self._averaged and has_averages(reader):
                    written.append(self._freezer.write(checkpoint, global_step_value, averaged=True))
            except Exception as error:  # an export must never end a training
                tf.logging.error('No quantized model for step %d: %s', global_step_value, error)
            else:
                tf.logging.info('Quantized model of step %d in %.2f s: %s (%s)', global_step_value, time.time() - started,
                                written[0].eval_model, self._freezer.summary)
                if self._report:
                    self._write_reports(written, checkpoint)

    def _write_reports(self, written, checkpoint):
        directory = os.path.dirname(checkpoint)
        if glob.glob(os.path.join(glob.escape(directory), '*tfevents*')):
            tf.summary.FileWriterCache.get(directory).flush()  # that of the hook that saves, which has the losses
        for paths in written:
            report_training(paths, self._freezer.network, checkpoint, self._config.output_dir)

    def _checkpoint(self, step):
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
