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


class _Collector(logging.Handler):
    def __init__(self, found):
        super().__init__(logging.WARNING)
        self._found = found

    def emit(self, record):
        if record.levelno == logging.WARNING and os.path.abspath(record.pathname).startswith(_PACKAGE):
            self._found.append(record.getMessage())


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
    """A list of the warnings that this package logs inside."""
    found = []
    handler, logger = _Collector(found), logging.getLogger('tensorflow')
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)
