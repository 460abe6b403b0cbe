"""The slopes of leaky relus."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.passes.checking import apply, frozen, nodes, values
from tests.support import run
from vai_q_tf.passes.dpu.adjust_leaky_relu import adjust_leaky_relu


def _graph(alpha):
    return frozen(lambda: tf.identity(tf.nn.leaky_relu(tf.placeholder(tf.float32, [None, 4], name='x'), alpha, name='leaky'),
                                      name='out'))


@pytest.mark.parametrize('alpha', [0.1, 0.100001])
def test_a_tenth_becomes_26_over_256(alpha):
    result = apply(adjust_leaky_relu, _graph(alpha), ['x', 'out'])
    x = values(3, 4)
    np.testing.assert_array_equal(run(result, ['out'], {'x': x})[0], np.where(x > 0, x, np.float32(0.1015625) * x))


@pytest.mark.parametrize('alpha', [0.2, 0.11, 0.09998])
def test_another_slope_stays_with_a_warning(alpha, monkeypatch):
    warned = []
    monkeypatch.setattr(tf.logging, 'warning', lambda text, *args: warned.append(text % args))
    graph_def = _graph(alpha)
    assert adjust_leaky_relu(graph_def, frozenset(['x', 'out']), None) is graph_def
    assert len(warned) == 1 and 'leaky' in warned[0] and 'leaky' in nodes(graph_def)


@pytest.mark.parametrize('alpha', [26 / 256, 0.0, 1.0, 2.0])
def test_slopes_without_a_warning(alpha, monkeypatch):
    monkeypatch.setattr(tf.logging, 'warning', lambda *args: pytest.fail())
    graph_def = _graph(alpha)
    assert apply(adjust_leaky_relu, graph_def, ['x', 'out']) is graph_def
