"""What each field of a QuantizeConfig takes.

A check is a function from the field's name and a value to the value as the config keeps it. It raises a QuantizeError for a
value out of range and a TypeError for a wrong type, both of which name the field. Lists are kept as CheckedLists.
"""
import functools

from vai_q_tf import errors
from vai_q_tf.configuration.checked_list import CheckedList

MAX_BITS = 24  # the widest integer that every float32 of that magnitude holds exactly

_FLAG = (0, 1)
_STRATEGY = (0, 1, 2)


def config_error(field, value, expected):
    return errors.QuantizeError(errors.INVALID_CONFIG, 'Invalid parameter',
                                '{} is {!r}; expected {}.'.format(field, value, expected))


def _integer(field, value):
    """`value` as an int; numeric strings count, as scripts pass them."""
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        raise config_error(field, value, 'an integer') from None
    if isinstance(value, float) and number != value:
        raise config_error(field, value, 'an integer')
    return number


def _choice(allowed):
    def check(field, value):
        number = _integer(field, value)
        if number not in allowed:
            raise config_error(field, value, 'one of {}'.format(', '.join(map(str, allowed))))
        return number
    return check


def _word(*allowed):
    def check(field, value):
        if value not in allowed:
            raise config_error(field, value, 'one of {}'.format(', '.join(map(repr, allowed))))
        return value
    return check


def _bits(field, value):
    try:
        number = 0 if isinstance(value, bool) else _integer(field, value)
    except errors.QuantizeError:
        number = 0
    if not 1 <= number <= MAX_BITS:
        raise errors.QuantizeError(errors.INVALID_BITWIDTH, 'Invalid parameter',
                                   '{} is {!r}; a bit width is an integer from 1 to {}.'.format(field, value, MAX_BITS))
    return number


def _method(field, value):
    try:
        number = _integer(field, value)
    except errors.QuantizeError:
        number = -1
    if number not in _STRATEGY:
        raise errors.QuantizeError(
            errors.INVALID_METHOD, 'Invalid parameter',
            '{} is {!r}; choose 0 (non-overflow), 1 (min-diffs) or 2 (min-diffs, depthwise rule).'.format(field, value))
    return number


def _text(field, value):
    if not isinstance(value, str):
        raise TypeError('QuantizeConfig.{} must be a string, got {}: {!r}'.format(field, type(value).__name__, value))
    return value


def _directory(field, value):
    if not _text(field, value).strip():
        raise config_error(field, value, 'the name of a directory')
    return value


def _list(field, value):
    if not isinstance(value, (list, tuple)):
        raise TypeError('QuantizeConfig.{} must be a list, got {}: {!r}'.format(field, type(value).__name__, value))
    return list(value)


def _names(field, value):
    for name in _list(field, value):
        if not isinstance(name, str):
            raise TypeError('QuantizeConfig.{} must be a list of node names, got {!r} in it'.format(field, name))
    return [name.strip() for name in value]


def _shape(field, value):
    dims = _list(field + '[i]', value)
    try:
        sizes = [-1 if dim is None or dim == '?' else _integer(field, dim) for dim in dims]
    except errors.QuantizeError:
        sizes = [0]
    if any(size < -1 or size == 0 for size in sizes):
        raise errors.QuantizeError(errors.LENGTH_MISMATCH, 'Invalid parameter',
                                   '{} has the shape {!r}; a dimension is a positive integer, -1 where '
                                   'it is unknown.'.format(field, value))
    return sizes


def _shapes(field, value):
    return [_kept(_shape)(field, shape) for shape in _list(field, value)]


def _per_node(check):
    def parse(field, value):
        for entry in _list(field, value):
            name, colon, setting = _text(field + '[i]', entry).rpartition(':')
            if not colon or not name.strip():
                raise config_error(field, entry, "entries of the form 'node:value'")
            check('{} of node {!r}'.format(field, name), setting)
        return [':'.join(part.strip() for part in entry.rpartition(':')[::2]) for entry in value]
    return parse


def _kept(check):
    """The check of a list, whose result goes on being checked with every change."""
    return lambda field, value: CheckedList(value, functools.partial(check, field))


def _at_least(minimum):
    def check(field, value):
        number = _integer(field, value)
        if number < minimum:
            raise config_error(field, value, 'an integer of at least {}'.format(minimum))
        return number
    return check


def _optional_step(field, value):
    """None, a step as an int, or a share of the training as a float between 0 and 1."""
    if value is None:
        return None
    try:
        share = float(value)
    except (TypeError, ValueError):
        share = -1.0
    if 0 < share < 1:
        return share
    if isinstance(value, float) and value == 1:
        raise config_error(field, value, 'a step, such as 1, or a share of the training between 0 and 1, such as 0.5')
    return _at_least(0)(field, value)


def _optional_bits(field, value):
    return None if value is None else _bits(field, value)


def _decay(field, value):
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.0
    if not 0.0 < number <= 1.0:
        raise config_error(field, value, 'a number above 0 and at most 1')
    return number


def _percentile(field, value):
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.0
    if isinstance(value, bool) or not 50.0 < number <= 100.0:
        raise config_error(field, value, 'a number above 50 and at most 100')
    return number


def _optional_word(*allowed):
    return lambda field, value: None if value is None else _word(*allowed)(field, value)


# In the order of the constructor.
CHECKS = {
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
    'align_concat': _choice(_STRATEGY),
    'align_pool': _choice(_STRATEGY),
    'adjust_shift_bias': _choice(_STRATEGY),
    'adjust_shift_cut': _choice(_FLAG),
    'simulate_dpu': _choice(_FLAG),
    'scale_all_avgpool': _choice(_FLAG),
    'do_cle': _choice(_FLAG),
    'replace_relu6': _choice(_FLAG),
    'replace_sigmoid': _choice(_FLAG),
    'fold_bn_only': _choice(_FLAG),
    'fold_reshape': _choice(_FLAG),
    'replace_softmax': _choice(_FLAG),
    'bias_bit': _optional_bits,
    'recipe': _word('auto', 'finetune', 'scratch', 'manual'),
    'bn_fold': _word('batch', 'moving'),
    'freeze_bn_step': _optional_step,
    'freeze_position_step': _optional_step,
    'average_step': _optional_step,
    'position_update': _word('moving', 'current', 'learned'),
    'position_decay': _decay,
    'gradient': _word('clipped', 'straight_through'),
    'arch_type': _word('DEFAULT', 'DPUCADF8H'),
    'align_rule': _word('least_error', 'output'),
    'positions_by': _optional_word('votes', 'mse', 'percentile', 'entropy'),
    'percentile': _percentile,
}
