"""The summary of a quantization, for networks whose ops are easily counted."""
import logging

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.coverage.summary import Coverage, coverage, warn
from vai_q_tf.graph.view import GraphView
from vai_q_tf.passes import optimise
from vai_q_tf.plan.annotate import annotate
from vai_q_tf.plan.quant_plan import ComputeGroup, QuantPlan, QuantTensor, Skipped


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


def test_ops_that_no_plan_quantizes_are_heavy():
    def build(x):
        rows = tf.reshape(x, [-1, 8, 4])
        found = [tf.raw_ops.BatchMatMul(x=rows, y=rows, adj_y=True), tf.matmul(rows, rows, transpose_b=True),
                 tf.raw_ops.SparseMatMul(a=tf.transpose(rows[0]), b=rows[1]),
                 tf.nn.conv3d_transpose(x[:, None], np.ones([1, 1, 1, 3, 2], np.float32), [1, 1, 4, 4, 3]),
                 tf.raw_ops.Einsum(inputs=[rows, rows], equation='bij,bkj->bik'), tf.nn.depthwise_conv2d_backprop_input(
                     [1, 4, 4, 2], np.ones([1, 1, 2, 1], np.float32), x, [1] * 4, 'SAME')]
        return tf.reduce_sum([tf.reduce_sum(each) for each in found])
    found = coverage(*_decided(build))
    assert sorted(found.types) == ['BatchMatMul', 'BatchMatMulV2', 'Conv3DBackpropInputV2',
                                   'DepthwiseConv2dNativeBackpropInput', 'Einsum', 'SparseMatMul'] and not found.quantized


def test_reasons_are_sorted_by_frequency_and_ops_without_weights_do_not_count():
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 4, 4, 2], name='x')
        for name in 'abcdef':
            x = tf.exp(x, name=name)
        for name in ('first', 'second'):
            x = tf.nn.conv2d(x, np.ones([1, 1, 2, 2], np.float32), 1, 'SAME', name=name)
    names = ('a', 'b', 'c', 'd', 'e', 'f')
    reasons = ('once', "its input 'x' is computed in float", 'twice', "its input 'b' is computed in float", 'twice',
               "its input 'c' is computed in float, and 'e' is computed too")
    plan = QuantPlan(
        ('x',), ('second',), ('x',) + names + ('first', 'second'),
        tuple(QuantTensor(name + '/aquant', 'activation', 1, 8, 1, name, ()) for name in ('x', 'first', 'second')),
        (ComputeGroup('first', '', 'w', '', ''), ComputeGroup('second', '', '', '', '')),
        tuple(Skipped(name, 'Exp', reason) for name, reason in zip(names, reasons)))
    found = coverage(graph.as_graph_def(), plan)
    assert (found.weighted, found.quantized, found.ops, found.left_float) == (('first', 'second'), ('first',), 9, 6)
    assert found.floats == (('an input is computed in float', ('b', 'd')), ('twice', ('c', 'e')), ('once', ('a',)), (
        "an input is computed in float, and 'e' is computed too", ('f',)))


def test_the_line_of_a_network_without_weights():
    assert str(Coverage((), (), (), 3, (('why', ('a', 'b')),))) == (
        'there are no convolutions and matmuls, 2 of 3 ops stay float')


@pytest.fixture
def warnings_of(garbage_collected, caplog, monkeypatch):
    """A function from a Coverage to the warnings about it."""
    monkeypatch.setattr(tf.get_logger(), 'propagate', True)

    def log(found):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            warn(found)
        return [record.getMessage() for record in caplog.records]
    return log


def test_the_first_three_of_the_weights_that_stay_float_are_named(warnings_of):
    def of(quantized, floats, ops='abcdefg'):
        return Coverage(tuple(ops), tuple('Op' + name for name in ops), tuple(quantized), 9, (('why', tuple(floats)),))
    assert not warnings_of(of('ab', 'cd', 'abcd')) and not warnings_of(of('abcd', 'efg'))
    assert warnings_of(of('ad', 'bcefg')) == [
        "Only 2 of 7 convolutions and matmuls are quantized: Opb 'b': why; Opc 'c': why; Ope 'e': why and 2 more"]
    assert warnings_of(of('a', 'bcd', 'abcd'))[0].endswith("Opd 'd': why")
    assert warnings_of(of('a', 'bd', 'abcd')) == [
        "Only 1 of 4 convolutions and matmuls are quantized: Opb 'b': why; Opd 'd': why"], 'c is fused with another op'


def test_a_warning_where_little_is_quantized(warnings_of):
    assert not warnings_of(coverage(*_decided(_convolutions)))
    assert not warnings_of(coverage(*_decided(_convolutions, ignore_nodes=['conv0', 'conv1'])))
    text, = warnings_of(coverage(*_decided(_convolutions, ignore_nodes=['conv0', 'conv1', 'conv2'])))
    assert text.startswith("Only 2 of 5 convolutions and matmuls are quantized: Conv2D 'conv0': it is in ignore_nodes")
    text, = warnings_of(coverage(*_decided(_pooled, ignore_nodes=['conv{}'.format(index) for index in range(5)])))
    assert text.startswith('No weights are quantized: ') and text.endswith(' and 2 more')
    text, = warnings_of(coverage(*_decided(_weights_on_the_left)))
    assert text.startswith("No weights are quantized: MatMul 'left': it has no weights")
    text, = warnings_of(coverage(*_decided(_no_weights)))
    assert text.startswith('No weights are quantized: ') and 'there are no convolutions and matmuls' in text
