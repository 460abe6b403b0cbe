"""Conditionals with a constant condition are replaced by the branch that is taken."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from tensorflow import keras

from tests.passes.checking import ops, values
from tests.passes.folded_networks import graph_of, optimised, settings
from tests.support import run
from vai_q_tf.graph.view import GraphView
from vai_q_tf.passes import optimise
from vai_q_tf.passes.cleanup.resolve_switches import resolve_switches


def _input():
    return tf.placeholder(tf.float32, [None, 4], name='x')


def _resolved(graph_def, *protected):
    return resolve_switches(graph_def, GraphView(graph_def), {'x', 'out'}.union(protected))


def _conditional(phase):
    x = _input()
    y = tf.cond(phase, lambda: tf.nn.relu(x) * 7.0, lambda: x - 1.0)
    with_constant = tf.cond(tf.logical_not(phase), lambda: tf.constant(2.0), lambda: tf.reduce_sum(x))
    tf.multiply(y, with_constant, name='out')


@pytest.mark.parametrize('phase', [False, True])
def test_constant_conditions(phase):
    graph_def = graph_of(lambda: _conditional(tf.constant(phase)))
    result = optimised(graph_def, tolerance=0)
    assert not {'Switch', 'Merge'} & set(ops(result))
    assert ('Add' in ops(result)) != phase and ('Relu' in ops(result)) == phase


def test_a_learning_phase_is_taken_as_inference():
    graph_def = graph_of(lambda: _conditional(tf.placeholder_with_default(False, [], name='phase')))
    assert ops(optimised(graph_def, tolerance=0)) == ['Add', 'Mul']


def test_an_open_condition_stays():
    graph_def = graph_of(lambda: _conditional(tf.placeholder(tf.bool, [], name='phase')))
    result = optimise(graph_def, settings())
    x = values(2, 4)
    for phase in (False, True):
        feeds = {'x': x, 'phase': phase}
        np.testing.assert_array_equal(run(result, ['out'], feeds)[0], run(graph_def, ['out'], feeds)[0])


@pytest.mark.parametrize('taken', [False, True])
def test_which_branch_a_merge_took(taken):
    def build():
        x = _input()
        off, on = tf.raw_ops.Switch(data=x, pred=tf.constant(True))
        merged, index = tf.raw_ops.Merge(inputs=[off * 2.0, on * 3.0], name='merge')
        offset = tf.constant(values(4), name='merge/value_index' if taken else None)
        tf.add(tf.multiply(merged, tf.cast(index, tf.float32)), offset, name='out')
    assert 'Merge' not in ops(optimised(graph_of(build)))


def test_loops_stay():
    def build():
        tf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, y * 2.0), [tf.constant(0), _input()], name='loop')
        tf.identity(tf.get_default_graph().get_tensor_by_name('loop/Exit_1:0'), name='out')
    assert {'Enter', 'LoopCond', 'NextIteration', 'Exit'} <= set(ops(optimised(graph_of(build), tolerance=0)))


@pytest.mark.parametrize('phase', [False, True])
@pytest.mark.parametrize('computed', [False, True])
def test_a_select(phase, computed):
    def build():
        condition = tf.less(tf.constant(1.0), 2.0 if phase else 0.5) if computed else tf.logical_not(tf.constant(not phase))
        tf.where(condition, tf.nn.relu(_input()), tf.nn.relu6(tf.get_default_graph().get_tensor_by_name('x:0')), name='out')
    assert ops(_resolved(graph_of(build))) == ['Identity', 'Relu' if phase else 'Relu6']


def test_a_condition_within_an_open_one():
    def build():
        x, never = _input(), tf.constant(False)
        y = tf.cond(tf.reduce_sum(x) > 0, lambda: tf.cond(never, lambda: tf.exp(x), lambda: x + 1.0), lambda: x - 1.0)
        tf.identity(y, name='out')
    graph_def = graph_of(build)
    result = _resolved(graph_def)
    assert ops(result).count('Merge') == 1 and 'Exp' not in ops(result)
    for x in (values(2, 4, low=0.5), values(2, 4, high=-0.5)):
        np.testing.assert_array_equal(run(result, ['out'], {'x': x}), run(graph_def, ['out'], {'x': x}))


def test_a_merge_that_stays_open_keeps_its_dead_inputs():
    def build():
        x = _input()
        first, second = tf.raw_ops.Switch(data=x, pred=tf.reduce_sum(x) > 0)
        never, _ = tf.raw_ops.Switch(data=x, pred=tf.constant(True))
        tf.raw_ops.Merge(inputs=[first + 1.0, second - 1.0, tf.exp(never)])
        tf.where(tf.constant(True), x, -x, name='out')
    graph_def = graph_of(build)
    assert ops(_resolved(graph_def)) == sorted(['Identity' if op == 'Select' else op for op in ops(graph_def, 'Neg')])


@pytest.mark.parametrize('protected', ['dead', 'phase'])
def test_protected_nodes_of_a_condition(protected):
    """A branch that is not taken stays if one of its nodes is protected; a phase stays open if it is an input node."""
    def build():
        x, phase = _input(), tf.placeholder_with_default(False, [], name='phase')
        tf.identity(tf.cond(phase, lambda: tf.exp(x, name='dead'), lambda: x + 1.0), name='out')
    graph_def = graph_of(build)
    dead = next(node.name for node in graph_def.node if node.op == 'Exp')
    result = _resolved(graph_def, dead if protected == 'dead' else protected)
    assert ops(result).count('Merge') == 1 and 'Exp' in ops(result)


@pytest.mark.parametrize('fused', [True, False])
def test_keras_batch_norm_and_dropout_with_a_learning_phase(fused):
    keras.backend.clear_session()
    with tf.Graph().as_default() as graph, tf.Session(graph=graph).as_default() as session:
        keras.backend.set_session(session)
        x = keras.layers.Input([6, 6, 3], name='x')
        y = keras.layers.Conv2D(4, 3)(x)
        y = keras.layers.BatchNormalization(fused=fused)(y)
        y = tf.identity(keras.layers.Dropout(0.5)(keras.layers.ReLU()(y)), name='out')
        session.run(tf.global_variables_initializer())
        graph_def = tf.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), ['out'])
    keras.backend.clear_session()
    result = optimised(graph_def)
    assert ops(result) == ['BiasAdd', 'Conv2D', 'Identity', 'Relu']
