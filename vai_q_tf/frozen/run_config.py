"""Writes the configuration of a run next to the model that it wrote."""
import contextlib
import functools
import inspect
import os
import sys
from argparse import Namespace
from typing import Any, Callable, Dict, Iterator, List, TypeVar

import tensorflow.compat.v1 as tf

from vai_q_tf import errors, files
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.configuration.config_checks import CHECKS
from vai_q_tf.configuration.options import CONFIG, ROWS
from vai_q_tf.configuration.read_file import NO_KEYS
from vai_q_tf.configuration.write_file import CONFIG_FILE, to_text

_Function = TypeVar('_Function', bound=Callable[..., str])


def write_fields(directory: str, config: QuantizeConfig) -> None:
    """Writes the fields of a QuantizeConfig as the configuration file of a directory."""
    _write(directory, to_text(_fields(config)))


_command_lines: List[Namespace] = []  # the innermost one last


@contextlib.contextmanager
def recorded_as(options: Namespace) -> Iterator[None]:
    """A block in which `recorded` functions write these options of a command line, from `parse`, not their arguments."""
    _command_lines.append(options)
    try:
        yield
    finally:
        _command_lines.pop()


def recorded(command: str, **options: str) -> Callable[[_Function], _Function]:
    """Decorates a function that writes a model and returns its path: its arguments are written next to the model.

    Within `recorded_as` the options of the command line are written instead.

    Args:
      command: the command that does the same.
      options: {parameter: option}, for options with a name that differs from that of the parameter.
    """
    def decorate(function: _Function) -> _Function:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> str:
            path = function(*args, **kwargs)
            text = _of_command(_command_lines[-1]) if _command_lines else _of_call(
                signature.bind(*args, **kwargs), command, options)
            _write(os.path.dirname(path), text)
            return path
        return call  # type: ignore  # a TypeVar cannot say that `wraps` keeps the signature
    return decorate


def _of_command(options: Namespace) -> str:
    values = _fields(options.config)
    values.update((name, getattr(options, name)) for name, kind, _, _, _ in ROWS if kind != CONFIG and name not in NO_KEYS)
    return to_text(values, command=options.command)


def _of_call(arguments: inspect.BoundArguments, command: str, options: Dict[str, str]) -> str:
    arguments.apply_defaults()
    values: Dict[str, Any] = {}
    absent: Dict[str, str] = {}
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


def _fields(config: QuantizeConfig) -> Dict[str, Any]:
    return {name: getattr(config, name) for name in CHECKS}


def import_name(function: Callable) -> str:
    """'module.function' if the function can be imported by that name, else ''."""
    module, name = getattr(function, '__module__', None), getattr(function, '__qualname__', '')
    found: Any = sys.modules.get(module or '')
    for part in name.split('.'):
        found = getattr(found, part, None)
    return '{}.{}'.format(module, name) if found is function and module != '__main__' else ''


def _write(directory: str, text: str) -> None:
    """Writes the file, or warns: the model is complete without it."""
    try:
        files.write(directory, CONFIG_FILE, text.encode())
    except (errors.QuantizeError, UnicodeEncodeError) as error:
        tf.logging.warning('The configuration of this run is not next to its model: %s', error)
