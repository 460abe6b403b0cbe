"""What the errors of tensors point to, in words."""
_LOST = 6.5  # dB: more than a position that is one off, 6.02
_MUCH = 20.0  # dB: the error is a tenth of the values
_SATURATED, _ZEROED, _UNEVEN = 0.01, 0.1, 0.25  # shares of the elements
_LEAST_BITS = 6  # with fewer, many weights become 0 in any case


def advice(tensors):
    """Sentences on what TensorErrors, the worst first, point to and what to do: one for each kind of cause, for its worst one.

    What may be the cause of the others is first. An input of another range than in calibration explains all, and is told alone.
    """
    for tensor in tensors:
        if tensor.role == 'input' and tensor.loss_db > _LOST:
            return ('{}: these data have another range ({:.3g} to {:.3g}) than those of calibration. Let both input functions '
                    'prepare them as for the training, and quantize again.'.format(tensor.layer, tensor.low, tensor.high),)
    found = {}
    for tensor in tensors:
        for number, (role, applies, _) in enumerate(_RULES):
            if tensor.role == role and applies(tensor):
                found.setdefault(number, tensor)
                break
    return tuple('{}: {}'.format(tensor.layer, _RULES[number][-1].format(zeroed=tensor.zeroed))
                 for number, tensor in sorted(found.items()))


def is_uneven(tensor):
    """Whether a TensorError is one of weights of which a few are so large that little is left of the others."""
    return tensor.role == 'weight' and tensor.bits >= _LEAST_BITS and tensor.zeroed > _UNEVEN


UNEVEN = ('{zeroed:.0%} of the weights become 0, since a few, mostly those of one channel, are far larger. See whether these '
          'are right; --effort high and --do_cle 1 scale channels.')
# (role, whether it applies to a TensorError, what it means and what to do)
_RULES = (
    ('weight', lambda tensor: tensor.loss_db > _LOST and tensor.saturated < _SATURATED,
     'the weights are not those of the float graph. Is it the file that the model was made from, and were the data of '
     'calibration others than zeros?'),
    ('weight', is_uneven, UNEVEN),
    ('activation', lambda tensor: tensor.loss_db > _LOST and tensor.saturated >= _SATURATED,
     'the values are larger than in calibration. Take more, and more varied, data for it; in a training let positions move for '
     'longer (freeze_position_step).'),
    ('activation', lambda tensor: tensor.loss_db > _LOST and tensor.zeroed >= _ZEROED,
     'the range is that of a rare large value. Try --effort standard, or --positions_by mse.'),
    ('bias', lambda tensor: tensor.alone_db < _MUCH,
     'few dB of a bias are no fault where it was fitted, as the efforts standard and high do: the activation counts.'))
