"""The inference form of a live graph."""
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf import QuantizeConfig, QuantizeError
from vai_q_tf.graph.view import GraphView
from vai_q_tf.qat.network.decision import decide
from vai_q_tf.qat.network.inference_form import check_inference, inference_form, training_only


@pytest.mark.parametrize('op, is_training, expected', [
    ('FusedBatchNormV3', True, 'a float batch norm on the statistics of the batch'), ('FusedBatchNorm', False, ''),
    ('RandomUniform', None, 'random'), ('Multinomial', None, 'random'),
    ('TruncatedNormal', None, 'random'), ('Relu', True, '')])
def test_ops_for_training_only(op, is_training, expected):
    assert training_only(op, lambda: is_training) == expected


def test_a_tower_between_further_outputs_of_an_input_node():
    with tf.Graph().as_default() as graph, tf.name_scope('clone_1'):
        x, y = tf.split(tf.placeholder(tf.float32, [4, 6]), [2, 4], 1, name='parts')
        tf.layers.dense(tf.concat([x, y], 1), 2, name='out')
    graph_def = graph.as_graph_def(add_shapes=True)
    form = inference_form(graph_def, GraphView(graph_def), QuantizeConfig(['clone_1/parts'], ['clone_1/out/BiasAdd']),
                          'clone_1/', any_batch=True)
    shapes = {node.name: [dim.size for dim in node.attr['shape'].shape.dim] for node in form.graph_def.node
              if node.op == 'Placeholder'}
    assert shapes == {'parts': [-1, 2], 'parts/output_1': [-1, 4]}


@pytest.mark.parametrize('batch', [None, 4])
@pytest.mark.parametrize('order, is_refused', [([1, 0, 2], False), ([0, 1, 2], True)])
def test_a_mean_over_time_is_not_one_over_the_batch(order, is_refused, batch):
    config = QuantizeConfig(['x'], ['out/BiasAdd'])
    with tf.Graph().as_default() as graph:
        x = tf.nn.relu(tf.transpose(tf.placeholder(tf.float32, [batch, 6, 3], 'x'), order))
        tf.layers.dense(tf.reduce_mean(x, 0, name='mean'), 2, name='out')
    graph_def = graph.as_graph_def(add_shapes=True)
    decision = decide(inference_form(graph_def, GraphView(graph_def), config, any_batch=True).graph_def, config)
    if is_refused:
        with pytest.raises(QuantizeError, match="'mean'.*a mean over the batch"):
            check_inference(decision.optimised, decision.shapes)
    else:
        check_inference(decision.optimised, decision.shapes)


def test_a_batch_norm_that_is_not_recognized_has_a_remedy():
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 4], name='x')
        mean, variance = tf.nn.moments(x, [0], name='moments')
        tf.divide(x - mean, tf.sqrt(variance + 1e-3), name='out')
    graph_def = graph.as_graph_def(add_shapes=True)
    with pytest.raises(QuantizeError, match=r"'moments/mean' \(Mean\) .* tf.nn.batch_normalization"):
        check_inference(graph_def, {node.name: list(node.attr['_output_shapes'].list.shape) for node in graph_def.node})
