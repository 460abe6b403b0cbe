"""The positions of a rewritten graph as bytes, for object-based checkpoints and files of weights."""
import io
import zipfile
import zlib
from typing import Dict, List, Optional, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors, ops, tf_internal
from vai_q_tf.qat import checkpoints, graph_record
from vai_q_tf.qat.averages.average_saveable import saveable_of
from vai_q_tf.qat.positions.position_saveable import BEGINS_ANEW
from vai_q_tf.wording import some_of

_NAMES = ('tensors', 'variables', 'structures')  # the arrays that identify the rows of votes


class PositionState(tf.train.experimental.PythonState):
    """The votes for all positions, the averaged weights and the global step, in the session of tf.keras.

    Args:
      graph: a live tf.Graph that `create_training_graph` rewrote.
      step: the variable of the global step.

    Attributes:
      step: that variable.
      track: the bool tf.Tensor that lets positions move.
    """

    def __init__(self, graph: tf.Graph, step: tf.Variable) -> None:
        super().__init__()
        self._identities = graph_record.identities_of_rows(graph)
        self.step = step
        self.track = graph_record.track(graph)
        self._tables = graph_record.tables(graph)
        self._votes = self._tables[0].values
        self._averages = saveable_of(graph)
        with graph.as_default(), tf.name_scope(None), tf.control_dependencies(None):
            self._loaded = [tf.placeholder(tf.float32, table.values.shape, 'vai_q_tf/loaded_votes') for table in self._tables]
            self._loaded_step = tf.placeholder(step.dtype.base_dtype, [], 'vai_q_tf/loaded_step')
            self._load = tf.group(tf.assign(step, self._loaded_step), *[
                ops.write_positions(table.handle, loaded, loaded.shape[0].value)
                for table, loaded in zip(self._tables, self._loaded)])
            if self._averages is not None:
                self._loaded_averages = [
                    tf.placeholder(value.dtype, None, 'vai_q_tf/loaded_average') for value in self._averages.saved]
                self._load_averages = self._averages.write(self._loaded_averages[0], lambda: self._loaded_averages[1:])

    def serialize(self) -> bytes:
        """The state as bytes."""
        averages = [] if self._averages is None else self._averages.saved
        (votes, *start), step, averages = tf_internal.keras_session().run(
            [[table.values for table in self._tables], self.step, averages])
        stream = io.BytesIO()
        rows = self._identities.values()
        np.savez(stream, tensors=np.array(list(self._identities)), variables=np.array([row.variable for row in rows]),
                 structures=np.array([row.structure for row in rows]), bits=np.array([row.bits for row in rows]),
                 votes=votes, step=step,
                 **({'start': start[0]} if start else {}), **self._named_averages(averages))
        return stream.getvalue()

    def deserialize(self, string_value: bytes) -> None:
        """Restores bytes of `serialize`, also of version 0.1.0; tensors that they lack get no votes.

        Raises:
          QuantizeError: INVALID_INPUT if they are damaged.
        """
        self.load(self.parse(string_value))

    def parse(self, string_value: bytes) -> Dict[str, np.ndarray]:
        """The argument of `load` for bytes of `serialize`; raises the same as `deserialize`."""
        try:
            with np.load(io.BytesIO(string_value), allow_pickle=False) as stream:
                saved = {name: stream[name] for name in stream.files}
            self._check(saved)
        except (OSError, KeyError, ValueError, TypeError, AttributeError, EOFError, NotImplementedError, zipfile.BadZipFile,
                zlib.error) as error:
            raise errors.QuantizeError(errors.INVALID_INPUT, 'Damaged positions', 'The quantize positions are damaged ({}). '
                                       'Load other weights.'.format(error)) from error
        return saved

    def _check(self, saved: Dict[str, np.ndarray]) -> None:
        """Raises some exception if arrays are missing, or their shapes or values impossible."""
        names = [saved[key] for key in _NAMES if key in saved or key == 'tensors']
        votes, start, columns = saved['votes'], saved.get('start'), self._votes.shape[1].value
        saved.setdefault('bits', np.zeros(len(votes)))  # unknown
        if (votes.shape != (names[0].size, columns) or any(texts.shape != (len(votes),) for texts in names)
                or saved['step'].shape != () or start is not None and start.shape != (1, columns)
                or saved['bits'].shape != (len(votes),)
                or not all(np.isfinite(saved[key].astype(np.float32)).all() for key in ('votes', 'bits'))):
            raise ValueError('it is no table of votes')

    def load(self, saved: Dict[str, np.ndarray]) -> None:
        """Restores a value of `parse`."""
        rows = checkpoints.rows_of(self._identities, *(saved[key].tolist() if key in saved else () for key in _NAMES))
        empty = np.zeros(self._votes.shape[1].value, np.float32)
        start = saved['start'] if 'start' in saved else [empty]
        others = self._others(saved, rows)
        if others:
            tf.logging.warning(BEGINS_ANEW.format(some_of(others)))
            rows, start = dict.fromkeys(rows), [empty]
        values = [[empty if row is None else saved['votes'][row] for row in rows.values()], start]
        tf_internal.keras_session().run(self._load, {self._loaded_step: saved['step'], **dict(zip(self._loaded, values))})
        if self._averages is not None:
            self._load_averages_of(saved)

    def forget(self) -> None:
        """Empties the state, but for the global step."""
        step = tf_internal.keras_session().run(self.step)
        self.load({'tensors': np.array([]), 'votes': np.zeros([0]), 'bits': np.zeros([0]), 'step': step})

    def _others(self, saved: Dict[str, np.ndarray], rows: Dict[str, Optional[int]]) -> List[str]:
        """The tensors that are a reason to begin anew, see `PositionSaveable`."""
        if not saved['votes'].any() or not saved['bits'].any():
            return []
        return checkpoints.of_other_bits(self._identities, rows, saved['bits'].tolist()) + [
            name + ' (not in the checkpoint)' for name, row in rows.items() if row is None]

    def _named_averages(self, values: Sequence[np.ndarray]) -> Dict[str, np.ndarray]:
        """{name: value} of the averages; {} if no step was averaged."""
        return dict(zip(self._average_names(), values)) if values and values[0][0] else {}

    def _average_names(self) -> List[str]:
        return [] if self._averages is None else [value.op.name for value in self._averages.saved]

    def _load_averages_of(self, saved: Dict[str, np.ndarray]) -> None:
        """Restores the averages if `saved` has those of all variables, else drops the averages of the model."""
        names = self._average_names()
        values = [np.zeros([2], np.int64)] + [np.zeros([0])] * (len(names) - 1)
        if saved.keys() >= set(names):
            values = [saved[name] for name in names]
        tf_internal.keras_session().run(self._load_averages, dict(zip(self._loaded_averages, values)))
