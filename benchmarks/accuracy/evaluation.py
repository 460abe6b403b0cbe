"""Accuracy and cross entropy of a network on images that it was not trained on."""
from typing import NamedTuple

import networks
import numpy as np
import tensorflow as tf
import training

import vai_q_tensorflow

QUANTIZED = '/aquant'  # suffix of the quantized value of a node
_BATCH = 500


class Score(NamedTuple):
    """accuracy: fraction of images classified correctly; cross_entropy: mean over the images, in nats."""
    accuracy: float
    cross_entropy: float


def of_checkpoint(network, activation, checkpoint, digits, config=None):
    """Score of a checkpoint; of the quantized network where there is a config."""
    with tf.Graph().as_default():
        images = networks.placeholder(digits.images)
        networks.build(network, activation, images, training=False)
        if config:
            vai_q_tensorflow.CreateQuantizeEvaluationGraph(config)
        with tf.Session(config=training.SESSION) as session:
            tf.train.Saver().restore(session, checkpoint)
            tensor = networks.OUTPUT + (QUANTIZED if config else '') + ':0'
            return _score(_run(session, images.name, tensor, digits.images, _BATCH), digits.labels)


def of_model(path, digits):
    """Score of a frozen quantized model."""
    return _score(logits(load(path), networks.OUTPUT + QUANTIZED, digits.images), digits.labels)


def load(path):
    """The GraphDef of a file."""
    graph_def = tf.GraphDef()
    with open(path, 'rb') as stream:
        graph_def.ParseFromString(stream.read())
    return graph_def


def logits(graph_def, node, images, batch=_BATCH):
    """What a node of a frozen network gives for an array of images, [images, classes]."""
    with tf.Graph().as_default(), tf.Session(config=training.SESSION) as session:
        tf.import_graph_def(graph_def, name='')
        return _run(session, 'images:0', node + ':0', images, batch)


def _score(values, labels):
    """The Score of logits [images, classes]."""
    values = values.astype(np.float64) - values.max(-1, keepdims=True)
    losses = np.log(np.exp(values).sum(-1)) - values[np.arange(len(values)), labels]
    return Score(float(np.mean(values.argmax(-1) == labels)), float(losses.mean()))


def _run(session, placeholder, tensor, images, batch):
    return np.concatenate([session.run(tensor, {placeholder: images[start:start + batch]})
                           for start in range(0, len(images), batch)])
