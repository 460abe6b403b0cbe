"""QuantizeConfig: what to quantize and how.

A config is validated when it is made and on every assignment, so a wrong value is reported where it was written and not
steps later. The library never changes a config: one object may serve training, evaluation and deploy.
"""
from vai_q_tf import errors

MAX_BITS = 24  # the widest integer that every float32 of that magnitude holds exactly

_FLAG = (0, 1)
_STRATEGY = (0, 1, 2)


def _config_error(field, value, expected):
    return errors.QuantizeError(errors.INVALID_CONFIG, 'Invalid parameter',
                                '{} is {!r}; expected {}.'.format(field, value, expected))


def _integer(field, value):
    """`value` as an int; numeric strings count, as scripts pass them."""
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        raise _config_error(field, value, 'an integer') from None
    if isinstance(value, float) and number != value:
        raise _config_error(field, value, 'an integer')
    return number


def _choice(allowed):
    def check(field, value):
        number = _integer(field, value)
        if number not in allowed:
            raise _config_error(field, value, 'one of {}'.format(', '.join(map(str, allowed))))
        return number
    return check


def _word(*allowed):
    def check(field, value):
        if value not in allowed:
            raise _config_error(field, value, 'one of {}'.format(', '.join(map(repr, allowed))))
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
        raise _config_error(field, value, 'the name of a directory')
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


def _shapes(field, value):
    shapes = []
    for shape in _list(field, value):
        dims = _list(field + '[i]', shape)
        try:
            sizes = [-1 if dim is None or dim == '?' else _integer(field, dim) for dim in dims]
        except errors.QuantizeError:
            sizes = [0]
        if any(size < -1 or size == 0 for size in sizes):
            raise errors.QuantizeError(errors.LENGTH_MISMATCH, 'Invalid parameter',
                                       '{} has the shape {!r}; a dimension is a positive integer, -1 where '
                                       'it is unknown.'.format(field, shape))
        shapes.append(sizes)
    return shapes


def _per_node(check):
    def parse(field, value):
        for entry in _list(field, value):
            name, colon, setting = _text(field + '[i]', entry).rpartition(':')
            if not colon or not name:
                raise _config_error(field, entry, "entries of the form 'node:value'")
            check('{} of node {!r}'.format(field, name), setting)
        return [':'.join(part.strip() for part in entry.rpartition(':')[::2]) for entry in value]
    return parse


def _at_least(minimum):
    def check(field, value):
        number = _integer(field, value)
        if number < minimum:
            raise _config_error(field, value, 'an integer of at least {}'.format(minimum))
        return number
    return check


def _optional_step(field, value):
    return None if value is None else _at_least(0)(field, value)


def _decay(field, value):
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.0
    if not 0.0 < number <= 1.0:
        raise _config_error(field, value, 'a number above 0 and at most 1')
    return number


# name, default, check; the first 24 in the positional order of the original
_FIELDS = (
    ('input_nodes', (), _names),
    ('output_nodes', (), _names),
    ('input_shapes', (), _shapes),
    ('ignore_nodes', (), _names),
    ('weight_bit', 8, _bits),
    ('activation_bit', 8, _bits),
    ('nodes_bit', (), _per_node(_bits)),
    ('nodes_method', (), _per_node(_method)),
    ('method', 1, _method),
    ('target_type', '', _text),
    ('calib_iter', 100, _at_least(1)),
    ('output_dir', './quantize_results', _directory),
    ('align_concat', 0, _choice(_STRATEGY)),
    ('align_pool', 0, _choice(_STRATEGY)),
    ('adjust_shift_bias', 1, _choice(_STRATEGY)),
    ('adjust_shift_cut', 1, _choice(_FLAG)),
    ('simulate_dpu', 1, _choice(_FLAG)),
    ('scale_all_avgpool', 1, _choice(_FLAG)),
    ('do_cle', 0, _choice(_FLAG)),
    ('replace_relu6', 1, _choice(_FLAG)),
    ('replace_sigmoid', 0, _choice(_FLAG)),
    ('fold_bn_only', 0, _choice(_FLAG)),
    ('fold_reshape', 0, _choice(_FLAG)),
    ('replace_softmax', 0, _choice(_FLAG)),
)
_KEYWORD_FIELDS = (
    ('bn_fold', 'batch', _word('batch', 'moving')),
    ('freeze_bn_step', None, _optional_step),
    ('freeze_position_step', None, _optional_step),
    ('position_update', 'moving', _word('moving', 'current')),
    ('position_decay', 0.98, _decay),
    ('gradient', 'clipped', _word('clipped', 'straight_through')),
    ('arch_type', 'DEFAULT', _word('DEFAULT', 'DPUCADF8H')),
    ('align_rule', 'least_error', _word('least_error', 'output')),
)
_CHECKS = {name: check for name, _, check in _FIELDS + _KEYWORD_FIELDS}


