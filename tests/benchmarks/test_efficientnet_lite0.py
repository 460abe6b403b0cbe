"""The frozen EfficientNet-Lite0 agrees with NumPy; selection and cropping of photos."""
import numpy as np
import pytest
import tensorflow as tf

from tests.benchmarks.scripts import scripts

STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)  # of the blocks
KERNELS = (3, 3, 3, 5, 5, 3, 3, 3, 5, 5, 5, 5, 5, 5, 5, 3)
CHANNELS = (32, 16, 24, 24, 40, 40, 80, 80, 80, 112, 112, 112, 192, 192, 192, 192, 320)  # before and after the blocks
# Of a batch norm: the range of each tensor.
PARTS = (('weight', 0.3, 1), ('bias', -1, 6), ('running_mean', -0.2, 0.2), ('running_var', 0.01, 1.5))


@pytest.fixture(scope='module')
def modules():
    with scripts('efficientnet_lite0', 'photos', 'results', 'torch_file', 'packages') as found:
        yield found


def made_tensors():
    """Tensors of the checkpoint's names and shapes.

    They neither blow up rounding errors from layer to layer nor keep relu6 from clipping at both ends.
    """
    random, tensors = np.random.RandomState(0), {}

    def conv(name, norm, shape):
        tensors[name + '.weight'] = random.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape)
        for part, low, high in PARTS:
            tensors['{}.{}'.format(norm, part)] = random.uniform(low, high, shape[0])
    conv('_conv_stem', '_bn0', (32, 3, 3, 3))
    for number, kernel in enumerate(KERNELS):
        prefix, wide = '_blocks.{}.'.format(number), CHANNELS[number] * (6 if number else 1)
        if number:
            conv(prefix + '_expand_conv', prefix + '_bn0', (wide, CHANNELS[number], 1, 1))
        conv(prefix + '_depthwise_conv', prefix + '_bn1', (wide, 1, kernel, kernel))
        conv(prefix + '_project_conv', prefix + '_bn2', (CHANNELS[number + 1], wide, 1, 1))
    conv('_conv_head', '_bn1', (1280, 320, 1, 1))
    tensors['_fc.weight'], tensors['_fc.bias'] = random.normal(0, 0.05, (1000, 1280)), random.normal(0, 1, 1000)
    return {name: value.astype(np.float32) for name, value in tensors.items()}


