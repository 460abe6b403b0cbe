"""Sigmoids as hard sigmoids."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.passes.checking import apply, frozen, nodes, ops, values
from tests.support import run
from vai_q_tf.passes.dpu.replace_sigmoid import replace_sigmoid


def _hard(x):
    return np.clip(x + np.float32(3), 0, 6) * np.float32(1 / 6)


def test_a_sigmoid():
    def build():
        tf.identity(tf.sigmoid(tf.placeholder(tf.float32, [None, 50], name='x'), name='s'), name='out')
    result = apply(replace_sigmoid, frozen(build), ['x', 'out'])
    by_name = nodes(result)
    assert {name: (node.op, list(node.input)) for name, node in by_name.items()} == {
        'x': ('Placeholder', []), 's/offset': ('Const', []), 's/h_sigmoid/add': ('Add', ['x', 's/offset']),
        's/h_sigmoid/relu6': ('Relu6', ['s/h_sigmoid/add']), 's/h_sigmoid/scale': ('Const', []),
        's/h_sigmoid/mul': ('Mul', ['s/h_sigmoid/relu6', 's/h_sigmoid/scale']), 'out': ('Identity', ['s/h_sigmoid/mul'])}
    x = values(4, 50, low=-8, high=8)
    out = run(result, ['out'], {'x': x})[0]
    np.testing.assert_array_equal(out, _hard(x))
    assert np.abs(out - 1 / (1 + np.exp(-x))).max() < 0.07


@pytest.mark.parametrize('swapped', [False, True])
def test_a_swish_and_a_protected_sigmoid(swapped):
    def build():
        x = tf.placeholder(tf.float32, [None, 50], name='x')
        s = tf.sigmoid(x, name='s')
        tf.multiply(*((s, x) if swapped else (x, s)), name='out')
    result = apply(replace_sigmoid, frozen(build), ['x', 's', 'out'])
    assert ops(result) == ['Add', 'Mul', 'Mul', 'Relu6']
    x = values(4, 50, low=-8, high=8)
    sigmoid, swish = run(result, ['s', 'out'], {'x': x})
    np.testing.assert_array_equal(sigmoid, _hard(x))
    np.testing.assert_array_equal(swish, x * _hard(x))


def test_other_types_stay():
    def build():
        tf.sigmoid(tf.placeholder(tf.float64, [None, 50], name='x'), name='s')
    graph_def = frozen(build)
    assert apply(replace_sigmoid, graph_def, ['x', 's']) is graph_def
