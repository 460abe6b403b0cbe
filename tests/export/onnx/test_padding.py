"""The padding SAME of unknown heights and widths: onnxruntime computes the same bits, for every size."""
import numpy as np
import onnxruntime
import pytest
import tensorflow.compat.v1 as tf

from tests.export.onnx.models import fix, weights
from vai_q_tf import errors
from vai_q_tf.export.onnx.convert import to_onnx

SIZES = [(7, 11), (9, 12), (8, 8), (12, 10)]


def conv(x, kernel, strides, dilations):
    return tf.nn.conv2d(x, weights('w', 6, [kernel, kernel + 1, 3, 4]), strides, 'SAME', dilations=dilations)


def compare(build, opset=13):
    """Asserts that the bits are the same for all sizes."""
    with tf.Graph().as_default() as graph:
        x = fix(tf.placeholder(tf.float32, [None, None, None, 3], 'x'), 'x/aquant', 5)
        fix(tf.identity(build(x), 'out'), 'out/aquant', 4)
        graph_def = graph.as_graph_def()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    onnx_session = onnxruntime.InferenceSession(to_onnx(graph_def, ['x'], ['out'], opset), options,
                                                providers=['CPUExecutionProvider'])
    with tf.Session(graph=graph) as session:
        for number, size in enumerate(SIZES):
            feed = {'x:0': np.random.RandomState(number).uniform(-2, 2, (number + 1,) + size + (3,)).astype(np.float32)}
            expected = session.run('out/aquant:0', feed)
            np.testing.assert_array_equal(onnx_session.run(None, feed)[0], expected)
            assert np.unique(expected).size > 4


@pytest.mark.parametrize('kernel, strides, dilations, opset', [
    (2, 1, 2, 13), (3, 1, [2, 3], 13), (4, 1, 3, 13), (3, 2, 2, 11),
    (2, [3, 1], [1, 2], 13), (1, 3, 1, 13), (2, 5, 1, 13), (3, 2, 1, 13)])
def test_convolutions(kernel, strides, dilations, opset):
    compare(lambda x: conv(x, kernel, strides, dilations), opset)


@pytest.mark.parametrize('kernel, stride', [(1, 2), (1, 3), (2, 4), (3, 5), (3, 2), (3, 1)])
def test_maximum_pools(kernel, stride):
    compare(lambda x: tf.nn.max_pool2d(x, kernel, stride, 'SAME'))


@pytest.mark.parametrize('kernel, stride', [(1, 3), (2, 3), (3, 2), (3, 1)])
def test_average_pools(kernel, stride):
    compare(lambda x: tf.nn.avg_pool2d(x, kernel, stride, 'SAME'))


def test_an_average_pool_that_onnx_cannot_express_is_named():
    with pytest.raises(errors.QuantizeError, match="The padding SAME of .*pool.* depends on height and width") as raised:
        compare(lambda x: tf.nn.avg_pool2d(x, 2, 4, 'SAME', name='pool'))
    assert raised.value.code == errors.UNSUPPORTED_OP


def test_dilations_that_tensorflow_ignores_are_not_written():
    compare(lambda x: tf.raw_ops.DepthwiseConv2dNative(
        input=x, filter=weights('w', 6, [3, 3, 3, 1]), strides=[1, 1, 1, 1], padding='SAME', dilations=[1, 2, 2, 1]))
