"""Checks and converts the values of options: text from a command line, or values from a configuration file.

Options that are fields of a QuantizeConfig are checked like those.
"""
import re
from typing import Any, Callable, Dict, List, Optional

from vai_q_tf import errors
from vai_q_tf.configuration.config_checks import CHECKS
from vai_q_tf.configuration.options import (
    CONFIG,
    COUNT,
    FLAG,
    NAME_LISTS,
    NUMBER,
    OPTIONAL,
    ROWS,
    STEPS,
    SWITCH,
    TEXT,
    WORDS,
)

_KINDS = {option.name: option.kind for option in ROWS}
_FLAGS = {option.name for option in ROWS if option.placeholder == '{0,1}' or option.kind == SWITCH} | {'fold_bn_only'}
_SHARES = ('gpu_memory_fraction',)
_LISTS = ('gpu', 'custom_op_so')  # besides fields of a QuantizeConfig
_UNKNOWN_SIZE = {None: None}  # YAML reads a ? in a list as this


def from_text(name: str, text: str) -> Any:
    """The checked value of an option from its text on a command line.

    Raises:
      QuantizeError: the option does not accept the value.
    """
    check_text(name, text)
    kind = _KINDS.get(name, CONFIG)
    if kind == CONFIG:
        return CHECKS[name](name, _names(text) if name in NAME_LISTS else _shapes(text) if name == 'input_shapes' else text)
    return _datatype(text) if name == 'convert_datatype' else _CONVERT[kind](name, text)


def from_value(name: str, value: Any) -> Any:
    """The checked value of an option from a str, bool, int, float, list or dict.

    Raises:
      QuantizeError: the option does not accept the value.
      TypeError: the value has a wrong type.
    """
    kind = _KINDS.get(name, CONFIG)
    if isinstance(value, bool):
        if name not in _FLAGS:
            raise TypeError('{} is {}, but it is not a flag'.format(name, str(value).lower()))
        value = int(value)
    if kind == SWITCH:
        return bool(_flag(name, str(value)))
    if isinstance(value, str):
        return from_text(name, value)
    if kind == CONFIG:
        return CHECKS[name](name, _with_unknown_sizes(value) if name == 'input_shapes' else value)
    if name in _LISTS and isinstance(value, list) and all(type(entry) in (str, int) for entry in value):
        return from_text(name, ','.join(map(str, value)))
    if not isinstance(value, (int, float)):
        raise TypeError('{} is {!r}; expected {}'.format(name, value, 'text' if kind == TEXT else 'a number'))
    return from_text(name, str(value))


def _with_unknown_sizes(shapes: Any) -> Any:
    if not isinstance(shapes, list):
        return shapes
    return [['?' if size == _UNKNOWN_SIZE else size for size in shape] if isinstance(shape, list) else shape
            for shape in shapes]


def check_text(name: str, value: str) -> None:
    """Raises a QuantizeError for text that is not UTF-8, in which TensorFlow needs the names of files and nodes."""
    if re.search('[\0\ud800-\udfff]', value):
        raise _wrong(name, value, 'text in UTF-8')


def _names(text: str) -> List[str]:
    return [name.strip() for name in text.split(',') if name.strip()]


def _shapes(text: str) -> List[List[str]]:
    shapes = [[dim.strip() for dim in shape.split(',')] for shape in text.split(':')] if text.strip() else []
    for shape in shapes:
        for dim in shape:
            if dim != '?' and not re.match(r'-?\d+$', dim):
                raise errors.QuantizeError(
                    errors.LENGTH_MISMATCH, 'Invalid parameter', 'input_shapes is {!r}; {!r} is not an integer. Expected sizes '
                    'separated by commas, ? for an unknown one, and : between nodes.'.format(text, dim))
    return shapes


def _datatype(text: str) -> int:
    if text not in ('0', '1', '2', '3', '4'):
        raise errors.QuantizeError(
            errors.INVALID_TARGET_DTYPE, 'Invalid parameter', '--convert_datatype is {!r}; choose 1 (Float16), 2 (Double), '
            '3 (BFloat16), 4 (Float) or 0 (no conversion).'.format(text))
    return int(text)


def _wrong(name: str, value: Any, expected: str) -> errors.QuantizeError:
    return errors.QuantizeError(errors.INVALID_CONFIG, 'Invalid parameter', '--{} is {!r}; expected {}.'.format(
        name, value, expected))


def _text(name: str, value: str) -> str:
    if name in WORDS and value not in WORDS[name]:
        raise _wrong(name, value, ' or '.join(WORDS[name]))
    return value


def _flag(name: str, value: str) -> int:
    if value not in ('0', '1'):
        raise _wrong(name, value, '0 or 1')
    return int(value)


def _count(name: str, value: str) -> int:
    if not re.match(r'[0-9]{1,18}$', value) or int(value) < 1:
        raise _wrong(name, value, 'an integer of at least 1')
    return int(value)


def _number(name: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    share = name in _SHARES
    if not 0 < number < float('inf') or share and number > 1:
        raise _wrong(name, value, 'a number above 0{}'.format(' and at most 1' if share else ''))
    return number


def _optional(name: str, value: str) -> Optional[float]:
    return _number(name, value) if value else None


def _steps(name: str, value: str) -> Optional[float]:
    if re.match(r'0+(\.0*)?$', value):
        return 0.0
    try:
        return _optional(name, value)
    except errors.QuantizeError:
        raise _wrong(name, value, 'a number of at least 0') from None


_CONVERT: Dict[str, Callable[[str, str], Any]] = {
    TEXT: _text, FLAG: _flag, COUNT: _count, NUMBER: _number, OPTIONAL: _optional, STEPS: _steps}
