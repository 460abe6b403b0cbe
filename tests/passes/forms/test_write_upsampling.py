"""Upsampling by reshapes."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.passes.checking import apply, frozen, nodes, ops, values
from tests.support import run
from vai_q_tf.passes.forms.write_upsampling import write_upsampling


def _graph(repeat, apart=(-1, 3, 1, 2, 1, 4), together=(-1, 6, 6, 4), other=False):
    def build():
        x = tf.placeholder(tf.float32, [None, 3, 2, 4], name='x')
        split = tf.reshape(x, apart, name='apart')
        tf.reshape(repeat(split), together, name='out')
        if other:
            tf.exp(split, name='other')
    return frozen(build)


@pytest.mark.parametrize('repeat', [
    lambda x: tf.tile(x, [1, 1, 2, 1, 3, 1]), lambda x: x * np.ones([1, 1, 2, 1, 3, 1], np.float32),
    lambda x: tf.multiply(np.ones([1, 1, 2, 1, 3, 1], np.float32), x)])
def test_it_is_a_resize(repeat):
    graph_def = _graph(repeat)
    result = apply(write_upsampling, graph_def, ['x', 'out'])
    assert ops(result) == ['ResizeNearestNeighbor'] and nodes(result)['out'].input[0] == 'x'
    x = values(2, 3, 2, 4)
    np.testing.assert_array_equal(run(result, ['out'], {'x': x}), run(graph_def, ['out'], {'x': x}))


@pytest.mark.parametrize('graph_def', [
    _graph(lambda x: x * np.full([1, 1, 2, 1, 3, 1], 2, np.float32)),
    _graph(lambda x: tf.tile(x, [1, 2, 1, 1, 3, 1])),
    _graph(lambda x: tf.tile(x, [1, 1, 2, 1, 3, 1]), together=(-1, 6, 3, 8)),
    _graph(lambda x: tf.tile(x, [1, 1, 2, 1, 3, 1]), apart=(-1, 2, 1, 3, 1, 4), together=(-1, 4, 9, 4)),
    _graph(lambda x: tf.tile(x, [1, 1, 2, 1, 3, 1]), other=True)], ids=['twos', 'rows', 'channels', 'sizes', 'another reader'])
def test_others_stay(graph_def):
    names = ['x', 'out'] + ['other'] * any(node.name == 'other' for node in graph_def.node)
    assert apply(write_upsampling, graph_def, names) is graph_def
