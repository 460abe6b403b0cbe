"""Shapes that are computed at run time become constants."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.passes.checking import apply, frozen, nodes, ops, value_of, values
from tests.support import run
from vai_q_tf.passes.forms.fold_reshape import fold_reshape


def _computed(batch, shape_type=tf.int32, dims=(4, 28)):
    def build():
        x = tf.placeholder(tf.float32, [batch, 7, 16], name='x')
        shape = tf.stack([tf.shape(x, out_type=shape_type)[0]] + [tf.constant(dim, shape_type) for dim in dims],
                         name='out/shape')
        tf.reshape(x, shape, name='out')
    return frozen(build)


@pytest.mark.parametrize('shape_type', [tf.int32, tf.int64])
@pytest.mark.parametrize('batch,expected', [(1, [1, 4, 28]), (5, [5, 4, 28]), (None, [-1, 4, 28])])
def test_a_computed_shape_becomes_a_constant(batch, expected, shape_type):
    graph_def = _computed(batch, shape_type)
    result = apply(fold_reshape, graph_def, ['x', 'out'])
    assert sorted(nodes(result)) == ['out', 'out/shape', 'x']
    assert value_of(result, 'out/shape').tolist() == expected
    x = values(batch or 3, 7, 16)
    np.testing.assert_array_equal(run(result, ['out'], {'x': x})[0], run(graph_def, ['out'], {'x': x})[0])


def test_a_shape_with_other_readers_keeps_its_name():
    def build():
        x = tf.placeholder(tf.float32, [2, 6], name='x')
        shape = tf.stack([tf.shape(x)[0], 2, 3], name='out/shape')
        tf.reshape(x, shape, name='out')
        tf.reduce_sum(shape, name='other')
    result = apply(fold_reshape, frozen(build), ['x', 'out', 'other'])
    assert list(nodes(result)['out'].input) == ['x', 'out/shape_1'] and nodes(result)['out/shape'].op == 'Pack'


@pytest.mark.parametrize('shape,expected', [([1, -1], [1, 112]), ([-1, 4, 28], [1, 4, 28]), ([1, 112], None)])
def test_constant_shapes_are_made_definite(shape, expected):
    def build():
        tf.reshape(tf.placeholder(tf.float32, [1, 7, 16], name='x'), shape, name='out')
    graph_def = frozen(build)
    result = apply(fold_reshape, graph_def, ['x', 'out'])
    assert result is graph_def if expected is None else value_of(result, 'out/shape').tolist() == expected


def test_a_first_dimension_that_is_not_the_batch():
    def build():
        x = tf.placeholder(tf.float32, [None, 5, 4], name='x')
        tf.reshape(x, tf.stack([tf.shape(x)[0] * 5, 4]), name='out')
    result = apply(fold_reshape, frozen(build), ['x', 'out'])
    assert value_of(result, 'out/shape').tolist() == [-1, 4]
    x = values(3, 5, 4)
    np.testing.assert_array_equal(run(result, ['out'], {'x': x})[0], x.reshape(15, 4))


def test_a_flattened_tensor():
    def build():
        x = tf.placeholder(tf.float32, [None, 3, 4, 2], name='x')
        y = tf.reshape(x, tf.stack([tf.shape(x)[0], -1]), name='y')
        tf.reshape(y, tf.stack([tf.shape(y)[0], tf.shape(y)[1] // 6, 6]), name='out')
    graph_def = frozen(build)
    result = apply(fold_reshape, graph_def, ['x', 'y', 'out'])
    assert value_of(result, 'y/shape').tolist() == [-1, 24] and value_of(result, 'out/shape').tolist() == [-1, 4, 6]
    x = values(2, 3, 4, 2)
    np.testing.assert_array_equal(run(result, ['out'], {'x': x})[0], x.reshape(2, 4, 6))


def test_a_graph_that_takes_a_batch_of_one_only():
    def build():
        x = tf.placeholder(tf.float32, [None, 3, 4, 2], name='x')
        tf.reshape(x, [1, 24], name='y')
        tf.reshape(x, tf.stack([tf.shape(x)[0], tf.shape(x)[1] * 2, 4]), name='out')
    graph_def = frozen(build)
    assert apply(fold_reshape, graph_def, ['x', 'y', 'out']) is graph_def


def test_unknown_dimensions_stay():
    def build():
        x = tf.placeholder(tf.float32, [None, None, 4], name='x')
        tf.reshape(x, tf.stack([tf.shape(x)[0], tf.shape(x)[1], 2, 2]), name='out')
        tf.reshape(x, tf.placeholder(tf.int32, None, name='s'), name='any')
        tf.reshape(x, [1, -1], name='row')
    graph_def = frozen(build)
    assert apply(fold_reshape, graph_def, ['x', 's', 'out', 'any', 'row']) is graph_def


@pytest.mark.parametrize('resize', [tf.image.resize_nearest_neighbor, tf.image.resize_bilinear])
def test_resizing(resize):
    def build():
        x = tf.placeholder(tf.float32, [None, 3, 4, 2], name='x')
        resize(x, tf.shape(x)[1:3] * 2, name='out')
    graph_def = frozen(build)
    result = apply(fold_reshape, graph_def, ['x', 'out'])
    assert len(ops(result)) == 1 and value_of(result, 'out/shape').tolist() == [6, 8]
    x = values(2, 3, 4, 2)
    np.testing.assert_array_equal(run(result, ['out'], {'x': x})[0], run(graph_def, ['out'], {'x': x})[0])


def test_resizing_of_unknown_sizes_stays():
    def build():
        x = tf.placeholder(tf.float32, [None, None, 4, 2], name='x')
        tf.image.resize_nearest_neighbor(x, tf.shape(x)[1:3] * 2, name='out')
    graph_def = frozen(build)
    assert apply(fold_reshape, graph_def, ['x', 'out']) is graph_def
