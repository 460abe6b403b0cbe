"""Nodes that hand their input on, dropouts, conditions that are constant: they go, kept names stay."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from tensorflow import keras

from tests.passes.checking import nodes, ops, run, values
from tests.passes.folded_networks import graph_of, inputs_of, optimised, settings
from vai_q_tf import errors
from vai_q_tf.graph.view import SOURCE_NODES
from vai_q_tf.passes import optimise
from vai_q_tf.passes.cleanup.remove_dropouts import remove_dropouts
from vai_q_tf.passes.cleanup.remove_pass_throughs import remove_pass_throughs


def _input(name='x'):
    return tf.placeholder(tf.float32, [None, 4], name=name)


@pytest.mark.parametrize('make', [
    tf.identity, tf.stop_gradient, lambda x: tf.check_numerics(x, 'message'), lambda x: tf.raw_ops.PreventGradient(input=x),
    lambda x: tf.raw_ops.Snapshot(input=x), lambda x: tf.identity_n([x])[0], lambda x: tf.Print(x, [x])])
@pytest.mark.parametrize('protected', [False, True])
def test_pass_throughs(make, protected):
    def build():
        passed = make(_input() * 2.0)
        tf.nn.relu(tf.identity(passed, name='through') if protected else passed, name='out')
    graph_def = graph_of(build)
    keep = frozenset(['x', 'out'] + (['through'] if protected else []))
    result = remove_pass_throughs(graph_def, keep, None)
    assert ops(result) == (['Identity'] if protected else []) + ['Mul', 'Relu']
    x = values(2, 4)
    np.testing.assert_array_equal(run(result, ['out'], {'x': x})[0], np.maximum(x * 2, 0))
    assert remove_pass_throughs(result, keep, None) is result


def test_a_kept_check_becomes_an_identity():
    def build():
        tf.check_numerics(_input() * 2.0, 'message', name='out')
    result = optimised(graph_of(build), tolerance=0)
    assert nodes(result)['out'].op == 'Identity' and 'message' not in nodes(result)['out'].attr


def test_every_output_of_an_identity_n_is_its_own_input():
    def build():
        x = _input()
        both = tf.identity_n([x * 2.0, x * 3.0])
        tf.subtract(both[0], both[1], name='out')
    assert ops(optimised(graph_of(build), tolerance=0)) == ['Mul', 'Mul', 'Sub']


def test_constants_note_how_they_are_read():
    def build():
        w = tf.constant(values(4, 3), name='w')
        tf.matmul(_input(), tf.identity(tf.identity(w, name='w/read'), name='w/again'), name='out')
    assert sorted(nodes(optimised(graph_of(build)))['w'].attr[SOURCE_NODES].list.s) == [b'w/again', b'w/read']


@pytest.mark.parametrize('fold_constant', [True, False])
def test_a_constant_is_read_past_a_kept_identity(fold_constant):
    def build():
        w = tf.identity(tf.constant(values(4, 4), name='w'), name='w/read')
        y = tf.matmul(_input(), tf.identity(w)) * 2.0
        tf.matmul(tf.nn.relu(y, name='out'), w, name='later')
    graph_def = graph_of(build)
    result = optimised(graph_def, outputs=['out'], fold_constant=fold_constant)
    assert inputs_of(result)['MatMul'][1] == 'w' and 'Mul' not in ops(result)
    x = {'x': values(2, 4)}
    np.testing.assert_allclose(run(result, ['later'], x)[0], run(graph_def, ['later'], x)[0], rtol=1e-5)


def test_long_chains():
    def build():
        x = _input()
        w = tf.constant(values(4, 4), name='w')
        tf.matmul(x, w, name='out')
    graph_def = graph_of(build)
    last = 'w'
    for number in range(5000):
        node = graph_def.node.add(name='i{}'.format(number), op='Identity', input=[last])
        node.attr['T'].type = tf.float32.as_datatype_enum
        last = node.name
    nodes(graph_def)['out'].input[1] = last
    assert ops(optimise(graph_def, settings())) == ['MatMul']


def test_control_inputs_and_what_hangs_on_them_go():
    def build():
        x = _input()
        check = tf.debugging.Assert(tf.reduce_all(x < 10), [x])
        with tf.control_dependencies([check, tf.no_op()]):
            tf.nn.relu(x + tf.constant([1., 2., 3., 4.]), name='out')
    result = optimised(graph_of(build))
    assert ops(result) in (['Add', 'Relu'], ['AddV2', 'Relu'])
    assert not any(operand.startswith('^') for node in result.node for operand in node.input)


@pytest.mark.parametrize('protected', [False, True])
def test_dropout_in_training_form(protected):
    def build():
        y = tf.nn.relu(_input(), name='relu')
        tf.nn.relu6(tf.identity(tf.nn.dropout(y, rate=0.5), name='dropped'), name='out')
    graph_def = graph_of(build)
    result = optimise(graph_def, settings(['out', 'dropped'] if protected else ['out']))
    x = values(2, 4)
    np.testing.assert_array_equal(run(result, ['out'], {'x': x})[0], np.maximum(x, 0))
    assert ops(result) == (['Identity'] if protected else []) + ['Relu', 'Relu6']


def test_an_output_that_is_a_dropout_keeps_its_name():
    graph_def = graph_of(lambda: tf.nn.dropout(tf.nn.relu(_input()), rate=0.5, name='drop'))
    name = graph_def.node[-1].name
    result = remove_dropouts(graph_def, frozenset(['x', name]), None)
    assert nodes(result)[name].op == 'Identity' and ops(result) == ['Identity', 'Relu']
    assert remove_dropouts(result, frozenset(['x', name]), None) is result


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


def test_which_branch_a_merge_took():
    def build():
        x = _input()
        off, on = tf.raw_ops.Switch(data=x, pred=tf.constant(True))
        merged, index = tf.raw_ops.Merge(inputs=[off * 2.0, on * 3.0])
        tf.multiply(merged, tf.cast(index, tf.float32), name='out')
    result = optimised(graph_of(build))
    assert 'Merge' not in ops(result)


def test_loops_are_left_alone():
    def build():
        tf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, y * 2.0), [tf.constant(0), _input()], name='loop')
        tf.identity(tf.get_default_graph().get_tensor_by_name('loop/Exit_1:0'), name='out')
    optimised(graph_of(build), tolerance=0)


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


def test_a_batch_norm_of_the_training_phase_is_named():
    def build():
        x = tf.placeholder(tf.float32, [None, 4, 4, 3], name='x')
        ones, mean = tf.ones([3]), tf.constant([1., 2., 3.], name='mean')
        y = tf.raw_ops.FusedBatchNorm(x=x, scale=ones, offset=ones, mean=mean, variance=mean, is_training=False, name='norm')
        tf.nn.relu(y[0], name='out')
    graph_def = graph_of(build)
    nodes(graph_def)['mean'].attr['value'].tensor.CopyFrom(tf.make_tensor_proto([], tf.float32))
    with pytest.raises(errors.QuantizeError, match="'norm'.*learning phase") as raised:
        optimise(graph_def, settings())
    assert raised.value.code == errors.LEARNING_PHASE


def test_unused_inputs_of_the_graph_go():
    def build():
        _input('other')
        tf.nn.relu(_input(), name='out')
    assert set(inputs_of(optimise(graph_of(build), settings()))) == {'x', 'out'}
