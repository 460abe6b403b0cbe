"""The steps of a rewrite."""
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf import QuantizeConfig, QuantizeError
from vai_q_tf.qat import rewrite


def _towers(reuse):
    """Two copies of a network, with the same variables or different ones."""
    for tower in ('clone_0', 'clone_1'):
        with tf.name_scope(tower), tf.variable_scope('net' if reuse else tower + '_net', reuse=tf.AUTO_REUSE):
            x = tf.placeholder(tf.float32, [4, 6], 'x')
            tf.nn.relu(tf.matmul(x, tf.get_variable('kernel', [6, 2]), name='dense'), name='out')


def _planned(graph, scope):
    config = QuantizeConfig([scope + '/x'], [scope + '/out'])
    return rewrite.plan_rewrite(graph, config, ('clone_0/', 'clone_1/'), any_batch=True)


def test_copies_share_the_fix_neurons_of_shared_variables():
    with tf.Graph().as_default() as graph:
        _towers(reuse=True)
    names = rewrite.names_of_copies(graph, _planned(graph, 'net'))
    weight, = {name for name in names[0] if name.endswith('/wquant')}
    assert names[0][weight] == names[1][weight] == weight
    activation = 'net/out/aquant'
    assert [copy[activation] for copy in names] == ['clone_0/net/out/aquant', 'clone_1/net/out/aquant']
    assert set(rewrite.rows(graph, _planned(graph, 'net')).values()) == set(names[0])


def test_a_plan_changes_nothing_and_a_rehearsal_changes_a_copy():
    with tf.Graph().as_default() as graph:
        _towers(reuse=True)
        before = graph.as_graph_def()
        _planned(graph, 'net')
        graph_def = rewrite.graph_def_without(graph, {'clone_1/net/out'})
        rehearsed = rewrite.rehearse(graph_def, lambda copy: copy.create_op('NoOp', [], []))
    assert graph.as_graph_def() == before
    names = {op.name for op in rehearsed.get_operations()}
    assert 'NoOp' in names and 'clone_1/net/out' not in names and 'clone_0/net/out' in names


def test_the_name_of_a_fix_neuron_is_taken():
    with tf.Graph().as_default() as graph:
        _towers(reuse=True)
        tf.no_op(name='clone_1/net/out/aquant')
    with pytest.raises(QuantizeError, match="has a node 'clone_1/net/out/aquant'"):
        _planned(graph, 'net')


def test_an_input_shape_does_not_fit():
    with tf.Graph().as_default() as graph:
        _towers(reuse=True)
    with pytest.raises(QuantizeError, match=r"has \[-1, 5\] for node 'clone_0/net/x'"):
        rewrite.plan_rewrite(graph, QuantizeConfig(['clone_0/net/x'], ['clone_0/net/out'], [[-1, 5]]))
