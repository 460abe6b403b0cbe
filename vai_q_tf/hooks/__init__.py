"""The hooks: each does one job, in any MonitoredSession and in every tf.estimator.Estimator.

A training that uses them goes through these stages, which TensorFlow calls in this order:

1. The program builds the float network, its gradients and its train op, without knowing of quantization.
2. `begin()`. `QuantizeTrainingHook` rewrites the graph and its gradients. It has to come first: what other hooks look for, and
   what a Saver saves, is there only afterwards. (A graph that was rewritten before, by CreateQuantizeTrainingGraph for example,
   needs no QuantizeTrainingHook.) `QuantizeCheckpointListener` builds the evaluation network in a graph of its own,
   `SynchronizePositionsHook` its two ops. No other stage adds an op: the graph is finalized next.
3. The session is made: variables are initialised or restored from the latest checkpoint, and with them the votes for the
   quantize positions. `after_create_session()`: `SynchronizePositionsHook` gives all processes the votes of the first,
   `QuantizePositionHook` drops from its history what lies after that checkpoint.
4. `before_run()` and `after_run()`, once for each step. The network votes for positions by itself; the hooks look on, average
   votes between processes, or hold the positions from a step on.
5. Whenever a checkpoint is saved: `QuantizeCheckpointListener.after_save()` writes the quantized model of that checkpoint. What
   fails here is logged and never stops the training.
6. `end()`: `QuantizePositionHook` reports once more. The last checkpoint has its model by then.

`QuantizeExporter` works beside them: `tf.estimator.train_and_evaluate` calls it after each evaluation.

Each hook may be used for several sessions, one after another: it makes what belongs to a graph anew in every `begin()`. In a
cluster all workers have the same hooks, and only the chief writes files.
"""
from vai_q_tf.hooks.checkpoint_listener import QuantizeCheckpointListener
from vai_q_tf.hooks.exporter import QuantizeExporter
from vai_q_tf.hooks.position_hook import QuantizePositionHook
from vai_q_tf.hooks.synchronize_hook import SynchronizePositionsHook
from vai_q_tf.hooks.training_hook import QuantizeTrainingHook

__all__ = [
    'QuantizeCheckpointListener', 'QuantizeExporter', 'QuantizePositionHook', 'QuantizeTrainingHook',
    'SynchronizePositionsHook',
]
