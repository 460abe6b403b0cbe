"""The positions of a rewritten graph as a value that Python code saves and restores, as object-based checkpoints do."""
import io

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import ops, tf_internal
from vai_q_tf.qat import checkpoints, graph_record


class PositionState(tf.train.experimental.PythonState):
    """The votes for all positions and the global step, in the session of tf.keras.

    Args:
      graph: a live tf.Graph that `create_training_graph` rewrote.
      step: the variable of the global step.

    Attributes:
      step: that variable.
      track: the bool tf.Tensor that lets positions move.
    """

    def __init__(self, graph, step):
        super().__init__()
        self._identities = graph_record.identities_of_rows(graph)
        self.step = step
        self.track = graph_record.track(graph)
        self._votes = graph_record.votes(graph)
        with graph.as_default(), tf.name_scope(None), tf.control_dependencies(None):
            self._loaded_votes = tf.placeholder(tf.float32, self._votes.shape, 'vai_q_tf/loaded_votes')
            self._loaded_step = tf.placeholder(step.dtype.base_dtype, [], 'vai_q_tf/loaded_step')
            self._load = tf.group(
                ops.write_positions(graph_record.state(graph), self._loaded_votes, len(self._identities)),
                tf.assign(step, self._loaded_step))

    def serialize(self):
        """The state as bytes."""
        votes, step = tf_internal.keras_session().run([self._votes, self.step])
        stream = io.BytesIO()
        rows = self._identities.values()
        np.savez(stream, tensors=np.array(list(self._identities)), variables=np.array([row.variable for row in rows]),
                 structures=np.array([row.structure for row in rows]), votes=votes, step=step)
        return stream.getvalue()

    def deserialize(self, string_value):
        """Restores what `serialize` gave, in version 0.1.0 too; tensors that it does not have are left without a vote."""
        saved = np.load(io.BytesIO(string_value), allow_pickle=False)
        rows = checkpoints.rows_of(self._identities, *(
            saved[key].tolist() if key in saved.files else () for key in ('tensors', 'variables', 'structures')))
        empty = np.zeros(self._votes.shape[1].value, np.float32)
        tf_internal.keras_session().run(self._load, {
            self._loaded_votes: [empty if row is None else saved['votes'][row] for row in rows.values()],
            self._loaded_step: saved['step']})
