"""Relu and Relu6 written as minima, maxima and choices."""
import pytest
import tensorflow.compat.v1 as tf

from tests.passes.checking import apply_and_run, frozen, nodes, ops, values
from vai_q_tf.graph.view import SOURCE_NODES
from vai_q_tf.passes.folding.replace_relu_forms import replace_relu_forms


def _apply(build, *protected, tolerance=0.0):
    x = values(3, 4, low=-9, high=9)
    return apply_and_run(replace_relu_forms, frozen(build), x, ('out',) + protected, tolerance)


def _input():
    return tf.placeholder(tf.float32, [None, 4], name='x')


_RELU6 = {
    'minimum': lambda x: tf.minimum(tf.nn.relu(x), 6.0, name='y'),
    'minimum, constant first': lambda x: tf.minimum(6.0, tf.nn.relu(x), name='y'),
    'minimum of one element': lambda x: tf.minimum(tf.constant([6.0]), tf.nn.relu(x), name='y'),
    'maximum of minimum': lambda x: tf.maximum(tf.minimum(x, 6.0), 0.0, name='y'),
    'maximum of minimum, constants first': lambda x: tf.maximum(0.0, tf.minimum(6.0, x), name='y'),
    'half precision': lambda x: tf.minimum(tf.nn.relu(x), 5.998, name='y'),
    'minimum of maximum': lambda x: tf.minimum(6.0, tf.maximum(x, 0.0), name='y'),
}


@pytest.mark.parametrize('form', _RELU6)
def test_relu6(form):
    result = _apply(lambda: tf.identity(_RELU6[form](_input()), name='out'),
                    tolerance=0.002 if form == 'half precision' else 0.0)
    assert ops(result) == ['Identity', 'Relu6'] and nodes(result)['y'].op == 'Relu6'
    assert nodes(result)['y'].attr[SOURCE_NODES].list.s


_RELU = {
    'maximum': lambda x: tf.maximum(x, 0.0, name='y'), 'maximum, constant first': lambda x: tf.maximum(0.0, x, name='y'),
    'maximum of zeros': lambda x: tf.maximum(x, tf.zeros_like(x), name='y'),
    'choice': lambda x: tf.where(x > 0, x, tf.zeros_like(x), name='y'),
    'choice at zero': lambda x: tf.where_v2(x >= 0, x, tf.constant([0.0]), name='y')}


@pytest.mark.parametrize('form', _RELU)
def test_relu(form):
    result = _apply(lambda: tf.identity(_RELU[form](_input()), name='out'))
    assert ops(result) == ['Identity', 'Relu'] and nodes(result)['y'].op == 'Relu'


@pytest.mark.parametrize('form', [
    lambda x: tf.clip_by_value(x, 0., 1.), lambda x: tf.minimum(tf.maximum(x, 0.), 4.),
    lambda x: tf.maximum(x, [0., 0., 0., 1.]), lambda x: tf.where(x > 1., x, tf.zeros_like(x)),
    lambda x: tf.where(x > 0., tf.zeros_like(x), x), lambda x: tf.where(x + 1. > 0., x, tf.zeros_like(x))])
def test_what_is_no_relu_stays(form):
    assert 'Relu' not in ops(_apply(lambda: tf.identity(form(_input()), name='out')))


def test_clip_by_value():
    assert ops(_apply(lambda: tf.identity(tf.clip_by_value(_input(), 0., 6.), name='out'))) == ['Identity', 'Relu6']


def test_relu6_that_is_an_output():
    assert nodes(_apply(lambda: tf.minimum(tf.nn.relu(_input()), 6.0, name='out')))['out'].op == 'Relu6'


@pytest.mark.parametrize('form', [
    lambda x: tf.minimum(tf.nn.relu(x), 5.0), lambda x: tf.maximum(tf.nn.relu(x), 6.0),
    lambda x: tf.minimum(tf.nn.relu(x), [6., 6., 6., 5.]), lambda x: tf.maximum(tf.minimum(x, 6.0), 1.0),
    lambda x: tf.minimum(tf.nn.relu(x), x + 6.0)])
def test_other_limits_stay(form):
    assert 'Relu6' not in ops(_apply(lambda: tf.identity(form(_input()), name='out')))


def test_a_relu_that_is_protected_or_has_other_readers_stays():
    def build():
        relu = tf.nn.relu(_input(), name='relu')
        tf.add(relu, tf.minimum(relu, 6.0), name='out')
    assert 'Relu6' not in ops(_apply(build))

    def build_protected():
        tf.minimum(tf.nn.relu(_input(), name='relu'), 6.0, name='out')
    assert 'Relu6' not in ops(_apply(build_protected, 'relu'))
