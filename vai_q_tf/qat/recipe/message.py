"""The line that a training prints in its first step: how it starts, and what its recipe does about it."""
from typing import List, Union

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.qat.recipe.begin import Begin

_FOUND = {
    Begin.FLOAT: 'This training starts from float weights',
    Begin.PARTLY: 'This training starts from float weights, of which some look untrained or do not tell ({})',
    Begin.SCRATCH: 'This training starts from scratch',
    Begin.STATISTICS: 'This training starts from float weights, but batch norms have moving averages that look untrained ({}): '
                      'new layers, or a warm start that left them out, as tf.estimator.WarmStartSettings does',
    Begin.CONTINUED: 'This training goes on from one that did not look where it started',
}
WAITS = ('This training waits for a batch to calibrate positions on, and rounds nothing in this step: the input of the network '
         'is empty or all zeros, or has NaN or infinity.')


def lines(config: QuantizeConfig, has_norms: bool, moves_by_itself: bool, freeze_share: float) -> List[str]:
    """The line of a training that is resumed with another recipe than it began with, then the line for each Begin.

    The names of untrained vectors replace a '{}' in it.

    Args:
      config: the QuantizeConfig.
      has_norms: whether the network has batch norms that may use the statistics of the batch.
      moves_by_itself: whether the recipe decides how long positions move.
      freeze_share: the share of the training for which they do.
    """
    limit = ' until {:.0%} of the training, if its length is known'.format(freeze_share) if moves_by_itself else ''
    assumed = {'finetune': Begin.FLOAT, 'scratch': Begin.SCRATCH}.get(config.recipe, Begin.CONTINUED)
    changed = _line('This training goes on by recipe {!r}'.format(config.recipe), [_norms(config, assumed)] * has_norms,
                    'Positions {}'.format(_moved(config, assumed, limit)))
    return [changed] + [_line('Warning: ' * (begin == Begin.STATISTICS) + _FOUND[begin], [_norms(config, begin)] * has_norms,
                              _positions(config, begin, limit)) for begin in Begin]


def _line(first: str, norms: List[str], positions: str) -> str:
    """The line of several sentences."""
    return '. '.join([first, *norms, positions]) + '.'


def _norms(config: QuantizeConfig, begin: Begin) -> str:
    if config.freeze_bn_step == 0:
        return 'Batch norms use moving statistics'
    if config.bn_fold == 'moving':
        return 'Batch norms use moving statistics, which move{}'.format(_until(config.freeze_bn_step))
    if config.freeze_bn_step is None and begin <= Begin.PARTLY:
        return 'Batch norms use moving statistics'
    return 'Batch norms use the statistics of the batch{}'.format(_until(config.freeze_bn_step))


def _positions(config: QuantizeConfig, begin: Begin, limit: str) -> str:
    """The sentence about positions; limit: until when the recipe moves them, if the config does not say it."""
    moved = _moved(config, begin, limit)
    if begin > Begin.PARTLY:
        return 'Positions {}'.format(moved)
    return 'Positions are calibrated on the float network in this step, then they {}'.format(moved)


def _moved(config: QuantizeConfig, begin: Begin, limit: str) -> str:
    if _stay(config, begin):
        return 'stay'
    return '{}{}'.format('are learned' if config.position_update == 'learned' else 'move',
                         limit if config.freeze_position_step is None else _until(config.freeze_position_step))


def _stay(config: QuantizeConfig, begin: Begin) -> bool:
    if config.freeze_position_step is not None:
        return config.freeze_position_step == 0
    return begin == Begin.FLOAT and config.position_update != 'learned'


def _until(limit: Union[int, float, None]) -> str:
    if limit is None:
        return ''
    return ' until {:.0%} of the training'.format(limit) if isinstance(limit, float) else ' until global step {}'.format(limit)
