"""BiasAdds after other ops than weighted ones."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.passes.checking import apply, apply_and_run, constant_of, frozen, nodes, values
from tests.passes.folded_networks import CHANNELS, dilated, graph_of, optimised, vector
from tests.support import run
from vai_q_tf.passes.forms.replace_lone_bias_adds import replace_lone_bias_adds


def _graph(data_format='NHWC', before=tf.nn.relu, bias=lambda: tf.constant(values(3, seed=1), name='c'), dtype=tf.float32):
    def build():
        x = before(tf.placeholder(tf.float32, [None, 3, 4, 5] if data_format == 'NCHW' else [None, 4, 5, 3], name='x'))
        tf.identity(tf.nn.bias_add(tf.cast(x, dtype), tf.cast(bias(), dtype), data_format, name='bias'), name='out')
    return frozen(build)


def test_an_addition():
    result = apply_and_run(replace_lone_bias_adds, _graph(), values(2, 4, 5, 3))
    assert nodes(result)['bias'].op == 'Add' and list(nodes(result)['bias'].input) == ['Relu', 'c']


def test_channels_first():
    result = apply(replace_lone_bias_adds, _graph('NCHW'), ['x', 'out'])
    assert nodes(result)['bias'].op == 'Add'
    np.testing.assert_array_equal(constant_of(result, 'c', ['x', 'out']), values(3, seed=1)[None, :, None, None])
    x = values(2, 3, 4, 5)
    np.testing.assert_array_equal(run(result, ['out'], {'x': x})[0], np.maximum(x, 0) + values(3, seed=1)[:, None, None])


def _computed_bias():
    return tf.reduce_mean(tf.get_default_graph().get_tensor_by_name('x:0'), [0, 2, 3])


@pytest.mark.parametrize('graph_def', [
    _graph(before=lambda x: tf.nn.conv2d(x, values(1, 1, 3, 3), 1, 'SAME')),
    _graph('NCHW', bias=_computed_bias), _graph('NCHW', dtype=tf.float64),
    _graph('NCHW', before=lambda x: tf.reshape(x, tf.placeholder(tf.int32, None)))])
def test_others_stay(graph_def):
    assert apply(replace_lone_bias_adds, graph_def, ['x', 'out']) is graph_def


def test_the_bias_of_a_dilated_convolution_stays():
    graph_def = frozen(lambda: tf.nn.bias_add(dilated(), tf.constant(vector(4)), name='out'))
    assert replace_lone_bias_adds(graph_def, frozenset(['x', 'out']), None) is graph_def


def test_the_bias_add_of_a_folded_batch_norm():
    def build():
        x = tf.placeholder(tf.float32, [None, 6, 6, CHANNELS], name='x')
        tf.nn.relu(tf.nn.bias_add(x * vector(3), tf.constant(vector(4)), name='bias'), name='out')
    assert nodes(optimised(graph_of(build), tolerance=0))['bias'].op == 'Add'
