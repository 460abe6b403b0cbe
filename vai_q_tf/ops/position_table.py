"""The ops on the table of votes for positions, as Python functions. None of them has a gradient."""
from typing import Any, List, Optional, Sequence, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf.ops import library


def moving_position(state: tf.Tensor, batch_position: tf.Tensor, rows: int, row: int, decay: float, tensor: str,
                    copies: Sequence[int] = (), legal: Optional[tf.Tensor] = None, calibrating: Optional[tf.Tensor] = None,
                    name: Optional[str] = None) -> tf.Tensor:
    """The most frequent position of row `row` after it has counted `batch_position`, an int32 scalar.

    position_histogram.vote and position_histogram.mode_position define it.

    Args:
      state: resource handle of a float32 [rows, 256] variable; it needs no initializer.
      batch_position: int32 scalar; NO_OBSERVATION counts nothing.
      rows: the number of tensors that share the variable.
      row: the index of this tensor among them.
      decay: above 0 and at most 1, the factor of all earlier votes at every count.
      tensor: name of the quantized tensor, for messages.
      copies: other rows, which every vote makes equal to this one.
      legal: the result of `legal_positions`; its entry is returned if `batch_position` is NO_OBSERVATION.
      calibrating: bool scalar tensor; if it is true the result is NO_OBSERVATION, which leaves values unchanged.
      name: of the op.

    Raises:
      tf.errors.FailedPreconditionError: when run, if the row has never counted anything, unless `calibrating` is true.
    """
    return library.load().vai_moving_position(state, batch_position, library.given(legal), library.given(calibrating), rows,
                                              row, decay, tensor, list(copies), name)


def kept_position(state: tf.Tensor, batch_position: tf.Tensor, rows: int, row: int, tensor: str,
                  legal: Optional[tf.Tensor] = None, calibrating: Optional[tf.Tensor] = None,
                  name: Optional[str] = None) -> tf.Tensor:
    """The most frequent position of row `row`, an int32 scalar, without counting; `batch_position` if the row is empty.

    The arguments are those of `moving_position`.

    Raises:
      tf.errors.FailedPreconditionError: when run, if the row is empty and `batch_position` is NO_OBSERVATION, unless
        `calibrating` is true.
    """
    return library.load().vai_kept_position(state, batch_position, library.given(legal), library.given(calibrating), rows, row,
                                            tensor, name)


# constant + the sum of the positions (number of the tensor, factor)
_LinearForm = Tuple[int, Sequence[Tuple[int, int]]]


def legal_positions(state: tf.Tensor, rules: Any, name: Optional[str] = None) -> tf.Tensor:
    """The positions of all rows that the hardware accepts, int32 [rows], from the most frequent position of each.

    settle.settle defines it; a group starts from the least position of its sources. An empty row counts as one of zeros.

    Args:
      state: as in `moving_position`.
      rules: a PositionRules, whose tensors are the rows.
      name: of the op.
    """
    def flat(form: _LinearForm) -> List[int]:
        constant, terms = form
        return [constant, len(terms)] + [number for term in terms for number in term]

    def fills(pairs: Sequence[Tuple[int, _LinearForm]]) -> List[int]:
        return [number for target, form in pairs for number in [target] + flat(form)]

    return library.load().vai_legal_positions(
        state, len(rules.names), groups=list(rules.groups),
        sources=[number for numbers in rules.sources for number in (len(numbers),) + numbers],
        lowest=list(rules.lowest), neighbours=fills(rules.all_neighbours()), defaults=fills(rules.defaults),
        limits=[number for limit in rules.all_limits() for number in [len(limit)] + [n for form in limit for n in flat(form)]],
        level=rules.level, name=name)


def read_positions(state: tf.Tensor, rows: int, name: Optional[str] = None) -> tf.Tensor:
    """The histograms of all rows, float32 [rows, 256]; zeros if nothing was counted yet."""
    return library.load().vai_read_positions(state, rows, name)


def write_positions(state: tf.Tensor, histograms: tf.Tensor, rows: int, name: Optional[str] = None) -> tf.Operation:
    """An op that replaces the histograms of all rows by `histograms`, float32 [rows, 256], finite and not negative."""
    return library.load().vai_write_positions(state, histograms, rows, name)


for _op_type in ('VaiMovingPosition', 'VaiKeptPosition', 'VaiLegalPositions', 'VaiReadPositions'):
    library.register_gradient(_op_type, None)
