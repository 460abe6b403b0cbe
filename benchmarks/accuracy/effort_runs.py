"""A post-training run: one float network, quantized with one setting at one width, compared with the float network."""
import tempfile
import time
from typing import List, NamedTuple, Optional

import datasets
import efficientnet_lite0
import efforts
import evaluation
import fidelity
import mobilenet_v1
import networks
import numpy as np
import photos
import post_training
import runs
import tensorflow as tf

import vai_q_tensorflow

_PHOTOS_AT_ONCE = 21
_QUICK_IMAGES = 100


class Subject(NamedTuple):
    """A frozen float network that reads `images`.

    batches: arrays to calibrate with. images: array to evaluate with. labels: its classes, or None. output: the node of logits.
    at_once: images per evaluation batch.
    """
    frozen: tf.GraphDef
    batches: List[np.ndarray]
    images: np.ndarray
    labels: Optional[np.ndarray]
    output: str
    at_once: int


def execute(run, settings):
    """Quantizes and evaluates; {name: value} of the results: those of fidelity.py, and the seconds of the quantization.

    Args:
      run: results.Run; its recipe is one of efforts.rows().
      settings: runs.Settings.
    """
    subject = _photos(run.network) if run.dataset == efforts.PHOTOS else _small(run, settings)
    with tempfile.TemporaryDirectory(prefix='accuracy_') as directory:
        config = vai_q_tensorflow.QuantizeConfig(
            ['images'], [subject.output], [[-1] + list(subject.images.shape[1:])], weight_bit=run.bits, activation_bit=run.bits,
            output_dir=directory)
        started = time.time()
        with efforts.setting(run.recipe) as effort:
            path = post_training.quantize(subject.frozen, subject.batches, config, effort)
        seconds = round(time.time() - started, 1)
        quantized = evaluation.load(path)
    expected = evaluation.logits(subject.frozen, subject.output, subject.images, subject.at_once)
    actual = evaluation.logits(quantized, subject.output + evaluation.QUANTIZED, subject.images, subject.at_once)
    return dict(run._asdict(), seconds=seconds, quick=settings.quick, **fidelity.compare(expected, actual, subject.labels))


def _photos(network):
    found, size = photos.load(), efforts.PHOTO_BATCH
    batches = [found.calibration[start:start + size] for start in range(0, len(found.calibration), size)]
    module = {efforts.LITE0: efficientnet_lite0, efforts.MOBILENET: mobilenet_v1}[network]
    return Subject(module.frozen_graph(module.weights()), batches, found.evaluation, None, module.OUTPUT, _PHOTOS_AT_ONCE)


def _small(run, settings):
    """A network of the training benchmark; trains it in float if there is no checkpoint."""
    dataset = datasets.load(run.dataset)
    checkpoint = runs.float_checkpoint(run, settings)
    frozen = post_training.freeze(run.network, run.activation, checkpoint, dataset.test.images)
    number = 1 if settings.quick else efforts.BATCHES
    batches = [images for images, _ in datasets.batches(dataset.training, efforts.BATCH, number, run.seed)]
    step = max(1, len(dataset.test.labels) // _QUICK_IMAGES) if settings.quick else 1
    return Subject(frozen, batches, dataset.test.images[::step], dataset.test.labels[::step], networks.OUTPUT, 500)
