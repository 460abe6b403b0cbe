"""Cross-layer equalization with the efforts: kept if it helps, rejected if it hurts."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.ptq.two_layers import batch, decibels, network, quantized, unequal, verdict
from tests.support import run


def _clipping():
    """A relu6 that clips most values: equalization replaces it by a relu, which computes another function."""
    random, scales = np.random.RandomState(0), np.linspace(0.5, 2, 8)
    return network(random.normal(0, 0.3, (3, 3, 3, 8)) * scales, np.full(8, 8.0),
                   random.normal(0, 0.3, (3, 3, 8, 4)) / scales[:, None], tf.nn.relu6)


def _data(*slow):
    """Four batches of 16 images are enough for the effort, one batch of 6 is not."""
    return pytest.mark.parametrize('effort, images, calib_iter', [
        pytest.param(*each, marks=[pytest.mark.slow] * (each in slow))
        for each in (('standard', 16, 4), ('high', 16, 4), ('standard', 6, 1), ('high', 1, 1))])


@_data(('standard', 6, 1))
def test_equalization_of_unequal_channels_is_kept(effort, images, calib_iter, tmp_path, capsys):
    without, with_it = (quantized(unequal(), tmp_path, lambda step: batch(step, images), calib_iter,
                                  call=dict(effort=effort), do_cle=do_cle) for do_cle in (0, 1))
    gain = decibels(unequal(), with_it) - decibels(unequal(), without)
    if (effort, images) == ('high', 16):  # which has its own equalization
        assert gain > -0.5
    else:
        assert gain > 5 and verdict(capsys, 'cross-layer equalization') == 'kept'


@_data(('high', 16, 4), ('high', 1, 1))
def test_equalization_that_changes_the_function_is_rejected(effort, images, calib_iter, tmp_path, capsys):
    without, with_it = (quantized(_clipping(), tmp_path, lambda step: batch(step, images), calib_iter,
                                  call=dict(effort=effort), do_cle=do_cle) for do_cle in (0, 1))
    assert verdict(capsys, 'cross-layer equalization') == 'no gain'
    assert with_it == without


def test_a_batch_with_larger_values_is_not_outvoted_in_either_network(tmp_path, capsys):
    """Few images, one batch of five with values 2.2 times as large: 16 bits have room for it."""
    def feed(step):
        return {'x': np.random.RandomState(step).uniform(-1, 1, (8, 8, 8, 3)).astype(np.float32) * (2.2 if step == 4 else 1)}
    model = quantized(unequal(), tmp_path, feed, 5, do_cle=1, weight_bit=16, activation_bit=16)
    assert verdict(capsys, 'cross-layer equalization') == 'kept'
    assert all(decibels(unequal(), model, feed(step)) > 50 for step in range(5))


def test_fast_equalizes_without_a_judge(tmp_path, capsys):
    model = quantized(_clipping(), tmp_path, call=dict(effort='fast'), do_cle=1)
    assert 'Relu6' not in {node.op for node in model.node} and 'equalization' not in capsys.readouterr().err
    without = quantized(_clipping(), tmp_path, call=dict(effort='fast'))
    assert decibels(_clipping(), model) < decibels(_clipping(), without) - 5


def test_no_row_if_nothing_can_be_equalized(tmp_path, capsys):
    random = np.random.RandomState(0)
    graph_def = network(random.normal(0, 0.3, (3, 3, 3, 8)), np.zeros(8), random.normal(0, 0.3, (3, 3, 8, 4)), tf.nn.sigmoid)
    quantized(graph_def, tmp_path, do_cle=1)
    assert 'cross-layer' not in capsys.readouterr().err


def test_do_cle_decides_if_nothing_can_be_judged(tmp_path):
    """An output of integers: do_cle=1 equalizes, which saves the network here."""
    random, scales = np.random.RandomState(0), 2.0**np.linspace(-5, 5, 8)
    graph_def = network(random.normal(0, 0.3, (3, 3, 3, 8)) * scales, np.zeros(8),
                        random.normal(0, 0.3, (3, 3, 8, 4)) / scales[:, None],
                        last=lambda y, name: tf.argmax(y, -1, name=name))
    expected, = run(graph_def, ['y'], batch(99, 64))
    right = [np.mean(run(quantized(graph_def, tmp_path, outputs=['y'], do_cle=do_cle), ['y'], batch(99, 64))[0] == expected)
             for do_cle in (0, 1)]
    assert right[1] > 0.9 > 0.8 > right[0], right


@pytest.mark.parametrize('call', [{}, dict(include_fast_ft=1)])
def test_each_step_is_fed_once(call, tmp_path):
    steps = []

    def feed(step):
        steps.append(step)
        return batch(step)

    quantized(unequal(), tmp_path, feed, do_cle=1, call=call)
    assert steps == [0, 1, 2, 3]


@pytest.mark.parametrize('count, title', [(4, 'the calibration data:'), (16, 'calibration data that nothing was fitted on:')])
def test_the_summary_names_the_data_that_judged(count, title, tmp_path, capsys):
    """Too few images to set some of them aside, or enough."""
    quantized(unequal(), tmp_path, lambda step: batch(step, count), do_cle=1)
    assert [line for line in capsys.readouterr().err.splitlines() if 'Signal to' in line][0].endswith(', on ' + title)
