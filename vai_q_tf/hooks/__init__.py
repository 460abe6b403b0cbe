"""The hooks: each does one job, in any MonitoredSession and in every tf.estimator.Estimator.

A training that uses them goes through these stages, which TensorFlow calls in this order:

1. The program builds the float network, its gradients and its train op, and knows nothing of quantization.
2. `begin()`. `QuantizeTrainingHook` rewrites the graph and its gradients; list it before the others, which look for
   what it adds. (A graph that was rewritten already, by CreateQuantizeTrainingGraph for example, needs no
   QuantizeTrainingHook.) `QuantizeCheckpointListener` builds the evaluation network in a graph of its own; an Estimator
   calls it before the hooks, so it waits for the first save if there is nothing quantized yet.
   `SynchronizePositionsHook` makes its two ops. The Saver is made after this stage, so it saves the positions too, and
   then the graph is finalized.
3. The session is made. Variables, and the votes for the quantize positions with them, are initialised or restored from
   the latest checkpoint. `after_create_session()`: `SynchronizePositionsHook` gives all processes the votes of the
   first one; `QuantizePositionHook` drops from its history what comes after that checkpoint.
4. `before_run()` and `after_run()`, once for each step. The network itself votes for positions; the hooks watch,
   average the votes of several processes, or hold the positions from a given step.
5. After each saved checkpoint, `QuantizeCheckpointListener.after_save()` writes its quantized model. An error here is
   logged and never stops the training.
6. `end()`: `QuantizePositionHook` reports once more. The last checkpoint has its model by then.

`QuantizeExporter` works beside them: `tf.estimator.train_and_evaluate` calls it after each evaluation.

A hook may serve several sessions, one after another: it makes whatever belongs to a graph anew in every `begin()`. In a
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
