"""Sums of several tensors."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.passes.checking import apply, frozen, nodes, ops, values
from tests.support import run
from vai_q_tf.passes.forms.write_sums import write_sums


def _graph(parts):
    def build():
        tf.add_n(parts(tf.placeholder(tf.float32, [None, 3, 4], name='x')), name='out')
    return frozen(build)


@pytest.mark.parametrize('parts', [
    lambda x: [x, tf.nn.relu(x)], lambda x: [x, x, x], lambda x: [tf.constant(values(2, 3, 4, seed=1)), x, tf.exp(x), x]])
def test_additions_of_two(parts):
    graph_def = _graph(parts)
    result = apply(write_sums, graph_def, ['x', 'out'])
    x = values(2, 3, 4)
    count = len(parts(tf.constant(x))) - 1
    assert 'AddN' not in ops(result) and ops(result).count('Add') == count and nodes(result)['out'].op == 'Add'
    np.testing.assert_allclose(run(result, ['out'], {'x': x}), run(graph_def, ['out'], {'x': x}), rtol=1e-6)


@pytest.mark.parametrize('parts', [lambda x: [x], lambda x: [tf.constant([1.]), tf.constant([2.])]])
def test_others_stay(parts):
    graph_def = frozen(lambda: tf.add(tf.add_n(parts(tf.placeholder(tf.float32, [None, 1], name='x'))), 1., name='out'))
    assert apply(write_sums, graph_def, ['x', 'out']) is graph_def
