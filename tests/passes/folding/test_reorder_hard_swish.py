"""The order of the operations of a hard swish."""
import pytest
import tensorflow.compat.v1 as tf

from tests.passes.checking import apply_and_run, config, frozen, nodes, values
from vai_q_tf.passes.folding.reorder_hard_swish import reorder_hard_swish


def _apply(build, *protected):
    x = values(3, 4, low=-9, high=9)
    return nodes(apply_and_run(reorder_hard_swish, frozen(build), x, ('out',) + protected, tolerance=1e-5))


def _input():
    return tf.placeholder(tf.float32, [None, 4], name='x')


_FACTORS = {
    'factor': lambda x, r: (x * (1 / 6)) * r, 'factor last': lambda x, r: r * ((1 / 6) * x),
    'quotient': lambda x, r: (x / 6.0) * r}


@pytest.mark.parametrize('form', _FACTORS)
def test_hard_swish_with_the_factor_first(form):
    def build():
        x = _input()
        tf.identity(_FACTORS[form](x, tf.nn.relu6(x + 3.0)), name='out')
    result = _apply(build)
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
    result = _apply(lambda: _swish(_input(), left, divide))
    out, product = result['out'], result['product']
    assert out.op == 'Mul' and sorted(out.input) == ['product', 'x']
    assert product.op == ('RealDiv' if divide else 'Mul') and product.input[0].startswith('Relu6')


@pytest.mark.parametrize('numbers', [dict(three=2.0), dict(sixth=0.2)])
def test_other_numbers_are_no_hard_swish(numbers):
    result = _apply(lambda: _swish(_input(), **numbers))
    assert 'product' in list(result['out'].input) and 'x' in list(result['product'].input)


def test_a_protected_product_stays():
    assert 'x' in list(_apply(lambda: _swish(_input()), 'product')['product'].input)


def test_gate_of_another_tensor():
    def build():
        x = _input()
        _swish(x, of=x * 2.0)
    assert sorted(_apply(build)['out'].input) == ['product', 'x']
