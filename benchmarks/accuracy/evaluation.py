"""Accuracy and cross entropy of a network on images that it was not trained on."""
from typing import NamedTuple

import data
import networks
import numpy as np
import tensorflow as tf
import training

import vai_q_tensorflow

_BATCH = 500


class Score(NamedTuple):
    """accuracy: part of the images that is classified right; cross_entropy: mean over the images, in nats."""
    accuracy: float
    cross_entropy: float


def of_checkpoint(network, activation, checkpoint, digits, config=None):
    """Score of a checkpoint; of the quantized network where there is a config."""
    with tf.Graph().as_default():
        images = tf.placeholder(tf.float32, networks.SHAPE, 'images')
        networks.build(network, activation, images, training=False)
        if config:
            vai_q_tensorflow.CreateQuantizeEvaluationGraph(config)
        with tf.Session(config=training.SESSION) as session:
            tf.train.Saver().restore(session, checkpoint)
            return _score(session, images.name, networks.OUTPUT + ('/aquant:0' if config else ':0'), digits)


def of_model(path, digits):
    """Score of a frozen quantized model."""
    graph_def = tf.GraphDef()
    with open(path, 'rb') as stream:
        graph_def.ParseFromString(stream.read())
    with tf.Graph().as_default(), tf.Session(config=training.SESSION) as session:
        tf.import_graph_def(graph_def, name='')
        return _score(session, 'images:0', networks.OUTPUT + '/aquant:0', digits)


def _score(session, images, logits, digits):
    values = np.concatenate([session.run(logits, {images: batch}) for batch, _ in data.batches(digits, _BATCH)])
    values = values.astype(np.float64) - values.max(-1, keepdims=True)
    losses = np.log(np.exp(values).sum(-1)) - values[np.arange(len(values)), digits.labels]
    return Score(float(np.mean(values.argmax(-1) == digits.labels)), float(losses.mean()))
