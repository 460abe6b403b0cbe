"""Changes of parameters: the value, the names, and the readers that keep the parameter as it is."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.passes.checking import constant_of, frozen, nodes, values
from tests.support import run
from vai_q_tf.graph.view import SOURCE_NODES
from vai_q_tf.passes.common.changed_parameter import change_parameter, reshape_parameter
from vai_q_tf.passes.common.rewriter import Rewriter

_VALUE = values(4)


def _graph(identities=1, other=None):
    """x times the constant c, read through Identity nodes; other: makes one more reader of c, or of the first Identity."""
    def build():
        tensor = constant = tf.constant(_VALUE, name='c')
        for number in range(identities):
            tensor = tf.identity(tensor, name='read_{}'.format(number))
        tf.multiply(tf.placeholder(tf.float32, [None, 4], name='x'), tensor, name='out')
        if other == 'constant':
            tf.exp(constant, name='other')
        elif other == 'operand':
            tf.exp(tensor, name='other')
    return frozen(build)


def _negated(graph_def, *protected, **options):
    """(the graph with c negated for `out`, the name of the negated c)"""
    rewriter = Rewriter(graph_def, ('x', 'out') + protected)
    name = change_parameter(rewriter, 'out', 1, 'Neg', (), 'negative', **options)
    rewriter.set_input('out', 1, name)
    return rewriter.result(), name


@pytest.mark.parametrize('identities', [0, 1, 2])
def test_a_parameter_of_one_reader_keeps_its_name(identities):
    result, name = _negated(_graph(identities))
    assert name == 'c' and list(nodes(result)['c'].input) == ['c/unfolded']
    np.testing.assert_array_equal(constant_of(result, 'c', ['x', 'out']), -_VALUE)
    assert [dim.size for dim in nodes(result)['c'].attr['_output_shapes'].list.shape[0].dim] == [4]
    reads = ['read_{}'.format(identities - 1).encode()] if identities else []
    assert list(nodes(result)['c'].attr[SOURCE_NODES].list.s) == reads


@pytest.mark.parametrize('other, protected', [
    ('constant', ['other']), ('operand', ['other']), (None, ['c']), (None, ['read_0']), (None, ['read_1'])])
def test_other_readers_keep_the_parameter(other, protected):
    result, name = _negated(_graph(2, other), *protected)
    assert name == 'c/negative' and list(nodes(result)['c/negative'].input) == ['c']
    for value in run(result, ['c'], {}):
        np.testing.assert_array_equal(value, _VALUE)
    np.testing.assert_array_equal(constant_of(result, 'c/negative', ['x', 'out']), -_VALUE)


def test_a_parameter_stays_on_request():
    assert _negated(_graph(), keep=True)[1] == 'c/negative'


def test_reshaping():
    rewriter = Rewriter(_graph(0), ['x', 'out'])
    rewriter.set_input('out', 1, reshape_parameter(rewriter, 'out', 1, [2, 2]))
    result = rewriter.result()
    np.testing.assert_array_equal(constant_of(result, 'c', ['x', 'out']), _VALUE.reshape(2, 2))
    assert list(nodes(result)['c'].input) == ['c/unfolded', 'c/shape']
