"""The digits as TFRecord files, and a slim dataset that reads them through queues."""
import os

import tensorflow as tf
from tensorflow.contrib import slim

_SIDE = 28


def write(digits, path):
    """Writes the digits to a TFRecord file."""
    with tf.io.TFRecordWriter(path) as writer:
        for image, label in zip(digits.images, digits.labels):
            features = {
                'image/encoded': _bytes((image * 255).round().astype('uint8').tobytes()), 'image/format': _bytes(b'raw'),
                'image/class/label': tf.train.Feature(int64_list=tf.train.Int64List(value=[int(label)]))}
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())


def batches(path, size, training):
    """(images [size, 28, 28, 1] from 0 to 1, labels [size]) from a queue; in training shuffled and shifted by up to two
    pixels."""
    provider = slim.dataset_data_provider.DatasetDataProvider(
        _dataset(path), num_readers=1, shuffle=training, common_queue_capacity=2000, common_queue_min=1000, seed=1)
    image, label = provider.get(['image', 'label'])
    image = tf.cast(image, tf.float32) / 255
    if training:
        image = tf.random_crop(tf.image.pad_to_bounding_box(image, 2, 2, _SIDE + 4, _SIDE + 4), [_SIDE, _SIDE, 1])
    return tf.train.batch([image, label], size, num_threads=2 if training else 1, capacity=4 * size)


def _dataset(path):
    image = slim.tfexample_decoder.Image(shape=[_SIDE, _SIDE, 1], channels=1)
    decoder = slim.tfexample_decoder.TFExampleDecoder(
        {'image/encoded': tf.FixedLenFeature([], tf.string), 'image/format': tf.FixedLenFeature([], tf.string),
         'image/class/label': tf.FixedLenFeature([], tf.int64)},
        {'image': image, 'label': slim.tfexample_decoder.Tensor('image/class/label')})
    return slim.dataset.Dataset(
        data_sources=[path], reader=tf.TFRecordReader, decoder=decoder, num_classes=10, items_to_descriptions={},
        num_samples=sum(1 for _ in tf.compat.v1.io.tf_record_iterator(os.fspath(path))))


def _bytes(value):
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
