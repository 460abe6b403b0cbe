"""The history of positions: a file with one JSON object per line, {"step", "tensor", "position"}."""
import bisect
import json
import os
from typing import List, NamedTuple, Optional, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf import errors, fixed_point
from vai_q_tf.wording import some_of

HISTORY_FILE = 'quantize_position_history.jsonl'


class PositionChange(NamedTuple):
    """The position that a tensor has from a global step on.

    Attributes:
      step: the global step.
      tensor: the name of its FixNeuron.
      position: fractional bits.
    """
    step: int
    tensor: str
    position: int


def to_line(change: PositionChange) -> str:
    """The line of a PositionChange, with its line break."""
    return json.dumps(change._asdict()) + '\n'


def read_history(directory: str) -> List[PositionChange]:
    """The PositionChanges in the history of a directory; [] if it has no history.

    Damaged lines, which a crash of the machine can leave, are skipped with a warning. A last line without a line break was not
    completely written and is skipped silently.

    Raises:
      QuantizeError: INVALID_INPUT if the file cannot be read.
    """
    path = os.path.join(directory, HISTORY_FILE)
    try:
        with open(path, 'rb') as stream:
            lines = stream.read().split(b'\n')[:-1]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise errors.QuantizeError(errors.INVALID_INPUT, 'Cannot read', 'The history of positions {!r}: {}. Move it away, or '
                                   'give another output_dir.'.format(path, error.strerror)) from error
    found = [(number, _change(line)) for number, line in enumerate(lines, 1)]
    kept = _in_order([(number, change) for number, change in found if change is not None])
    damaged = sorted({number for number, _ in found} - {number for number, _ in kept})
    if damaged:
        tf.logging.warning('%s: left out line %s, which cannot be read or has a step out of order. The training itself is not '
                           'concerned.', path, some_of(map(str, damaged)))
    return [change for _, change in kept]


def _in_order(found: List[Tuple[int, PositionChange]]) -> List[Tuple[int, PositionChange]]:
    """The longest part of the (line number, PositionChange) whose steps do not decrease."""
    # Longest non-decreasing subsequence. ends[n]: the index with the least step, steps[n], at which one of n + 1 members ends;
    # before[index]: the index that precedes it there.
    ends: List[int] = []
    steps: List[int] = []
    before: List[Optional[int]] = []
    for index, (_, change) in enumerate(found):
        place = bisect.bisect_right(steps, change.step)
        before.append(ends[place - 1] if place else None)
        ends[place:place + 1], steps[place:place + 1] = [index], [change.step]
    kept = []
    last = ends[-1] if ends else None
    while last is not None:
        kept.append(found[last])
        last = before[last]
    return kept[::-1]


def _change(line: bytes) -> Optional[PositionChange]:
    """The PositionChange of a line; None if it is damaged."""
    try:
        change = PositionChange(**json.loads(line.decode()))
    except (ValueError, TypeError, RecursionError):
        return None
    if type(change.step) is not int or type(change.position) is not int or not isinstance(change.tensor, str):
        return None
    in_range = fixed_point.POSITION_MIN <= change.position <= fixed_point.POSITION_ZERO
    return change if in_range and 0 <= change.step < 1 << 63 else None
