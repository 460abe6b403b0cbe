"""What each option of the command takes: as text from a command line, or as a value from a configuration file.

The options that are fields of a QuantizeConfig are checked as those are.
"""
import re

from vai_q_tf import errors
from vai_q_tf.configuration.config_checks import CHECKS
from vai_q_tf.configuration.options import CONFIG, COUNT, FLAG, NAME_LISTS, NUMBER, OPTIONAL, ROWS, STEPS, TEXT, WORDS

KINDS = {name: kind for name, kind, _, _, _ in ROWS}
_FLAGS = {name for name, _, _, placeholder, _ in ROWS if placeholder == '{0,1}'} | {'fold_bn_only'}
_SHARES = ('gpu_memory_fraction',)
_LISTS = ('gpu', 'custom_op_so')  # besides fields of a QuantizeConfig
_UNKNOWN_SIZE = {None: None}  # what YAML makes of a ? in a list


def from_text(name, text):
    """The checked value of an option from the text that a command line has for it; a QuantizeError where it takes none such."""
    check_text(name, text)
    kind = KINDS.get(name, CONFIG)
    if kind == CONFIG:
        return CHECKS[name](name, _names(text) if name in NAME_LISTS else _shapes(text) if name == 'input_shapes' else text)
    return _datatype(text) if name == 'convert_datatype' else _CONVERT[kind](name, text)


def from_value(name, value):
    """The checked value of an option from a str, bool, int, float, list or dict.

    Raises:
      QuantizeError: a value that the option does not take. TypeError: one of a wrong type.
    """
    kind = KINDS.get(name, CONFIG)
    if isinstance(value, bool):
        if kind is not None and name not in _FLAGS:
            raise TypeError('{} is {}; it is no flag'.format(name, str(value).lower()))
        value = int(value)
    if kind is None:
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


def _with_unknown_sizes(shapes):
    if not isinstance(shapes, list):
        return shapes
    return [['?' if size == _UNKNOWN_SIZE else size for size in shape] if isinstance(shape, list) else shape
            for shape in shapes]


def check_text(name, value):
    """TensorFlow takes names of files and nodes in UTF-8 alone."""
    if re.search('[\0\ud800-\udfff]', value):
        raise _wrong(name, value, 'text in UTF-8')


def _names(text):
    return [name.strip() for name in text.split(',') if name.strip()]


def _shapes(text):
    shapes = [[dim.strip() for dim in shape.split(',')] for shape in text.split(':')] if text.strip() else []
    for shape in shapes:
        for dim in shape:
            if dim != '?' and not re.match(r'-?\d+$', dim):
                raise errors.QuantizeError(
                    errors.LENGTH_MISMATCH, 'Invalid parameter', 'input_shapes is {!r}; {!r} is not an integer. Expected sizes '
                    'separated by commas, ? for an unknown one, and : between nodes.'.format(text, dim))
    return shapes


def _datatype(text):
    if text not in ('0', '1', '2', '3', '4'):
        raise errors.QuantizeError(
            errors.INVALID_TARGET_DTYPE, 'Invalid parameter', '--convert_datatype is {!r}; choose 1 (Float16), 2 (Double), '
            '3 (BFloat16), 4 (Float) or 0 (no conversion).'.format(text))
    return int(text)


def _wrong(name, value, expected):
    return errors.QuantizeError(errors.INVALID_CONFIG, 'Invalid parameter', '--{} is {!r}; expected {}.'.format(
        name, value, expected))


def _text(name, value):
    if name in WORDS and value not in WORDS[name]:
        raise _wrong(name, value, ' or '.join(WORDS[name]))
    return value


def _flag(name, value):
    if value not in ('0', '1'):
        raise _wrong(name, value, '0 or 1')
    return int(value)


def _count(name, value):
    if not re.match(r'[0-9]{1,18}$', value) or int(value) < 1:
        raise _wrong(name, value, 'an integer of at least 1')
    return int(value)


def _number(name, value):
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 < number < float('inf'):
        raise _wrong(name, value, 'a number above 0')
    if name in _SHARES and number > 1:
        raise _wrong(name, number, 'a number above 0 and at most 1')
    return number


def _optional(name, value):
    return _number(name, value) if value else None


def _steps(name, value):
    return 0.0 if re.match(r'0+(\.0*)?$', value) else _optional(name, value)


_CONVERT = {TEXT: _text, FLAG: _flag, COUNT: _count, NUMBER: _number, OPTIONAL: _optional, STEPS: _steps}
