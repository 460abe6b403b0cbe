"""SynchronizePositionsHook: common positions in processes that train copies of one network, such as under Horovod.

Lifecycle. Positions are not variables, so a broadcast of the global variables does not include them. `begin()` adds two ops
with the given functions. Once the session exists, the process that restored a checkpoint sends its votes to all; after each
run the votes of all are averaged. So every process starts a step with the same votes, and its own vote in that step matters
only if two positions have almost the same number of votes. List the hook after the one that rewrites the graph, if there is
one, in every process.
"""
from typing import Callable, Optional, Sequence, Union, cast

import tensorflow.compat.v1 as tf

from vai_q_tf import ops
from vai_q_tf.config import QuantizeConfig, require_config
from vai_q_tf.qat import graph_record

_Function = Callable[[tf.Tensor], tf.Tensor]


class SynchronizePositionsHook(tf.estimator.SessionRunHook):
    """Keeps the votes for quantize positions equal in all processes.

    With Horovod: SynchronizePositionsHook(config, lambda votes: hvd.broadcast(votes, 0), hvd.allreduce).

    Args:
      config: the QuantizeConfig of the training; a graph that was rewritten for other nodes is refused. It may be omitted for
        any quantize training graph: SynchronizePositionsHook(broadcast, average).
      broadcast: function (tf.Tensor) -> tf.Tensor, the value in the first process.
      average: function (tf.Tensor) -> tf.Tensor, the mean over the processes.

    Raises:
      TypeError: an argument of a wrong type.
    """

    def __init__(self, config: Union[QuantizeConfig, _Function, None] = None, broadcast: Optional[_Function] = None,
                 average: Optional[_Function] = None) -> None:
        if callable(config) and broadcast is None:
            config, broadcast = None, config
        elif callable(config) and average is None:
            config, broadcast, average = None, config, broadcast
        for name, function in (('broadcast', broadcast), ('average', average)):
            if not callable(function):
                raise TypeError('{} must be a function, got {}: {!r}'.format(name, type(function).__name__, function))
        self._config = None if config is None else require_config(config)
        self._broadcast, self._average = cast(_Function, broadcast), cast(_Function, average)  # checked above

    def begin(self) -> None:
        """Adds the two ops; raises QuantizeError if the graph is not a quantize training graph of the config's range."""
        graph = tf.get_default_graph()
        plan = graph_record.training_plan(graph)
        if self._config is not None:
            graph_record.check_same_range(plan, self._config)
        tables = graph_record.tables(graph)
        with tf.device(None), tf.device(tables[0].handle.device):
            self._start = _exchange(self._broadcast, tables)
            self._step = _exchange(self._average, tables[:1])

    def after_create_session(self, session: tf.Session, coord: Optional[tf.train.Coordinator]) -> None:
        """Copies the votes of the first process to all others."""
        session.run(self._start)

    def after_run(self, run_context: tf.estimator.SessionRunContext, run_values: tf.estimator.SessionRunValues) -> None:
        """Averages the votes of all processes."""
        run_context.session.run(self._step)


def _exchange(function: _Function, tables: Sequence[graph_record.Table]) -> tf.Operation:
    """An op that replaces the values of the Tables by the result of `function`, which is called once for all of them."""
    sizes = [table.values.shape[0].value for table in tables]
    values = tf.split(function(tf.concat([table.values for table in tables], 0)), sizes)
    return tf.group(*[ops.write_positions(table.handle, value, rows=size) for table, value, size in zip(tables, values, sizes)])
