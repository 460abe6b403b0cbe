"""quantize_model_fn and quantize_estimator: a float model_fn trains, evaluates and predicts quantized, unedited.

In TRAIN the graph is rewritten when the model_fn first asks for gradients: then the network and its loss are there, and the
optimizer is not. In EVAL and PREDICT it is rewritten when the model_fn returns. What it returns are tensors of the float graph,
so those that the rewrite replaced are exchanged in the EstimatorSpec.
"""
import functools
import inspect
import os

import tensorflow.compat.v1 as tf

from vai_q_tf import errors, tf_internal
from vai_q_tf.config import require_config
from vai_q_tf.distillation.loss import add_term
from vai_q_tf.distillation.settings import require_distillation
from vai_q_tf.hooks.checkpoint_listener import QuantizeCheckpointListener
from vai_q_tf.hooks.position_hook import QuantizePositionHook
from vai_q_tf.integrations import gradient_interception, warm_start
from vai_q_tf.qat import checkpoints, evaluation, graph_record, replaced_tensors
from vai_q_tf.qat.gradients.range_loss import RangeLoss

_MODES = tf.estimator.ModeKeys


def quantize_model_fn(model_fn, config, float_checkpoint=None, eval_graph_fn=None, distillation=None):
    """A model_fn for an Estimator that is the quantized form of `model_fn` in every mode.

    In training an Estimator also gets a `QuantizePositionHook` and a `QuantizeCheckpointListener`, which are not to be
    given to `train` again. Tensors in hooks that the model_fn makes, such as those of a LoggingTensorHook, stay what they
    are: the output node itself is the float one there.

    Args:
      model_fn: any function that an Estimator takes.
      config: a QuantizeConfig; its nodes are in the graphs of all modes.
      float_checkpoint: prefix or directory of a checkpoint that a new training starts from, moving averages included, with
        global step 0; None for the initial values.
      eval_graph_fn: as of `QuantizeCheckpointListener`.
      distillation: a `Distillation`, or True for one with the default settings; its term joins the loss that is differentiated,
        the loss of the EstimatorSpec stays what it is. Where it has no checkpoint, `float_checkpoint` is that of the teacher.

    Returns:
      A function (features, labels, mode, params, config), without labels or params where `model_fn` does not take them.

    Raises:
      TypeError: an argument of a wrong type.
    Raised when the function is called:
      QuantizeError: the graph cannot be rewritten; a training without gradients from tf.gradients or a tf.train.Optimizer.
    """
    if not callable(model_fn):
        raise TypeError('model_fn must be a function, got {}: {!r}'.format(type(model_fn).__name__, model_fn))
    require_config(config)
    distillation = require_distillation(distillation)
    if distillation is not None and not callable(float_checkpoint):
        distillation = distillation.with_checkpoint(float_checkpoint)
    names = tf_internal.argument_names(model_fn)
    parameters = list(names) + [name for name in ('mode', 'config') if name not in names]
    signature = inspect.Signature([
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None) for name in parameters])

    def quantized(*args, **kwargs):
        given = signature.bind(*args, **kwargs).arguments
        run_config = given.get('config')
        call = functools.partial(model_fn, **{name: value for name, value in given.items() if name in names})
        resumes = run_config is not None and checkpoints.latest_checkpoint(run_config.model_dir)
        network = _Network(tf.get_default_graph(), config, given.get('mode'), None if resumes else float_checkpoint,
                           distillation and functools.partial(_with_checkpoint, distillation, float_checkpoint))
        with gradient_interception.called_before_gradients(network.graph, network.before_gradients):
            spec = call()
        return _with_hooks(network.finish(spec), run_config, config, eval_graph_fn)

    functools.update_wrapper(quantized, model_fn, updated=())
    # An Estimator looks at the names of the arguments.
    quantized.__signature__ = signature
    return quantized


