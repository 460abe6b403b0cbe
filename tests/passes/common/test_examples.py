"""Networks printed before and after a pass."""
import numpy as np
import tensorflow.compat.v1 as tf

from tests.passes.checking import frozen
from vai_q_tf.graph.view import GraphView
from vai_q_tf.passes.common.examples import expression, print_before_and_after
from vai_q_tf.passes.dpu.scale_average_pools import scale_average_pools


def test_expressions():
    def build():
        x = tf.placeholder(tf.float32, [2, 7], name='x')
        _, second = tf.split(tf.nn.leaky_relu(x) * 0.5, 2, name='parts')
        large = tf.constant(np.ones([7], np.float32), name='large')
        tf.identity(second + large - [[1.0], [2.5]], name='out')
    view = GraphView(frozen(build))
    assert expression(view, 'out') == 'Identity(Sub(AddV2(Split(0, Mul(LeakyRelu(x), 0.5)):1, large), [[1], [2.5]]))'
    assert expression(view, 'parts', ['alpha', 'num_split']) == 'Split(0, Mul(LeakyRelu(x, alpha=0.2), 0.5), num_split=2)'


def test_fields_of_the_config(capsys):
    def network(x):
        return tf.nn.avg_pool2d(x, [9, 9], 1, 'VALID')
    for scale_all_avgpool in (1, 0):
        print_before_and_after(scale_average_pools, network, [-1, 9, 9, 1], ['ksize', 'padding'],
                               scale_all_avgpool=scale_all_avgpool)
    pool = 'AvgPool(x, ksize=[1, 9, 9, 1], padding=VALID)'
    assert capsys.readouterr().out.splitlines() == [pool, 'Mul({}, [0.998657])'.format(pool), pool, pool]
