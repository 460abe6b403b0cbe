"""The slope of leaky relus."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.passes.checking import apply, frozen, nodes, run, values
from vai_q_tf.passes.dpu.adjust_leaky_relu import adjust_leaky_relu


def _maximum(x, alpha):
    return tf.maximum(alpha * x, x)


def _maximum_swapped(x, alpha):
    return tf.maximum(x, x * alpha)


def _keras(x, alpha):
    return tf.nn.relu(x) - alpha * tf.nn.relu(-x)


def _keras_swapped(x, alpha):
    return tf.nn.relu(x) - tf.nn.relu(-x) * alpha


def _op(x, alpha):
    return tf.nn.leaky_relu(x, alpha)


_FORMS = [_maximum, _maximum_swapped, _keras, _keras_swapped, _op]
_CONSTANT_FORMS = _FORMS[:-1]


def _graph(form, alpha):
    def build():
        x = tf.placeholder(tf.float32, [None, 4], name='x')
        form(x, alpha if form is _op else tf.constant(np.float32(alpha), name='alpha'))
        graph = tf.get_default_graph()
        tf.identity(graph.get_operations()[-1].outputs[0], name='out')
    return frozen(build)


def _leaky(x, slope):
    return np.where(x > 0, x, np.float32(slope) * x)


@pytest.mark.parametrize('form', _FORMS)
@pytest.mark.parametrize('alpha', [0.1, 0.100001])
def test_a_tenth_becomes_26_over_256(form, alpha):
    result = apply(adjust_leaky_relu, _graph(form, alpha), ['x', 'out'])
    x = values(3, 4)
    np.testing.assert_array_equal(run(result, ['out'], {'x': x})[0], _leaky(x, 0.1015625))


@pytest.mark.parametrize('form', _CONSTANT_FORMS)
def test_the_shape_of_the_constant_stays(form):
    result = apply(adjust_leaky_relu, _graph(form, [0.1, 0.1, 0.1, 0.1]), ['x', 'out'])
    np.testing.assert_array_equal(tf.make_ndarray(nodes(result)['alpha'].attr['value'].tensor), [0.1015625] * 4)


@pytest.mark.parametrize('form', _FORMS)
@pytest.mark.parametrize('alpha', [0.2, 0.11, 0.09998])
def test_another_slope_stays_with_a_warning(form, alpha, caplog, monkeypatch):
    warned = []
    monkeypatch.setattr(tf.logging, 'warning', lambda text, *args: warned.append(text % args))
    graph_def = _graph(form, alpha)
    assert adjust_leaky_relu(graph_def, frozenset(['x', 'out']), None) is graph_def
    assert len(warned) == 1 and nodes(graph_def)['out'].input[0] in warned[0]


@pytest.mark.parametrize('alpha', [26 / 256, 0.0, 1.0, 2.0])
def test_no_warning_without_need(alpha, monkeypatch):
    monkeypatch.setattr(tf.logging, 'warning', lambda *args: pytest.fail())
    for form in _CONSTANT_FORMS:
        graph_def = _graph(form, alpha)
        assert apply(adjust_leaky_relu, graph_def, ['x', 'out']) is graph_def


@pytest.mark.parametrize('form', _CONSTANT_FORMS)
@pytest.mark.parametrize('also', ['protected', 'read'])
def test_a_shared_constant_stays_for_the_others(form, also):
    def build():
        x = tf.placeholder(tf.float32, [None, 4], name='x')
        alpha = tf.constant(0.1, name='alpha')
        tf.identity(form(x, alpha), name='out')
        tf.identity(x + alpha if also == 'read' else x, name='other')
    protected = ['x', 'out', 'other'] + ['alpha'] * (also == 'protected')
    result = apply(adjust_leaky_relu, frozen(build), protected)
    x = values(3, 4)
    leaky, other, alpha = run(result, ['out', 'other', 'alpha'], {'x': x})
    np.testing.assert_array_equal(leaky, _leaky(x, 0.1015625))
    assert alpha == np.float32(0.1)
    if also == 'read':
        np.testing.assert_array_equal(other, x + np.float32(0.1))


@pytest.mark.parametrize('form', _CONSTANT_FORMS)
def test_two_leaky_relus_of_one_constant(form):
    def build():
        x = tf.placeholder(tf.float32, [None, 4], name='x')
        alpha = tf.identity(tf.constant(0.1, name='alpha'))
        tf.identity(form(form(x, alpha), alpha), name='out')
    result = apply(adjust_leaky_relu, frozen(build), ['x', 'out'])
    x = values(3, 4)
    np.testing.assert_array_equal(run(result, ['out'], {'x': x})[0], _leaky(_leaky(x, 0.1015625), 0.1015625))


def test_what_only_looks_like_one_stays():
    def build():
        x, y = [tf.placeholder(tf.float32, [None, 4], name=name) for name in 'xy']
        tf.maximum(0.1 * x, y, name='clip')
        tf.subtract(tf.nn.relu(x), 0.1 * tf.nn.relu(-y), name='difference')
        tf.subtract(0.1 * tf.nn.relu(-x), tf.nn.relu(x), name='negated')
        tf.minimum(0.1 * x, x, name='minimum')
    graph_def = frozen(build)
    assert apply(adjust_leaky_relu, graph_def, ['x', 'y', 'clip', 'difference', 'negated', 'minimum']) is graph_def
