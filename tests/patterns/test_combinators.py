"""Each combinator on a small graph."""
import numpy as np
import pytest
import tensorflow as tf

from vai_q_tf.graph.view import GraphView
from vai_q_tf.patterns.combinators import anything, either, find, is_number, named, number, op, optional, same


@pytest.fixture
def view():
    a = tf.compat.v1.placeholder(tf.float32, [2], name='a')
    b = tf.compat.v1.placeholder(tf.float32, [2], name='b')
    c = tf.constant(2.0, name='c')
    product = tf.multiply(c, tf.identity(a, name='copy'), name='product')
    tf.nn.relu(tf.add(product, a, name='sum'), name='relu')
    tf.subtract(product, b, name='difference')
    return GraphView(tf.compat.v1.get_default_graph().as_graph_def(add_shapes=True))


def test_inputs_are_matched_in_order(view):
    assert find(view, 'product', op('Mul', op('Const', name='factor'), anything('x'))).tensors == {
        'factor': 'c', 'x': 'copy'}
    assert find(view, 'product', op('Mul', anything(), op('Const'))) is None
    assert find(view, 'product', op('Mul', anything())) is None
    assert find(view, 'sum', op('Mul', anything(), anything())) is None


def test_any_order(view):
    computed = anything('x', where=lambda view, tensor: view.op(tensor) != 'Const')
    pattern = op('Mul', computed, op('Const', name='factor'), any_order=True)
    match = find(view, 'product', pattern)
    assert (match['factor'], match['x'], match.nodes) == ('c', 'copy', ('product', 'c'))


def test_identity_nodes_are_skipped(view):
    assert find(view, 'product', op('Mul', anything(), op('Placeholder', name='x')))['x'] == 'a'
    assert find(view, 'copy', op('Identity', name='i'))['i'] == 'copy'


def test_same(view):
    doubled = op('Mul', op('Const'), anything('x'))
    assert find(view, 'sum', op('Add|AddV2', doubled, same('x')))
    assert find(view, 'difference', op('Sub', doubled, same('x'))) is None


def test_alternatives_and_optional_parts(view):
    add = op('Add|AddV2', anything(), anything(), name='add')
    pattern = optional(lambda inner: op('Relu', inner, name='relu'), add)
    assert find(view, 'relu', pattern).tensors == {'relu': 'relu', 'add': 'sum'}
    match = find(view, 'sum', pattern)
    assert match.get('relu') == '' and match['add'] == 'sum'
    assert find(view, 'difference', either(add, op('Sub', name='other')))['other'] == 'difference'
    assert find(view, 'sum', named('whole', add))['whole'] == 'sum'


def test_operands_are_tried_until_the_whole_pattern_fits(view):
    pattern = op('Add|AddV2', anything('x'), op('Mul', anything(), same('x'), any_order=True), any_order=True)
    assert find(view, 'sum', pattern)['x'] == 'a'


def test_a_match_is_immutable(view):
    match = find(view, 'product', op('Mul', anything('x'), anything('y')))
    with pytest.raises(TypeError):
        match.tensors['x'] = 'b'


@pytest.mark.parametrize('value, expected, result', [
    (1 / 6, 1 / 6, True), (0.1667, 1 / 6, True), (np.float16(1 / 6), 1 / 6, True), (0.167, 1 / 6, False), (0.2, 1 / 6, False),
    (6, 6, True), (5.995, 6, True), (5.99, 6, False), ([3, 3.002], 3, True), ([3, 3.004], 3, False), ([], 3, False),
    (-1, -1, True), (-1.002, -1, False), (1, -1, False), (0, 0, True), (1e-30, 0, False), (float('nan'), 3, False)])
def test_numbers(value, expected, result):
    assert is_number(np.float32(value), expected) == result
    tf.constant(np.float32(value), name='value')
    tf.compat.v1.placeholder(tf.float32, [], name='fed')
    view = GraphView(tf.compat.v1.get_default_graph().as_graph_def())
    assert (find(view, 'value', number(expected, 'n')) is not None) == result
    assert (find(view, 'value', number()) is not None) == (np.size(value) == 1)
    assert find(view, 'fed', number(expected)) is None and find(view, 'fed', number()) is None and not is_number(None, expected)
