"""SynchronizePositionsHook: common positions for processes that train copies of one network, as under Horovod.

Lifecycle. Positions are no variables, so what broadcasts the global variables leaves them out. `begin()` makes two ops from the
functions that are given. Once the session exists, the votes of the process that restored a checkpoint go to all; after each run
the votes of all are averaged. So every process starts a step with the same votes, and its own vote of that step decides only
where two positions are as good as equal. The hook stands after the one that rewrites the graph, if a hook does that, and every
process has it.
"""
import tensorflow.compat.v1 as tf

from vai_q_tf import ops
from vai_q_tf.config import require_config
from vai_q_tf.qat import graph_record


class SynchronizePositionsHook(tf.estimator.SessionRunHook):
    """Keeps the votes for quantize positions equal in all processes.

    With Horovod: SynchronizePositionsHook(config, lambda votes: hvd.broadcast(votes, 0), hvd.allreduce).

    Args:
      config: the QuantizeConfig of the training; a graph that was rewritten for other nodes is refused. It may be left out,
        and then the graph may be any quantize training graph: SynchronizePositionsHook(broadcast, average).
      broadcast: function (tf.Tensor) -> tf.Tensor, the value that the first process has.
      average: function (tf.Tensor) -> tf.Tensor, the mean over the processes.

    Raises:
      TypeError: an argument of a wrong type.
    """

    def __init__(self, config=None, broadcast=None, average=None):
        if callable(config) and broadcast is None:
            config, broadcast = None, config
        elif callable(config) and average is None:
            config, broadcast, average = None, config, broadcast
        for name, function in (('broadcast', broadcast), ('average', average)):
            if not callable(function):
                raise TypeError('{} must be a function, got {}: {!r}'.format(name, type(function).__name__, function))
        self._config = config if config is None else require_config(config)
        self._broadcast = broadcast
        self._average = average

    def begin(self):
        """Raises QuantizeError where the default graph is not a quantize training graph, or one of another range."""
        graph = tf.get_default_graph()
        plan = graph_record.training_plan(graph)
        if self._config is not None:
            graph_record.check_same_range(plan, self._config)
        tables = graph_record.tables(graph)
        with tf.device(None), tf.device(tables[0].handle.device):
            self._start = _exchange(self._broadcast, tables)
            self._step = _exchange(self._average, tables[:1])

    def after_create_session(self, session, coord):
        """Gives all processes the votes of the first one."""
        session.run(self._start)

    def after_run(self, run_context, run_values):
        """Averages the votes of all processes."""
        run_context.session.run(self._step)


def _exchange(function, tables):
    """An op that gives the Tables what the function makes of their values, all in one call of it."""
    sizes = [table.values.shape[0].value for table in tables]
    values = tf.split(function(tf.concat([table.values for table in tables], 0)), sizes)
    return tf.group(*[ops.write_positions(table.handle, value, rows=size) for table, value, size in zip(tables, values, sizes)])
