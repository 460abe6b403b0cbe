"""Wrote the MetaGraphs of this folder, with a version of the package whose plans had no field `narrow_range` yet (450e788)."""
import os
import sys

import tensorflow.compat.v1 as tf

import vai_q_tensorflow


def float_meta_graph(training):
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [None, 6, 6, 2], name='images')
        x = tf.layers.conv2d(x, 3, 3, use_bias=False, name='conv')
        x = tf.nn.relu(tf.layers.batch_normalization(x, training=training, name='norm'), name='relu')
        tf.layers.dense(tf.layers.flatten(x), 2, name='dense')
        return tf.train.export_meta_graph(strip_default_attrs=True)


def main(directory):
    config = vai_q_tensorflow.QuantizeConfig(
        ['images'], ['dense/BiasAdd'], output_dir=directory, arch_type='DPUCADF8H')
    paths = (vai_q_tensorflow.quantize_train(float_meta_graph(True), config),
             vai_q_tensorflow.quantize_evaluate(float_meta_graph(False), config))
    for path, name in zip(paths, ('dpucadf8h_train.meta', 'dpucadf8h_eval.meta')):
        os.replace(path, os.path.join(directory, name))


if __name__ == '__main__':
    main(*sys.argv[1:])
