"""SynchronizePositionsHook: common positions for processes that train copies of one network, as under Horovod.

Lifecycle. Positions are no variables, so what broadcasts the global variables leaves them out. `begin()` makes two ops from the
functions that are given. Once the session exists, the votes of the process that restored a checkpoint go to all; after each run
the votes of all are averaged. So every process starts a step with the same votes, and its own vote of that step decides only
where two positions are as good as equal. The hook stands behind the one that rewrites the graph, if a hook does that, and every
process has it.
"""
import tensorflow.compat.v1 as tf

from vai_q_tf import ops
from vai_q_tf.qat import record


class SynchronizePositionsHook(tf.estimator.SessionRunHook):
    """Keeps the votes for quantize positions equal in all processes.

    With Horovod: SynchronizePositionsHook(lambda votes: hvd.broadcast(votes, 0), hvd.allreduce).

    Args:
      broadcast: function (tf.Tensor) -> tf.Tensor, the value that the first process has.
      average: function (tf.Tensor) -> tf.Tensor, the mean over the processes.
    """

    def __init__(self, broadcast, average):
        self._broadcast = broadcast
        self._average = average

    def begin(self):
        """Raises QuantizeError NOT_QUANTIZED where the default graph is not a quantize training graph."""
        graph = tf.get_default_graph()
        record.training_plan(graph)
        state, votes = record.state(graph), record.votes(graph)
        with tf.device(None), tf.device(state.device):
            self._start, self._step = (ops.write_positions(state, function(votes), rows=votes.shape[0].value)
                                       for function in (self._broadcast, self._average))

    def after_create_session(self, session, coord):
        session.run(self._start)

    def after_run(self, run_context, run_values):
        run_context.session.run(self._step)
