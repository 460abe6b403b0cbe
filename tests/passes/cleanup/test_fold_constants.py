"""Constant folding: which nodes are evaluated, and the names and forms of the results."""
import numpy as np
import tensorflow.compat.v1 as tf

from tests.passes.checking import apply_and_run, config, nodes, ops, value_of, values
from tests.passes.folded_networks import graph_of, inputs_of
from vai_q_tf.graph.view import SOURCE_NODES
from vai_q_tf.passes.cleanup.fold_constants import evaluate_folded, fold_constants, fold_parameters
from vai_q_tf.passes.folding.fold_batch_norms import fold_batch_norms


def _fold(build, *protected, a_pass=fold_constants):
    return apply_and_run(a_pass, graph_of(build), values(2, 4), ('out',) + protected)


def _input():
    return tf.placeholder(tf.float32, [None, 4], name='x')


def test_only_the_last_node_of_a_constant_part_gets_a_value():
    def build():
        folded = tf.add(tf.exp(tf.constant([1., 2., 3., 4.], name='c')), 1.0, name='folded')
        tf.multiply(_input(), folded, name='out')
    result = _fold(build)
    assert inputs_of(result) == {'x': [], 'folded': [], 'out': ['x', 'folded']}
    np.testing.assert_allclose(value_of(result, 'folded'), np.exp([1, 2, 3, 4]) + 1, rtol=1e-6)
    assert list(nodes(result)['folded'].attr[SOURCE_NODES].list.s) == []  # of two constants it replaces none


def test_weights_that_are_cast_replace_the_constant():
    def build():
        stored = tf.constant(values(4, 2).astype(np.float16), name='w')
        tf.matmul(_input(), tf.cast(stored, tf.float32, name='cast'), name='out')
    assert list(nodes(_fold(build))['cast'].attr[SOURCE_NODES].list.s) == [b'w']


def test_shapes_of_inputs_stay():
    def build():
        x = _input()
        tf.reshape(x, tf.stack([tf.shape(x)[0], tf.constant(2) * 2]), name='out')
    result = _fold(build)
    assert ops(result) == ['Pack', 'Reshape', 'Shape', 'StridedSlice']


def test_shapes_of_constants_are_folded():
    def build():
        tf.reshape(_input(), tf.shape(tf.ones([4, 2], name='c')), name='out')
    assert ops(_fold(build)) == ['Reshape']


def test_random_numbers_stay():
    def build():
        tf.add(_input(), tf.random_uniform([4]) * 0, name='out')
    assert 'RandomUniform' in ops(_fold(build))


def test_outputs_of_one_node_become_separate_constants():
    def build():
        left, right = tf.split(tf.constant(values(8), name='c'), 2, name='parts')
        tf.add(tf.multiply(_input(), right), left, name='out')
    result = _fold(build)
    assert ops(result) == ['AddV2', 'Mul'] or ops(result) == ['Add', 'Mul']
    np.testing.assert_array_equal(value_of(result, 'parts/output_1'), values(8)[4:])


def test_protected_nodes_keep_their_name():
    def build():
        tf.multiply(tf.constant(3.0), 2.0, name='six')
        tf.multiply(_input(), 2.0, name='out')
    result = _fold(build, 'six')
    assert nodes(result)['six'].op == 'Const' and value_of(result, 'six') == 6


def test_large_results_of_small_constants_stay_unless_they_are_weights():
    def build():
        x = _input()
        big = tf.fill(tf.constant([1000, 4000]), 0.5, name='big')
        w = tf.tile(tf.constant([[0.5]]), [4, 700000], name='w')
        tf.add(tf.reduce_sum(x) + tf.reduce_sum(big * tf.reduce_sum(x)), tf.reduce_sum(tf.matmul(x, w)), name='out')
    result = nodes(_fold(build))
    assert result['big'].op == 'Fill' and result['w'].op == 'Const'


def test_folded_parameters_are_evaluated_whatever_their_size():
    def build():
        x = tf.placeholder(tf.float32, [None, 1], name='x')
        y = tf.matmul(x, tf.constant(0.5, shape=[1, 2700000]))
        tf.identity((y + 1.0) * 2.0, name='out')
    protected = frozenset(['x', 'out'])
    result = evaluate_folded(fold_batch_norms(graph_of(build), protected, config()), protected, config())
    assert ops(result) == ['BiasAdd', 'Identity', 'MatMul']


def test_nodes_whose_evaluation_fails_stay():
    def build():
        tf.multiply(_input(), tf.constant([1., 2.])[0] + 1, name='out')
        tf.add(tf.gather(tf.constant(values(4)), tf.constant([9])), 0., name='broken')
    result = fold_constants(graph_of(build), frozenset(['x', 'out', 'broken']), config())
    assert nodes(result)['broken'].op in ('Add', 'AddV2') and 'GatherV2' in ops(result)
    assert inputs_of(result)['out'][1].startswith('add') and not inputs_of(result)[inputs_of(result)['out'][1]]


def test_axis_of_concat_is_a_single_number():
    def build():
        x = _input()
        tf.concat([x, x], tf.constant([0, 1])[1], name='out')
    result = _fold(build)
    axis = nodes(result)[inputs_of(result)['out'][-1]].attr['value'].tensor
    assert list(axis.int_val) == [1] and not axis.tensor_content
    stored = tf.GraphDef.FromString(result.SerializeToString())
    tensor = nodes(stored)[inputs_of(result)['out'][-1]].attr['value'].tensor
    del tensor.int_val[:]
    tensor.tensor_content = np.int32(1).tobytes()
    again = fold_constants(stored, frozenset(['x', 'out']), config())
    assert list(nodes(again)[inputs_of(result)['out'][-1]].attr['value'].tensor.int_val) == [1]


def test_only_parameters():
    def build():
        x = _input()
        y = tf.multiply(x, tf.exp(tf.constant(values(4))), name='y')
        tf.reshape(y, tf.concat([[-1], tf.constant([4])], 0, name='shape'), name='out')
    assert ops(_fold(build, a_pass=fold_parameters)) == ['ConcatV2', 'Mul', 'Reshape']
    assert ops(_fold(build)) == ['Mul', 'Reshape']
