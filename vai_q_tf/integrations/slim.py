"""tf.contrib.slim: quantization-aware training with `slim.learning.train`, which takes no hooks."""
import os
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

import tensorflow.compat.v1 as tf

from vai_q_tf import tf_internal
from vai_q_tf.config import QuantizeConfig, require_config
from vai_q_tf.distillation.settings import Distillation, require_distillation
from vai_q_tf.hooks.checkpoint_listener import QuantizeCheckpointListener
from vai_q_tf.hooks.position_hook import QuantizePositionHook
from vai_q_tf.hooks.training_hook import QuantizeTrainingHook
from vai_q_tf.qat import checkpoints
from vai_q_tf.qat.reading.checkpoint_reader import CheckpointReader, reading
from vai_q_tf.qat.recipe import length

# (session, train_op, global_step, train_step_kwargs) -> (loss, whether the training should stop)
_TrainStepFn = Callable[[tf.Session, tf.Operation, tf.Tensor, Dict[str, Any]], Tuple[Any, Any]]


def slim_training_arguments(config: QuantizeConfig, float_checkpoint: Union[str, 'os.PathLike[str]', None] = None,
                            history_dir: Union[str, 'os.PathLike[str]', None] = None, every_n_steps: int = 100,
                            eval_graph_fn: Optional[Callable[[], object]] = None,
                            train_step_fn: Optional[_TrainStepFn] = None, is_chief: bool = True,
                            distillation: Union[Distillation, bool, None] = None) -> Dict[str, Any]:
    """Keyword arguments for slim.learning.train that make its training quantization-aware.

        train_op = slim.learning.create_train_op(loss, optimizer)
        slim.learning.train(train_op, logdir, **slim_training_arguments(config, 'float/model.ckpt-2000'))

    Call it in the graph of the training, after the train op is created. It rewrites the graph as QuantizeTrainingHook does,
    unless CreateQuantizeTrainingGraph did before. With these arguments checkpoints have the positions, each checkpoint gets a
    frozen quantized model as with QuantizeCheckpointListener, and the positions are recorded as by QuantizePositionHook.

    Args:
      config: the QuantizeConfig.
      float_checkpoint: prefix or directory of a checkpoint that a new training starts from, of a float network or a quantized
        one: all its variables except the global step. A training that finds a checkpoint in its logdir resumes from that.
      history_dir: directory of the history of the positions; by default config.output_dir.
      every_n_steps: how often positions are summarized and logged.
      eval_graph_fn: same as in QuantizeCheckpointListener.
      train_step_fn: the function that runs a step; None: slim.learning.train_step.
      is_chief: same as in slim.learning.train; the others write nothing.
      distillation: same as in QuantizeTrainingHook; without a checkpoint, or True, the teacher has that of `float_checkpoint`.

    Returns:
      A dict with `saver` and `train_step_fn`, and with `init_fn` if there is a float_checkpoint.

    Raises:
      QuantizeError: the graph cannot be rewritten or exported, or the float checkpoint lacks variables of the network (named).
    """
    require_config(config)
    distillation = require_distillation(distillation)
    checkpoint = None if float_checkpoint is None else checkpoints.find_checkpoint(float_checkpoint)
    restored = [] if checkpoint is None else _restored_from(checkpoint)
    history = QuantizePositionHook(config, every_n_steps=every_n_steps, output_dir=history_dir or None, statistics=False)
    if is_chief:
        history.begin()  # the checks come before the rewrite
    QuantizeTrainingHook(config, distillation=distillation and distillation.with_checkpoint(float_checkpoint)).begin()
    train_step_fn = _MeasuredStep(train_step_fn or tf_internal.slim_train_step())
    arguments: Dict[str, Any] = {'saver': tf.train.Saver(), 'train_step_fn': train_step_fn}
    if is_chief:
        arguments['train_step_fn'] = _FollowedStep(train_step_fn, history)
        arguments['saver'] = _ExportingSaver(config, eval_graph_fn)
    if checkpoint is not None:
        arguments['init_fn'] = _initialiser(checkpoint, restored)
    return arguments


