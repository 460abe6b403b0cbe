"""quantize_model_fn and quantize_estimator: a float model_fn trains, evaluates and predicts quantized, without changes.

In TRAIN the graph is rewritten when the model_fn first asks for gradients: then the network and its loss exist, and the
optimizer does not. In EVAL and PREDICT it is rewritten when the model_fn returns. The tensors that it returns are those of the
float graph, so the EstimatorSpec gets the tensors that replaced them.
"""
import functools
import inspect
import os
from typing import Any, Callable, Dict, List, Optional, Sequence, Union

import tensorflow.compat.v1 as tf

from vai_q_tf import errors, tf_internal
from vai_q_tf.config import QuantizeConfig, require_config
from vai_q_tf.distillation.loss import add_term
from vai_q_tf.distillation.settings import Distillation, require_distillation
from vai_q_tf.hooks.checkpoint_listener import QuantizeCheckpointListener
from vai_q_tf.hooks.position_hook import QuantizePositionHook
from vai_q_tf.integrations import gradient_interception, warm_start
from vai_q_tf.qat import checkpoints, evaluation, graph_record, replaced_tensors
from vai_q_tf.qat.gradients.range_loss import RangeLoss
from vai_q_tf.qat.positions import savers

_MODES = tf.estimator.ModeKeys
_ModelFn = Callable[..., tf.estimator.EstimatorSpec]
_EvalGraphFn = Optional[Callable[[], object]]
_FindCheckpoint = Callable[[], Optional[str]]


def quantize_model_fn(model_fn: _ModelFn, config: QuantizeConfig,
                      float_checkpoint: Union[str, 'os.PathLike[str]', None] = None, eval_graph_fn: _EvalGraphFn = None,
                      distillation: Union[Distillation, bool, None] = None) -> _ModelFn:
    """A model_fn for an Estimator: the quantized form of `model_fn` in every mode.

    In training it adds a `QuantizePositionHook` and a `QuantizeCheckpointListener`; do not pass others to `train`. Tensors in
    hooks that the model_fn creates, such as a LoggingTensorHook, do not change: there the output node is the float one.

    Args:
      model_fn: any function that an Estimator takes.
      config: a QuantizeConfig; its nodes exist in the graphs of all modes.
      float_checkpoint: prefix or directory of a checkpoint that a new training starts from, including moving averages, at
        global step 0; None: the initial values.
      eval_graph_fn: same as in `QuantizeCheckpointListener`.
      distillation: a `Distillation`, or True for the default settings. Its term is added to the loss that is differentiated;
        the loss of the EstimatorSpec does not change. Without its own checkpoint the teacher has that of `float_checkpoint`.

    Returns:
      A function (features, labels, mode, params, config), without labels or params if `model_fn` does not take them.

    Raises:
      TypeError: an argument of a wrong type.
      QuantizeError: when the function is called: the graph cannot be rewritten; a training without gradients from tf.gradients
        or a tf.train.Optimizer.
    """
    if not callable(model_fn):
        raise TypeError('model_fn must be a function, got {}: {!r}'.format(type(model_fn).__name__, model_fn))
    require_config(config)
    distillation = require_distillation(distillation)
    if distillation is not None:
        distillation = distillation.with_checkpoint(float_checkpoint)
    return _quantized_model_fn(model_fn, config, functools.partial(_find_checkpoint, float_checkpoint), eval_graph_fn,
                               distillation)


def quantize_estimator(estimator: tf.estimator.Estimator, config: QuantizeConfig, model_dir: Optional[str] = None,
                       eval_graph_fn: _EvalGraphFn = None,
                       distillation: Union[Distillation, bool, None] = None) -> tf.estimator.Estimator:
    """An Estimator that trains, evaluates, predicts and exports the quantized form of a float one.

    A new training starts from the latest checkpoint of the float one, at global step 0; later it resumes from its own.

    Args:
      estimator: a tf.estimator.Estimator; its files are only read.
      config: same as in `quantize_model_fn`.
      model_dir: directory of the checkpoints; by default '<model_dir of estimator>_quantized'.
      eval_graph_fn: same as in `quantize_model_fn`.
      distillation: same as in `quantize_model_fn`; the teacher has the latest float checkpoint.

    Returns:
      A tf.estimator.Estimator with the RunConfig of the float one.

    Raises:
      TypeError: an argument of a wrong type.
      QuantizeError: INVALID_CONFIG for the model_dir of the float one; UNSUPPORTED_GRAPH for a TPUEstimator.
    """
    if not isinstance(estimator, tf.estimator.Estimator):
        raise TypeError('estimator must be a tf.estimator.Estimator, got {}: {!r}'.format(type(estimator).__name__, estimator))
    if any(base.__name__ == 'TPUEstimator' for base in type(estimator).__mro__):
        raise _no_tpu('The estimator is a TPUEstimator')
    require_config(config)
    float_dir = estimator.model_dir
    model_dir = model_dir or float_dir.rstrip('/') + '_quantized'
    if os.path.realpath(model_dir) == os.path.realpath(float_dir):
        raise errors.QuantizeError(
            errors.INVALID_CONFIG, 'Invalid parameter',
            'model_dir {!r} is that of the float estimator, whose checkpoints would be overwritten. Give another '
            'directory.'.format(model_dir))

    def model_fn(features: Any, labels: Any, mode: str, config: tf.estimator.RunConfig) -> tf.estimator.EstimatorSpec:
        return estimator.model_fn(features, labels, mode, config)

    return tf.estimator.Estimator(
        _quantized_model_fn(model_fn, config, functools.partial(_latest_checkpoint, estimator), eval_graph_fn,
                            require_distillation(distillation)),
        model_dir,
        estimator.config.replace(model_dir=model_dir))


