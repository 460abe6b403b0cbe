"""Progress of work on batches or layers: a bar on a terminal, lines elsewhere."""
import contextlib
import os
import sys
import time
from typing import Dict, Iterable, Iterator, Optional, TypeVar

from tqdm import tqdm

from vai_q_tf.terminal.verbosity import is_quiet, note

_BAR = '{desc}: {percentage:3.0f} %|{bar}| {n_fmt} of {total_fmt} {unit}, {elapsed} so far, {remaining} left'
# Seconds between two lines: the least, for a line at another tenth, and the most.
_LEAST, _MOST = 2.0, 30.0
_clock = time.monotonic
_Item = TypeVar('_Item')


def progress(items: Iterable[_Item], count: Optional[int], text: str, unit: str = 'batch') -> Iterable[_Item]:
    """The items, while stderr shows how many are done, and how long the others will take; nothing if the verbosity is QUIET.

    On a terminal this is a bar, elsewhere lines: at the start (except for a single item), at each tenth or half minute, and at
    the end.

    Args:
      count: the number of items, None if it is unknown.
      text: the activity, such as 'Calibration'.
    """
    if is_quiet():
        return items
    units = unit + ('es' if unit.endswith('ch') else 's')
    if sys.stderr.isatty():
        return tqdm(items, total=count, desc=text, unit=units if count else unit, mininterval=0.2,
                    bar_format=_BAR if count else None, **_size())
    return _lines(items, count, text, units)


@contextlib.contextmanager
def stage(text: str) -> Iterator[None]:
    """Shows the progress of an activity in a single step, such as 'Writing the model'."""
    for _ in progress([None], 1, text, 'step'):
        yield


@contextlib.contextmanager
def between_bars() -> Iterator[None]:
    """A context in which writing to stderr does not break a bar."""
    with tqdm.external_write_mode(file=sys.stderr):
        yield


def _size() -> Dict[str, int]:
    """The columns and lines of the terminal, as tqdm takes them; a default for a terminal that reports none."""
    try:
        columns, lines = os.get_terminal_size(sys.stderr.fileno())
    except (OSError, ValueError):
        columns = lines = 0
    return {'ncols': columns or 100, 'nrows': lines or 24}


def _lines(items: Iterable[_Item], count: Optional[int], text: str, units: str) -> Iterator[_Item]:
    started = last = _clock()
    done = tenths = 0
    if count != 1:
        note('{}: {}'.format(text, 'begins' if count is None else _number(count, units)))
    for done, item in enumerate(items, 1):
        yield item
        now = _clock()
        tenth = 10 * done // count if count else 0
        if done != count and (tenth > tenths and now - last >= _LEAST or now - last >= _MOST):
            last, tenths = now, tenth
            note('{}: {}'.format(text, _so_far(done, count, units, now - started)))
    note('{}: done, {} in {}'.format(text, _number(done, units), _duration(_clock() - started)))


def _so_far(done: int, count: Optional[int], units: str, seconds: float) -> str:
    if not count:
        return _number(done, units)
    return '{} % of {}, {} left'.format(
        100 * done // count, _number(count, units), _duration(seconds * (count - done) / done))


def _number(count: int, units: str) -> str:
    return '{} {}'.format(count, (units[:-2] if units.endswith('ches') else units[:-1]) if count == 1 else units)


def _duration(seconds: float) -> str:
    if seconds >= 60:
        return tqdm.format_interval(seconds)
    return ('{:.0f} s' if seconds >= 10 else '{:.1f} s').format(seconds)
