"""CIFAR-10 of the accuracy measurement, from a package with pictures made here."""
import json

import numpy as np
import pytest
import tensorflow as tf

from tests.benchmarks.scripts import scripts

IMAGES = np.random.RandomState(0).randint(0, 256, [6, 32, 32, 3]).astype(np.uint8)


@pytest.fixture
def cifar(tmp_path):
    """The module, which looks in an empty directory."""
    with scripts('cifar', 'results') as (module, _):
        module.DIRECTORY = str(tmp_path / 'package')
        yield module


def write_picture(path, images):
    with tf.Graph().as_default(), tf.Session() as session:
        path.write_bytes(session.run(tf.image.encode_png(images.reshape(len(images), -1, 3))))


def test_images_and_labels_are_those_of_the_package(cifar, tmp_path):
    (tmp_path / 'package').mkdir()
    for number, image in enumerate(IMAGES[:5], 1):
        write_picture(tmp_path / 'package' / 'data_batch_{}.png'.format(number), image[None])
    write_picture(tmp_path / 'package' / 'test_batch.png', IMAGES[4:])
    for name, labels in (('train', [3, 1, 4, 1, 5]), ('test', [9, 2])):
        (tmp_path / 'package' / (name + '_lables.json')).write_text(json.dumps(labels))
    for (images, labels), expected, classes in (
            (cifar.training(), IMAGES[:5], [3, 1, 4, 1, 5]), (cifar.test(), IMAGES[4:], [9, 2])):
        np.testing.assert_array_equal(images, expected.astype(np.float32) / np.float32(255))
        np.testing.assert_array_equal(labels, classes)
        assert images.dtype == np.float32 and labels.dtype == np.int32


def test_without_the_package_it_says_what_fetches_it(cifar):
    with pytest.raises(SystemExit, match='make accuracy-training'):
        cifar.test()
