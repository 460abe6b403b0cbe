"""The summary of a quantization, against networks of which a person can say what is in them."""
import logging

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.coverage.summary import coverage, model_summary, warn
from vai_q_tf.graph.view import GraphView
from vai_q_tf.lint.lint import Finding
from vai_q_tf.passes import optimise
from vai_q_tf.plan.annotate import annotate


def _conv(x, name, channels=2):
    weights = np.ones([1, 1, int(x.shape[-1]), channels], np.float32)
    return tf.nn.relu(tf.nn.conv2d(x, weights, 1, 'SAME', name=name), name=name + '/relu')


def _convolutions(x):
    for index in range(5):
        x = _conv(x, 'conv{}'.format(index))
    return x


def _pooled(x):
    return tf.nn.max_pool(_convolutions(tf.nn.relu(x + 1.0)), 2, 2, 'SAME')


def _attention(x):
    rows = tf.reshape(_conv(x, 'conv'), [-1, 16, 2])
    scores = tf.matmul(rows, rows, transpose_b=True, name='scores')
    return tf.erf(tf.matmul(tf.erf(scores, name='erf'), rows, name='mixed'), name='last')


def _weights_on_the_left(x):
    rows = tf.transpose(tf.reshape(x, [-1, 32]))
    return tf.matmul(np.ones([3, 32], np.float32), rows, name='left')


def _no_weights(x):
    return tf.nn.relu(x + 1.0)


def _decided(build, **options):
    """(float GraphDef after the passes, QuantPlan)"""
    with tf.Graph().as_default() as graph:
        tf.identity(build(tf.placeholder(tf.float32, [None, 4, 4, 2], name='x')), name='y')
    config = QuantizeConfig(['x'], ['y'], **options)
    optimised = optimise(graph.as_graph_def(), config)
    return optimised, annotate(GraphView(optimised), config)


def test_heavy_ops_are_counted():
    found = coverage(*_decided(_convolutions, ignore_nodes=['conv1']))
    assert found.weighted == tuple('conv{}'.format(index) for index in range(5))
    assert set(found.weighted) - set(found.quantized) == {'conv1'}
    (reason, names), = found.floats
    assert 'ignore_nodes' in reason and set(names) == {'conv1', 'conv1/relu'} and found.left_float == 2
    assert str(found) == '4 of 5 convolutions and matmuls are quantized, 2 of {} ops stay float'.format(found.ops)


def test_products_of_activations_are_heavy_and_reasons_are_counted():
    found = coverage(*_decided(_attention))
    assert (found.weighted, found.quantized) == (('conv', 'scores', 'mixed'), ('conv',))
    assert dict(found.floats) == {'there is no quantization rule for the op BatchMatMulV2': ('scores', 'mixed'),
                                  'there is no quantization rule for the op Erf': ('erf', 'last')}


def _warnings(caplog, build, **options):
    caplog.clear()
    tf.get_logger().propagate = True
    with caplog.at_level(logging.WARNING):
        warn(coverage(*_decided(build, **options)))
    return [record.getMessage() for record in caplog.records]


def test_a_warning_where_little_is_quantized(caplog):
    assert not _warnings(caplog, _convolutions)
    assert not _warnings(caplog, _convolutions, ignore_nodes=['conv0', 'conv1'])
    text, = _warnings(caplog, _convolutions, ignore_nodes=['conv0', 'conv1', 'conv2'])
    assert text.startswith("Only 2 of 5 convolutions and matmuls are quantized: Conv2D 'conv0': it is in ignore_nodes")
    text, = _warnings(caplog, _pooled, ignore_nodes=['conv{}'.format(index) for index in range(5)])
    assert text.startswith('No weights are quantized: ') and text.endswith(' and 2 more')
    text, = _warnings(caplog, _weights_on_the_left)
    assert text.startswith("No weights are quantized: MatMul 'left': it has no weights")
    text, = _warnings(caplog, _no_weights)
    assert text.startswith('No weights are quantized: ') and 'there are no convolutions and matmuls' in text


@pytest.mark.parametrize('findings', [0, 1, 5])
def test_the_summary_counts_by_reason_and_rule(findings):
    optimised, plan = _decided(_attention)
    positions = {tensor.name: 5 for tensor in plan.tensors}
    found = [Finding('no-split', 'split{}'.format(index), '') for index in range(findings)]
    lines = model_summary(coverage(optimised, plan), plan, positions, found, [Finding('relu6-limit', '', '')]).splitlines()
    assert lines[0].startswith('Summary: 1 of 3 convolutions and matmuls are quantized, 4 of ')
    assert [line for line in lines if 'BatchMatMulV2' in line] == [
        '  Float, 2 of them (there is no quantization rule for the op BatchMatMulV2): scores, mixed']
    assert '  Other numbers on the DPU: 1 relu6-limit: the graph' in lines
    assert [line for line in lines if 'compiler' in line] == [{
        0: '  The DPU compiler has nothing against the model, as far as lint can tell.',
        1: '  Not for the DPU compiler: 1 no-split: split0',
        5: '  Not for the DPU compiler: 5 no-split: split0, split1, split2 and 2 more'}[findings]]


def test_odd_positions_are_named():
    optimised, plan = _decided(_convolutions)
    positions = dict({tensor.name: 5 for tensor in plan.tensors}, **{'conv1/relu/aquant': -9, 'conv2/relu/aquant': -10})
    positions.update({'conv3/relu/aquant': 19, 'x/aquant': 20})
    text = model_summary(coverage(optimised, plan), plan, positions, [], [])
    assert text.splitlines()[-1].endswith(': x/aquant (20), conv2/relu/aquant (-10)')
