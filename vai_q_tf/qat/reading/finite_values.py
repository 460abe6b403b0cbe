"""Refuses NaN and infinity, which a diverged training leaves in its checkpoints."""
import numpy as np

from vai_q_tf import errors
from vai_q_tf.types import Values
from vai_q_tf.wording import some_of

_SHOWN = 5


def require_finite(values: Values, checkpoint: str) -> Values:
    """`values`, all of which are finite.

    checkpoint: the prefix that they come from, for the message.

    Raises:
      QuantizeError: NOT_FINITE with the names of those that have NaN or infinity, and the number of such elements.
    """
    bad = {name: int(np.size(value) - np.isfinite(value).sum()) for name, value in sorted(values.items())
           if np.asarray(value).dtype.kind == 'f' and not np.isfinite(value).all()}
    if not bad:
        return values
    shown = some_of(('{!r} ({} of {} elements)'.format(name, bad[name], np.size(values[name])) for name in bad), _SHOWN)
    raise errors.QuantizeError(
        errors.NOT_FINITE, 'Not finite',
        'The checkpoint {!r} gives NaN or infinity for {}. The training diverged: go back to an earlier checkpoint, and '
        'lower the learning rate or clip gradients.'.format(checkpoint, shown))
