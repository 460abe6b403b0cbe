"""Ops that the DPU computes differently: each rule on graphs that it finds, and on their neighbours."""
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from tests.lint.graphs import fix, graph, node, placeholder
from vai_q_tf.lint.lint import differences, report
from vai_q_tf.lint.number_rules import RULES


def source(*dims, position=5):
    return [placeholder('in', *dims), fix('in/aquant', 'in', position=position, _output_shapes=[(None,) + dims])]


def average(size, window, stride, padding='SAME', op='AvgPool'):
    return graph(source(size, size, 2), node('op', op, 'in/aquant', padding=padding, ksize=[1, window, window, 1],
                                             strides=[1, stride, stride, 1]))


def borders(size, window, stride):
    """Whether TensorFlow's result differs from that of a full window with zeros around."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        mean = tf.nn.avg_pool2d(tf.ones([1, size, size, 1]), window, stride, 'SAME')
        missing = max((-(-size // stride) - 1) * stride + window - size, 0)
        around = [[0, 0], [missing // 2, missing - missing // 2], [missing // 2, missing - missing // 2], [0, 0]]
        full = tf.nn.avg_pool2d(tf.pad(tf.ones([1, size, size, 1]), around), window, stride, 'VALID')
        return bool(session.run(tf.reduce_any(tf.abs(mean - full) > 1e-6)))


def leaky(slope):
    return graph(source(4, 4, 2), node('op', 'LeakyRelu', 'in/aquant', **({} if slope is None else {'alpha': slope})))


def maximum(slope, *dims, other='in/aquant', quantize=True):
    value = tensor_pb2.TensorProto(dtype=tf.float32.as_datatype_enum, float_val=[slope])
    value.tensor_shape.CopyFrom(tf.TensorShape(dims).as_proto())
    return graph(source(4, 4, 2), node('a', 'Const', value=value), fix('a/wquant', 'a'),
                 node('mul', 'Mul', 'a/wquant' if quantize else 'a', 'in/aquant'), node('relu', 'Relu', 'in/aquant'),
                 node('op', 'Maximum', other, 'mul'))


def relu6(position, op='Relu6'):
    return graph(source(4, 4, 2), node('op', op, 'in/aquant'), fix('y', 'op', position=position))


def moved(op, before, after):
    return graph(source(4, 4, 2, position=before), node('op', op, 'in/aquant'), fix('y', 'op', position=after))


def addition(before, after, op='Add'):
    return graph(source(4, 4, 2, position=2), fix('y', 'in/aquant', position=before), node('op', op, 'y', 'in/aquant'),
                 node('relu', 'Relu', 'op'), fix('relu/aquant', 'relu', position=after))


CASES = {
    'average-at-borders': (
        [average(8, 3, 1), average(8, 3, 2), average(7, 2, 2), average(None, 3, 2)],
        [average(8, 2, 2), average(8, 3, 1, 'VALID'), average(9, 3, 3), average(None, 2, 2), average(8, 3, 1, op='MaxPool')]),
    'leaky-relu-slope': ([leaky(0.2), leaky(0.01), leaky(None), maximum(0.3), maximum(0.3, quantize=False), maximum(0.3, 1)],
                         [leaky(0.1), leaky(26 / 256), maximum(0.1), maximum(0.3, other='relu'), maximum(0.3, 2)]),
    'relu6-limit': ([relu6(3), relu6(-2)], [relu6(4), relu6(7), relu6(3, 'Relu')]),
    'moved-integers': ([moved('Reshape', 5, 4), moved('Squeeze', 5, 6), moved('ExpandDims', 5, 4)],
                       [moved('Reshape', 5, 5), moved('Relu', 5, 4), moved('Transpose', 5, 4)]),
    'addition-bits': ([addition(5, 4), addition(9, 7, 'AddV2')], [addition(5, 3), addition(4, 7), addition(9, 7, 'Mul')]),
}


@pytest.mark.parametrize('rule', sorted(RULES))
def test_a_difference_is_found_and_its_neighbours_are_not(rule):
    differing, others = CASES[rule]
    for each in differing:
        found = differences(each)
        assert [(finding.rule, finding.node) for finding in found] == [(rule, 'op')], each
        assert len(found[0].message.split('. ')) >= 2, 'what the DPU computes, and what to change'
    for each in others:
        assert not list(map(str, differences(each)))


def test_pools_differ_where_tensorflow_says_so():
    for size in range(2, 8):
        for window, stride in ((1, 1), (2, 1), (2, 2), (3, 2), (3, 3), (2, 3)):
            assert bool(differences(average(size, window, stride))) == borders(size, window, stride), (size, window, stride)


def test_a_difference_is_a_separate_warning_and_never_an_error(monkeypatch):
    warnings = []
    monkeypatch.setattr(tf.compat.v1.logging, 'warning', lambda text, *values: warnings.append(text % values))
    assert report(leaky(0.2), strict=True) == []
    finding, = differences(leaky(0.2))
    assert warnings == ['The DPU will compute other numbers than TensorFlow:\n' + str(finding)]
