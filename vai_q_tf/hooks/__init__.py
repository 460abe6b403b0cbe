"""Hooks for quantization-aware training; each does one job, in any MonitoredSession and in every tf.estimator.Estimator.

TensorFlow calls a hook at fixed stages of a training. A training with these hooks goes through them in this order:

1. The program builds the float network, its gradients and its train op. None of this involves quantization.
2. `begin()`, before the session exists. `QuantizeTrainingHook` rewrites the graph and its gradients; list it first, because
   the other hooks need the rewritten graph. (A graph that is rewritten already, by CreateQuantizeTrainingGraph for example,
   needs no QuantizeTrainingHook.) `QuantizeCheckpointListener` builds the evaluation network in a separate graph; in an
   Estimator its `begin()` comes before those of the hooks, so if nothing is quantized yet, it waits for the first save.
   `QuantizePositionHook` adds the ops of its statistics, and `SynchronizePositionsHook` adds its two ops. TensorFlow then
   creates the Saver, which therefore saves the positions as well, and finalizes the graph.
3. The session is created. Variables and the votes for the quantize positions are initialized, or restored from the latest
   checkpoint. `after_create_session()`: `SynchronizePositionsHook` copies the votes of the first process to all others, and
   `QuantizePositionHook` drops the part of its history that is later than that checkpoint.
4. `before_run()` and `after_run()`, once per step. The network itself votes for positions; the hooks record the positions,
   average the votes of several processes, or freeze the positions from a given step.
5. `QuantizeCheckpointListener.after_save()`, after each checkpoint: it writes the quantized model of the checkpoint. If that
   fails, the error is logged and the training continues.
6. `end()`: `QuantizePositionHook` reports once more. The model of the last checkpoint is written before that.

`QuantizeExporter` is not part of this sequence: `tf.estimator.train_and_evaluate` calls it after each evaluation.

A hook may be used for several sessions in a row: each `begin()` creates everything that belongs to a graph anew. In a cluster
all workers have the same hooks, and only the chief writes files.
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
