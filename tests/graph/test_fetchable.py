"""Tensors can be fetched if they have one value in every run."""
import tensorflow.compat.v1 as tf

from vai_q_tf.graph.control_flow import CONTROL_FLOW_OPS, branch_nodes
from vai_q_tf.graph.fetchable import fetchable_tensors
from vai_q_tf.graph.view import GraphView


def _view(build):
    with tf.Graph().as_default() as graph:
        build(tf.placeholder(tf.float32, [2], name='x'))
        return GraphView(graph.as_graph_def())


def test_every_number_can_be_fetched_and_the_rest_has_a_reason():
    def build(x):
        tf.split(x, 2, name='parts')
        tf.as_string(x, name='text')
        tf.no_op('nothing')
        tf.cond(tf.greater(x[0], 1.0, name='yes'), lambda: tf.negative(x, name='branch'), lambda: x)
    tensors, skipped = fetchable_tensors(_view(build))
    assert {'x', 'parts', 'parts:1', 'yes'} <= set(tensors) and set(tensors).isdisjoint(['text', 'nothing', 'cond/branch'])
    assert skipped['text'] == 'its type is string' and skipped['nothing'] == 'no outputs (NoOp)'
    assert skipped['cond/Merge'] == 'control flow' and skipped['cond/branch'] == 'in a loop, or in a branch that need not run'


def _nested(x):
    def twice(y):
        return tf.cond(tf.reduce_sum(y) < 4.0, lambda: y * 2.0, lambda: tf.while_loop(
            lambda z: tf.reduce_sum(z) > 1.0, lambda z: z / 3.0, [y]))
    y = tf.while_loop(lambda y: tf.reduce_sum(y) < 9.0, twice, [x])
    tf.gradients(tf.cond(tf.reduce_sum(y) < 20.0, lambda: tf.nn.relu(y), lambda: twice(y)), x)


def _skipped(view):
    """The nodes in a loop or a branch, by the reasons of `fetchable_tensors`."""
    return {name for name, reason in fetchable_tensors(view)[1].items() if reason.startswith('in a loop')}


def test_nodes_outside_of_branches_can_be_fetched():
    view = _view(_nested)
    inside = {name for name in branch_nodes(view) if view.op(name) not in CONTROL_FLOW_OPS}
    assert _skipped(view) == inside and len(inside) > 100


def test_a_node_that_waits_for_a_branch_is_outside_of_it_but_cannot_be_fetched():
    def build(x):
        branch = []
        tf.cond(tf.reduce_sum(x) < 9.0, lambda: branch.append(tf.negative(x, name='yes')) or branch[0], lambda: x)
        with tf.control_dependencies(branch):
            tf.nn.relu(x, name='waits')
    view = _view(build)
    assert 'waits' in _skipped(view) and 'waits' not in branch_nodes(view)
