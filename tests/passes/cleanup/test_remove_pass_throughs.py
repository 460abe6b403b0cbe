"""Ops that forward their input are removed; protected names stay."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.passes.checking import apply_and_run, nodes, ops, values
from tests.passes.folded_networks import graph_of, inputs_of, optimised, settings
from tests.support import run
from vai_q_tf.graph.view import SOURCE_NODES
from vai_q_tf.passes import optimise
from vai_q_tf.passes.cleanup.remove_pass_throughs import remove_pass_throughs


def _input():
    return tf.placeholder(tf.float32, [None, 4], name='x')


@pytest.mark.parametrize('make', [
    tf.identity, tf.stop_gradient, lambda x: tf.check_numerics(x, 'message'), lambda x: tf.raw_ops.PreventGradient(input=x),
    lambda x: tf.raw_ops.Snapshot(input=x), lambda x: tf.identity_n([x])[0], lambda x: tf.Print(x, [x])])
@pytest.mark.parametrize('protected', [False, True])
def test_pass_throughs(make, protected):
    def build():
        passed = make(_input() * 2.0)
        tf.nn.relu(tf.identity(passed, name='through') if protected else passed, name='out')
    result = apply_and_run(remove_pass_throughs, graph_of(build), values(2, 4), ['out'] + ['through'] * protected)
    assert ops(result) == ['Identity'] * protected + ['Mul', 'Relu']


def test_a_protected_check_becomes_an_identity():
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


def test_constants_record_the_nodes_they_were_read_through():
    def build():
        w = tf.constant(values(4, 3), name='w')
        tf.matmul(_input(), tf.identity(tf.identity(w, name='w/read'), name='w/again'), name='out')
    assert sorted(nodes(optimised(graph_of(build)))['w'].attr[SOURCE_NODES].list.s) == [b'w/again', b'w/read']


@pytest.mark.parametrize('fold_constant', [True, False])
def test_readers_of_a_protected_identity_read_the_constant(fold_constant):
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
