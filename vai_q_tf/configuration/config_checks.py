"""The check of each field of a QuantizeConfig.

A check is a function from the name of the field and a value to the value to keep. For a value out of range it raises a
QuantizeError, for a wrong type a TypeError; both name the field. Lists are kept as CheckedLists.
"""
import functools
import math
from typing import Any, Callable, Dict, List, Optional, Union

from vai_q_tf import errors
from vai_q_tf.configuration.checked_list import CheckedList

_Check = Callable[[str, Any], Any]

MAX_BITS = 24  # float32 represents every integer of up to 24 bits exactly

_FLAG = (0, 1)
_STRATEGY = (0, 1, 2)


def config_error(field: str, value: Any, expected: str) -> errors.QuantizeError:
    """The INVALID_CONFIG error for a value of a field; `expected` describes the allowed values."""
    return errors.QuantizeError(errors.INVALID_CONFIG, 'Invalid parameter',
                                '{} is {!r}; expected {}.'.format(field, value, expected))


def _to_integer(value: Any) -> Optional[int]:
    """`value` as an int, None if it is not an integer. Numeric strings are accepted, because client scripts pass them."""
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return None if isinstance(value, float) and number != value else number


def _to_float(value: Any) -> float:
    """`value`, or a numeric string, as a float; NaN if it is not a number."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _integer(field: str, value: Any) -> int:
    number = _to_integer(value)
    if number is None:
        raise config_error(field, value, 'an integer')
    return number


def _choice(*allowed: int) -> _Check:
    def check(field: str, value: Any) -> int:
        number = _integer(field, value)
        if number not in allowed:
            raise config_error(field, value, 'one of {}'.format(', '.join(map(str, allowed))))
        return number
    return check


def _word(*allowed: str) -> _Check:
    def check(field: str, value: Any) -> str:
        if value not in allowed:
            raise config_error(field, value, 'one of {}'.format(', '.join(map(repr, allowed))))
        return value
    return check


def _bits(field: str, value: Any) -> int:
    number = None if isinstance(value, bool) else _to_integer(value)
    if number is None or not 1 <= number <= MAX_BITS:
        raise errors.QuantizeError(errors.INVALID_BITWIDTH, 'Invalid parameter',
                                   '{} is {!r}; a bit width is an integer from 1 to {}.'.format(field, value, MAX_BITS))
    return number


def _method(field: str, value: Any) -> int:
    number = _to_integer(value)
    if number is None or number not in _STRATEGY:
        raise errors.QuantizeError(
            errors.INVALID_METHOD, 'Invalid parameter',
            '{} is {!r}; choose 0 (non-overflow), 1 (min-diffs) or 2 (min-diffs, depthwise rule).'.format(field, value))
    return number


def _text(field: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError('QuantizeConfig.{} must be a string, got {}: {!r}'.format(field, type(value).__name__, value))
    return value


def _directory(field: str, value: Any) -> str:
    if not _text(field, value).strip():
        raise config_error(field, value, 'the name of a directory')
    return value


def _list(field: str, value: Any) -> List[Any]:
    if not isinstance(value, (list, tuple)):
        raise TypeError('QuantizeConfig.{} must be a list, got {}: {!r}'.format(field, type(value).__name__, value))
    return list(value)


def _names(field: str, value: Any) -> List[str]:
    for name in _list(field, value):
        if not isinstance(name, str):
            raise TypeError('QuantizeConfig.{} must be a list of node names, got {!r} in it'.format(field, name))
    return [name.strip() for name in value]


def _shape(field: str, value: Any) -> List[int]:
    sizes = [-1 if dim is None or dim == '?' else _to_integer(dim) for dim in _list(field + '[i]', value)]
    known = [size for size in sizes if size is not None and size >= -1 and size != 0]
    if len(known) < len(sizes):
        raise errors.QuantizeError(errors.LENGTH_MISMATCH, 'Invalid parameter',
                                   '{} has the shape {!r}; a dimension is a positive integer, or -1 if it is unknown.'.format(
                                       field, value))
    return known


def _shapes(field: str, value: Any) -> List[CheckedList]:
    shapes = _list(field, value)
    if shapes and not any(isinstance(shape, (list, tuple)) for shape in shapes):
        raise TypeError('QuantizeConfig.{} must be a list with a list for each input node, got {}; did you mean {}?'.format(
            field, value, [shapes]))
    return [_kept(_shape)(field, shape) for shape in shapes]


def _per_node(check: _Check) -> _Check:
    """The check of a list of 'node:value' by the check of the values."""
    def parse(field: str, value: Any) -> List[str]:
        for entry in _list(field, value):
            name, colon, setting = _text(field + '[i]', entry).rpartition(':')
            if not colon or not name.strip():
                raise config_error(field, entry, "entries of the form 'node:value'")
            check('{} of node {!r}'.format(field, name), setting)
        return [':'.join(part.strip() for part in entry.rpartition(':')[::2]) for entry in value]
    return parse


def _kept(check: Callable[[str, Any], List[Any]]) -> Callable[[str, Any], CheckedList]:
    """The check of a list, which is kept as a list that is checked again with every change."""
    return lambda field, value: CheckedList(value, functools.partial(check, field))


def _at_least(minimum: int) -> _Check:
    def check(field: str, value: Any) -> int:
        number = _integer(field, value)
        if number < minimum:
            raise config_error(field, value, 'an integer of at least {}'.format(minimum))
        return number
    return check


def _step(field: str, value: Any) -> Union[int, float]:
    """A step as an int, or a share of the training as a float between 0 and 1."""
    share = _to_float(value)
    if 0 < share < 1:
        return share
    number = _to_integer(value)
    if number is None or number < 0 or isinstance(value, float) and value == 1:
        raise config_error(field, value, 'a step, such as 100, or a share of the training between 0 and 1, such as 0.5')
    return number


def _optional(check: _Check) -> _Check:
    return lambda field, value: None if value is None else check(field, value)


def _decay(field: str, value: Any) -> float:
    number = _to_float(value)
    if not 0.0 < number <= 1.0:
        raise config_error(field, value, 'a number above 0 and at most 1')
    return number


def _percentile(field: str, value: Any) -> float:
    number = _to_float(value)
    if isinstance(value, bool) or not 50.0 < number <= 100.0:
        raise config_error(field, value, 'a number above 50 and at most 100')
    return number


# In the order of the parameters of QuantizeConfig.
CHECKS: Dict[str, _Check] = {
    'input_nodes': _kept(_names),
    'output_nodes': _kept(_names),
    'input_shapes': _kept(_shapes),
    'ignore_nodes': _kept(_names),
    'weight_bit': _bits,
    'activation_bit': _bits,
    'nodes_bit': _kept(_per_node(_bits)),
    'nodes_method': _kept(_per_node(_method)),
    'method': _method,
    'target_type': _text,
    'calib_iter': _at_least(1),
    'output_dir': _directory,
    'align_concat': _choice(*_STRATEGY),
    'align_pool': _choice(*_STRATEGY),
    'adjust_shift_bias': _choice(*_STRATEGY),
    'adjust_shift_cut': _choice(*_FLAG),
    'simulate_dpu': _choice(*_FLAG),
    'scale_all_avgpool': _choice(*_FLAG),
    'do_cle': _choice(*_FLAG),
    'replace_relu6': _choice(*_FLAG),
    'replace_sigmoid': _choice(*_FLAG),
    'fold_bn_only': _choice(*_FLAG),
    'fold_reshape': _choice(*_FLAG),
    'replace_softmax': _choice(*_FLAG),
    'bias_bit': _optional(_bits),
    'recipe': _word('auto', 'finetune', 'scratch', 'manual'),
    'bn_fold': _word('batch', 'moving'),
    'freeze_bn_step': _optional(_step),
    'freeze_position_step': _optional(_step),
    'average_step': _optional(_step),
    'position_update': _word('moving', 'current', 'learned'),
    'position_decay': _decay,
    'gradient': _word('clipped', 'straight_through'),
    'arch_type': _word('DEFAULT', 'DPUCADF8H'),
    'align_rule': _word('least_error', 'output'),
    'positions_by': _optional(_word('votes', 'mse', 'percentile', 'entropy')),
    'percentile': _percentile,
}
