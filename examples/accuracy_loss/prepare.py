"""Writes a network that was trained on ImageNet, and photos, for docs/how_to/find_an_accuracy_loss.md.

    python prepare.py [--output_dir trained_network_results]

* float.pb: EfficientNet-Lite0 with its public weights, from the placeholder `images` to `logits/BiasAdd`. It expects pixels as
  (pixel - 127) / 128.
* photos.npz: `calibration` and `evaluation`, photos as uint8 [n, 224, 224, 3]. No photo is on both sides.
"""
import argparse
import os
import sys

import numpy as np

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'benchmarks', 'accuracy'))

import efficientnet_lite0  # noqa: E402  (in benchmarks/accuracy)
import photos  # noqa: E402


def write(directory):
    """Writes both files into the directory, which is made if necessary."""
    found = photos.load()
    graph_def = efficientnet_lite0.frozen_graph(efficientnet_lite0.weights())
    os.makedirs(directory, exist_ok=True)
    np.savez(os.path.join(directory, 'photos.npz'), **{name: _pixels(images) for name, images in found._asdict().items()})
    with open(os.path.join(directory, 'float.pb'), 'wb') as stream:
        stream.write(graph_def.SerializeToString())


def _pixels(prepared):
    """The pixels, from 0 to 255, that `photos.prepare` made these values of."""
    return np.clip(np.round(prepared * 128 + 127), 0, 255).astype(np.uint8)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--output_dir', default='trained_network_results', help='where the files go (%(default)s)')
    write(parser.parse_args().output_dir)
