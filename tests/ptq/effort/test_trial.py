"""What replaces what."""
import numpy as np
import pytest

from tests.ptq.effort.small import made_trial
from vai_q_tf.ptq.effort.trial import Trial, why_not


@pytest.mark.parametrize('fitted, unseen, reason', [
    (30, 30, ''), (20.1, 20.1001, ''), (19.95, 25, ''), (20, 20.05, 'no gain'), (20, -np.inf, 'no gain'), (10, 10, 'no gain'),
    (27, 21.1, ''), (31, 22.1, ''), (31, 21.9, 'it gains 11.0 dB on the data that it was fitted on'),
    (19, 25, ''), (16, 25, 'it loses 4.0 dB on the data that it was fitted on')])
def test_what_is_kept(fitted, unseen, reason):
    """Compared with 20 dB on both data: .1 dB is the least gain, and with 6 dB more on fitted data it is 2 dB.

    Errors of 20 dB are .01, so .02 for both; those of 19 and 25 dB are .0158, those of 16 and 25 dB .0283.
    """
    assert why_not(made_trial(20, 20), made_trial(fitted, unseen)) == reason


@pytest.mark.parametrize('before, after, reason', [
    (np.inf, np.inf, 'no gain'), (-np.inf, 3, ''), (-np.inf, -np.inf, 'no gain'), (3, np.nan, 'no gain')])
def test_what_is_kept_of_extremes(before, after, reason):
    assert why_not(made_trial(before, before), made_trial(after, after)) == reason


@pytest.mark.parametrize('images, rare, kept', [(12, 0.05, True), (12, 0.06, False), (120, 0.4, True), (120, 0.43, False)])
def test_what_is_lost_on_one_image_counts_three_times(images, rare, kept):
    """Errors fall from .02 to .01 on all images but one, which has `rare`. The definition adds two images like that one."""
    before, after = np.full(images, 0.02), np.full(images, 0.01)
    after[1] = rare
    more = [np.append(errors, [errors[1]] * 2).mean() for errors in (before, after)]
    assert after.mean() < before.mean() and (more[1] <= more[0]) == kept
    reason = why_not(Trial(None, None, 20, 20, before), Trial(None, None, 20, 25, after))
    assert reason == ('' if kept else 'more images like the one on which it loses most would undo the gain')


@pytest.mark.parametrize('fitted, unseen, reason', [
    (31, 21.9, ''), (20, 20.05, 'no gain'), (16, 25, 'it loses 4.0 dB on the data that it was fitted on')])
def test_what_is_kept_of_several_aids(fitted, unseen, reason):
    """However much more they gain on fitted data."""
    assert why_not(made_trial(20, 20), made_trial(fitted, unseen), together=True) == reason