def forward(tensors, net):
    """Logits of one image [3, height, width], in float64."""
    def conv(net, name, norm, stride=1, active=True):
        weight = tensors[name + '.weight'].astype(np.float64)
        kernel, size = weight.shape[-1], net.shape[-1]
        out = -(-size // stride)
        total = max((out - 1) * stride + kernel - size, 0)
        net = np.pad(net, [(0, 0)] + [(total // 2, total - total // 2)] * 2, 'constant')
        result = 0
        for row in range(kernel):
            for column in range(kernel):
                seen, tap = net[:, row:, column:][:, ::stride, ::stride][:, :out, :out], weight[:, :, row, column]
                grouped = weight.shape[1] == 1 and len(weight) == len(net)
                result += seen * tap[:, :1, None] if grouped else np.tensordot(tap, seen, 1)
        scale, offset, mean, variance = (tensors['{}.{}'.format(norm, part)].astype(np.float64)[:, None, None]
                                         for part in ('weight', 'bias', 'running_mean', 'running_var'))
        result = (result - mean) / np.sqrt(variance + 1e-3) * scale + offset
        return np.clip(result, 0, 6) if active else result
    net = conv(net, '_conv_stem', '_bn0', 2)
    for number, stride in enumerate(STRIDES):
        prefix, start = '_blocks.{}.'.format(number), net
        if number:
            net = conv(net, prefix + '_expand_conv', prefix + '_bn0')
        net = conv(net, prefix + '_depthwise_conv', prefix + '_bn1', stride)
        net = conv(net, prefix + '_project_conv', prefix + '_bn2', active=False)
        net = net + start if net.shape == start.shape else net
    net = conv(net, '_conv_head', '_bn1').mean((1, 2))
    return tensors['_fc.weight'].astype(np.float64).dot(net) + tensors['_fc.bias']


def test_the_graph_agrees_with_numpy(modules):
    lite0, tensors = modules[0], made_tensors()
    image = np.random.RandomState(1).uniform(-1, 1, (lite0.SIZE, lite0.SIZE, 3)).astype(np.float32)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.import_graph_def(lite0.frozen_graph(tensors), name='')
        actual, clipped = session.run([lite0.OUTPUT + ':0', 'block9/expand/relu6:0'], {lite0.INPUT + ':0': [image]})
    expected = forward(tensors, image.transpose(2, 0, 1).astype(np.float64))
    assert actual.shape == (1, 1000) and 0.01 < np.mean(clipped == 0) and 0.001 < np.mean(clipped == 6)
    np.testing.assert_allclose(actual[0], expected, atol=1e-4 * np.abs(expected).max())
    assert expected.std() > 0.5


def test_no_photo_is_on_both_sides(modules):
    photos = modules[1]
    names = photos.CALIBRATION + photos.EVALUATION
    assert len(set(names)) == len(names)
    assert len(photos.CALIBRATION) * photos.CALIBRATION_CROPS >= 60
    assert len(photos.EVALUATION) * photos.EVALUATION_CROPS >= 84


def test_crops_are_squares_of_the_middle_and_of_two_corners(modules):
    crops = modules[1].crops
    assert crops(256, 384) == ((16, 80, 224), (64, 0, 192), (0, 192, 192))
    assert crops(1411, 700) == ((399, 44, 612), (886, 0, 525), (0, 175, 525))


@pytest.fixture
def photos(modules, tmp_path, monkeypatch):
    """The module, with photos of known pixels. Those of `corner` are white, but black in the square at the lower left."""
    corner = np.full([512, 768, 3], 255, np.uint8)
    corner[128:, :384] = 0
    stripes = np.zeros([768, 768, 3], np.uint8)
    stripes[:, ::2] = 254
    red = np.broadcast_to(np.uint8([255, 0, 0]), [250, 300, 3])
    with tf.compat.v1.Session() as session:
        for name, pixels in (('corner', corner), ('stripes', stripes), ('red', red)):
            (tmp_path / (name + '.png')).write_bytes(session.run(tf.image.encode_png(pixels)))
    module = modules[1]
    monkeypatch.setattr(module, 'DIRECTORY', str(tmp_path))
    monkeypatch.setattr(module, 'CALIBRATION', ('corner.png',))
    monkeypatch.setattr(module, 'EVALUATION', ('red.png', 'stripes.png'))
    module.load.cache_clear()
    yield module
    module.load.cache_clear()


def test_photos_are_prepared(photos):
    """The crops of a photo lie side by side; values are (color - 127) / 128; stripes that are too fine become grey."""
    calibration, evaluation = photos.load()
    assert calibration.shape == (2, 224, 224, 3) and evaluation.shape == (6, 224, 224, 3)
    assert (calibration[0].min(), calibration[0].max()) == (-127 / 128, 1)
    np.testing.assert_allclose(calibration[1], -127 / 128, atol=1e-6)
    red, stripes = (evaluation[:3], evaluation[3:]) if evaluation[0].max() > 0.9 else (evaluation[3:], evaluation[:3])
    np.testing.assert_allclose(red, np.broadcast_to([1, -127 / 128, -127 / 128], red.shape), atol=1e-5)
    assert np.abs(stripes[0]).max() < 0.2


def test_a_photo_that_is_not_there_is_named(photos, monkeypatch):
    monkeypatch.setattr(photos, 'EVALUATION', ('red.png', 'blue.png'))
    with pytest.raises(SystemExit, match='1 photos are not in .* blue.png'):
        photos.load()
