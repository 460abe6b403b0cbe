"""The ops on the table of votes for positions, as Python functions. None has a gradient."""
from vai_q_tf.ops import library


def moving_position(state, batch_position, rows, row, decay, tensor, copies=(), legal=None, calibrating=None,
                    name=None):
    """The most frequent position of row `row` after counting `batch_position`, an int32 scalar.

    fixed_point.vote and fixed_point.mode_position define it.

    Args:
      state: resource handle of a float32 [rows, 256] variable; it needs no initializer.
      batch_position: int32 scalar; NO_OBSERVATION counts nothing.
      rows, row: Python ints, how many tensors share the variable, and which of them this is.
      decay: Python float above 0 and at most 1, the weight of the past at every count.
      tensor: name of the quantized tensor, for messages.
      copies: Python ints, other rows, which every vote makes equal to this one.
      legal: what `legal_positions` gives; its entry is the result where `batch_position` is NO_OBSERVATION.
      calibrating: bool scalar tensor; where it is true the result is NO_OBSERVATION, which leaves values as they are.
      name: of the op.

    Raises:
      tf.errors.FailedPreconditionError: when run, if the row has never counted anything, unless `calibrating` is true.
    """
    return library.load().vai_moving_position(state, batch_position, library.given(legal), library.given(calibrating), rows,
                                              row, decay, tensor, list(copies), name)


def kept_position(state, batch_position, rows, row, tensor, legal=None, calibrating=None, name=None):
    """The most frequent position of row `row` as it is, an int32 scalar; `batch_position` where nothing was counted yet.

    The arguments are those of `moving_position`.

    Raises:
      tf.errors.FailedPreconditionError: when run, if nothing was counted and `batch_position` is NO_OBSERVATION, unless
        `calibrating` is true.
    """
    return library.load().vai_kept_position(state, batch_position, library.given(legal), library.given(calibrating), rows, row,
                                            tensor, name)


def legal_positions(state, rules, name=None):
    """The positions of all rows that the hardware takes, int32 [rows], from the most frequent position of each.

    settle.settle defines it; a group begins with the least position of its sources. A row that has counted nothing
    counts as one of zeros.

    Args:
      state: as in `moving_position`.
      rules: a PositionRules, whose tensors are the rows.
      name: of the op.
    """
    def flat(form):
        constant, terms = form
        return [constant, len(terms)] + [number for term in terms for number in term]

    def fills(pairs):
        return [number for target, form in pairs for number in [target] + flat(form)]

    return library.load().vai_legal_positions(
        state, len(rules.names), groups=list(rules.groups),
        sources=[number for numbers in rules.sources for number in (len(numbers),) + numbers],
        lowest=list(rules.lowest), neighbours=fills(rules.all_neighbours()), defaults=fills(rules.defaults),
        limits=[number for limit in rules.all_limits() for number in [len(limit)] + [n for form in limit for n in flat(form)]],
        level=rules.level, name=name)


def read_positions(state, rows, name=None):
    """The histograms of all rows, float32 [rows, 256]; zeros if nothing was counted yet."""
    return library.load().vai_read_positions(state, rows, name)


def write_positions(state, histograms, rows, name=None):
    """An op that replaces the histograms of all rows by `histograms`, float32 [rows, 256], finite and not negative."""
    return library.load().vai_write_positions(state, histograms, rows, name)


for _op_type in ('VaiMovingPosition', 'VaiKeptPosition', 'VaiLegalPositions', 'VaiReadPositions'):
    library.register_gradient(_op_type, None)
