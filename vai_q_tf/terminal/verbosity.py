"""How much is said of what is going on: progress and summaries, on stderr."""
import contextlib
import logging
import sys

from vai_q_tf import errors

QUIET, NORMAL, VERBOSE = LEVELS = ('quiet', 'normal', 'verbose')
_level = NORMAL


def set_verbosity(level):
    """Says how much the Python functions and a training write to stderr.

    level: 'quiet': warnings and errors alone; 'normal': progress and summaries, too; 'verbose': also the messages of the level
      INFO of tf.logging, such as what each pass changed.

    Raises:
      QuantizeError: INVALID_CONFIG for another level.
    """
    global _level
    if level not in LEVELS:
        raise errors.QuantizeError(errors.INVALID_CONFIG, 'Invalid parameter', 'verbosity is {!r}; choose {}.'.format(
            level, ', '.join(LEVELS[:-1]) + ' or ' + LEVELS[-1]))
    _level = level
    if level == VERBOSE:
        logging.getLogger('tensorflow').setLevel(logging.INFO)


@contextlib.contextmanager
def verbosity(level):
    """Has this verbosity until it is left."""
    global _level
    before, logger = _level, logging.getLogger('tensorflow')
    threshold = logger.level
    set_verbosity(level)
    try:
        yield
    finally:
        _level = before
        logger.setLevel(threshold)


def is_quiet():
    return _level == QUIET


def note(text):
    """Prints lines on stderr, at once, unless it is to be quiet."""
    if not is_quiet():
        print(text, file=sys.stderr, flush=True)
