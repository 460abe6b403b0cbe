"""The float graph runs once, whatever else can be fetched of it."""
import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.frozen.smoke_run import check_float_graph
from vai_q_tf.graph.checks.make_graph import make_graph


def test_a_branch_that_does_not_run_is_no_fault_of_the_graph():
    with tf.Graph().as_default() as built:
        x = tf.placeholder(tf.float32, [None, 2], 'x')
        phase = tf.placeholder_with_default(False, [])
        tf.identity(tf.cond(phase, lambda: tf.negative(x, 'training'), lambda: tf.square(x, 'inference')), name='y')
    graph = make_graph(built.as_graph_def())
    config, batch = QuantizeConfig(['x'], ['y']), {'x:0': np.ones((1, 2), np.float32)}
    branches = [graph.get_tensor_by_name('cond/{}:0'.format(name)) for name in ('training', 'inference')]
    assert check_float_graph(graph, config, batch, None, branches) is None
    assert check_float_graph(graph, config, batch, None, branches[1:])[0].tolist() == [[1, 1]]