class QuantizeConfig:
    """What to quantize and how; the fields of the original in its positional order, then the new ones by keyword.

    Args:
      input_nodes, output_nodes: names of the nodes between which the graph is quantized, both included.
      input_shapes: one list of integers per input node, -1 for an unknown dimension.
      ignore_nodes: names of nodes that stay float, with the pattern (convolution, bias, activation) they belong to.
      weight_bit, activation_bit: bit widths, 1 to 24. Biases have `weight_bit`.
      nodes_bit, nodes_method: lists of 'node:value' that override bit width and method of single tensors; the name of a
        convolution means its weights.
      method: position search, 0 non-overflow, 1 min-diffs, 2 min-diffs with the relative error for depthwise weights.
      output_dir: where files are written.
      bn_fold: batch norm in training. 'batch' normalises with the statistics of the batch, with one convolution;
        'moving' folds with the moving statistics from the first step, with a second convolution beside it that feeds the
        moving averages (the original's scheme).
      freeze_bn_step: global step from which training uses the moving statistics, which then stay as they are; None: never.
      freeze_position_step: global step from which quantize positions stay as they are; None: never. Both are recommended
        for the last third of a training at fewer than 8 bits.
      position_update: 'moving' quantizes with the tracked position, the one that evaluation will use; 'current' with the
        best position of the batch at hand (the original's rule).
      position_decay: what a vote in the position histogram keeps per step. A new position that gets every vote wins over
        a long-standing one after the n steps where position_decay**n < 1/2: 35 steps at 0.98.
      gradient: 'clipped' passes the gradient where the value is representable, 'straight_through' everywhere.
      arch_type: 'DPUCADF8H' has a symmetric range for activations.
      align_rule: the one position of the tensors that a concat or pool joins. 'least_error' is the position with the least
        squared error over all of them, 'output' that of the result (the original's rule, which may saturate the inputs).
      The remaining fields are described in the user guide. Those that concern the DPU's arithmetic and the limits of positions
        (align_*, adjust_*, simulate_dpu, scale_all_avgpool, do_cle, replace_*, fold_*) act in post-training quantization only.

    Raises:
      QuantizeError: a value out of range (code, field, what is allowed).
      TypeError: a wrong type, or an unknown field.
    """

    def __init__(self, *args, **kwargs):
        if len(args) > len(_FIELDS):
            raise TypeError('QuantizeConfig takes at most {} positional arguments, got {}'.format(len(_FIELDS), len(args)))
        values = {name: default for name, default, _ in _FIELDS + _KEYWORD_FIELDS}
        for (name, _, _), value in zip(_FIELDS, args):
            if name in kwargs:
                raise TypeError('QuantizeConfig got {!r} twice'.format(name))
            values[name] = value
        for name, value in kwargs.items():
            if name not in values:
                raise TypeError('QuantizeConfig has no field {!r}; the fields are {}'.format(name, ', '.join(values)))
            values[name] = value
        for name, value in values.items():
            setattr(self, name, value)

    def __setattr__(self, name, value):
        if name not in _CHECKS:
            raise AttributeError('QuantizeConfig has no field {!r}'.format(name))
        object.__setattr__(self, name, _CHECKS[name](name, value))

    def __repr__(self):
        changed = ('{}={!r}'.format(name, getattr(self, name)) for name, default, _ in _FIELDS + _KEYWORD_FIELDS
                   if getattr(self, name) != (list(default) if isinstance(default, tuple) else default))
        return 'QuantizeConfig({})'.format(', '.join(changed))

    def check_range(self):
        """Checks what only the fields together can tell; called where a graph is about to be quantized.

        Raises:
          QuantizeError: no input or output nodes, or not one shape per input node.
        """
        for field in ('input_nodes', 'output_nodes'):
            if not getattr(self, field):
                raise _config_error(field, [], 'the names of the nodes where quantization starts and ends')
        if self.input_shapes and len(self.input_shapes) != len(self.input_nodes):
            raise errors.QuantizeError(
                errors.LENGTH_MISMATCH, 'Invalid parameter',
                '{} input_shapes for {} input_nodes ({}); give one shape per node.'.format(
                    len(self.input_shapes), len(self.input_nodes), ', '.join(self.input_nodes)))


def require_config(config):
    """`config` if it is a QuantizeConfig that names a range; a TypeError that says what was got otherwise."""
    if not isinstance(config, QuantizeConfig):
        raise TypeError('config must be a vai_q_tensorflow.QuantizeConfig, got {}: {!r}'.format(
            type(config).__name__, config))
    config.check_range()
    return config
