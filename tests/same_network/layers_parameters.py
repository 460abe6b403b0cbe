"""Parameters computed from variables, and variables that are not read as a whole."""
import tensorflow.compat.v1 as tf
from tensorflow import keras
from tensorflow.contrib import layers as contrib_layers

from tests.same_network.building import conv_relu, head, image, network, norm, vector

layers = tf.layers


@network
def split_weights(training):
    first, second = tf.split(tf.get_variable('kernel', [3, 3, 3, 8]), 2, 3, name='parts')
    x = image()
    x = tf.concat([tf.nn.conv2d(x, first, 1, 'SAME', name='left'), tf.nn.conv2d(x, second, 1, 'SAME', name='right')], 3,
                  name='concat')
    return head(tf.nn.relu(norm(x, training)))


@network
def unstacked_weights(training):
    del training
    x = vector()
    for number, kernel in enumerate(tf.unstack(tf.get_variable('kernels', [2, 6, 6]), name='kernel')):
        x = tf.nn.relu(tf.matmul(x, kernel, name='dense{}'.format(number)))
    return layers.dense(x, 5, name='logits')


@network
def computed_weights_of_two_convs(training):
    kernel = tf.reshape(tf.get_variable('kernel', [36, 4]), [3, 3, 4, 4], name='shaped')
    x = conv_relu(image(), 'stem')
    x = tf.nn.relu(norm(tf.nn.conv2d(x, kernel, 1, 'SAME', name='first'), training))
    return head(tf.nn.relu(tf.nn.conv2d(x, kernel, 1, 'SAME', name='second')))


@network
def computed_factor_of_two_products(training):
    del training
    factor = tf.exp(tf.get_variable('factor', [4]), name='positive')
    x = layers.max_pooling2d(conv_relu(image(), 'stem'), 2, 2, name='pool')
    x = conv_relu(tf.multiply(x, factor, name='first'), 'second')
    return head(tf.multiply(layers.max_pooling2d(x, 2, 2, name='pool2'), factor, name='last'))


@network
def group_norm(training):
    del training
    x = layers.conv2d(image(), 4, 3, name='conv')
    x = tf.nn.relu(contrib_layers.group_norm(x, 2, scope='norm'))
    return head(conv_relu(x, 'second'))


@network
def standardised_weights(training):
    kernel = tf.get_variable('kernel', [3, 3, 3, 4])
    mean, variance = tf.nn.moments(kernel, [0, 1, 2], name='moments')
    x = tf.nn.conv2d(image(), tf.divide(kernel - mean, tf.sqrt(variance + 1e-5), name='standard'), 1, 'SAME', name='conv')
    return head(tf.nn.relu(norm(x, training)))


@network
def keras_embedding(training):
    """Words and their places."""
    del training
    words = tf.cast(tf.abs(tf.placeholder(tf.float32, [None, 4], 'x')), tf.int32, name='words')
    x = keras.layers.Embedding(10, 6, name='word')(words)
    x = tf.add(x, keras.layers.Embedding(4, 6, name='place')(tf.range(4, name='places')), name='sum')
    x = keras.layers.Dense(6, activation='relu', name='dense')(x)
    return keras.layers.Dense(5, name='logits')(keras.layers.GlobalAveragePooling1D(name='mean')(x))
