"""QuantizeCallback: quantization-aware training with `model.fit`.

Keras builds the training function before it calls a callback for the first time. What is rewritten then is left out of the
gradients. So the model is quantized when the callback is made, not when the training begins.
"""
import os
import types

import tensorflow.compat.v1 as tf

from vai_q_tf import errors, tf_internal
from vai_q_tf.hooks.checkpoint_listener import QuantizeCheckpointListener
from vai_q_tf.hooks.position_hook import QuantizePositionHook
from vai_q_tf.integrations.keras.model import is_quantized, quantize_keras_model


class QuantizeCallback(tf.keras.callbacks.Callback):
    """Quantizes a tf.keras model when it is made, and leaves a checkpoint and a frozen quantized model with every epoch.

    In `config.output_dir`: `model.ckpt-<step>`, which `tf.train.Saver` reads, positions included; the files of
    QuantizeCheckpointListener; and the history of QuantizePositionHook.

    Args:
      model: the tf.keras model that `fit` is called on, compiled or not and not trained yet; see `quantize_keras_model`.
      config: a QuantizeConfig.
      every_n_steps: how often positions are summarized and logged.

    Raises:
      QuantizeError: the model cannot be quantized (code, node, what to do).
    """

    def __init__(self, model, config, every_n_steps=100):
        super().__init__()
        if not is_quantized(model):
            quantize_keras_model(model, config)
        self._quantized = model
        self._config = config
        self._hook = QuantizePositionHook(config.output_dir, every_n_steps=every_n_steps)

    def on_train_begin(self, logs=None):
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
            self._hook.after_create_session(tf_internal.keras_session(), None)

    def on_train_batch_end(self, batch, logs=None):
        session = tf_internal.keras_session()
        with session.graph.as_default():
            step = session.run(self._quantized.quantize_positions.step)
            self._hook.after_run(types.SimpleNamespace(session=session), types.SimpleNamespace(results=step - 1))

    def on_epoch_end(self, epoch, logs=None):
        session = tf_internal.keras_session()
        step = int(session.run(self._quantized.quantize_positions.step))
        with session.graph.as_default():
            self._saver.save(session, os.path.join(self._config.output_dir, 'model.ckpt'), step)
            self._listener.after_save(session, step)

    def on_train_end(self, logs=None):
        with tf.get_default_graph().as_default():
            self._hook.end(tf_internal.keras_session())
