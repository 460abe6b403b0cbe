# PYTHON_ARGCOMPLETE_OK
"""The command `vai_q_tensorflow` without TensorFlow: options, help and version, and the start of a child process for the rest.

Modules that take long to import are imported within `main`, which handles an interrupt.
"""
import functools
import os
import sys
from typing import TYPE_CHECKING, Callable, Optional, Sequence

if TYPE_CHECKING:
    import argparse

    from vai_q_tf.errors import QuantizeError

_INTERRUPTED = 130


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Runs a command line.

    Args:
      arguments: the words of the command line. None: those of this process, in which only the command runs; then a child
        process does the work.

    Returns:
      The exit status: 0; 1 after an error, with one line on stderr; 3 if `compare` finds a difference or did not compare
      the output; 130 if the user interrupts, and 143 if SIGTERM ends the command.
    """
    try:
        return _main(arguments)
    except KeyboardInterrupt:
        from vai_q_tf.terminal.streams import complain
        complain('', 'interrupted')
        return _INTERRUPTED


def _main(arguments: Optional[Sequence[str]]) -> int:
    if arguments is None:
        _prepare_process()
    from vai_q_tf import errors
    from vai_q_tf.command_line.parse import parse
    from vai_q_tf.terminal import streams
    try:
        options = parse(sys.argv[1:] if arguments is None else arguments)
        if options.version:
            streams.say(_version())
            return 0
    except errors.QuantizeError as error:
        return _fail('', error)
    except OSError as error:
        return _fail('', streams.not_printed(error))
    from vai_q_tf.command_line import supervision
    load = functools.partial(_load, options)
    return supervision.supervise(load, options) if arguments is None and supervision.is_possible() else load()()


def _prepare_process() -> None:
    """Completes the command line for a shell, which ends the process, or makes its streams patient."""
    if '_ARGCOMPLETE' in os.environ:
        from vai_q_tf.command_line.completion import complete
        complete()
    from vai_q_tf.terminal.streams import be_patient
    be_patient()


def _load(options: 'argparse.Namespace') -> Callable[[], int]:
    """Imports TensorFlow, and returns the function that runs the command."""
    import warnings
    if not (options.verbose or options.debug_mode):  # NumPy warns of TensorFlow's code
        warnings.filterwarnings('ignore', category=FutureWarning, module='tensor')
    try:
        from vai_q_tf.command_line import run
    except ImportError as error:
        from vai_q_tf import errors
        missing = errors.QuantizeError(errors.MISSING_LIBRARY, 'Cannot import', '{}.'.format(error))
        return functools.partial(_fail, options.command, missing)
    return functools.partial(run.run, options)


def _fail(command: str, error: 'QuantizeError') -> int:
    from vai_q_tf.terminal.streams import complain
    complain(command, 'error: {}'.format(error))
    return 1


def _version() -> str:
    from vai_q_tf.version import __version__
    return 'Vai_q_tensorflow {} build for Tensorflow {}'.format(__version__, _tensorflow_version())


def _tensorflow_version() -> str:
    """The version of TensorFlow, if possible from the name of its metadata, which saves importing it."""
    import importlib.util
    import re
    found = importlib.util.find_spec('tensorflow')
    names = os.listdir(os.path.dirname(os.path.dirname(found.origin))) if found and found.origin else ()
    matches = map(re.compile(r'tensorflow(?:_gpu|_cpu)?-([\w.+]+)\.dist-info$').match, names)
    versions = {match.group(1) for match in matches if match}
    if len(versions) == 1:
        return versions.pop()
    import tensorflow
    return tensorflow.__version__
