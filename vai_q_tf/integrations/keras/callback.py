"""QuantizeCallback: quantization-aware training with `model.fit`.

Keras builds the training function, with its gradients, before it calls a callback for the first time; a rewrite would then be
too late for the gradients. So the model is quantized when the callback is created, not when the training begins.
"""
import functools
import os
from typing import Any, Callable, Dict, Optional, TypeVar, cast

import tensorflow.compat.v1 as tf

from vai_q_tf import errors, tf_internal
from vai_q_tf.config import QuantizeConfig, require_config
from vai_q_tf.hooks.checkpoint_listener import QuantizeCheckpointListener
from vai_q_tf.hooks.position_hook import QuantizePositionHook
from vai_q_tf.integrations.keras.model import is_quantized, quantize_keras_model
from vai_q_tf.qat.recipe import length

_Initialise = TypeVar('_Initialise', bound=Callable[..., None])
_Logs = Optional[Dict[str, Any]]


def _config_first(initialise: _Initialise) -> _Initialise:
    """An `__init__` of (config, model, ...) that also accepts the model first."""
    @functools.wraps(initialise)
    def initialise_in_order(self: Any, *args: Any, **kwargs: Any) -> None:
        if args and isinstance(args[0], tf.keras.Model):
            model, args = args[0], args[1:]
            if args:
                args = (args[0], model) + args[1:]
            else:
                kwargs = dict(kwargs, model=model)
        initialise(self, *args, **kwargs)
    return cast(_Initialise, initialise_in_order)  # wraps() keeps the signature


class QuantizeCallback(tf.keras.callbacks.Callback):
    """Quantizes a tf.keras model when it is created, and writes a checkpoint and a frozen quantized model after every epoch.

    Its files are in `config.output_dir`: `model.ckpt-<step>`, which `tf.train.Saver` reads, including positions; the files of
    QuantizeCheckpointListener; and the history of QuantizePositionHook.

    Args:
      config: a QuantizeConfig.
      model: the tf.keras model that `fit` is called on, compiled or not, and not trained yet; see `quantize_keras_model`.
        It may also come first, before the config.
      every_n_steps: how often positions are summarized and logged.

    Raises:
      QuantizeError: the model cannot be quantized (code, node, what to do).
      TypeError: an argument of a wrong type.
    """

    @_config_first
    def __init__(self, config: QuantizeConfig, model: tf.keras.Model, every_n_steps: int = 100) -> None:
        super().__init__()
        self._config = require_config(config)
        if not is_quantized(model):
            quantize_keras_model(model, config)
        self._quantized = model
        self._hook = QuantizePositionHook(
            output_dir=config.output_dir, every_n_steps=every_n_steps, statistics=False)

    def on_train_begin(self, logs: _Logs = None) -> None:
        """Creates the Saver and the listener, and resumes the history of positions."""
        if self.model is not self._quantized:
            raise errors.QuantizeError(
                errors.INVALID_INPUT, 'Other model',
                'The callback was made for model {!r}, and fit was called on another object, {!r}.'.format(
                    self._quantized.name, self.model.name))
        with tf.get_default_graph().as_default():
            self._saver = tf.train.Saver()
            self._listener = QuantizeCheckpointListener(self._config, saver=self._saver)
            self._listener.begin()
            self._hook.begin()
            session = tf_internal.keras_session()
            self._hook.after_create_session(session, None)
            self._is_measured = False

    def on_epoch_begin(self, epoch: int, logs: _Logs = None) -> None:
        """Writes the length of the training into the graph, before the first step."""
        if self._is_measured:
            return
        self._is_measured = True
        session = tf_internal.keras_session()
        steps, samples = self.params.get('steps'), self.params.get('samples')
        if not (steps or samples):  # a tf.data.Dataset of unknown length
            length.note_length(session, 0)
            return
        steps = steps or -(-samples // self.params['batch_size'])
        began = int(session.run(self._quantized.quantize_positions.step)) - steps * epoch  # by initial_epoch
        length.note_length(session, began + steps * self.params['epochs'], max(began, 0))

    def on_train_batch_end(self, batch: int, logs: _Logs = None) -> None:
        """Records changes of positions."""
        session = tf_internal.keras_session()
        with session.graph.as_default():
            step = session.run(self._quantized.quantize_positions.step)
            self._hook.follow(session, step - 1)

    def on_epoch_end(self, epoch: int, logs: _Logs = None) -> None:
        """Saves a checkpoint, and writes its quantized files."""
        session = tf_internal.keras_session()
        step = int(session.run(self._quantized.quantize_positions.step))
        with session.graph.as_default():
            self._saver.save(session, os.path.join(self._config.output_dir, 'model.ckpt'), step)
            self._listener.after_save(session, step)

    def on_train_end(self, logs: _Logs = None) -> None:
        """Reports the positions once more."""
        with tf.get_default_graph().as_default():
            self._hook.end(tf_internal.keras_session())
