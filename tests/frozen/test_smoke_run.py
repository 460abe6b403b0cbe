"""The float graph runs once; more tensors are fetched if they can be."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.frozen.smoke_run import check_float_graph
from vai_q_tf.graph.checks.make_graph import make_graph

CONFIG, BATCH = QuantizeConfig(['x'], ['y']), {'x:0': np.zeros((1, 2), np.float32)}


def _graph(build):
    with tf.Graph().as_default() as built:
        tf.identity(build(tf.placeholder(tf.float32, [None, 2], 'x')), name='y')
    return make_graph(built.as_graph_def())


def test_a_branch_that_does_not_run_is_no_fault_of_the_graph():
    phase = tf.placeholder_with_default
    graph = _graph(lambda x: tf.cond(phase(False, []), lambda: tf.negative(x, 'training'), lambda: tf.exp(x, 'inference')))
    branches = [graph.get_tensor_by_name('cond/{}:0'.format(name)) for name in ('training', 'inference')]
    assert check_float_graph(graph, CONFIG, BATCH, None, branches) is None
    assert check_float_graph(graph, CONFIG, BATCH, None, branches[1:])[0].tolist() == [[1, 1]]


def test_a_graph_that_does_not_run():
    graph = _graph(lambda x: tf.reshape(x, [4], 'wrong'))
    for others in ((), [graph.get_tensor_by_name('x:0')]):
        with pytest.raises(errors.QuantizeError, match=r"does not run on the first batch \(node 'wrong'\): ") as caught:
            check_float_graph(graph, CONFIG, BATCH, None, others)
        assert caught.value.code == errors.UNSUPPORTED_GRAPH


def test_an_output_that_is_not_finite_is_a_warning(caplog):
    for function in (tf.exp, tf.log, tf.is_nan):
        check_float_graph(_graph(function), CONFIG, BATCH)
    assert caplog.messages == ["Output node 'y' of the float graph is NaN or infinite on the first batch"]  # log(0)
