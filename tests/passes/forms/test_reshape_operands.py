"""The rank of constant operands."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.passes.checking import apply, constant_of, frozen, nodes, values
from tests.support import run
from vai_q_tf.passes.forms.reshape_operands import reshape_operands

_OPS = {'Add': tf.add, 'Mul': tf.multiply, 'Maximum': tf.maximum}


def _graph(op, shape, data=(None, 2, 3, 4), left=False, computed=False):
    def build():
        x = tf.placeholder(tf.float32, data, name='x')
        c = tf.constant(values(*shape, seed=3), name='c')
        c = tf.exp(c, name='c/op') if computed else c
        _OPS[op](*(c, x) if left else (x, c), name='out')
    return frozen(build)


@pytest.mark.parametrize('computed', [False, True])
@pytest.mark.parametrize('left', [False, True])
@pytest.mark.parametrize('shape, wanted', [
    ([1, 1, 4], [4]), ([1, 1, 1], [1]), ([2, 3, 4], [1, 2, 3, 4]), ([2, 1, 1], [1, 2, 1, 1])])
@pytest.mark.parametrize('op', _OPS)
def test_three_dimensions(op, shape, wanted, left, computed):
    graph_def = _graph(op, shape, left=left, computed=computed)
    result = apply(reshape_operands, graph_def, ['x', 'out'])
    parameter = nodes(result)[nodes(result)['out'].input[0 if left else 1]]
    assert parameter.name == ('c/op' if computed else 'c')
    assert [dim.size for dim in parameter.attr['_output_shapes'].list.shape[0].dim] == wanted
    x = values(5, 2, 3, 4)
    np.testing.assert_array_equal(run(result, ['out'], {'x': x}), run(graph_def, ['out'], {'x': x}))


def test_beside_three_dimensions():
    result = apply(reshape_operands, _graph('Add', [1, 1, 4], [None, 3, 4]), ['x', 'out'])
    assert constant_of(result, 'c', ['x', 'out']).shape == (4,)


@pytest.mark.parametrize('shape, data', [
    ([4], [None, 2, 3, 4]), ([1, 4], [None, 2, 3, 4]), ([1, 1, 1, 4], [None, 2, 3, 4]), ([], [None, 2, 3, 4]),
    ([2, 3, 4], [None, 3, 4]), ([1, 1, 4], [None, 4]), ([1, 1, 4], None), ([2, 3, 4], [None, 5, 2, 3, 4])])
def test_others_stay(shape, data):
    graph_def = _graph('Add', shape, data)
    assert apply(reshape_operands, graph_def, ['x', 'out']) is graph_def
