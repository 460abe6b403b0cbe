"""Dropouts of training graphs are removed; protected names stay."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.passes.checking import nodes, ops, values
from tests.passes.folded_networks import graph_of, settings
from tests.support import run
from vai_q_tf.passes import optimise
from vai_q_tf.passes.cleanup.remove_dropouts import remove_dropouts


def _input():
    return tf.placeholder(tf.float32, [None, 4], name='x')


@pytest.mark.parametrize('protected', [False, True])
def test_dropout_in_training_form(protected):
    def build():
        y = tf.nn.relu(_input(), name='relu')
        tf.nn.relu6(tf.identity(tf.nn.dropout(y, rate=0.5), name='dropped'), name='out')
    graph_def = graph_of(build)
    result = optimise(graph_def, settings(['out', 'dropped'] if protected else ['out']))
    x = values(2, 4)
    np.testing.assert_array_equal(run(result, ['out'], {'x': x})[0], np.maximum(x, 0))
    assert ops(result) == ['Identity'] * protected + ['Relu', 'Relu6']


def test_an_output_that_is_a_dropout_keeps_its_name():
    graph_def = graph_of(lambda: tf.nn.dropout(tf.nn.relu(_input()), rate=0.5, name='drop'))
    name = graph_def.node[-1].name
    result = remove_dropouts(graph_def, frozenset(['x', name]), None)
    assert nodes(result)[name].op == 'Identity' and ops(result) == ['Identity', 'Relu']
    assert remove_dropouts(result, frozenset(['x', name]), None) is result
