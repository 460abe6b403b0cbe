"""What is logged while a command runs, or while a network is quantized. All of it goes through the logger of TensorFlow."""
import contextlib
import logging
import os
import re
import sys

from vai_q_tf.terminal.progress import between_bars
from vai_q_tf.terminal.streams import complain

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_OF_TENSORFLOW = re.compile(r'[/\\](tensorflow|tensorflow_core|tensorflow_estimator|tensorboard)[/\\]')


class _OneLook(logging.Handler):
    """Prints messages as those of the command; `shows_all`: those of TensorFlow's own code, too."""

    def __init__(self, command, shows_all):
        super().__init__()
        self._command, self._shows_all = command, shows_all

    def emit(self, record):
        if not self._shows_all and record.levelno < logging.ERROR and _OF_TENSORFLOW.search(record.pathname):
            return
        first, *others = record.getMessage().splitlines() or ['']
        with between_bars():
            complain(self._command, '{}: {}'.format(record.levelname.lower(), first))
            for line in others:
                print('  ' + line, file=sys.stderr, flush=True)


class _Collector(logging.Filter):
    """Sees all records of a logger, and lets those of a level pass that the user wants to see."""

    def __init__(self, found, wanted):
        super().__init__()
        self._found, self._wanted = found, wanted

    def filter(self, record):
        if record.levelno == logging.WARNING and os.path.abspath(record.pathname).startswith(_PACKAGE):
            self._found.append(record.getMessage())
        return record.levelno >= self._wanted


@contextlib.contextmanager
def logged_as(command, shows_all=False):
    """Messages look like 'vai_q_tensorflow quantize: warning: ...'; TensorFlow's own are left out unless `shows_all`."""
    logger = logging.getLogger('tensorflow')
    handlers, propagates = logger.handlers[:], logger.propagate
    logger.handlers[:], logger.propagate = [_OneLook(command, shows_all)], False
    try:
        yield
    finally:
        logger.handlers[:], logger.propagate = handlers, propagates


@contextlib.contextmanager
def collected():
    """A list of the warnings that this package logs inside, also of those that the level of the log hides."""
    found, logger = [], logging.getLogger('tensorflow')
    before, wanted = logger.level, logger.getEffectiveLevel()
    collector, needed = _Collector(found, wanted), min(wanted, logging.WARNING)
    logger.addFilter(collector)
    logger.setLevel(needed)
    try:
        yield found
    finally:
        logger.removeFilter(collector)
        if logger.level == needed:  # else somebody has changed it meanwhile
            logger.setLevel(before)
