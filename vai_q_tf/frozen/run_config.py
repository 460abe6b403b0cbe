"""Leaves the configuration of a run beside the model that it wrote."""
import contextlib
import functools
import inspect
import os
import sys

import tensorflow.compat.v1 as tf

from vai_q_tf import errors, files
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.configuration.config_checks import CHECKS
from vai_q_tf.configuration.options import CONFIG, ROWS
from vai_q_tf.configuration.read_file import NO_KEYS
from vai_q_tf.configuration.write_file import CONFIG_FILE, to_text


def write_fields(directory, config):
    """Writes the fields of a QuantizeConfig as the configuration file of a directory."""
    _write(directory, to_text(_fields(config)))


_command_lines = []  # the innermost one last


@contextlib.contextmanager
def recorded_as(options):
    """What functions that are `recorded` write inside are these options of a command line, as `parse` gives them."""
    _command_lines.append(options)
    try:
        yield
    finally:
        _command_lines.pop()


def recorded(command, **options):
    """Decorates a function that returns the path of the model that it wrote: it writes its arguments beside that.

    Where a command calls it, that is its options, see `recorded_as`.

    Args:
      command: the command that does the same.
      options: {parameter: the option that it is}, where they have different names.
    """
    def decorate(function):
        signature = inspect.signature(function)

        @functools.wraps(function)
        def call(*args, **kwargs):
            path = function(*args, **kwargs)
            text = _of_command(_command_lines[-1]) if _command_lines else _of_call(
                signature.bind(*args, **kwargs), command, options)
            _write(os.path.dirname(path), text)
            return path
        return call
    return decorate


def _of_command(options):
    values = _fields(options.config)
    values.update((name, getattr(options, name)) for name, kind, _, _, _ in ROWS if kind != CONFIG and name not in NO_KEYS)
    return to_text(values, command=options.command)


def _of_call(arguments, command, options):
    arguments.apply_defaults()
    values, absent = {}, {}
    for name, value in arguments.arguments.items():
        if isinstance(value, QuantizeConfig):
            values.update(_fields(value))
            continue
        value = os.fspath(value) if isinstance(value, os.PathLike) else value
        name = options.get(name, name)
        text = import_name(value) or value if callable(value) else value
        if text is None or isinstance(text, (str, int, float)):
            values[name] = text
        else:
            absent[name] = 'was a {}'.format(type(value).__name__)
    return to_text(values, absent, command)


def _fields(config):
    return {name: getattr(config, name) for name in CHECKS}


def import_name(function):
    """'module.function' where that is what the function is imported as, else ''."""
    module, name = getattr(function, '__module__', None), getattr(function, '__qualname__', '')
    found = sys.modules.get(module)
    for part in name.split('.'):
        found = getattr(found, part, None)
    return '{}.{}'.format(module, name) if found is function and module != '__main__' else ''


def _write(directory, text):
    """A model is as good without the file, so that there is none is a warning."""
    try:
        files.write(directory, CONFIG_FILE, text.encode())
    except (errors.QuantizeError, UnicodeEncodeError) as error:
        tf.logging.warning('The configuration of this run is not beside its model: %s', error)
