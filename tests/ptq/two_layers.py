"""A network of two convolutions, and its quantized models."""
import numpy as np
import tensorflow.compat.v1 as tf

from tests.ptq.checking import unmeasured
from tests.support import read_graph, run
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.ptq.quantize import quantize_frozen

SIZE = 8


def network(first, bias, second, activation=tf.nn.relu, last=None):
    """Two convolutions, x to y."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, SIZE, SIZE, 3], name='x')
        y = tf.nn.bias_add(tf.nn.conv2d(x, tf.constant(first, tf.float32, name='w1'), 1, 'SAME', name='c1'),
                           tf.constant(bias, tf.float32, name='b1'), name='add1')
        y = tf.nn.conv2d(activation(y, name='act'), tf.constant(second, tf.float32, name='w2'), 1, 'SAME', name='c2')
        (last or tf.identity)(y, name='y')
    return graph.as_graph_def()


def unequal():
    """The weights of a channel are scaled by 2^-5 to 2^5 in the first layer, and by the inverse in the second."""
    random, scales = np.random.RandomState(0), 2.0**np.linspace(-5, 5, 8)
    return network(random.normal(0, 0.3, (3, 3, 3, 8)) * scales, random.normal(0, 0.1, 8) * scales,
                   random.normal(0, 0.3, (3, 3, 8, 4)) / scales[:, None])


def batch(step, count=16):
    return {'x': np.random.RandomState(step).normal(0, 1, (count, SIZE, SIZE, 3)).astype(np.float32)}


@unmeasured()
def quantized(graph_def, tmp_path, feed=batch, calib_iter=4, outputs=('c2',), call=None, **fields):
    config = QuantizeConfig(['x'], list(outputs), calib_iter=calib_iter, output_dir=str(tmp_path), **fields)
    return read_graph(quantize_frozen(graph_def, feed, config, **(call or {})))


def decibels(graph_def, model, feed=None):
    """The signal-to-noise ratio of the outputs, by default on images that are not calibration data."""
    feed = feed or batch(99, 64)
    expected, actual = run(graph_def, ['c2'], feed)[0], run(model, ['c2/aquant'], feed)[0]
    return 10 * np.log10(np.square(expected).sum() / np.square(expected - actual).sum())


def verdict(capsys, aid):
    """The last column of an aid's row in the summary."""
    rows = [line for line in map(str.strip, capsys.readouterr().err.splitlines()) if line.startswith(aid + ' ')]
    assert len(rows) == 1, rows
    return rows[0][len(aid):].split(None, 2)[2]