def _find_checkpoint(path: Union[str, 'os.PathLike[str]', None]) -> Optional[str]:
    """The prefix of the checkpoint at a path; None without a path."""
    return None if path is None else checkpoints.find_checkpoint(path)


def _latest_checkpoint(estimator: tf.estimator.Estimator) -> Optional[str]:
    """The prefix of the latest checkpoint of an Estimator; None, with a warning, if it has none."""
    prefix = estimator.latest_checkpoint()
    if prefix is None:
        tf.logging.warning('No checkpoint in %s: a new quantized training starts from initial values.', estimator.model_dir)
    return prefix


def _quantized_model_fn(model_fn: _ModelFn, config: QuantizeConfig, find_checkpoint: _FindCheckpoint,
                        eval_graph_fn: _EvalGraphFn, distillation: Optional[Distillation]) -> _ModelFn:
    """Same as `quantize_model_fn`; find_checkpoint: gives the prefix of the float checkpoint when the function is called."""
    names = tf_internal.argument_names(model_fn)
    signature = _signature(names)

    def quantized(*args: Any, **kwargs: Any) -> tf.estimator.EstimatorSpec:
        given = signature.bind(*args, **kwargs).arguments
        run_config = given.get('config')
        resumes = run_config is not None and bool(checkpoints.latest_checkpoint(run_config.model_dir))
        network = _Network(tf.get_default_graph(), config, given.get('mode'), find_checkpoint, resumes, distillation)
        with gradient_interception.called_before_gradients(network.graph, network.before_gradients):
            spec = model_fn(**{name: value for name, value in given.items() if name in names})
        return _with_hooks(network.finish(spec), run_config, config, eval_graph_fn)

    functools.update_wrapper(quantized, model_fn, updated=())
    # An Estimator inspects the names of the arguments.
    quantized.__signature__ = signature  # type: ignore[attr-defined]  # mypy does not know this attribute of functions
    return quantized


def _signature(names: Sequence[str]) -> inspect.Signature:
    """The signature of a function with the optional arguments `names`, mode and config."""
    parameters = list(names) + [name for name in ('mode', 'config') if name not in names]
    return inspect.Signature([
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None) for name in parameters])


