"""The images that networks are trained and evaluated on, small ones of ten classes."""
import environment  # isort: skip
import functools
import gzip
import os
from typing import NamedTuple

import cifar
import data
import numpy as np

INSTALL = 'apt-get install dataset-fashion-mnist'
_BELOW = os.path.join('usr', 'share', 'datasets', 'fashion-mnist')
FASHION_DIRECTORIES = (os.path.join(os.sep, _BELOW), os.path.join(environment.ROOT, '.venv', 'fashion-mnist', _BELOW))
_HEADER = {1: 8, 3: 16}  # bytes, by the number of dimensions
_VALIDATION = 10000


class Dataset(NamedTuple):
    """Both are data.Digits: images float32 [n, height, width, channels] from 0 to 1, labels int32 [n]."""
    training: data.Digits
    test: data.Digits


@functools.lru_cache(maxsize=None)
def load(name):
    """The Dataset of that name in DATASETS.

    Raises:
      SystemExit: it is not on this machine; the message says how to install it.
    """
    return DATASETS[name]()


def batches(digits, size, steps, seed):
    """`steps` batches (images, labels) of `size`, from one shuffled pass after the other."""
    random = np.random.RandomState(seed)
    order = np.zeros(0, int)
    for _ in range(steps):
        if len(order) < size:
            order = random.permutation(len(digits.labels))
        chosen, order = order[:size], order[size:]
        yield digits.images[chosen], digits.labels[chosen]


def _fashion():
    """Fashion-MNIST in its original split, 60,000 and 10,000."""
    return Dataset(_fashion_part('train'), _fashion_part('t10k'))


def _fashion_validation():
    """The training images of Fashion-MNIST alone, 50,000 and 10,000: to choose settings without the test images."""
    return _divided(_fashion_part('train'))


def _digits():
    """Digits of MNIST, 4,000 and 1,000."""
    return Dataset(*data.load())


def _cifar():
    """CIFAR-10 in its original split, 50,000 and 10,000."""
    return Dataset(data.Digits(*cifar.training()), data.Digits(*cifar.test()))


def _cifar_validation():
    """The training images of CIFAR-10 alone, 40,000 and 10,000: to choose settings without the test images."""
    return _divided(data.Digits(*cifar.training()))


DATASETS = {'fashion': _fashion, 'fashion_validation': _fashion_validation, 'cifar': _cifar,
            'cifar_validation': _cifar_validation, 'digits': _digits}


def _divided(digits):
    """A Dataset of training images alone: the last ones test."""
    return Dataset(data.Digits(*(values[:-_VALIDATION] for values in digits)),
                   data.Digits(*(values[-_VALIDATION:] for values in digits)))


def _fashion_part(part):
    images = _read('{}-images-idx3-ubyte.gz'.format(part), 3).reshape(-1, 28, 28, 1)
    labels = _read('{}-labels-idx1-ubyte.gz'.format(part), 1)
    return data.Digits(images / np.float32(255), labels.astype(np.int32))


def _read(name, dimensions):
    """The values of an idx file, in one row."""
    for directory in FASHION_DIRECTORIES:
        path = os.path.join(directory, name)
        if os.path.exists(path):
            with gzip.open(path, 'rb') as stream:
                return np.frombuffer(stream.read(), np.uint8, offset=_HEADER[dimensions])
    raise SystemExit('error: Fashion-MNIST is neither in {} nor in {}. Run `make accuracy-training`, which fetches it without '
                     'root, or: {}'.format(*FASHION_DIRECTORIES, INSTALL))
