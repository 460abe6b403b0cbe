"""Samples against the results of TensorFlow on the same batches."""
import itertools

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.ptq.fitting.planned import constant, images, planned
from tests.support import run
from vai_q_tf.graph.view import GraphView
from vai_q_tf.ptq.fitting import samples as samples_file
from vai_q_tf.ptq.fitting.layers import find_layers
from vai_q_tf.ptq.fitting.samples import Geometry, take_samples
from vai_q_tf.ptq.fitting.weight_fit import WeightFit


def _conv(kernel, strides, padding, dilations=(1, 1)):
    x = tf.placeholder(tf.float32, [None, 9, 7, 3], name='x')
    return tf.nn.conv2d(x, constant(*kernel, 3, 4, name='w'), strides, padding, dilations=dilations)


def _depthwise(multiplier, kernel, stride, padding):
    x = tf.placeholder(tf.float32, [None, 9, 7, 3], name='x')
    return tf.nn.depthwise_conv2d_native(x, constant(*kernel, 3, multiplier, name='w'), [1, stride, stride, 1], padding)


def _matmul(transpose):
    x = tf.placeholder(tf.float32, [None, 11], name='x')
    return tf.matmul(x, constant(*((4, 11) if transpose else (11, 4)), name='w'), transpose_b=transpose)


_CASES = {}
for _kernel, _strides, _padding in itertools.product([(1, 1), (3, 3), (2, 4)], [(1, 1), (2, 3)], ['SAME', 'VALID']):
    _CASES['conv', _kernel, _strides, _padding] = lambda *case: _conv(*case[1:])
_CASES['conv', (3, 2), (1, 1), 'SAME', (2, 3)] = lambda *case: _conv(*case[1:])
_CASES['conv', (3, 2), (1, 1), 'VALID', (2, 3)] = lambda *case: _conv(*case[1:])
for _multiplier, _kernel, _stride, _padding in itertools.product([1, 2], [(3, 3), (2, 3)], [1, 2], ['SAME', 'VALID']):
    _CASES['depthwise', _multiplier, _kernel, _stride, _padding] = lambda *case: _depthwise(*case[1:])
_CASES['matmul', False] = _CASES['matmul', True] = lambda *case: _matmul(*case[1:])


def _batches(case, counts=(3, 1, 4)):
    shape = GraphView(case.graph_def).shape('x')[1:]
    return [{'x': images(count, *shape, seed=number)} for number, count in enumerate(counts)]


@pytest.mark.parametrize('key', _CASES, ids=lambda key: ' '.join(map(str, key)))
@pytest.mark.parametrize('most', [10**6, 20])
def test_weights_times_samples_are_what_tensorflow_computes(key, most, monkeypatch):
    monkeypatch.setattr(samples_file, '_MOST_SAMPLES', most)
    monkeypatch.setattr(samples_file, '_MOST_OF_GROUPS', most)
    x = _CASES[key](*key)
    case = planned([tf.nn.bias_add(x, constant(int(x.shape[-1]), name='b'), name='out')])
    (layer,) = find_layers(case.graph_def, case.plan)
    batches = _batches(case)
    results = [run(case.graph_def, ['out'], batch)[0] for batch in batches]
    view = GraphView(case.graph_def)
    weights, bias = view.value(layer.weight.tensor), view.value(layer.bias.tensor)
    kernel = (1, 1) if layer.op == 'MatMul' else weights.shape[:2]
    geometry = WeightFit(case.graph_def, case.legal)._geometry(layer)
    found = take_samples(layer, kernel, [batch['x'] for batch in batches], results, geometry)

    maps = layer.grouped(weights)
    rows = np.concatenate([result.reshape(-1, result.shape[-1]) for result in results])
    count = min(most, len(rows))
    assert found.x.shape == (maps.shape[0], count, maps.shape[1])
    assert found.y.shape == (maps.shape[0], count, maps.shape[2])
    expected = np.matmul(found.x, maps) + bias.reshape(maps.shape[0], 1, maps.shape[2])
    np.testing.assert_allclose(expected, found.y, rtol=1e-4, atol=1e-5)

    image_of = np.concatenate([np.arange(start, start + len(result)).repeat(result[0].size // result.shape[-1])
                               for start, result in zip((0, 3, 4), results)])
    given = np.moveaxis(found.y, 0, 1).reshape(count, -1)
    places = [np.flatnonzero((rows == row).all(axis=1)) for row in given]
    assert all(image in image_of[place] for image, place in zip(found.images, places))
    assert len(set(np.concatenate(places))) >= count  # each place once
    assert set(found.images) == set(range(8)) or most == 20


def test_geometry_is_that_of_the_op():
    for strides, padding, dilations in (((2, 3), 'SAME', (1, 1)), ((1, 1), 'VALID', (3, 2))):
        tf.reset_default_graph()
        case = planned([tf.identity(_conv((2, 2), strides, padding, dilations), 'out')])
        (layer,) = find_layers(case.graph_def, case.plan)
        assert WeightFit(case.graph_def, case.legal)._geometry(layer) == Geometry(strides, dilations, padding)


def test_samples_of_large_inputs_have_a_limit_of_values(monkeypatch):
    monkeypatch.setattr(samples_file, '_MOST_VALUES', 27 * 5)
    case = planned([tf.identity(_conv((3, 3), (1, 1), 'SAME'), 'out')])
    (layer,) = find_layers(case.graph_def, case.plan)
    (batch,) = _batches(case, (2,))
    result = run(case.graph_def, ['out'], batch)[0]
    assert take_samples(layer, (3, 3), [batch['x']], [result], Geometry(padding='SAME')).x.shape == (1, 5, 27)


def test_no_column_of_the_images_is_preferred(monkeypatch):
    """A regular stride would meet few of the columns."""
    monkeypatch.setattr(samples_file, '_MOST_SAMPLES', 360)
    case = planned([tf.identity(_conv((1, 1), (1, 1), 'SAME'), 'out')])
    (layer,) = find_layers(case.graph_def, case.plan)
    column = np.broadcast_to(np.arange(7, dtype=np.float32)[:, None], (80, 9, 7, 3))
    found = take_samples(layer, (1, 1), [column], [np.zeros([80, 9, 7, 4], np.float32)], Geometry(padding='SAME'))
    counts = np.bincount(found.x[0, :, 0].astype(int))
    assert len(counts) == 7 and counts.min() > 25 and counts.max() < 80
