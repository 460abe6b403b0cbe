"""Time of a quantization-aware training step compared with a float step: slim MobileNetV1 and ResNet-50.

Both networks train in one process, float and quantized steps in turn, so that a drift of the machine's speed affects both. The
ratio is that of the medians. Positions are tracked on every step.
"""
import argparse
import os
import statistics
import tempfile
import time

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from tensorflow.contrib import slim  # noqa: E402
from tensorflow.contrib.slim.nets import resnet_v1  # noqa: E402

import vai_q_tensorflow  # noqa: E402

BATCH, SIZE, CLASSES = 8, 96, 100
_MOBILENET_BLOCKS = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)] + [(512, 1)] * 5 + [(1024, 2), (1024, 1)]


def mobilenet_v1(images):
    """MobileNetV1 with batch norm in training mode; [batch, classes] logits."""
    with slim.arg_scope([slim.conv2d, slim.separable_conv2d], normalizer_fn=slim.batch_norm, activation_fn=tf.nn.relu6), \
            slim.arg_scope([slim.batch_norm], is_training=True):
        net = slim.conv2d(images, 32, 3, stride=2, scope='conv_0')
        for number, (depth, stride) in enumerate(_MOBILENET_BLOCKS, 1):
            net = slim.separable_conv2d(net, None, 3, 1, stride=stride, scope='depthwise_{}'.format(number))
            net = slim.conv2d(net, depth, 1, scope='pointwise_{}'.format(number))
    net = tf.reduce_mean(net, [1, 2], keepdims=True)
    net = slim.conv2d(net, CLASSES, 1, activation_fn=None, normalizer_fn=None, scope='logits')
    return tf.squeeze(net, [1, 2], name='predictions')


def resnet_50(images):
    """ResNet-50 of slim with batch norm in training mode; [batch, classes] logits."""
    with slim.arg_scope(resnet_v1.resnet_arg_scope()):
        net, _ = resnet_v1.resnet_v1_50(images, CLASSES, is_training=True)
    return tf.squeeze(net, [1, 2], name='predictions')


NETWORKS = {'MobileNetV1': mobilenet_v1, 'ResNet-50': resnet_50}


def training(network, config):
    """A function that runs one training step of the network; quantized if there is a config."""
    graph = tf.Graph()
    with graph.as_default():
        tf.compat.v1.set_random_seed(1)
        data = np.random.RandomState(1)
        images = tf.identity(tf.constant(data.rand(BATCH, SIZE, SIZE, 3).astype(np.float32)), name='input')
        labels = tf.constant(data.randint(0, CLASSES, BATCH))
        step = tf.compat.v1.train.get_or_create_global_step()
        loss = tf.compat.v1.losses.sparse_softmax_cross_entropy(labels, NETWORKS[network](images))
        if config:
            vai_q_tensorflow.CreateQuantizeTrainingGraph(config)
        with tf.control_dependencies(tf.compat.v1.get_collection(tf.compat.v1.GraphKeys.UPDATE_OPS)):
            train = tf.compat.v1.train.GradientDescentOptimizer(1e-3).minimize(loss, global_step=step)
        session = tf.compat.v1.Session()
        session.run(tf.compat.v1.global_variables_initializer())
    return lambda: session.run([train, loss])


def compare(network, config, steps, warmup):
    """Prints the line of one network."""
    runs = [training(network, None), training(network, config)]
    seconds = [[], []]
    for number in range(warmup + steps):
        for kind, run in enumerate(runs):
            start = time.perf_counter()
            run()
            if number >= warmup:
                seconds[kind].append(time.perf_counter() - start)
    plain, quantized = map(statistics.median, seconds)
    print('{:12} {:8.1f} ms {:8.1f} ms   {:.3f} (fastest steps: {:.3f})'.format(
        network, plain * 1e3, quantized * 1e3, quantized / plain, min(seconds[1]) / min(seconds[0])), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--steps', type=int, default=30)
    parser.add_argument('--warmup', type=int, default=5)
    parser.add_argument('--network', choices=sorted(NETWORKS), action='append')
    options = parser.parse_args()
    tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)
    print('batch {}, {}x{}, medians of {} steps'.format(BATCH, SIZE, SIZE, options.steps))
    print('{:12} {:>11} {:>11}   ratio'.format('network', 'float', 'quantized'))
    with tempfile.TemporaryDirectory() as directory:
        config = vai_q_tensorflow.QuantizeConfig(['input'], ['predictions'], [[-1, SIZE, SIZE, 3]], output_dir=directory)
        for network in options.network or NETWORKS:
            compare(network, config, options.steps, options.warmup)


if __name__ == '__main__':
    main()