def quantize_estimator(estimator, config, model_dir=None, eval_graph_fn=None, distillation=None):
    """An Estimator that trains, evaluates, predicts and exports the quantized form of a float one.

    A new training starts from the latest checkpoint of the float one, at global step 0; then it continues from its own.

    Args:
      estimator: a tf.estimator.Estimator, whose files are only read.
      config, eval_graph_fn, distillation: as of `quantize_model_fn`; the teacher is that of the latest float checkpoint.
      model_dir: directory of the checkpoints; '<model_dir of estimator>_quantized' where it is not given.

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

    def model_fn(features, labels, mode, config):
        return estimator.model_fn(features, labels, mode, config)

    return tf.estimator.Estimator(
        quantize_model_fn(model_fn, config, functools.partial(_latest_checkpoint, estimator), eval_graph_fn, distillation),
        model_dir,
        estimator.config.replace(model_dir=model_dir))


def _with_checkpoint(distillation, float_checkpoint):
    """The Distillation with the checkpoint that there is by now."""
    if distillation.float_checkpoint is None and callable(float_checkpoint):
        float_checkpoint = float_checkpoint()
    return distillation.with_checkpoint(float_checkpoint)


def _latest_checkpoint(estimator):
    """The prefix of the checkpoint that an Estimator has by now; None where it has none."""
    prefix = estimator.latest_checkpoint()
    if prefix is None:
        tf.logging.warning('No checkpoint in %s: a new quantized training starts from initial values.', estimator.model_dir)
    return prefix


class _Network:
    """The graph that one call of a model_fn builds.

    distillation: function that gives a Distillation with a checkpoint; None for none.
    """

    def __init__(self, graph, config, mode, float_checkpoint, distillation):
        self.graph = graph
        self._config = config
        self._mode = mode
        self._float_checkpoint = float_checkpoint
        self._distillation = distillation
        self._term = None
        self._loss = None

    def before_gradients(self, ys, xs, grad_ys):
        """Rewrites the graph; what is differentiated in place of `ys`."""
        if self._mode not in (None, _MODES.TRAIN):
            self._rewrite_for_evaluation()
            return ys
        if self._distillation is not None and self._term is None:
            self._term = self._add_term()
        first = gradient_interception.rewrite_for_training(self.graph, self._config)
        if first and self._float_checkpoint is not None:
            self._start_from_float()
        return ys if self._term is None else self._with_term(ys, xs, grad_ys)

    def _add_term(self):
        if tf.distribute.get_strategy().num_replicas_in_sync > 1:
            raise errors.QuantizeError(
                errors.UNSUPPORTED_GRAPH, 'Distribution strategy',
                'With several replicas the term of the distillation cannot be added to the loss from outside. Add '
                'vai_q_tensorflow.distillation_loss to it in the model_fn.')
        with gradient_interception.outside_of_contexts(self.graph):
            return add_term(self.graph, self._config, self._distillation())

    def _with_term(self, ys, xs, grad_ys):
        if self._loss is None:
            self._loss = RangeLoss(warm_start.network_variables(self.graph))
        seeds = grad_ys if isinstance(grad_ys, (list, tuple)) else [grad_ys]
        if not self._loss.trains(ys, seeds, [x.op.name for x in xs]):
            return ys
        with gradient_interception.outside_of_contexts(self.graph):
            return [tf.add(ys[0], tf.cast(self._term, ys[0].dtype), name='vai_q_tf/distillation/total')] + ys[1:]

    def _start_from_float(self):
        checkpoint = self._float_checkpoint
        prefix = checkpoint() if callable(checkpoint) else checkpoints.find_checkpoint(checkpoint)
        if prefix is not None:
            warm_start.start_from_float(self.graph, prefix)

    def _rewrite_for_evaluation(self):
        if not graph_record.is_evaluation(self.graph):
            with gradient_interception.outside_of_contexts(self.graph):
                evaluation.create_evaluation_graph(self.graph, self._config)

    def finish(self, spec):
        """The EstimatorSpec of the quantized graph for the one that the model_fn returned."""
        if not isinstance(spec, tf.estimator.EstimatorSpec):
            if type(spec).__name__ == 'TPUEstimatorSpec':
                raise _no_tpu('The model_fn returns a TPUEstimatorSpec')
            raise TypeError('model_fn must return an EstimatorSpec, got {}: {!r}'.format(type(spec).__name__, spec))
        trained = graph_record.is_training(self.graph)
        if spec.mode != _MODES.TRAIN:
            if trained:
                raise errors.QuantizeError(
                    errors.UNSUPPORTED_GRAPH, 'Unknown mode',
                    'The model_fn has no argument mode and computes gradients in mode {!r}. Give it the argument '
                    'mode.'.format(spec.mode))
            self._rewrite_for_evaluation()
        elif not trained:
            raise errors.QuantizeError(
                errors.UNSUPPORTED_GRAPH, 'No gradients',
                'The model_fn made its train_op without tf.gradients, which a tf.train.Optimizer calls with the loss as a '
                'tf.Tensor, so there was no place for the rewrite. Call CreateQuantizeTrainingGraph in the model_fn, after '
                'the network and before its gradients.')
        elif self._loss is not None:
            self._loss.require_found()
        return spec._replace(
            predictions=_quantized(spec.predictions), loss=_quantized(spec.loss),
            eval_metric_ops=_quantized(spec.eval_metric_ops), export_outputs=_quantized_outputs(spec.export_outputs))


def _quantized(structure):
    return tf.nest.map_structure(replaced_tensors.in_place_of, structure)


def _quantized_outputs(outputs):
    if outputs is None:
        return None
    return {name: tf_internal.map_export_output(_quantized, output) for name, output in outputs.items()}


def _with_hooks(spec, run_config, config, eval_graph_fn):
    """The EstimatorSpec with what writes files in training; all of it is for the chief."""
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
            # Takes the place of that of an Estimator. Replicas get another scaffold, which is not known here.
            hooks.append(tf.train.CheckpointSaverHook(
                run_config.model_dir, run_config.save_checkpoints_secs, run_config.save_checkpoints_steps,
                saver=spec.scaffold.saver, listeners=[listener]))
    return spec._replace(training_chief_hooks=spec.training_chief_hooks + tuple(hooks))


def _no_tpu(what):
    return errors.QuantizeError(
        errors.UNSUPPORTED_GRAPH, 'TPU',
        '{}, and TPUs have no quantization ops. Use a tf.estimator.Estimator on a CPU or GPU.'.format(what))
