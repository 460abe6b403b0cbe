"""Printing of the command: if stdout or stderr cannot be written, the command goes on, and keeps the files that it wrote."""
import contextlib
import errno
import io
import mmap
import os
import sys
from typing import Any, Callable, Optional, TextIO

from vai_q_tf import errors
from vai_q_tf.terminal.colours import KINDS, coloured


class _Patient:
    """A text stream that does not raise an OSError when it is written to, but keeps it as `error`."""

    def __init__(self, stream: TextIO, error: Optional[OSError] = None) -> None:
        self._stream = stream
        self.error = error
        self._open_line = mmap.mmap(-1, 1)  # child processes share it

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Writes the text as far as possible, and returns its length."""
        self._try(self._stream.write, text)
        if text:
            self._open_line[0] = not text.endswith(('\n', '\r'))
        return len(text)

    def end_line(self) -> None:
        """Ends a line that is not complete, such as a progress bar."""
        if self._open_line[0]:
            self.write('\n')
            self.flush()

    def flush(self) -> None:
        """Flushes the stream as far as possible."""
        self._try(self._stream.flush)

    def _try(self, function: Callable[..., Any], *arguments: str) -> None:
        try:
            function(*arguments)
        except OSError as error:
            self.error = error


def be_patient() -> None:
    """Makes stdout and stderr patient, and lets them escape characters that their encoding lacks.

    A closed stream discards its text, and its file descriptor is not given to the next file that is opened.
    """
    _open_standard_descriptors()
    for name in ('stdout', 'stderr'):
        stream = getattr(sys, name)
        if stream is None:
            patient = _Patient(open(os.devnull, 'w'), OSError(errno.EBADF, 'It is closed'))
        else:
            lines, encoding = stream.line_buffering, stream.encoding
            patient = _Patient(io.TextIOWrapper(stream.detach(), encoding, 'backslashreplace', line_buffering=lines))
        setattr(sys, name, patient)
        setattr(sys, '__{}__'.format(name), patient)


def _open_standard_descriptors() -> None:
    """Opens /dev/null for each of the descriptors 0 to 2 that is closed."""
    while True:
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor > 2:
            os.close(descriptor)
            return
        os.set_inheritable(descriptor, True)


def say(text: str) -> None:
    """Prints lines on stdout, and flushes it.

    Raises:
      OSError: printing fails, unless the reader of a pipe is gone.
    """
    with contextlib.suppress(BrokenPipeError):
        print(text, flush=True)
        error = getattr(sys.stdout, 'error', None)
        if error is not None:
            raise error


def not_printed(error: OSError) -> errors.QuantizeError:
    """The QuantizeError for an OSError of `say`."""
    return errors.QuantizeError(errors.INVALID_CONFIG, 'Cannot write', 'stdout: {}.'.format(error.strerror))


def complain(command: str, message: str) -> None:
    """Prints 'vai_q_tensorflow <command>: <message>' as one line on stderr, and colours 'error: ' or the like at its start."""
    if isinstance(sys.stderr, _Patient):
        sys.stderr.end_line()
    name = 'vai_q_tensorflow' + (' ' + command if command else '')
    text = ' '.join(line.strip() for line in message.splitlines())
    kind, colon, rest = text.partition(': ')
    if kind in KINDS:
        text = coloured(kind + colon.rstrip(), kind, sys.stderr) + ' ' + rest
    print('{}: {}'.format(name, text), file=sys.stderr, flush=True)
