"""Cross-layer equalization and fast finetuning beside the efforts: kept where they help, left out where they hurt."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.ptq.checking import run, unmeasured
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.ptq import judged_finetuning
from vai_q_tf.ptq.fast_finetune import finetune
from vai_q_tf.ptq.quantize import quantize_frozen

SIZE = 8


def _network(first, bias, second, activation=tf.nn.relu, last=None):
    """Two convolutions, x to y."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, SIZE, SIZE, 3], name='x')
        y = tf.nn.bias_add(tf.nn.conv2d(x, tf.constant(first, tf.float32, name='w1'), 1, 'SAME', name='c1'),
                           tf.constant(bias, tf.float32, name='b1'), name='add1')
        y = tf.nn.conv2d(activation(y, name='act'), tf.constant(second, tf.float32, name='w2'), 1, 'SAME', name='c2')
        (last or tf.identity)(y, name='y')
    return graph.as_graph_def()


def _unequal():
    """Channels whose weights are 2^-5 to 2^5 times as large in the first layer, and the other way round in the second."""
    random, scales = np.random.RandomState(0), 2.0**np.linspace(-5, 5, 8)
    return _network(random.normal(0, 0.3, (3, 3, 3, 8)) * scales, random.normal(0, 0.1, 8) * scales,
                    random.normal(0, 0.3, (3, 3, 8, 4)) / scales[:, None])


def _clipping():
    """Relu6 that clips most values: where equalization makes a Relu of it, another function is computed."""
    random, scales = np.random.RandomState(0), np.linspace(0.5, 2, 8)
    return _network(random.normal(0, 0.3, (3, 3, 3, 8)) * scales, np.full(8, 8.0),
                    random.normal(0, 0.3, (3, 3, 8, 4)) / scales[:, None], tf.nn.relu6)


def _batch(step, count=16):
    return {'x': np.random.RandomState(step).normal(0, 1, (count, SIZE, SIZE, 3)).astype(np.float32)}


@unmeasured()
def _quantized(graph_def, tmp_path, feed=_batch, calib_iter=4, outputs=('c2',), call=None, **fields):
    config = QuantizeConfig(['x'], list(outputs), calib_iter=calib_iter, output_dir=str(tmp_path), **fields)
    model = tf.GraphDef()
    with open(quantize_frozen(graph_def, feed, config, **(call or {})), 'rb') as file:
        model.ParseFromString(file.read())
    return model


def _decibels(graph_def, model, feed=None):
    """Of the outputs, on images that are not calibration data."""
    feed = feed or _batch(99, 64)
    expected, actual = run(graph_def, ['c2'], feed)[0], run(model, ['c2/aquant'], feed)[0]
    return 10 * np.log10(np.square(expected).sum() / np.square(expected - actual).sum())


def _verdict(capsys, aid):
    """The last words of an aid's row in the summary."""
    rows = [line for line in map(str.strip, capsys.readouterr().err.splitlines()) if line.startswith(aid + ' ')]
    assert len(rows) == 1, rows
    return rows[0][len(aid):].split(None, 2)[2]


def _data(*slow):
    """Four batches of 16 images are enough for the effort, one of 6 is not."""
    return pytest.mark.parametrize('effort, images, calib_iter', [
        pytest.param(*each, marks=[pytest.mark.slow] * (each in slow))
        for each in (('standard', 16, 4), ('high', 16, 4), ('standard', 6, 1), ('high', 1, 1))])


@_data(('standard', 6, 1))
def test_equalization_of_unequal_channels_is_kept(effort, images, calib_iter, tmp_path, capsys):
    without, with_it = (_quantized(_unequal(), tmp_path, lambda step: _batch(step, images), calib_iter,
                                   call=dict(effort=effort), do_cle=do_cle) for do_cle in (0, 1))
    gain = _decibels(_unequal(), with_it) - _decibels(_unequal(), without)
    if (effort, images) == ('high', 16):  # equalizes by itself, by noise
        assert gain > -0.5
    else:
        assert gain > 5 and _verdict(capsys, 'cross-layer equalization') == 'kept'


@_data(('high', 16, 4), ('high', 1, 1))
def test_equalization_that_changes_the_function_is_rejected(effort, images, calib_iter, tmp_path, capsys):
    without, with_it = (_quantized(_clipping(), tmp_path, lambda step: _batch(step, images), calib_iter,
                                   call=dict(effort=effort), do_cle=do_cle) for do_cle in (0, 1))
    assert _verdict(capsys, 'cross-layer equalization') == 'no gain'
    assert with_it == without and 'Relu6' in {node.op for node in with_it.node}


def test_fast_does_what_it_is_told(tmp_path, capsys):
    model = _quantized(_clipping(), tmp_path, call=dict(effort='fast'), do_cle=1)
    assert 'Relu6' not in {node.op for node in model.node} and 'equalization' not in capsys.readouterr().err
    without = _quantized(_clipping(), tmp_path, call=dict(effort='fast'))
    assert _decibels(_clipping(), model) < _decibels(_clipping(), without) - 5


