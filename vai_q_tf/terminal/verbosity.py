"""Verbosity of progress and summaries on stderr."""
import contextlib
import logging
import sys
from typing import Iterator

from vai_q_tf import errors

QUIET, NORMAL, VERBOSE = LEVELS = ('quiet', 'normal', 'verbose')
_level = NORMAL


def set_verbosity(level: str) -> None:
    """Sets how much the Python functions and a training write to stderr.

    Args:
      level: 'quiet': only warnings and errors; 'normal': also progress and summaries; 'verbose': also messages of the level
        INFO of tf.logging, such as the changes of each pass.

    Raises:
      QuantizeError: INVALID_CONFIG, another level.
    """
    global _level
    if level not in LEVELS:
        raise errors.QuantizeError(errors.INVALID_CONFIG, 'Invalid parameter', 'verbosity is {!r}; choose {}.'.format(
            level, ', '.join(LEVELS[:-1]) + ' or ' + LEVELS[-1]))
    _level = level
    if level == VERBOSE:
        logging.getLogger('tensorflow').setLevel(logging.INFO)


@contextlib.contextmanager
def verbosity(level: str) -> Iterator[None]:
    """A context with this verbosity."""
    global _level
    before, logger = _level, logging.getLogger('tensorflow')
    threshold = logger.level
    set_verbosity(level)
    try:
        yield
    finally:
        _level = before
        logger.setLevel(threshold)


def is_quiet() -> bool:
    """Whether the verbosity is QUIET."""
    return _level == QUIET


def note(text: str) -> None:
    """Prints lines on stderr, and flushes it, unless the verbosity is QUIET."""
    if not is_quiet():
        print(text, file=sys.stderr, flush=True)
