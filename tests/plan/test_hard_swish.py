"""Hard sigmoids and hard swishes in every spelling: their quantized tensors after the passes."""
import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests.combinations import each_pair_once
from tests.plan.networks import by_name, image, plan_of_frozen
from vai_q_tf.fixed_point import POSITION_MIN

_SIXTHS = {'exact': 1 / 6, 'float32': np.float32(1 / 6), 'half': np.float32(np.float16(1 / 6)), '0.1667': 0.1667,
           '0.16666667': 0.16666667}
_CLIPS = {
    'relu6': tf.nn.relu6, 'clip_by_value': lambda y: tf.clip_by_value(y, 0.0, 6.0),
    'relu and minimum': lambda y: tf.minimum(tf.nn.relu(y), 6.0),
    'minimum and maximum': lambda y: tf.maximum(tf.minimum(6.0, y), 0.0),
    'maximum and minimum': lambda y: tf.minimum(tf.maximum(y, 0.0), 6.0)}
_SWISHES = {
    '(x * r) / 6': lambda x, r, s: x * r / 6.0, '(r * x) / 6': lambda x, r, s: r * x / 6.0,
    '(x * r) * s': lambda x, r, s: x * r * s, 's * (r * x)': lambda x, r, s: s * (r * x),
    'x * (r * s)': lambda x, r, s: x * (r * s), 'x * (r / 6)': lambda x, r, s: x * (r / 6.0),
    '(s * r) * x': lambda x, r, s: s * r * x, '(x * s) * r': lambda x, r, s: x * s * r,
    'r * (s * x)': lambda x, r, s: r * (s * x),
    '(x / 6) * r': lambda x, r, s: x / 6.0 * r, 'r * (x / 6)': lambda x, r, s: r * (x / 6.0)}
_SIGMOIDS = {'r / 6': lambda x, r, s: r / 6.0, 'r * s': lambda x, r, s: r * s, 's * r': lambda x, r, s: s * r}
_SHIFTS = {'x + 3': lambda x: x + 3.0, '3 + x': lambda x: 3.0 + x, 'half': lambda x: x + 3.0015,
           'vector': lambda x: x + np.full(4, 3, np.float32)}


def _plan(form, clip='relu6', sixth='exact', shift='x + 3', **fields):
    x = tf.compat.v1.layers.conv2d(image(), 4, 3, name='conv', activation=tf.nn.relu)
    y = dict(_SWISHES, **_SIGMOIDS)[form](x, _CLIPS[clip](_SHIFTS[shift](x)), tf.constant(np.float32(_SIXTHS[sixth])))
    tf.identity(y, name='out')
    return plan_of_frozen('out', **fields)


def _assert_found(plan, swish):
    """A hard sigmoid has one FixNeuron, a hard swish one more, and both keep to the positions of the hardware."""
    after = [tensor for tensor in plan.tensors if tensor.mode == 1][2:]
    assert len(after) == 1 + swish and not plan.skipped
    assert [tensor.min_position for tensor in after] == [7, POSITION_MIN][:len(after)]
    assert by_name(plan)['conv/Relu/aquant'].min_position == 0


@pytest.mark.parametrize('simulate_dpu', [0, 1])
@pytest.mark.parametrize('form', list(_SWISHES) + list(_SIGMOIDS))
def test_every_order(form, simulate_dpu):
    _assert_found(_plan(form, simulate_dpu=simulate_dpu), form in _SWISHES)


_SHIFTS_AND_FORMS = list(itertools.product(_SHIFTS, ['(x * r) * s', 'r * s']))


@pytest.mark.parametrize('sixth, clip, shift_and_form', each_pair_once(_SIXTHS, _CLIPS, _SHIFTS_AND_FORMS), ids=str)
def test_every_number(sixth, clip, shift_and_form):
    shift, form = shift_and_form
    _assert_found(_plan(form, clip, sixth, shift), form in _SWISHES)


def test_the_hard_sigmoid_of_keras_has_another_slope():
    x = tf.compat.v1.layers.conv2d(image(), 4, 3, name='conv', activation=tf.nn.relu)
    tf.identity(tf.keras.backend.hard_sigmoid(x), name='out')
    plan = plan_of_frozen('out')
    assert all(tensor.min_position == POSITION_MIN for tensor in plan.tensors) and not plan.skipped


def test_gates_of_relu6():
    """A relu6 of a sum with 3 is no hard sigmoid by itself, not even next to one."""
    x = image()
    tf.multiply(tf.nn.relu6(x + 3.0, name='first'), tf.nn.relu6(-x + 3.0, name='second') / 6.0, name='out')
    plan = plan_of_frozen('out')
    assert 'first/aquant' in by_name(plan) and 'second/aquant' not in by_name(plan)