class _ExportingSaver(tf.train.Saver):
    """A Saver that writes a frozen quantized model for each checkpoint. slim saves in a separate thread."""

    def __init__(self, config: QuantizeConfig, eval_graph_fn: Optional[Callable[[], object]]) -> None:
        super().__init__()
        self._listener = QuantizeCheckpointListener(config, eval_graph_fn, saver=self)
        self._listener.begin()

    def save(self, sess: tf.Session, *args: Any, **kwargs: Any) -> str:
        """Saves a checkpoint, and writes its quantized model if its name ends with a step."""
        path = super().save(sess, *args, **kwargs)
        _, _, step = path.rpartition('-')
        if step.isdigit():
            self._listener.after_save(sess, int(step))
        return path


class _MeasuredStep:
    """A train_step_fn that writes the length of the training into the graph before the first step."""

    def __init__(self, train_step_fn: _TrainStepFn) -> None:
        self._train_step_fn = train_step_fn
        self._session: Optional[tf.Session] = None

    def __call__(self, session: tf.Session, train_op: tf.Operation, global_step: tf.Tensor,
                 train_step_kwargs: Dict[str, Any]) -> Tuple[Any, Any]:
        if session is not self._session:
            self._session = session
            # slim.learning.train turns number_of_steps into global_step >= number_of_steps.
            stops = train_step_kwargs.get('should_stop')
            last_step = tf.get_static_value(stops.op.inputs[1]) if stops is not None and len(stops.op.inputs) == 2 else None
            if last_step is not None:
                length.note_length(session, int(last_step))
        return self._train_step_fn(session, train_op, global_step, train_step_kwargs)


class _FollowedStep:
    """A train_step_fn that drives a QuantizePositionHook."""

    def __init__(self, train_step_fn: _TrainStepFn, history: QuantizePositionHook) -> None:
        self._train_step_fn = train_step_fn
        self._history = history
        self._session: Optional[tf.Session] = None

    def __call__(self, session: tf.Session, train_op: tf.Operation, global_step: tf.Tensor,
                 train_step_kwargs: Dict[str, Any]) -> Tuple[Any, Any]:
        if session is not self._session:
            self._session = session
            self._history.after_create_session(session, None)
        total_loss, should_stop = self._train_step_fn(session, train_op, global_step, train_step_kwargs)
        step = session.run(global_step)
        self._history.follow(session, step - 1)
        if should_stop:
            self._history.end(session)
        return total_loss, should_stop


def _restored_from(checkpoint: str) -> List[tf.Variable]:
    """The variables that a checkpoint initializes; raises a QuantizeError if it lacks some of the network."""
    reader = CheckpointReader(checkpoint)
    found, unfit = checkpoints.restorable(reader, [
        variable for variable in tf.global_variables() if variable is not tf.train.get_global_step()])
    network = {checkpoints.variable_name(variable) for variable in tf.trainable_variables() + tf.model_variables()}
    missing = [text for name, text in unfit.items() if name in network or reader.has_tensor(name)]
    if missing:
        raise checkpoints.missing_variables(
            checkpoint, missing, 'Give a checkpoint of this network, or pass your own init_fn instead of float_checkpoint.',
            'cannot initialise {} variables')
    return [variable for variables in found.values() for variable in variables]


def _initialiser(checkpoint: str, restored: Sequence[tf.Variable]) -> Callable[[tf.Session], None]:
    """The init_fn that restores the variables and the positions of the checkpoint."""
    saver = tf.train.Saver([*restored] + tf.get_collection(tf.GraphKeys.SAVEABLE_OBJECTS))

    def restore(session: tf.Session) -> None:
        with reading(checkpoint):
            saver.restore(session, checkpoint)

    return restore
