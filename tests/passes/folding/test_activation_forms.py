"""Relu6 written as minima and maxima, and the order of a hard swish."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.passes.checking import config, frozen, nodes, ops, run, values
from vai_q_tf.graph.view import SOURCE_NODES
from vai_q_tf.passes.folding.reorder_hard_swish import reorder_hard_swish
from vai_q_tf.passes.folding.replace_relu_minimum import replace_relu_minimum


def _apply(a_pass, build, protected=(), tolerance=0.0):
    """The result of the pass on a network from x to out; equal outputs and no effect the second time."""
    graph_def = frozen(build)
    protected = frozenset(('x', 'out') + tuple(protected))
    result = a_pass(graph_def, protected, config())
    assert a_pass(result, protected, config()) is result
    x = values(3, 4, low=-9, high=9)
    fetches = sorted(protected - {'x'})
    for before, after in zip(run(graph_def, fetches, {'x': x}), run(result, fetches, {'x': x})):
        np.testing.assert_allclose(after, before, rtol=0, atol=tolerance)
    return result


def _input():
    return tf.placeholder(tf.float32, [None, 4], name='x')


_RELU6 = {
    'minimum': lambda x: tf.minimum(tf.nn.relu(x), 6.0, name='y'),
    'minimum, constant first': lambda x: tf.minimum(6.0, tf.nn.relu(x), name='y'),
    'minimum of one element': lambda x: tf.minimum(tf.constant([6.0]), tf.nn.relu(x), name='y'),
    'maximum of minimum': lambda x: tf.maximum(tf.minimum(x, 6.0), 0.0, name='y'),
    'maximum of minimum, constants first': lambda x: tf.maximum(0.0, tf.minimum(6.0, x), name='y'),
    'half precision': lambda x: tf.minimum(tf.nn.relu(x), 5.998, name='y'),
    'minimum of maximum': lambda x: tf.minimum(6.0, tf.maximum(x, 0.0), name='y'),
}


@pytest.mark.parametrize('form', _RELU6)
def test_relu6(form):
    result = _apply(replace_relu_minimum, lambda: tf.identity(_RELU6[form](_input()), name='out'),
                    tolerance=0.002 if form == 'half precision' else 0.0)
    assert ops(result) == ['Identity', 'Relu6'] and nodes(result)['y'].op == 'Relu6'
    assert nodes(result)['y'].attr[SOURCE_NODES].list.s


def test_clip_by_value():
    assert ops(_apply(replace_relu_minimum, lambda: tf.identity(tf.clip_by_value(_input(), 0., 6.), name='out'))) == [
        'Identity', 'Relu6']


def test_relu6_that_is_an_output():
    assert nodes(_apply(replace_relu_minimum, lambda: tf.minimum(tf.nn.relu(_input()), 6.0, name='out')))['out'].op == 'Relu6'


@pytest.mark.parametrize('form', [
    lambda x: tf.minimum(tf.nn.relu(x), 5.0), lambda x: tf.maximum(tf.nn.relu(x), 6.0),
    lambda x: tf.minimum(tf.nn.relu(x), [6., 6., 6., 5.]), lambda x: tf.maximum(tf.minimum(x, 6.0), 1.0),
    lambda x: tf.minimum(tf.nn.relu(x), x + 6.0)])
def test_other_limits_stay(form):
    assert 'Relu6' not in ops(_apply(replace_relu_minimum, lambda: tf.identity(form(_input()), name='out')))


def test_a_relu_that_others_read_or_that_is_kept_stays():
    def build():
        relu = tf.nn.relu(_input(), name='relu')
        tf.add(relu, tf.minimum(relu, 6.0), name='out')
    assert 'Relu6' not in ops(_apply(replace_relu_minimum, build))

    def build_kept():
        tf.minimum(tf.nn.relu(_input(), name='relu'), 6.0, name='out')
    assert 'Relu6' not in ops(_apply(replace_relu_minimum, build_kept, protected=['relu']))


_FACTORS = {
    'factor': lambda x, r: (x * (1 / 6)) * r, 'factor behind': lambda x, r: r * ((1 / 6) * x),
    'quotient': lambda x, r: (x / 6.0) * r}


@pytest.mark.parametrize('form', _FACTORS)
def test_hard_swish_with_the_factor_first(form):
    def build():
        x = _input()
        tf.identity(_FACTORS[form](x, tf.nn.relu6(x + 3.0)), name='out')
    result = nodes(_apply(reorder_hard_swish, build, tolerance=1e-5))
    swish = result[result['out'].input[0]]
    assert swish.op == 'Mul' and swish.input[0] == 'x'
    assert result[swish.input[1]].op == ('RealDiv' if form == 'quotient' else 'Mul')
    assert list(result[swish.input[1]].input)[0] == 'Relu6'


def test_gates_that_are_in_order_stay():
    def build():
        x = _input()
        tf.multiply(tf.nn.relu6(x + 3.0), tf.nn.relu6(-x + 3.0) * (1 / 6), name='out')
        tf.multiply(tf.nn.relu6(3.0 + x) * (1 / 6), tf.nn.relu6(x * 2.0 + 3.0), name='other')
    graph_def = frozen(build)
    assert reorder_hard_swish(graph_def, frozenset(['x', 'out', 'other']), config()) is graph_def


def _swish(x, left=False, divide=False, of=None, three=3.0, sixth=None):
    of = x if of is None else of
    relu6 = tf.nn.relu6(tf.add(three, of) if left else of + three)
    product = tf.multiply(relu6, x, name='product') if left else tf.multiply(x, relu6, name='product')
    if divide:
        return tf.divide(product, sixth or 6.0, name='out')
    sixth = tf.constant(sixth or 1 / 6)
    return tf.multiply(sixth, product, name='out') if left else tf.multiply(product, sixth, name='out')


@pytest.mark.parametrize('left', [False, True])
@pytest.mark.parametrize('divide', [False, True])
def test_hard_swish(left, divide):
    result = _apply(reorder_hard_swish, lambda: _swish(_input(), left, divide), tolerance=1e-5)
    out, product = nodes(result)['out'], nodes(result)['product']
    assert out.op == 'Mul' and sorted(out.input) == ['product', 'x']
    assert product.op == ('RealDiv' if divide else 'Mul') and product.input[0].startswith('Relu6')


@pytest.mark.parametrize('numbers', [dict(three=2.0), dict(sixth=0.2)])
def test_other_numbers_are_no_hard_swish(numbers):
    result = _apply(reorder_hard_swish, lambda: _swish(_input(), **numbers))
    assert 'product' in list(nodes(result)['out'].input) and 'x' in list(nodes(result)['product'].input)


def test_a_product_that_is_kept_stays():
    result = _apply(reorder_hard_swish, lambda: _swish(_input()), protected=['product'])
    assert 'x' in list(nodes(result)['product'].input)


def test_gate_of_another_tensor():
    def build():
        x = _input()
        _swish(x, of=x * 2.0)
    assert sorted(nodes(_apply(reorder_hard_swish, build, tolerance=1e-5))['out'].input) == ['product', 'x']
