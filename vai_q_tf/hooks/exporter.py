"""QuantizeExporter: keeps the best quantized model of a `tf.estimator.train_and_evaluate`.

A file next to the models, written after the model, notes the best one so far. So a training that was interrupted at any time
resumes the comparison with a model that exists.
"""
import glob
import json
import numbers
import os
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import files, tf_internal
from vai_q_tf.config import QuantizeConfig, require_config
from vai_q_tf.hooks.training_report import NAME, report_training
from vai_q_tf.html_report.packages import require_report
from vai_q_tf.qat import checkpoints, evaluation, graph_record
from vai_q_tf.qat.deploy import EvaluationFreezer, FrozenFiles

BEST_FILE = 'best.json'


def smaller_loss(best_eval_result: Mapping[str, Any], current_eval_result: Mapping[str, Any]) -> bool:
    """Whether the loss of the current result is smaller than that of the best one; any number is smaller than NaN."""
    best, current = best_eval_result['loss'], current_eval_result['loss']
    return current < best or bool(np.isnan(best) and not np.isnan(current))


class _Freezer(NamedTuple):
    """An EvaluationFreezer with the Estimator and the directory that it is for."""
    estimator: tf.estimator.Estimator
    export_path: str
    freezer: EvaluationFreezer


class QuantizeExporter(tf.estimator.Exporter):
    """Writes both files of `CreateQuantizeDeployGraph` whenever an evaluation is the best so far.

    They go to `<model_dir>/export/<name>`, with `best.json`: checkpoint, metrics and file names of the best model. The
    evaluation graph is built once, and rewritten unless the model_fn does so. An error is logged and never stops the training.

    Args:
      config: the QuantizeConfig of the training; its output_dir is not used.
      serving_input_receiver_fn: same as in tf.estimator.BestExporter; the graph is that of the model_fn in PREDICT mode.
      eval_graph_fn: instead, a function without arguments that builds the float evaluation graph.
      name: unique name of the exporter.
      compare_fn: function (best_eval_result, current_eval_result) of two dicts of metrics: whether the current one is better.
      exports_to_keep: how many of the latest, best models to keep; None: all.
      report: whether to write `quantize_report_<suffix>.html` next to each model, as QuantizeCheckpointListener does; it is
        removed with the model.

    Raises:
      QuantizeError: MISSING_LIBRARY if a report is wanted and its packages are not installed.
      ValueError: not exactly one of serving_input_receiver_fn and eval_graph_fn; a compare_fn with other arguments; an
        exports_to_keep below 1.
    """

    def __init__(self, config: QuantizeConfig,
                 serving_input_receiver_fn: Optional[Callable[[], tf.estimator.export.ServingInputReceiver]] = None,
                 eval_graph_fn: Optional[Callable[[], object]] = None, name: str = 'quantized',
                 compare_fn: Callable[..., bool] = smaller_loss, exports_to_keep: Optional[int] = 1,
                 report: bool = False) -> None:
        if (serving_input_receiver_fn is None) == (eval_graph_fn is None):
            raise ValueError('Give exactly one of serving_input_receiver_fn and eval_graph_fn.')
        if (not callable(compare_fn)
                or set(tf_internal.argument_names(compare_fn)) != {'best_eval_result', 'current_eval_result'}):
            raise ValueError('compare_fn must be a function of best_eval_result and current_eval_result, got {!r}.'.format(
                compare_fn))
        if exports_to_keep is not None and exports_to_keep < 1:
            raise ValueError('exports_to_keep must be 1 or more, or None for all; got {!r}.'.format(exports_to_keep))
        self._config = require_config(config)
        self._receiver_fn = serving_input_receiver_fn
        self._eval_graph_fn = eval_graph_fn
        self._name = name
        self._compare = compare_fn
        self._keep = exports_to_keep
        self._report = report
        if report:
            require_report()
        self._freezer: Optional[_Freezer] = None

    @property
    def name(self) -> str:
        """The directory below `<model_dir>/export`."""
        return self._name

    def export(self, estimator: tf.estimator.Estimator, export_path: str, checkpoint_path: str, eval_result: Mapping[str, Any],
               is_the_final_export: bool) -> Optional[str]:
        """Writes the model if it is the best so far; returns export_path if it did, else None."""
        try:
            best = self._read_best(export_path)
            if best is not None and not self._compare(best_eval_result=best['metrics'], current_eval_result=eval_result):
                return None
            self._export(estimator, export_path, checkpoint_path, eval_result)
        except Exception as error:  # an export must never end a training
            tf.logging.error('No best quantized model from %s: %s', checkpoint_path, error)
            return None
        return export_path

    def _export(self, estimator: tf.estimator.Estimator, export_path: str, checkpoint_path: str,
                eval_result: Mapping[str, Any]) -> None:
        freezer = self._freezer_for(estimator, export_path)
        written = freezer.write(checkpoint_path, checkpoints.checkpoint_step(checkpoint_path))
        best = {'checkpoint': checkpoint_path, 'metrics': _plain(eval_result),
                'eval_graph': os.path.basename(written.eval_graph), 'eval_model': os.path.basename(written.eval_model)}
        files.write(export_path, BEST_FILE, json.dumps(best, indent=1, sort_keys=True).encode())
        self._remove_old(export_path, written)
        if self._report:
            report_training(written, freezer.network, checkpoint_path, self._config.output_dir)
        tf.logging.info('Best quantized model so far: %s (%s)', written.eval_model, freezer.summary)

    def _freezer_for(self, estimator: tf.estimator.Estimator, export_path: str) -> EvaluationFreezer:
        """The EvaluationFreezer of the latest Estimator and directory, which is built once."""
        if self._freezer is None or (self._freezer.estimator, self._freezer.export_path) != (estimator, export_path):
            self._freezer = _Freezer(estimator, export_path, self._make_freezer(estimator, export_path))
        return self._freezer.freezer

    def _make_freezer(self, estimator: tf.estimator.Estimator, export_path: str) -> EvaluationFreezer:
        config = self._config.replace(output_dir=export_path)
        graph = tf.Graph()
        with graph.as_default():
            tf.train.create_global_step()
            if self._receiver_fn is not None:
                estimator.model_fn(self._receiver_fn().features, None, tf.estimator.ModeKeys.PREDICT, estimator.config)
            elif self._eval_graph_fn is not None:
                self._eval_graph_fn()
            decision = None if graph_record.is_evaluation(graph) else evaluation.create_evaluation_graph(graph, config)
        return EvaluationFreezer(graph, config, decision)

    def _read_best(self, export_path: str) -> Optional[Dict[str, Any]]:
        """The contents of best.json; None if there is no such file, or if its model was removed."""
        try:
            with open(os.path.join(export_path, BEST_FILE)) as stream:
                best = json.load(stream)
        except FileNotFoundError:
            return None
        return best if os.path.exists(os.path.join(export_path, best['eval_model'])) else None

    def _remove_old(self, export_path: str, written: FrozenFiles) -> None:
        """Removes all but the latest `exports_to_keep` models, with their reports."""
        if self._keep is None:
            return
        for newest in written:
            kind = os.path.basename(newest)[:len('quantize_eval_model_')]  # that of the graph is as long
            others = _others(newest, kind)
            for path in others[:max(len(others) - self._keep + 1, 0)]:
                os.unlink(path)
                report = os.path.join(export_path, NAME.format(os.path.basename(path)[len(kind):-len('.pb')]))
                if os.path.exists(report):
                    os.unlink(report)


def _others(newest: str, kind: str) -> List[str]:
    """The other files whose names begin with `kind`, in the directory of the file `newest`, the oldest first."""
    paths = glob.glob(os.path.join(glob.escape(os.path.dirname(newest)), kind + '*.pb'))
    return sorted((path for path in paths if path != newest), key=os.path.getmtime)


def _plain(metrics: Mapping[str, Any]) -> Dict[str, Any]:
    """The scalars among the metrics, as Python numbers, which JSON can hold."""
    return {name: np.asarray(value).item() for name, value in metrics.items()
            if isinstance(value, numbers.Number) or (np.ndim(value) == 0 and np.asarray(value).dtype.kind in 'biuf')}
