"""The page on an accuracy loss: its commands and options on a small network, and in `make test-slow` on the real one, where it
prints what it shows.
"""
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tests.benchmarks.scripts import SCRIPTS
from tests.docs.pages import Page, run_page
from tests.forks import ROOT

PATH = 'how_to/find_an_accuracy_loss.md'
_VENV = os.path.join(ROOT, '.venv')
_SIDE, _CHANNELS = 8, 4


class _OtherFigures(Page):
    """The page without a look at the figures that it shows."""

    def _check_output(self, printed):
        pass


def _conv(net, name, op, shape, active=True):
    """A convolution with a batch norm, under the names of benchmarks/accuracy/efficientnet_lite0.py."""
    random = np.random.RandomState(len(name))
    weights = random.normal(0, 1 / np.sqrt(np.prod(shape[:3])), shape)
    weights[..., 0, 0] *= 60  # a channel that makes most weights of the others 0
    net = op(net, tf.constant(weights, tf.float32, name=name + '/weights'), [1, 1, 1, 1], 'SAME', name=name + '/conv')
    channels = int(net.shape[-1])
    scale, offset, mean, variance = (tf.constant(random.uniform(low, high, channels), tf.float32)
                                     for low, high in ((0.5, 1), (0, 1), (-0.1, 0.1), (0.5, 1.5)))
    net = tf.compat.v1.nn.fused_batch_norm(net, scale, offset, mean, variance, is_training=False, name=name + '/norm')[0]
    return tf.nn.relu6(net, name=name + '/relu6') if active else net


def _write_stand_in(directory):
    """What `make trained-network` writes, but with few small layers and random pixels."""
    with tf.Graph().as_default() as graph:
        net = tf.compat.v1.placeholder(tf.float32, [None, _SIDE, _SIDE, 3], 'images')
        net = _conv(net, 'stem', tf.nn.conv2d, (3, 3, 3, _CHANNELS))
        net = _conv(net, 'block0/depthwise', tf.compat.v1.nn.depthwise_conv2d, (3, 3, _CHANNELS, 1))
        net = _conv(net, 'block0/project', tf.nn.conv2d, (1, 1, _CHANNELS, _CHANNELS), active=False)
        net = tf.reduce_mean(net, [1, 2], name='pool')
        kernel = tf.constant(np.random.RandomState(0).normal(size=(_CHANNELS, 10)), tf.float32)
        tf.nn.bias_add(tf.matmul(net, kernel, name='logits/MatMul'), tf.zeros([10]), name='logits/BiasAdd')
        (directory / 'float.pb').write_bytes(graph.as_graph_def().SerializeToString())
    pixels = np.random.RandomState(1).randint(0, 256, (100, _SIDE, _SIDE, 3)).astype(np.uint8)
    np.savez(str(directory / 'photos.npz'), calibration=pixels[:60], evaluation=pixels[60:])


def _results(page):
    return re.findall(r'--output_dir (\w+)', page.text)


def test_the_commands_on_a_small_network(tmp_path, forked_python):
    _write_stand_in(tmp_path)
    page = _OtherFigures(PATH)
    printed = ''.join(page.run(tmp_path, forked_python).values())
    quantized = [name for name in dict.fromkeys(_results(page)) if (tmp_path / name / 'quantize_eval_model.pb').exists()]
    assert quantized == ['first_try', 'calibrated', 'wide', 'bits16', 'standard', 'wrong_data']
    assert re.findall(r'^[\d.]+% like float, -?[\d.]+ dB: (\w+)$', printed, re.MULTILINE) == quantized
    assert (tmp_path / 'sensitivity' / 'sensitivity.json').exists()
    rows = json.loads((tmp_path / 'calibrated' / 'analyze.json').read_text())['tensors']
    assert {'stem/weights/wquant', 'block0/depthwise/weights/wquant'} <= {row['name'] for row in rows}
    # Heads of tables and other lines without figures are as the page shows them.
    lines = {' '.join(line.split()) for line in printed.splitlines()}
    heads = [' '.join(line.split()) for block in page.blocks if block.language == 'text' for line in block.code.splitlines()
             if re.match('[a-zA-Z]', line) and not re.search(r'\d', line)]
    assert len(heads) == 2 and set(heads) <= lines


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not os.path.exists(os.path.join(_VENV, 'photos')), reason='no photos; make trained-network fetches them')
def test_the_page_on_the_real_network(tmp_path):
    """make runs without the steps that install, which the marks of the files say are done."""
    done = [word for name in ('kernels', '.venv/.trained', '.venv/.photos') for word in ('-o', name)]
    subprocess.run(['make', *done, 'trained-network'], cwd=ROOT, check=True)
    made = os.path.join(ROOT, 'trained_network_results')
    try:
        for name in ('float.pb', 'photos.npz'):
            shutil.copy(os.path.join(made, name), str(tmp_path))
    finally:
        shutil.rmtree(made)
    printed = ''.join(run_page(PATH, tmp_path).values())
    same = {name: float(percent) for percent, name in re.findall(r'^([\d.]+)% like float.*: (\w+)$', printed, re.MULTILINE)}
    assert same['first_try'] < 75 and same['calibrated'] < same['bits16'] < same['wrong_data'] < same['standard'] > 90


def test_pixels_become_what_the_photos_were(tmp_path, monkeypatch):
    """prepare.py writes the pixels that photos.prepare started from."""
    monkeypatch.setattr(sys, 'path', [os.path.join(ROOT, 'examples', 'accuracy_loss'), SCRIPTS, *sys.path])
    import photos
    import prepare
    pixels = np.arange(256, dtype=np.float32).reshape(1, 16, 16, 1)
    np.testing.assert_array_equal(prepare._pixels(photos.prepare(pixels)), pixels)
    for name in ('photos', 'prepare', 'efficientnet_lite0', 'results', 'packages', 'torch_file'):
        sys.modules.pop(name, None)
