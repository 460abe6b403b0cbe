"""Each aid on a network where it gains, and on one where it must be rejected."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.ptq.effort.small import Tried, images, made_trial
from tests.ptq.equalization.graphs import run_on
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.ptq.effort.effort import AIDS, Effort
from vai_q_tf.ptq.effort.trial import Setting

_FRESH = dict(seed=77, batches=1)


def _expect(build, batches, aid, least_gain, fresh, **fields):
    """The aid is kept and gains that many dB, and about as much on fresh data."""
    tried = Tried(build, batches, [aid], **fields)
    row, without = tried.rows[aid], Tried(build, batches, [], **fields)
    assert row.kept and row.after - row.before > least_gain, row
    assert tried.quality(fresh) - without.quality(fresh) > 0.8 * least_gain
    expected, actual = (run_on(graph_def, [tried.output], fresh)[0] for graph_def in (
        tried.graph_def, editor.with_values(tried.graph_def, tried.values)))
    np.testing.assert_allclose(actual, expected, atol=1e-3 * np.abs(expected).max())  # the float function does not change
    return tried


def _expect_rejected(build, batches, aid, reason='no gain', worse=0, **fields):
    """The aid is tried, loses `worse` dB, and is rejected; the result is the same as without it."""
    tried, without = Tried(build, batches, [aid], **fields), Tried(build, batches, [], **fields)
    row = tried.rows[aid]
    assert row.rejected.startswith(reason) and (reason != 'no gain' or row.after <= row.before - worse), row
    assert tried.state.positions == without.state.positions
    assert set(tried.state.values) == set(without.state.values)
    for name, value in tried.state.values.items():
        np.testing.assert_array_equal(value, without.state.values[name])
    return tried


# dead channels

def _dominated(size):
    def build(builder):
        """Two convolutions; one channel of the first has weights `size` times as large, and a relu always cuts it to 0."""
        weights = builder.normal(3, 3, 3, 6)
        weights[..., 2] = -size * np.abs(weights[..., 2])
        x = tf.nn.relu(builder.conv(builder.x, 6, 'first', weights=weights, bias=np.full(6, 0.1)))
        return builder.conv(x, 4, 'second')
    return build


def test_dead_channels_are_kept():
    tried = _expect(_dominated(1000), images(16, 8, 8, 3, low=0.1), 'dead channels', 20,
                    images(16, 8, 8, 3, low=0.1, **_FRESH)[0])
    assert not tried.values['first/weights'][..., 2].any() and tried.values['first/biases'][2] == 0


def test_dead_channels_that_live_in_unseen_images_are_rejected():
    batches = images(16, 8, 8, 3, low=0.1, batches=3)
    batches[2] = -batches[2] / 16  # so small that its positions can be fine
    _expect_rejected(_dominated(4), batches, 'dead channels', worse=6)


def _walks(monkeypatch, build, batches, aids, **fields):
    """(the texts of the walks, Tried)"""
    texts, walk = [], Effort._walk
    monkeypatch.setattr(Effort, '_walk', lambda self, setting, text: (texts.append(text), walk(self, setting, text))[1])
    return texts, Tried(build, batches, aids, **fields)


def test_dead_channels_that_gain_at_once_take_no_walk(monkeypatch):
    texts, tried = _walks(monkeypatch, _dominated(1000), images(16, 8, 8, 3, low=0.1), ['dead channels'])
    assert texts == ['Bias correction'] and list(tried.rows) == ['dead channels', 'bias correction', 'all together']
    assert tried.rows['dead channels'].before == tried.rows['all together'].before
    assert tried.rows['dead channels'].after == tried.rows['bias correction'].before


@pytest.mark.parametrize('size', [4, 0])
def test_dead_channels_are_searched_once(monkeypatch, size):
    calls, look = [], Effort._dead_channels
    monkeypatch.setattr(Effort, '_dead_channels', lambda self, setting: (calls.append(setting), look(self, setting))[1])
    batches = images(16, 8, 8, 3, low=0.1, batches=3)
    batches[2] = -batches[2] / 16
    tried = Tried(_dominated(size), batches, ['dead channels'])
    assert len(calls) == 1 and ('dead channels' in tried.rows) == (size > 0)


def test_dead_channels_that_do_not_gain_at_once_are_tried_with_fitted_biases(monkeypatch):
    batches = images(16, 8, 8, 3, low=0.1, batches=3)
    batches[2] = -batches[2] / 16
    texts, tried = _walks(monkeypatch, _dominated(4), batches, ['dead channels'])
    assert texts == ['Bias correction', 'Dead channels'] and not tried.rows['dead channels'].kept


def test_pools_take_a_walk_only_if_their_positions_gain(monkeypatch):
    texts, tried = _walks(monkeypatch, _averages, images(16, 8, 8, 3), ['pools not aligned'])
    assert texts == ['Bias correction', 'Pools not aligned'] and tried.rows['pools not aligned'].kept
    monkeypatch.undo()

    texts, tried = _walks(monkeypatch, _small_average, images(16, 8, 8, 3), ['pools not aligned'])
    assert texts == ['Bias correction'] and tried.rows['pools not aligned'].rejected == 'no gain'


def test_without_dead_channels_nothing_is_tried():
    tried = Tried(lambda builder: builder.conv(builder.x, 4, 'first'), images(16, 8, 8, 3), ['dead channels'])
    assert set(tried.rows) == {'bias correction', 'all together'}


# positions by error

def _convolutions(builder):
    return builder.conv(tf.nn.relu(builder.conv(builder.x, 6, 'first')), 4, 'second')


def test_positions_by_error_are_kept():
    """Most batches have small values, but the errors of those with large values dominate."""
    batches = [batch * (1 if step % 3 == 2 else 1 / 64) for step, batch in enumerate(images(8, 8, 8, 3, batches=9))]
    _expect(_convolutions, batches, 'positions by error', 10, images(16, 8, 8, 3, **_FRESH)[0])


def test_one_batch_of_a_wider_range_decides_if_there_are_bits_enough():
    """It is unseen; at 16 bits a coarser step costs the other batches almost nothing."""
    batches = [batch * (2.2 if step == 4 else 1) for step, batch in enumerate(images(8, 8, 8, 3, batches=5))]
    tried = _expect(_convolutions, batches, 'positions by error', 40, 2.2 * images(16, 8, 8, 3, **_FRESH)[0], weight_bit=16,
                    activation_bit=16)
    assert all(tried.quality(batch) > 50 for batch in batches)


def test_positions_by_error_are_rejected():
    """The values of one fitted batch are so large that steps are coarse for the unseen ones."""
    def build(builder):
        return builder.conv(builder.conv(builder.x, 6, 'first', bias=False), 4, 'second', bias=False)
    batches = [batch * (64 if step == 1 else 1) for step, batch in enumerate(images(8, 8, 8, 3, batches=9))]
    _expect_rejected(build, batches, 'positions by error', worse=10)


# pools not aligned

def _averages(builder, window=8):
    """The mean of an image is far smaller than its values."""
    x = builder.conv(builder.x, 8, 'first', bias=np.zeros(8))
    x = tf.nn.avg_pool(x, window, window, 'VALID')
    return builder.conv(x, 4, 'second', 1, bias=np.zeros(4))


def _small_average(builder):
    """The layer after the pool has weights so small that it does not matter for the output."""
    x = builder.conv(builder.x, 8, 'first', bias=np.zeros(8))
    pooled = builder.conv(tf.nn.avg_pool(x, 8, 8, 'VALID'), 4, 'second', 1, 2.0**-14 * builder.normal(1, 1, 8, 4), np.zeros(4))
    return builder.conv(builder.x, 4, 'third', 8, bias=np.zeros(4), padding='VALID') + pooled


def test_pools_not_aligned_are_kept():
    _expect(_averages, images(16, 8, 8, 3), 'pools not aligned', 6, images(32, 8, 8, 3, **_FRESH)[0])


def test_pools_not_aligned_are_rejected():
    _expect_rejected(_small_average, images(16, 8, 8, 3), 'pools not aligned')


def test_pools_whose_positions_are_equal_anyway_are_not_tried():
    def build(builder):
        x = tf.nn.relu(builder.conv(builder.x, 8, 'first', weights=np.abs(builder.normal(3, 3, 3, 8)), bias=np.zeros(8)))
        return builder.conv(tf.nn.max_pool(x, 2, 2, 'VALID'), 4, 'second', 1)
    assert 'pools not aligned' not in Tried(build, images(16, 8, 8, 3), ['pools not aligned']).rows


@pytest.mark.parametrize('align_pool', [1, 2])
def test_an_align_pool_of_the_user_stays(align_pool):
    tried = Tried(_averages, images(16, 8, 8, 3), ['pools not aligned'], align_pool=align_pool)
    assert 'pools not aligned' not in tried.rows


def test_a_pool_that_is_an_output_stays_aligned_if_the_user_wants_it():
    def build(builder):
        return tf.nn.avg_pool(builder.conv(builder.x, 8, 'first'), 8, 8, 'VALID')
    assert [set(Tried(build, images(16, 8, 8, 3), ['pools not aligned'], align_pool=align_pool).rows) >= {'pools not aligned'}
            for align_pool in (0, 1, 2)] == [True, False, False]


# positions of groups by output error

def _concat(large_weight):
    def build(builder):
        """A concat of values up to 8 and up to 1/8; the weights of the former are scaled by `large_weight`."""
        large = builder.conv(builder.x, 4, 'large', 1, 8 * np.eye(4).reshape(1, 1, 4, 4), np.zeros(4))
        small = builder.conv(builder.x, 4, 'small', 1, np.eye(4)[::-1].reshape(1, 1, 4, 4) / 8, np.zeros(4))
        weights = builder.normal(1, 1, 8, 4)
        weights[:, :, :4] *= large_weight
        return builder.conv(tf.concat([large, small], -1), 4, 'last', 1, weights, np.zeros(4))
    return build


_GROUPS = 'positions of groups by output error'


def test_positions_of_groups_are_kept():
    _expect(_concat(2**-12), images(16, 8, 8, 4), _GROUPS, 10, images(16, 8, 8, 4, **_FRESH)[0], weight_bit=16, align_concat=0)


def test_positions_of_groups_are_rejected():
    """The values are small in the batches that choose the positions."""
    batches = images(16, 8, 8, 4)
    for batch in batches[:-1]:
        batch /= 64
    _expect_rejected(_concat(1), batches, _GROUPS, worse=0.05, weight_bit=16)


def test_positions_of_groups_are_compared_after_a_walk(monkeypatch):
    compared, error = [], Effort._fitted_error
    monkeypatch.setattr(Effort, '_fitted_error', lambda self, setting: (
        compared.append(bool(self._best.state.values)), error(self, setting))[1])
    texts, _ = _walks(monkeypatch, _concat(2**-12), images(16, 8, 8, 4), [_GROUPS], weight_bit=16, align_concat=0)
    assert compared and all(compared) and texts[0] == 'Bias correction'


def test_without_groups_nothing_is_tried():
    assert _GROUPS not in Tried(_convolutions, images(16, 8, 8, 3), [_GROUPS]).rows
    assert _GROUPS not in Tried(_concat(2**-12), images(16, 8, 8, 4), [_GROUPS], align_concat=2).rows


# rounding with error feedback

_ROUNDING = 'rounding with error feedback'


def _correlated(count, seed=0, batches=4):
    """Images with correlated channels."""
    random = np.random.RandomState(seed)
    return [(random.normal(0, 1, (count, 6, 6, 1)) + 0.1 * random.normal(0, 1, (count, 6, 6, 12))).astype(np.float32)
            for _ in range(batches)]


def _one_layer(builder):
    return builder.conv(builder.x, 4, 'first', 1, bias=np.zeros(4))


def test_rounding_is_kept():
    _expect(_one_layer, _correlated(16), _ROUNDING, 6, _correlated(16, 5)[0], weight_bit=4, bias_bit=16, activation_bit=12)


def test_rounding_is_rejected_for_weights_that_need_none():
    def build(builder):
        return builder.conv(builder.x, 4, 'first', 1, builder.random.randint(-7, 8, (1, 1, 12, 4)) / 8, np.zeros(4))
    _expect_rejected(build, _correlated(16), _ROUNDING, weight_bit=4, bias_bit=16, activation_bit=12)


# refitted weights

_REFIT = 'refitted weights'


def _two_dense(bits):
    def build(builder):
        """The second layer can compensate the coarse weights of the first, which has more outputs than inputs."""
        x = builder.conv(builder.x, 12, 'first', 1, bias=np.zeros(12))
        return builder.conv(x, 4, 'second', 1, bias=np.zeros(4))
    return build, dict(weight_bit=bits, bias_bit=16, activation_bit=12, nodes_bit=['second:12'])


def test_refitted_weights_are_kept():
    build, fields = _two_dense(3)
    _expect(build, images(16, 8, 8, 3), _REFIT, 10, images(16, 8, 8, 3, **_FRESH)[0], **fields)


def test_refitted_weights_that_gain_take_the_only_walk(monkeypatch):
    build, fields = _two_dense(3)
    texts, tried = _walks(monkeypatch, build, images(16, 8, 8, 3), [_REFIT], **fields)
    assert texts == ['Refitted weights'] and list(tried.rows) == [_REFIT, 'all together']
    assert tried.rows[_REFIT] == tried.rows['all together']._replace(aid=_REFIT)


def test_refitted_weights_after_another_walk_gain_over_it(monkeypatch):
    build, fields = _two_dense(3)
    texts, tried = _walks(monkeypatch, build, images(16, 8, 8, 3), [_ROUNDING, _REFIT], **fields)
    assert texts == ['Bias correction', 'Rounding with error feedback', 'Refitted weights']
    assert tried.rows[_REFIT].before == max(tried.rows[_ROUNDING].before, tried.rows[_ROUNDING].after)
    assert 'fitted biases and weights' in tried.rows


def test_refitted_weights_that_gain_nothing_are_walked_once(monkeypatch):
    """Then biases are corrected, and the gain is that over them."""
    few, other = images(16, 64, batches=2)
    without = Tried(_logits, [few, few, other], [], **_LOGITS)
    texts, tried = _walks(monkeypatch, _logits, [few, few, other], [_REFIT], **_LOGITS)
    assert texts == ['Refitted weights', 'Bias correction'] and tried.rows[_REFIT].rejected
    assert tried.rows[_REFIT].before == without.rows['bias correction'].after


def _logits(builder):
    """A layer with more inputs than there are images, after one with coarse weights."""
    x = tf.nn.relu(builder.dense(builder.x, 256, 'first', bias=np.zeros(256)))
    return builder.dense(x, 10, 'second', bias=np.zeros(10))


_LOGITS = dict(weight_bit=3, bias_bit=16, activation_bit=12, nodes_bit=['second:12'])


def test_refitted_weights_that_overfit_are_rejected():
    """Both halves of the fitted images are equal, so cross-validation fails; so are some of the unseen ones."""
    few, other = images(16, 64, batches=2)
    _expect_rejected(_logits, [few, few, np.concatenate([few[:6], other[:10]])], _REFIT, 'it gains ', **_LOGITS)


def test_refitted_weights_that_gain_clearly_are_kept_even_if_they_overfit():
    few, other = images(16, 64, batches=2)
    row = Tried(_logits, [few, few, np.concatenate([few[:12], other[:4]])], [_REFIT], **_LOGITS).rows[_REFIT]
    assert row.kept and row.after > row.before + 2


def test_refitted_weights_without_gain_are_rejected():
    few, other = images(16, 64, batches=2)
    _expect_rejected(_logits, [few, few, other], _REFIT, worse=0.5, **_LOGITS)


# equalization

def _two_convolutions(exponent):
    def build(builder):
        """Channels multiplied by 2^U(-exponent, exponent) before a relu, and divided after it."""
        factors = 2.0**builder.random.uniform(-exponent, exponent, 16)
        x = tf.nn.relu(builder.conv(builder.x, 16, 'first', weights=builder.normal(3, 3, 3, 16) * factors, bias=0.1 * factors))
        return builder.conv(x, 4, 'second', weights=builder.normal(3, 3, 16, 4) / factors[:, None])
    return build


def test_equalization_is_kept():
    _expect(_two_convolutions(3), images(16, 8, 8, 3), 'equalization', 12, images(16, 8, 8, 3, **_FRESH)[0])


def _relu6(builder):
    """Balanced layers with weights of many bits; the relu6 clips some values."""
    x = tf.nn.relu6(builder.conv(builder.x, 16, 'first', weights=builder.normal(3, 3, 3, 16), bias=np.ones(16)))
    return builder.conv(x, 4, 'second', weights=builder.normal(3, 3, 16, 4))


def test_without_its_relu6_a_result_fills_the_range_of_its_position():
    """At position 4 the largest of 8 bits is 127 / 16 in place of 6, so rounding makes 2.4 dB less noise."""
    batches, fresh = images(16, 8, 8, 3, low=-2, high=2), images(16, 8, 8, 3, low=-2, high=2, **_FRESH)[0]
    tried, without = (Tried(_relu6, batches, aids, weight_bit=16, nodes_bit=['x:16', 'second/bias:16'])
                      for aids in (['equalization'], []))
    row = tried.rows['equalization']
    gain = 20 * np.log10(127 / 16 / 6)
    assert row.kept and tried.state.unclipped and abs(row.after - row.before - gain) < 0.3
    assert abs(tried.quality(fresh) - without.quality(fresh) - gain) < 0.3
    kept = Tried(_relu6, batches, ['equalization'], weight_bit=16, nodes_bit=['x:16', 'second/bias:16'], replace_relu6=0)
    assert not kept.state.unclipped and not kept.rows['equalization'].kept


def test_equalization_is_rejected_without_gain():
    def build(builder):
        """Exact weights; only the rounding of the result makes errors."""
        x = tf.nn.relu(builder.conv(builder.x, 4, 'first', 1, np.ones([1, 1, 1, 4]), np.zeros(4)))
        return builder.conv(x, 1, 'second', 1, np.ones([1, 1, 4, 1]), np.zeros(1))
    _expect_rejected(build, [np.round(batch * 127) / 128 for batch in images(16, 8, 8, 1)], 'equalization')


def test_without_pairs_nothing_is_equalized():
    assert 'equalization' not in Tried(_one_layer, _correlated(16), ['equalization']).rows


# bias correction

def _positive(builder):
    return builder.conv(builder.x, 4, 'first', bias=np.zeros(4))


def test_bias_correction_is_kept():
    """Inputs are never negative, so most of the error of coarse weights is its mean."""
    tried = Tried(_positive, images(16, 8, 8, 3, low=0.9), [], weight_bit=4, bias_bit=16, activation_bit=12)
    row, total = tried.rows['bias correction'], tried.rows['all together']
    assert row.kept and row.after - row.before > 6 and total.after == row.after and total.kept
    assert tried.quality(images(16, 8, 8, 3, low=0.9, **_FRESH)[0]) > row.before + 6


def test_bias_correction_is_rejected():
    """Unseen images have the opposite sign."""
    batches = images(16, 8, 8, 3, low=0.9, batches=3)
    batches[2] *= -1
    tried = Tried(_positive, batches, [], weight_bit=4, bias_bit=16, activation_bit=12)
    assert tried.rows['bias correction'].rejected == tried.rows['all together'].rejected == 'no gain'
    assert tried.state.values == {}


@pytest.mark.parametrize('fitted, unseen, reason', [
    (20, 25, 'it gains nothing on the data that it was fitted on'), (20, 20.05, 'no gain'), (25, 20, 'no gain'),
    (17.5, 25, 'it loses 2.5 dB on the data that it was fitted on')])
def test_why_pools_are_rejected_without_a_walk(monkeypatch, fitted, unseen, reason):
    """Users see only the unseen data: 'no gain' next to a gain of 5 dB would be wrong."""
    effort = Effort.__new__(Effort)
    effort._best, effort._unfitted, effort.rows, effort._rejected = made_trial(20, 20), made_trial(10, 10), [], {}
    monkeypatch.setattr(effort, '_with_positions', lambda setting: None)
    monkeypatch.setattr(effort, '_judged', lambda setting, state: made_trial(fitted, unseen))
    assert effort._try('pools not aligned', None) is effort._best
    assert effort.rows[0].rejected == reason


def test_an_aid_does_not_depend_on_the_other_aids_of_the_effort(monkeypatch):
    """The benchmark measures efforts with one aid left out."""
    def build(builder):
        x = tf.nn.relu(builder.conv(builder.x, 8, 'first', bias=np.full(8, 0.1)))
        return builder.conv(tf.nn.avg_pool(tf.nn.relu(builder.conv(x, 8, 'second')), 2, 2, 'VALID'), 4, 'third')
    batches = images(12, 4, 4, 3)
    every = {aid: Tried(build, batches, [aid], weight_bit=4).rows for aid in AIDS['high']}
    assert sum(aid in rows for aid, rows in every.items()) >= 4
    for aid, rows in every.items():
        monkeypatch.setitem(AIDS, 'high', (aid,))
        assert Tried(build, batches, [aid], weight_bit=4).rows == rows


def _scripted(monkeypatch, walks):
    """(the texts of the walks, an Effort without a network, whose walks end with these signal-to-noise ratios)"""
    texts, ratios, setting = [], iter(walks), Setting({}, {}, 0, {})

    def walk(effort, setting, text):
        texts.append(text)
        return made_trial(*[next(ratios)] * 2)._replace(setting=setting)
    monkeypatch.setattr(Effort, '_walk', walk)
    monkeypatch.setattr(Effort, '_positions_by_error', lambda self, setting: None if setting.observed else setting._replace(
        observed={'x': None}))
    monkeypatch.setattr(Effort, '_pools_apart', lambda self, setting: None)
    monkeypatch.setattr(Effort, '_positions_of_groups', lambda self, setting: None)
    effort = Effort.__new__(Effort)
    effort._best = effort._unfitted = effort._fast = made_trial(10, 10)._replace(setting=setting)
    effort.rows, effort._rejected, effort._accepted = [], {}, None
    return texts, effort


def _outcomes(effort):
    return [(row.aid, row.before, row.after, row.kept) for row in effort.rows]


_ERRORS, _LATE = 'positions by error', [aid for aid in AIDS['standard'] if aid != 'dead channels']


def test_an_aid_that_was_rejected_is_tried_again_after_another_one_is_kept(monkeypatch):
    texts, effort = _scripted(monkeypatch, [20, 20.05, 25, 26])
    effort.run(_LATE)
    assert texts == ['Bias correction', 'Positions by error', 'Refitted weights', 'Positions by error']
    assert _outcomes(effort) == [(_REFIT, 20, 25, True), (_ERRORS, 25, 26, True)]


def test_an_aid_that_was_rejected_is_not_tried_again_if_nothing_is_kept_after_it(monkeypatch):
    texts, effort = _scripted(monkeypatch, [20, 20.05, 20.08])
    effort.run(_LATE)
    assert texts == ['Bias correction', 'Positions by error', 'Refitted weights']
    assert _outcomes(effort) == [(_ERRORS, 20, 20.05, False), (_REFIT, 20, 20.08, False)]


def test_an_aid_that_is_rejected_twice_has_the_row_of_its_second_trial(monkeypatch):
    texts, effort = _scripted(monkeypatch, [20, 19, 25, 24])
    effort.run(_LATE)
    assert _outcomes(effort) == [(_REFIT, 20, 25, True), (_ERRORS, 25, 24, False)]
    assert effort._best.unseen == 25 and len(texts) == 4


def test_an_aid_that_was_kept_is_not_tried_again(monkeypatch):
    texts, effort = _scripted(monkeypatch, [20, 22, 25])
    effort.run(_LATE)
    assert texts == ['Bias correction', 'Positions by error', 'Refitted weights']
    assert [row.aid for row in effort.rows] == [_ERRORS, _REFIT]


@pytest.mark.parametrize('begins_as_before, before', [(True, 10), (False, 12)])
def test_a_walk_after_refitted_weights_is_judged_against_its_start(monkeypatch, begins_as_before, before):
    """The row of refitted weights has the gain of another walk."""
    _, effort = _scripted(monkeypatch, [25, 26])
    effort.run([_REFIT, _ERRORS])
    effort._unfitted = effort._unfitted._replace(state='start')
    monkeypatch.setattr(effort, '_begin', lambda setting: 'start' if begins_as_before else 'other start')
    monkeypatch.setattr(effort, '_judged', lambda setting, state: made_trial(*[10 if state == 'start' else 12] * 2))
    assert effort.result().unseen == 26
    assert _outcomes(effort)[-2:] == [('fitted biases and weights', before, 26, True), ('all together', 10, 26, True)]
