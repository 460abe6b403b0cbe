"""Divisions, subtractions and negations as multiplications and additions."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.passes.checking import apply, config, constant_of, frozen, nodes, ops, values
from tests.support import run
from vai_q_tf.graph.view import SOURCE_NODES
from vai_q_tf.passes.cleanup.fold_constants import evaluate_folded
from vai_q_tf.passes.folding.replace_div_and_sub import replace_div_and_sub

_FORMS = {
    'division': (lambda x, c: tf.divide(x, c, name='y'), ['Mul']),
    'difference': (lambda x, c: tf.subtract(x, c, name='y'), ['Add']),
    'from': (lambda x, c: tf.subtract(c, x, name='y'), ['Add', 'Mul']),
    'negation': (lambda x, c: tf.negative(x, name='y'), ['Mul'])}
_CONSTANTS = {'scalar': 0.7, 'vector': [0.3, -2.0, 5.0, 0.01], 'rank 3': [[[1.0, 2.0, 3.0, 4.0]]]}


def _graph(form, constant, computed=False, protected=(), other=None):
    def build():
        x = tf.placeholder(tf.float32, [None, 3, 4], name='x')
        c = tf.constant(np.float32(constant), name='c')
        c = tf.abs(c, name='c/op') if computed else c
        tf.identity(_FORMS[form][0](x, c), name='out')
        if other:
            tf.identity(other(x, c), name='other')
    return frozen(build)


@pytest.mark.parametrize('protected', [False, True])
@pytest.mark.parametrize('computed', [False, True])
@pytest.mark.parametrize('constant', _CONSTANTS)
@pytest.mark.parametrize('form', _FORMS)
def test_every_form(form, constant, computed, protected):
    graph_def = _graph(form, _CONSTANTS[constant], computed)
    result = apply(replace_div_and_sub, graph_def, ['x', 'out'] + ['y'] * protected)
    result = evaluate_folded(result, frozenset(['x', 'out']), config())
    assert ops(result, 'Identity', *['Abs'] * computed) == _FORMS[form][1] and 'y' in nodes(result)
    x = values(5, 3, 4)
    np.testing.assert_allclose(run(result, ['out'], {'x': x}), run(graph_def, ['out'], {'x': x}), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('form, op', [('division', 'Reciprocal'), ('difference', 'Neg')])
def test_a_parameter_is_computed_and_keeps_its_name(form, op):
    known, computed = [nodes(apply(replace_div_and_sub, _graph(form, [1.0, 2.0, 3.0, 4.0], computed), ['x', 'out']))
                       for computed in (False, True)]
    for result, name, before in ((known, 'c', 'Const'), (computed, 'c/op', 'Abs')):
        assert list(result['y'].input) == ['x', name]
        assert result[name].op == op and list(result[name].input) == [name + '/unfolded']
        assert result[name + '/unfolded'].op == before


@pytest.mark.parametrize('computed', [False, True])
@pytest.mark.parametrize('form, end', [('division', 'reciprocal'), ('difference', 'negative')])
@pytest.mark.parametrize('why', ['read', 'protected', 'read twice'])
def test_other_readers_keep_the_parameter(form, end, why, computed):
    other = {'read': tf.add, 'protected': None, 'read twice': _FORMS[form][0]}[why]
    graph_def = _graph(form, [1.0, 2.0, 3.0, 4.0], computed, other=other)
    source = 'c/op' if computed else 'c'
    outputs = ['out'] + ['other'] * (other is not None)
    result = apply(replace_div_and_sub, graph_def, ['x'] + outputs + [source] * (why == 'protected'))
    found = nodes(result)
    changed = found[found['out'].input[0]].input[1]
    assert changed == '{}/{}'.format(source, end) and source.encode() in found[changed].attr[SOURCE_NODES].list.s
    x = values(5, 3, 4)
    for value, expected in zip(*[run(graph, outputs, {'x': x}) for graph in (result, graph_def)]):
        np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-6)


def test_a_constant_before_an_identity():
    def build():
        x = tf.placeholder(tf.float32, [None, 4], name='x')
        tf.divide(x, tf.identity(tf.constant([1.0, 2.0, 4.0, 8.0], name='c'), name='c/read'), name='out')
    graph_def = apply(replace_div_and_sub, frozen(build), ['x', 'out'])
    result = nodes(graph_def)
    assert list(result['out'].input) == ['x', 'c'] and list(result['c'].attr[SOURCE_NODES].list.s) == [b'c/read']
    np.testing.assert_array_equal(constant_of(graph_def, 'c', ['x', 'out']), [1.0, 0.5, 0.25, 0.125])


def test_others_stay():
    def build():
        x, y = [tf.placeholder(tf.float32, [None, 4], name=name) for name in 'xy']
        tf.divide(x, y, name='quotient')
        tf.subtract(x, y, name='difference')
        tf.divide(1.0, x, name='inverse')
        tf.divide(x, [0.0, 1.0, 2.0, 3.0], name='zero')
        tf.reshape(x, -(tf.shape(x) - 1) // 2, name='shape')
        tf.cast(tf.cast(x, tf.float64) / 2.0 - 1.0, tf.float32, name='doubles')
        tf.subtract(tf.cast(x, tf.int32), 3, name='integers')
        tf.add(x, -tf.exp(tf.constant(2.0)), name='constant')
        tf.identity(tf.while_loop(lambda n, y: n < 2, lambda n, y: (n + 1, -y / 2.0 - 1.0), [0, x])[1], name='loop')
        tf.cond(tf.reduce_sum(x) > 0, lambda: x - 1.0, lambda: -x, name='branch')
    graph_def = frozen(build)
    assert apply(replace_div_and_sub, graph_def, [
        'x', 'y', 'quotient', 'difference', 'inverse', 'zero', 'shape', 'doubles', 'integers', 'constant', 'loop',
        'branch/Merge']) is graph_def
