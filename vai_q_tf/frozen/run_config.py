"""Leaves the configuration of a run beside the model that it wrote."""
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


def write_options(path, options):
    """Writes the options of a command line, as `parse` gives them, beside the model `path`."""
    values = _fields(options.config)
    values.update((name, getattr(options, name)) for name, kind, _, _, _ in ROWS if kind != CONFIG and name not in NO_KEYS)
    _write(os.path.dirname(path), to_text(values, command=options.command))


def recorded(command, **options):
    """Decorates a function that returns the path of the model that it wrote: it writes its arguments beside that.

    Args:
      command: the command that does the same.
      options: {parameter: the option that it is}, where they have different names.
    """
    def decorate(function):
        signature = inspect.signature(function)

        @functools.wraps(function)
        def call(*args, **kwargs):
            path = function(*args, **kwargs)
            arguments = signature.bind(*args, **kwargs)
            arguments.apply_defaults()
            values, absent = {}, {}
            for name, value in arguments.arguments.items():
                if isinstance(value, QuantizeConfig):
                    values.update(_fields(value))
                    continue
                value = os.fspath(value) if isinstance(value, os.PathLike) else value
                name = options.get(name, name)
                text = _name_of(value) if callable(value) else value
                if text is None or isinstance(text, (str, int, float)):
                    values[name] = text
                else:
                    absent[name] = 'was a {}'.format(type(value).__name__)
            _write(os.path.dirname(path), to_text(values, absent, command))
            return path
        return call
    return decorate


def _fields(config):
    return {name: getattr(config, name) for name in CHECKS}


def _name_of(function):
    """'module.function' where that is what the function is imported as, else the function."""
    module, name = getattr(function, '__module__', None), getattr(function, '__qualname__', '')
    found = sys.modules.get(module)
    for part in name.split('.'):
        found = getattr(found, part, None)
    return '{}.{}'.format(module, name) if found is function and module != '__main__' else function


def _write(directory, text):
    """A model is as good without the file, so that there is none is a warning."""
    try:
        files.write(directory, CONFIG_FILE, text.encode())
    except (errors.QuantizeError, UnicodeEncodeError) as error:
        tf.logging.warning('The configuration of this run is not beside its model: %s', error)
