"""The progress of all that runs batch after batch, or layer after layer: a bar on a terminal, else lines."""
import contextlib
import os
import sys
import time

from tqdm import tqdm

from vai_q_tf.terminal.verbosity import is_quiet, note

_BAR = '{desc}: {percentage:3.0f} %|{bar}| {n_fmt} of {total_fmt} {unit}, {elapsed} so far, {remaining} left'
# Seconds between two lines: at least, where another tenth is done, and at most.
_LEAST, _MOST = 2.0, 30.0
_clock = time.monotonic


def progress(items, count, text, unit='batch'):
    """The items, `count` of them (None: nobody knows), while stderr says how many are done, and how long the rest will take.

    text: what is done, such as 'Calibration'. On a terminal it is one line that changes. Elsewhere lines are added: at the
    beginning of several items, at another tenth or after half a minute, and at the end. Quiet says nothing.
    """
    if is_quiet():
        return items
    units = unit + ('es' if unit.endswith('ch') else 's')
    if sys.stderr.isatty():
        return tqdm(items, total=count, desc=text, unit=units if count else unit, mininterval=0.2,
                    bar_format=_BAR if count else None, **_size())
    return _lines(items, count, text, units)


@contextlib.contextmanager
def stage(text):
    """Says the same of something that is done at once; text: such as 'Writing the model'."""
    for _ in progress([None], 1, text, 'step'):
        yield


@contextlib.contextmanager
def between_bars():
    """What is written to stderr inside is not written into a bar."""
    with tqdm.external_write_mode(file=sys.stderr):
        yield


def _size():
    """The columns and lines of the terminal; some say that they have none."""
    try:
        columns, lines = os.get_terminal_size(sys.stderr.fileno())
    except (OSError, ValueError):
        columns = lines = 0
    return {'ncols': columns or 100, 'nrows': lines or 24}


def _lines(items, count, text, units):
    started = told = _clock()
    done = tenths = 0
    if count != 1:
        note('{}: {}'.format(text, 'begins' if count is None else _number(count, units)))
    for item in items:
        yield item
        done += 1
        now = _clock()
        tenth = 10 * done // count if count else 0
        if done != count and (tenth > tenths and now - told >= _LEAST or now - told >= _MOST):
            told, tenths = now, tenth
            left = ', {} left'.format(_duration((now - started) * (count - done) / done)) if count else ''
            note('{}: {}{}'.format(text, '{} % of {}'.format(100 * done // count, _number(count, units)) if count
                                   else _number(done, units), left))
    note('{}: done, {} in {}'.format(text, _number(done, units), _duration(_clock() - started)))


def _number(count, units):
    return '{} {}'.format(count, (units[:-2] if units.endswith('ches') else units[:-1]) if count == 1 else units)


def _duration(seconds):
    return tqdm.format_interval(seconds) if seconds >= 60 else '{:.0f} s'.format(seconds) if seconds >= 10 else (
        '{:.1f} s'.format(seconds))
