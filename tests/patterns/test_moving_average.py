"""The variable that keeps the moving average of a tensor is found by its update."""
import pytest
import tensorflow as tf
from tensorflow.python.training import moving_averages

from vai_q_tf.graph.view import GraphView
from vai_q_tf.patterns.graph_range import GraphRange
from vai_q_tf.patterns.moving_average import find_moving_average, variable_read

v1 = tf.compat.v1


def _variable(name='average', resource=False):
    return v1.get_variable(name, [4], use_resource=resource)


def _mean():
    return tf.reduce_mean(v1.placeholder(tf.float32, [8, 4], name='x'), axis=0, name='mean')


def _found():
    return find_moving_average(GraphRange(GraphView(v1.get_default_graph().as_graph_def()), ['x'], ['mean']), 'mean')


@pytest.mark.parametrize('resource', [False, True])
@pytest.mark.parametrize('update', [
    lambda average, mean: moving_averages.assign_moving_average(average, mean, 0.9, zero_debias=False),
    lambda average, mean: average.assign_sub((average - mean) * 0.1),
    lambda average, mean: average.assign_sub(0.1 * tf.identity(average - tf.identity(mean))),
    lambda average, mean: average.assign(average * 0.9 + mean * (1 - 0.9)),
    lambda average, mean: v1.assign(average, tf.identity(0.01 * mean + 0.99 * average))])
def test_decay_is_found(resource, update):
    update(_variable(resource=resource), _mean())
    assert _found() == 'average'


@pytest.mark.parametrize('update', [
    lambda average, mean: average.assign_add((average - mean) * 0.1),
    lambda average, mean: average.assign_sub((average + mean) * 0.1),
    lambda average, mean: average.assign_sub((average - mean) / 10.),
    lambda average, mean: _variable('other').assign_sub((average - mean) * 0.1),
    lambda average, mean: average.assign(average * 0.9 + mean * 0.9),
    lambda average, mean: average.assign(average * 0.9 - mean * 0.1),
    lambda average, mean: average.assign(average * 0.9 + tf.exp(mean) * 0.1),
    lambda average, mean: _variable('other').assign(average * 0.9 + mean * 0.1),
    lambda average, mean: moving_averages.assign_moving_average(average, mean, 0.9, zero_debias=True)],
    ids=['add', 'sum', 'quotient', 'another variable', 'factors', 'difference', 'another tensor', 'assigned to another',
         'zero debias'])
def test_other_updates_are_not(update):
    update(_variable(), _mean())
    assert _found() == ''


def test_one_of_two_averages_is_not():
    mean = _mean()
    for name in ('one', 'two'):
        average = _variable(name)
        average.assign_sub((average - mean) * 0.1)
    assert _found() == ''


def test_a_read_that_waits_for_nothing_is_preferred():
    variable = _variable()
    with tf.control_dependencies([variable.assign_sub([1., 1., 1., 1.], read_value=False)]):
        tf.identity(variable._ref(), name='after_update')
    with tf.control_dependencies([tf.no_op(name='first')]):
        tf.identity(variable._ref(), name='after_first')
    view = GraphView(v1.get_default_graph().as_graph_def())
    assert {'average/read', 'after_update', 'after_first'} <= {name for name, _ in view.consumers('average')}
    assert variable_read(view, 'average') == 'average/read' and variable_read(view, 'first') == ''
    graph_def = v1.get_default_graph().as_graph_def()
    without = GraphView(v1.GraphDef(node=[node for node in graph_def.node if node.name != 'average/read']))
    assert variable_read(without, 'average') == 'after_first'
