"""Trials of aids, and whether one replaces another."""
from typing import Dict, Mapping, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.decibels import decibels
from vai_q_tf.plan.positions import final_positions
from vai_q_tf.ptq.effort.judge import Judge
from vai_q_tf.ptq.fitting.state import State

# The least gain of an aid on unseen data, in dB; if it gains _MOST_FITTED more on fitted data, it must gain _CLEAR_GAIN.
_LEAST_GAIN = 0.1
_MOST_FITTED, _CLEAR_GAIN = 6.0, 2.0
_MORE_IMAGES = 2  # like the one on which an aid loses most; with them it must not lose

Observed = Mapping[str, final_positions.Observation]


class Setting(NamedTuple):
    """The start of a walk, and how it fits weights.

    values: {Const: array} for those with other values than in the float graph. observed: {quantized tensor: Observation}.
    align_pool: as in QuantizeConfig. scales: {weighted op: factors on the channels of its result}. unclipped: as in State.
    chosen: {quantized tensor: position of its group}, see `final_positions.decide`. fits: whether weights are rounded by the
    error of results; refits: whether they are refitted before that.
    """
    values: Dict[str, np.ndarray]
    observed: Observed
    align_pool: int
    scales: Dict[str, np.ndarray]
    unclipped: Dict[str, str] = {}
    chosen: Dict[str, int] = {}
    fits: bool = False
    refits: bool = False


class Trial(NamedTuple):
    """A Setting, the State that results, and what the Judge found.

    fitted, unseen: the signal-to-noise ratios of the outputs on both parts of the data, in dB. images: the error of each image.
    """
    setting: Setting
    state: State
    fitted: float
    unseen: float
    images: np.ndarray


def judged(judge: Judge, setting: Setting, state: State, graph_def: tf.GraphDef) -> Trial:
    """The Trial of a quantized GraphDef."""
    fitted, unseen = judge.errors_of_images(graph_def)
    return Trial(setting, state, decibels(fitted.mean()), decibels(unseen.mean()), np.concatenate([fitted, unseen]))


def why_not(best: Trial, trial: Trial, together: bool = False) -> str:
    """Why a trial does not replace the best one, '' if it does.

    together: whether they differ by several aids. Their gains on fitted data add up, so a large one is no sign of overfitting.
    """
    gain, fitted_gain = trial.unseen - best.unseen, trial.fitted - best.fitted
    if not together and fitted_gain - gain > _MOST_FITTED and _LEAST_GAIN <= gain < _CLEAR_GAIN:
        return 'it gains {:.1f} dB on the data that it was fitted on'.format(fitted_gain)
    return no_gain(best, trial) or _risk(best, trial)


def _risk(best: Trial, trial: Trial) -> str:
    """Why a trial that gains on unseen data may lose on others, '' if it hardly can.

    The few unseen images may lack rare values of the fitted data, and all of them may lack others of the kind.
    """
    lost = trial.images - best.images
    if lost.sum() > 0:
        return loses(best, trial)
    if lost.sum() + _MORE_IMAGES * lost.max() > 0:
        return 'more images like the one on which it loses most would undo the gain'
    return ''


def loses(best: Trial, trial: Trial) -> str:
    """What a trial loses on fitted data, in words."""
    lost = best.fitted - trial.fitted
    return 'it {} on the data that it was fitted on'.format('loses {:.1f} dB'.format(lost) if lost >= 0.05 else 'gains nothing')


def no_gain(best: Trial, trial: Trial) -> str:
    """'' if a trial gains on unseen data."""
    return '' if trial.unseen - best.unseen >= _LEAST_GAIN else 'no gain'
