"""Costs of quantizing a large network: memory proportional to its weights, time proportional to its ops."""
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import vai_q_tf
from vai_q_tf.config import QuantizeConfig

# Prints the memory of the imports, and the peak of quantizing in addition to it, in bytes.
_MEASURED = """
import resource, sys
import numpy as np
import vai_q_tf.ptq.quantize
from vai_q_tf import QuantizeConfig, quantize_frozen
import tensorflow.compat.v1 as tf

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def input_fn(step):
    return {'x': np.random.RandomState(step).randn(*[16] + list(map(int, sys.argv[4].split(',')))).astype(np.float32)}

with tf.Session(graph=tf.Graph()) as session:
    session.run(tf.matmul(np.eye(512), np.eye(512)))
before = peak()
config = QuantizeConfig(['x'], ['y'], calib_iter=2, output_dir=sys.argv[2])
quantize_frozen(sys.argv[1], input_fn, config, effort=sys.argv[3])
print(before, peak() - before)
"""


def _dense():
    rng = np.random.RandomState(0)
    h = tf.placeholder(tf.float32, [None, 1500], 'x')
    for _ in range(10):
        h = tf.nn.relu(tf.matmul(h, tf.constant(rng.randn(1500, 1500).astype(np.float32) / 39)))
    tf.identity(h, 'y')
    return '1500'


def _convolutions():
    rng = np.random.RandomState(0)
    h = tf.placeholder(tf.float32, [None, 3, 3, 512], 'x')
    for _ in range(10):
        h = tf.nn.conv2d(h, tf.constant(rng.randn(3, 3, 512, 512).astype(np.float32) / 68), 1, 'SAME')
        mean, scale, offset = (tf.constant(rng.randn(512).astype(np.float32) / 4) for _ in range(3))
        h = tf.nn.relu(tf.nn.fused_batch_norm(h, scale + 1, offset, mean, tf.ones([512]), is_training=False)[0])
    tf.identity(h, 'y')
    return '3,3,512'


@pytest.mark.parametrize('build, effort', [
    (_dense, 'fast'), pytest.param(_convolutions, 'fast', marks=pytest.mark.slow),
    pytest.param(_dense, 'standard', marks=pytest.mark.slow)])
def test_the_memory_is_at_most_four_times_the_weights(tmp_path, build, effort):
    with tf.Graph().as_default() as graph:
        shape = build()
        data = graph.as_graph_def().SerializeToString()
    (tmp_path / 'float.pb').write_bytes(data)
    printed = subprocess.run(
        [sys.executable, '-c', _MEASURED, str(tmp_path / 'float.pb'), str(tmp_path / 'out'), effort, shape],
        env=dict(os.environ, CUDA_VISIBLE_DEVICES='', PYTHONPATH=os.pathsep.join(sys.path)), check=True,
        stdout=subprocess.PIPE).stdout
    assert len(data) > 85e6 and int(printed.split()[1]) <= 4 * len(data)


def _seconds(tmp_path, build, count):
    with tf.Graph().as_default() as graph:
        build(tf.placeholder(tf.float32, [None, 8], 'x'), count)
    begin = time.process_time()
    vai_q_tf.quantize_frozen(
        graph.as_graph_def(), lambda step: {'x': np.random.RandomState(step).randn(2, 8).astype(np.float32)},
        QuantizeConfig(['x'], ['y'], calib_iter=1, output_dir=str(tmp_path)), effort='fast')
    return time.process_time() - begin


def _sum_of_products(x, count):
    values = np.random.RandomState(0).randn(count, 8, 4).astype(np.float32)
    tf.identity(tf.add_n([tf.matmul(x, tf.constant(value)) for value in values]), 'y')


def _concat(x, count):
    tf.concat([tf.nn.relu(x) for _ in range(count)], 1, name='y')


def _chain(x, count):
    for _ in range(count):
        x = tf.nn.relu(x)
    tf.identity(x, 'y')


@pytest.mark.slow
@pytest.mark.parametrize('build, count', [(_sum_of_products, 300), (_concat, 500), (_chain, 500)])
def test_the_time_is_proportional_to_the_ops(tmp_path, build, count):
    _seconds(tmp_path, build, 10)  # TensorFlow's own start
    once = min(_seconds(tmp_path, build, count) for _ in range(2))
    assert min(_seconds(tmp_path, build, 2 * count) for _ in range(2)) < 2.6 * once
