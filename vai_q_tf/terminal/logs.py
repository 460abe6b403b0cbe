"""Log messages of a command, or of quantizing a network. All of them go through TensorFlow's logger."""
import contextlib
import logging
import os
import re
import sys
from typing import Iterator, List

from vai_q_tf.terminal.progress import between_bars
from vai_q_tf.terminal.streams import complain

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_OF_TENSORFLOW = re.compile(r'[/\\](tensorflow|tensorflow_core|tensorflow_estimator|tensorboard)[/\\]')


class _OneLook(logging.Handler):
    """Prints messages in the form of the command's own; those of TensorFlow's code only if `shows_all`."""

    def __init__(self, command: str, shows_all: bool) -> None:
        super().__init__()
        self._command, self._shows_all = command, shows_all

    def emit(self, record: logging.LogRecord) -> None:
        """Prints the message, with further lines indented."""
        if not self._shows_all and record.levelno < logging.ERROR and _OF_TENSORFLOW.search(record.pathname):
            return
        first, *others = record.getMessage().splitlines() or ['']
        with between_bars():
            complain(self._command, '{}: {}'.format(record.levelname.lower(), first))
            for line in others:
                print('  ' + line, file=sys.stderr, flush=True)


class _Collector(logging.Filter):
    """Adds the warnings of this package to a list, and hides records below the level `wanted`."""

    def __init__(self, found: List[str], wanted: int) -> None:
        super().__init__()
        self._found, self._wanted = found, wanted

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the user wants to see the record."""
        if record.levelno == logging.WARNING and os.path.abspath(record.pathname).startswith(_PACKAGE):
            self._found.append(record.getMessage())
        return record.levelno >= self._wanted


@contextlib.contextmanager
def logged_as(command: str, shows_all: bool = False) -> Iterator[None]:
    """Prints messages as 'vai_q_tensorflow quantize: warning: ...', and leaves out TensorFlow's own unless `shows_all`."""
    logger = logging.getLogger('tensorflow')
    handlers, propagates = logger.handlers[:], logger.propagate
    logger.handlers[:], logger.propagate = [_OneLook(command, shows_all)], False
    try:
        yield
    finally:
        logger.handlers[:], logger.propagate = handlers, propagates


@contextlib.contextmanager
def collected() -> Iterator[List[str]]:
    """Collects the warnings that this package logs inside, even if the log level hides them."""
    found: List[str] = []
    logger = logging.getLogger('tensorflow')
    before, wanted = logger.level, logger.getEffectiveLevel()
    collector, needed = _Collector(found, wanted), min(wanted, logging.WARNING)
    logger.addFilter(collector)
    logger.setLevel(needed)
    try:
        yield found
    finally:
        logger.removeFilter(collector)
        if logger.level == needed:  # otherwise the code inside has set another level
            logger.setLevel(before)
