# PYTHON_ARGCOMPLETE_OK
"""The command `vai_q_tensorflow` up to where TensorFlow is needed: options, help, version, and how what comes after that ends.

What takes time to import is imported inside of `main`, which answers an interrupt.
"""
import os
import sys

_INTERRUPTED = 130


def main(arguments=None):
    """Runs a command line.

    Args:
      arguments: list of words. None: those of the process, whose command this then is; a child process does the work.

    Returns:
      The exit status: 0; 1 with one line on stderr for what cannot be done; 3 where `compare` finds that a tensor departs; 130
      where the user interrupted it, 143 where it was told to end.
    """
    try:
        return _main(arguments)
    except KeyboardInterrupt:
        from vai_q_tf.terminal.streams import complain
        complain('', 'interrupted')
        return _INTERRUPTED


def _main(arguments):
    from vai_q_tf import errors
    if '_ARGCOMPLETE' in os.environ and arguments is None:
        from vai_q_tf.command_line.completion import complete
        complete()
    from vai_q_tf.command_line.parse import parse
    from vai_q_tf.terminal import streams
    is_command = arguments is None
    if is_command:
        streams.be_patient()
    try:
        options = parse(sys.argv[1:] if is_command else arguments)
        if options.version:
            from vai_q_tf.version import __version__
            streams.say('Vai_q_tensorflow {} build for Tensorflow {}'.format(__version__, _tensorflow_version()))
            return 0
    except errors.QuantizeError as error:
        streams.complain('', 'error: {}'.format(error))
        return 1
    except OSError as error:
        streams.complain('', 'error: {}'.format(streams.not_printed(error)))
        return 1

    def load():
        import warnings
        if not (options.verbose or options.debug_mode):  # of NumPy, about TensorFlow's own code
            warnings.filterwarnings('ignore', category=FutureWarning, module='tensor')
        try:
            from vai_q_tf.command_line import run
        except ImportError as error:
            streams.complain(options.command, 'error: {}'.format(errors.QuantizeError(
                errors.MISSING_LIBRARY, 'Cannot import', '{}.'.format(error))))
            return lambda: 1
        return lambda: run.run(options)

    from vai_q_tf.command_line import supervision
    return supervision.supervise(load, options) if is_command and supervision.is_possible() else load()()


def _tensorflow_version():
    """The version of TensorFlow, from the name of its metadata where there is one; that saves importing it."""
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
