"""What the command prints: whatever stdout and stderr are, nothing that it wrote is spoilt by a line that cannot be printed."""
import errno
import io
import mmap
import os
import sys

from vai_q_tf import errors
from vai_q_tf.terminal.colours import KINDS, coloured


class _Patient:
    """A text stream that goes on where it cannot be written, and keeps the OSError as `error`."""

    def __init__(self, stream, error=None):
        self._stream = stream
        self.error = error
        self._open_line = mmap.mmap(-1, 1)  # child processes share it

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def write(self, text):
        self._try(self._stream.write, text)
        if text:
            self._open_line[0] = not text.endswith(('\n', '\r'))
        return len(text)

    def end_line(self):
        """Ends a line that has no end yet, as that of a progress bar."""
        if self._open_line[0]:
            self.write('\n')
            self.flush()

    def flush(self):
        self._try(self._stream.flush)

    def _try(self, function, *arguments):
        try:
            function(*arguments)
        except OSError as error:
            self.error = error


def be_patient():
    """Makes stdout and stderr of this process such streams, which print in ASCII what their encoding does not have.

    What was closed discards what it is given; its file descriptor is not left to the first file that is opened.
    """
    while True:
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor > 2:
            os.close(descriptor)
            break
        os.set_inheritable(descriptor, True)
    for name in ('stdout', 'stderr'):
        stream = getattr(sys, name)
        if stream is None:
            patient = _Patient(open(os.devnull, 'w'), OSError(errno.EBADF, 'It is closed'))
        else:
            lines, encoding = stream.line_buffering, stream.encoding
            patient = _Patient(io.TextIOWrapper(stream.detach(), encoding, 'backslashreplace', line_buffering=lines))
        setattr(sys, name, patient)
        setattr(sys, '__{}__'.format(name), patient)


def say(text):
    """Prints lines on stdout, at once; an OSError where that fails, but for a reader that has gone."""
    try:
        print(text, flush=True)
        if getattr(sys.stdout, 'error', None) is not None:
            raise sys.stdout.error
    except BrokenPipeError:
        pass


def not_printed(error):
    """The QuantizeError for an OSError of `say`."""
    return errors.QuantizeError(errors.INVALID_CONFIG, 'Cannot write', 'stdout: {}.'.format(error.strerror))


def complain(command, message):
    """Prints 'vai_q_tensorflow <command>: <message>' as one line on stderr; a message may begin with 'error: ' and the like."""
    if isinstance(sys.stderr, _Patient):
        sys.stderr.end_line()
    name = 'vai_q_tensorflow' + (' ' + command if command else '')
    text = ' '.join(line.strip() for line in message.splitlines())
    kind, colon, rest = text.partition(': ')
    if kind in KINDS:
        text = coloured(kind + colon.rstrip(), kind, sys.stderr) + ' ' + rest
    print('{}: {}'.format(name, text), file=sys.stderr, flush=True)