class _Network:
    """The graph that one call of a model_fn builds.

    Args:
      graph: the tf.Graph.
      config: the QuantizeConfig.
      mode: that of the call; None means TRAIN.
      find_checkpoint: function that gives the prefix of the float checkpoint, or None.
      resumes: whether the training resumes from its own checkpoint, so it does not start from the float one.
      distillation: the Distillation; without a checkpoint it has that of `find_checkpoint`.
    """

    def __init__(self, graph: tf.Graph, config: QuantizeConfig, mode: Optional[str], find_checkpoint: _FindCheckpoint,
                 resumes: bool, distillation: Optional[Distillation]) -> None:
        self.graph = graph
        self._config = config
        self._mode = mode
        self._find_checkpoint = find_checkpoint
        self._resumes = resumes
        self._distillation = distillation
        self._term: Optional[tf.Tensor] = None
        self._loss: Optional[RangeLoss] = None

    def before_gradients(self, ys: List[tf.Tensor], xs: List[tf.Tensor], grad_ys: Any) -> List[tf.Tensor]:
        """Rewrites the graph before its first gradients; returns the tensors to differentiate instead of `ys`."""
        if self._mode not in (None, _MODES.TRAIN):
            self._rewrite_for_evaluation()
            return ys
        if self._distillation is not None and self._term is None:
            self._term = self._add_term(self._distillation)
        first = gradient_interception.rewrite_for_training(self.graph, self._config)
        if first and not self._resumes:
            self._start_from_float()
        return ys if self._term is None else self._with_term(ys, xs, grad_ys)

    def _add_term(self, distillation: Distillation) -> tf.Tensor:
        if tf.distribute.get_strategy().num_replicas_in_sync > 1:
            raise errors.QuantizeError(
                errors.UNSUPPORTED_GRAPH, 'Distribution strategy',
                'With several replicas the term of the distillation cannot be added to the loss from outside. Add '
                'vai_q_tensorflow.distillation_loss to it in the model_fn.')
        if distillation.float_checkpoint is None:
            distillation = distillation.with_checkpoint(self._find_checkpoint())
        with gradient_interception.outside_of_contexts(self.graph):
            return add_term(self.graph, self._config, distillation)

    def _with_term(self, ys: List[tf.Tensor], xs: List[tf.Tensor], grad_ys: Any) -> List[tf.Tensor]:
        """`ys`, with the term added to the first if they are the loss that trains the network."""
        if self._loss is None:
            self._loss = RangeLoss(warm_start.network_variables(self.graph))
        seeds = grad_ys if isinstance(grad_ys, (list, tuple)) else [grad_ys]
        if not self._loss.trains(ys, seeds, [x.op.name for x in xs]):
            return ys
        with gradient_interception.outside_of_contexts(self.graph):
            return [tf.add(ys[0], tf.cast(self._term, ys[0].dtype), name='vai_q_tf/distillation/total')] + ys[1:]

    def _start_from_float(self) -> None:
        prefix = self._find_checkpoint()
        if prefix is not None:
            warm_start.start_from_float(self.graph, prefix)

    def _rewrite_for_evaluation(self) -> None:
        if not graph_record.is_evaluation(self.graph):
            with gradient_interception.outside_of_contexts(self.graph):
                evaluation.create_evaluation_graph(self.graph, self._config)

    def finish(self, spec: tf.estimator.EstimatorSpec) -> tf.estimator.EstimatorSpec:
        """The EstimatorSpec of the quantized graph, given the one that the model_fn returned."""
        if not isinstance(spec, tf.estimator.EstimatorSpec):
            if type(spec).__name__ == 'TPUEstimatorSpec':
                raise _no_tpu('The model_fn returns a TPUEstimatorSpec')
            raise TypeError('model_fn must return an EstimatorSpec, got {}: {!r}'.format(type(spec).__name__, spec))
        if spec.mode == _MODES.TRAIN:
            self._check_trained()
        else:
            self._check_not_trained(spec.mode)
            self._rewrite_for_evaluation()
        savers.add_positions(spec.scaffold.saver)  # as for ExponentialMovingAverage.variables_to_restore()
        return spec._replace(
            predictions=_quantized(spec.predictions), loss=_quantized(spec.loss),
            eval_metric_ops=_quantized(spec.eval_metric_ops), export_outputs=_quantized_outputs(spec.export_outputs))

    def _check_trained(self) -> None:
        if not graph_record.is_training(self.graph):
            raise errors.QuantizeError(
                errors.UNSUPPORTED_GRAPH, 'No gradients',
                'The model_fn made its train_op without tf.gradients, which a tf.train.Optimizer calls with the loss as a '
                'tf.Tensor, so there was no place for the rewrite. Call CreateQuantizeTrainingGraph in the model_fn, after '
                'the network and before its gradients.')
        if self._loss is not None:
            self._loss.require_found()

    def _check_not_trained(self, mode: str) -> None:
        if graph_record.is_training(self.graph):
            raise errors.QuantizeError(
                errors.UNSUPPORTED_GRAPH, 'Unknown mode',
                'The model_fn has no argument mode and computes gradients in mode {!r}. Give it the argument '
                'mode.'.format(mode))


def _quantized(structure: Any) -> Any:
    """A nested structure of tensors with those that replaced them."""
    return tf.nest.map_structure(replaced_tensors.in_place_of, structure)


def _quantized_outputs(outputs: Optional[Dict[str, tf.estimator.export.ExportOutput]]) -> (
        Optional[Dict[str, tf.estimator.export.ExportOutput]]):
    if outputs is None:
        return None
    return {name: tf_internal.map_export_output(_quantized, output) for name, output in outputs.items()}


def _with_hooks(spec: tf.estimator.EstimatorSpec, run_config: Optional[tf.estimator.RunConfig], config: QuantizeConfig,
                eval_graph_fn: _EvalGraphFn) -> tf.estimator.EstimatorSpec:
    """The EstimatorSpec with the hooks that write files in training, all of them for the chief."""
    if spec.mode != _MODES.TRAIN or run_config is None:
        return spec
    hooks = [QuantizePositionHook(config, every_n_steps=run_config.log_step_count_steps, output_dir=run_config.model_dir)]
    if run_config.save_checkpoints_steps or run_config.save_checkpoints_secs:
        listener = QuantizeCheckpointListener(config, eval_graph_fn, saver=spec.scaffold.saver)
        saving = [hook for hook in spec.training_hooks + spec.training_chief_hooks
                  if isinstance(hook, tf.train.CheckpointSaverHook)]
        if saving:
            tf_internal.add_listener(saving[0], listener)
        else:
            # The Estimator then adds no hook that saves. Replicas get another scaffold, which is not known here.
            hooks.append(tf.train.CheckpointSaverHook(
                run_config.model_dir, run_config.save_checkpoints_secs, run_config.save_checkpoints_steps,
                saver=spec.scaffold.saver, listeners=[listener]))
    return spec._replace(training_chief_hooks=spec.training_chief_hooks + tuple(hooks))


def _no_tpu(what: str) -> errors.QuantizeError:
    return errors.QuantizeError(
        errors.UNSUPPORTED_GRAPH, 'TPU',
        '{}, and TPUs have no quantization ops. Use a tf.estimator.Estimator on a CPU or GPU.'.format(what))