def test_no_row_where_nothing_can_be_equalized(tmp_path, capsys):
    random = np.random.RandomState(0)
    graph_def = _network(random.normal(0, 0.3, (3, 3, 3, 8)), np.zeros(8), random.normal(0, 0.3, (3, 3, 8, 4)), tf.nn.sigmoid)
    _quantized(graph_def, tmp_path, do_cle=1)
    assert 'cross-layer' not in capsys.readouterr().err


def test_where_nothing_can_judge_the_user_does(tmp_path):
    """An output of integers: do_cle=1 equalizes, which saves the network here."""
    random, scales = np.random.RandomState(0), 2.0**np.linspace(-5, 5, 8)
    graph_def = _network(random.normal(0, 0.3, (3, 3, 3, 8)) * scales, np.zeros(8),
                         random.normal(0, 0.3, (3, 3, 8, 4)) / scales[:, None],
                         last=lambda y, name: tf.argmax(y, -1, name=name))
    expected, = run(graph_def, ['y'], _batch(99, 64))
    right = [np.mean(run(_quantized(graph_def, tmp_path, outputs=['y'], do_cle=do_cle), ['y'], _batch(99, 64))[0] == expected)
             for do_cle in (0, 1)]
    assert right[1] > 0.9 > 0.8 > right[0], right


@pytest.mark.parametrize('call', [{}, dict(include_fast_ft=1)])
def test_data_come_once(call, tmp_path):
    steps = []

    def feed(step):
        steps.append(step)
        return _batch(step)

    _quantized(_unequal(), tmp_path, feed, do_cle=1, call=call)
    assert steps == [0, 1, 2, 3]


def _coarse():
    random = np.random.RandomState(0)
    return _network(random.normal(0, 0.3, (3, 3, 3, 8)), random.normal(0, 0.3, 8), random.normal(0, 0.2, (3, 3, 8, 4)))


def test_finetuning_that_helps_is_kept(tmp_path, capsys):
    without, with_it = (_quantized(_coarse(), tmp_path, call=dict(include_fast_ft=number), weight_bit=4, activation_bit=4)
                        for number in (0, 1))
    assert _decibels(_coarse(), with_it) > _decibels(_coarse(), without) + 0.3
    assert _verdict(capsys, 'fast finetuning') == 'kept'


def test_finetuning_that_overfits_is_reverted(tmp_path, monkeypatch):
    """192 weights an output learn 16 images by heart; what the others give becomes worse."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, SIZE, SIZE, 3], name='x')
        weights = tf.constant(np.random.RandomState(0).normal(0, 0.3, (SIZE, SIZE, 3, 16)), tf.float32)
        tf.nn.bias_add(tf.nn.conv2d(x, weights, 1, 'VALID'), tf.zeros(16), name='c2')
    graph_def = graph.as_graph_def()

    def quantized(**call):
        return _quantized(graph_def, tmp_path, lambda step: _batch(step, 8), 3, call=call, weight_bit=4)

    settings = dict(include_fast_ft=1, fast_ft_lr=0.05, fast_ft_epochs=20)
    without, guarded = quantized(), quantized(**settings)
    monkeypatch.setattr(judged_finetuning, 'finetune', lambda *args, unseen_error, **kwargs: finetune(*args, **kwargs))
    unguarded = quantized(**settings)
    unseen = [_decibels(graph_def, model, _batch(2, 8)) for model in (without, guarded, unguarded)]
    fitted = [_decibels(graph_def, model, _batch(1, 8)) for model in (without, unguarded)]
    assert fitted[1] > fitted[0] + 2 and unseen[2] < unseen[0] - 0.2 and unseen[1] >= unseen[0]


@pytest.mark.parametrize('count', [8, 32])
def test_a_batch_of_a_certain_size_is_not_cut(count, tmp_path):
    graph_def = _unequal()
    next(node for node in graph_def.node if node.name == 'x').attr['shape'].shape.dim[0].size = count
    assert _decibels(graph_def, _quantized(graph_def, tmp_path, lambda step: _batch(step, count), 1, do_cle=1,
                                           call=dict(include_fast_ft=1)), _batch(9, count)) > 25


@pytest.mark.parametrize('count, title', [(4, 'the calibration data:'), (16, 'calibration data that nothing was fitted on:')])
def test_the_summary_says_which_data_judged(count, title, tmp_path, capsys):
    """There are too few images to set some of them aside, or enough."""
    _quantized(_unequal(), tmp_path, lambda step: _batch(step, count), do_cle=1)
    assert [line for line in capsys.readouterr().err.splitlines() if 'Signal to' in line][0].endswith(', on ' + title)
