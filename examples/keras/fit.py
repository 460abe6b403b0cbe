"""Trains the MobileNetV2 of keras.applications on real digits by `fit`, float and then quantization-aware.

    python fit.py [--bits 8] [--output_dir keras_results] [--quick]

1. Trains the float network.
2. Builds it again under `set_learning_phase(1)`, gives it the weights, and makes a QuantizeCallback, which quantizes the model.
   From then on `fit` trains the quantized network, `evaluate` evaluates the one that is deployed.
3. Evaluates the frozen file of the last epoch, without Keras.
"""
import glob
import os
import sys
import time

# The digits and the progress line are those of the first example.
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'estimator'))

import quiet  # noqa: F401  isort: skip
import command
import data
import numpy as np
import progress
import tensorflow as tf
from tensorflow import keras

import vai_q_tensorflow

BATCH = 64
SIDE = 32  # the least that MobileNetV2 takes
QUICK_DIGITS = 256


def main(arguments):
    options = command.options(__doc__, 'keras_results', arguments)
    float_epochs, epochs = (1, 1) if options.quick else (10, 3)
    training, test = map(_padded, data.load())
    if options.quick:
        training = data.Digits(*(array[:QUICK_DIGITS] for array in training))
    os.makedirs(options.output_dir, exist_ok=True)
    started = time.time()
    print('{} training digits, {} test digits; results in {}'.format(
        len(training.labels), len(test.labels), options.output_dir))

    model = build()
    _fit(model, training, float_epochs, 3e-3, 'Training the float network')
    weights = model.get_weights()
    rows = [('float', _accuracy(model, test), '')]

    keras.backend.clear_session()
    keras.backend.set_learning_phase(1)  # before the model is built
    model = build()
    model.set_weights(weights)
    steps = epochs * (len(training.labels) // BATCH)
    config = vai_q_tensorflow.QuantizeConfig(
        input_nodes=[model.input.op.name], output_nodes=[model.output.op.name], input_shapes=[[-1, SIDE, SIDE, 1]],
        weight_bit=options.bits, activation_bit=options.bits, bias_bit=8, output_dir=options.output_dir)
    callback = vai_q_tensorflow.QuantizeCallback(config, model)
    _fit(model, training, epochs, 1e-3, 'Quantization-aware, {} bits'.format(options.bits), callback)
    frozen = max(glob.glob(os.path.join(options.output_dir, 'quantize_eval_model_{}_*.pb'.format(steps))))
    rows += [('quantized', _accuracy(model, test), tf.train.latest_checkpoint(options.output_dir)),
             ('frozen file', _frozen_accuracy(frozen, model.input.name, test), frozen)]
    command.report('MobileNetV2: accuracy on {} test digits'.format(len(test.labels)), rows, options, time.time() - started)


def build():
    """MobileNetV2 with logits, and a decay of its moving averages that suits a short training."""
    logits = keras.applications.MobileNetV2((SIDE, SIDE, 1), alpha=0.35, include_top=False, weights=None, pooling='avg')
    layers = logits.get_config()
    for layer in layers['layers']:
        if layer['class_name'].startswith('BatchNormalization'):
            layer['config']['momentum'] = 0.9
    network = keras.Model.from_config(layers)
    return keras.Model(network.input, keras.layers.Dense(data.CLASSES, name='logits')(network.output))


def _fit(model, digits, epochs, rate, label, *callbacks):
    """Compiles and trains the model; the learning rate falls to 0 along a cosine."""
    model.compile(keras.optimizers.Adam(rate), keras.losses.SparseCategoricalCrossentropy(from_logits=True), ['accuracy'])
    count = len(digits.labels) // BATCH * BATCH
    falling = keras.callbacks.LearningRateScheduler(lambda epoch: rate * (1 + np.cos(np.pi * epoch / epochs)) / 2)
    shown = ProgressCallback(label, epochs * (count // BATCH))
    model.fit(digits.images[:count], digits.labels[:count], BATCH, epochs, verbose=0,
              callbacks=[falling, shown] + list(callbacks))


def _accuracy(model, digits):
    return float(model.evaluate(digits.images, digits.labels, 250, verbose=0)[1])


def _frozen_accuracy(path, input_name, digits):
    graph_def = tf.GraphDef()
    with open(path, 'rb') as stream:
        graph_def.ParseFromString(stream.read())
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(graph_def, name='')
        output = graph_def.node[-1].name + ':0'
        predicted = [session.run(output, {input_name: images}).argmax(-1) for images, _ in data.batches(digits, 250)]
    return float(np.mean(np.concatenate(predicted) == digits.labels))


def _padded(digits):
    margin = (SIDE - digits.images.shape[1]) // 2
    return data.Digits(np.pad(digits.images, ((0, 0), (margin, margin), (margin, margin), (0, 0)), 'constant'), digits.labels)


class ProgressCallback(keras.callbacks.Callback):
    """A progress line with the loss."""

    def __init__(self, label, steps):
        super().__init__()
        self._show = progress.Progress(label, steps)
        self._done = 0

    def on_train_batch_end(self, batch, logs=None):
        self._done += 1
        self._show(self._done, 'loss {:.3f}'.format(float(logs['loss'])))


if __name__ == '__main__':
    main(sys.argv[1:])
