"""A small float training, and the explicit way to make it quantization-aware, which all other ways must equal.

The batch of a step depends on the global step alone, and one thread computes, so that equal trainings are equal to the bit.
"""
import glob
import os
import shutil

import numpy as np
import tensorflow as tf

from tests import quick_tensorflow
from vai_q_tf import CreateQuantizeEvaluationGraph, CreateQuantizeTrainingGraph, QuantizeConfig

v1 = tf.compat.v1
MODES = tf.estimator.ModeKeys
SESSION = quick_tensorflow.one_thread()
TWO_DEVICES = quick_tensorflow.two_devices()
_RUN_CONFIG = {'save_checkpoints_steps': 100, 'session_config': SESSION, 'tf_random_seed': 6, 'save_summary_steps': 100}
STEPS = 6
_DATA = np.random.RandomState(3)
IMAGES = (_DATA.randn(96, 8, 8, 2) * 3).astype(np.float32)
LABELS = _DATA.randint(0, 4, 96)


def config(directory, **fields):
    """The QuantizeConfig of the network; its files go below the pathlib path `directory`.

    Its positions move; phases of a recipe are a third of the time to quantize, and `recipe='auto'` asks for them.
    """
    return QuantizeConfig(['net_in'], ['logits/BiasAdd'], [[-1, 8, 8, 2]], output_dir=str(directory / 'quantized'),
                          **dict({'recipe': 'manual'}, **fields))


def network(images, training):
    """[batch, 4] logits."""
    net = tf.identity(images, 'net_in')
    net = tf.layers.conv2d(net, 8, 3, use_bias=False, name='conv')
    net = tf.nn.relu(tf.layers.batch_normalization(net, training=training, momentum=0.9, name='norm'), name='relu')
    return tf.layers.dense(tf.reduce_mean(net, [1, 2], name='pool'), 4, name='logits')


def cross_entropy(labels, logits):
    return v1.losses.sparse_softmax_cross_entropy(labels, logits)


def batch(step):
    """(images [16, ...], labels [16]) of a global step."""
    rows = np.arange(16 * step, 16 * step + 16) % len(LABELS)
    return IMAGES[rows], LABELS[rows]


def input_fn():
    """Batches from step 0 on."""
    return tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(16).repeat()


def once():
    """All batches, once."""
    return tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(16)


def momentum():
    return v1.train.MomentumOptimizer(0.05, 0.9)


def minimize(loss, optimizer):
    """The training op."""
    with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
        return optimizer.minimize(loss, v1.train.get_or_create_global_step())


def float_checkpoint(directory):
    """The prefix of a checkpoint of a short float training, in the directory."""
    with tf.Graph().as_default():
        v1.set_random_seed(5)
        run = Run(loss_of=cross_entropy)
        run.train_op = minimize(run.loss, momentum())
        run.train(10)
        with run.session.graph.as_default():
            return v1.train.Saver().save(run.session, os.path.join(str(directory), 'model.ckpt'), 10)


class Run:
    """A training in a plain session, in the default graph: set `train_op`, call `train`.

    loss_of: function (labels, logits) -> loss.
    """

    def __init__(self, loss_of=cross_entropy):
        v1.set_random_seed(6)
        self.step = v1.train.get_or_create_global_step()
        self.images = v1.placeholder(tf.float32, [None, 8, 8, 2])
        self.labels = v1.placeholder(tf.int64, [None])
        self.loss = loss_of(self.labels, network(self.images, True))
        self.restored = [variable for variable in v1.global_variables() if variable is not self.step]
        self.train_op = None
        self.session = None

    def train(self, steps=STEPS, checkpoint=None):
        """Trains from a float checkpoint, or initial values; returns the losses."""
        self.session = v1.Session(config=SESSION)
        if checkpoint:
            v1.train.Saver(self.restored).restore(self.session, checkpoint)
        # Averages of weights start with the weights, so these come first.
        restored = self.restored if checkpoint else []
        self.session.run(v1.variables_initializer([v for v in v1.global_variables() if v not in restored]))
        losses = []
        for step in range(steps):
            images, labels = batch(step)
            losses.append(self.session.run([self.loss, self.train_op], {self.images: images, self.labels: labels})[0])
        return losses

    def state(self):
        """{name: value} of the variables and of the votes for positions."""
        names = {variable.op.name: variable for variable in v1.global_variables()}
        names['votes'] = self.session.graph.get_tensor_by_name('vai_q_tf/positions/votes:0')
        return self.session.run(names)


def place(checkpoint, model_dir):
    """Copies a checkpoint into the directory of an Estimator, as if that had trained it."""
    os.makedirs(model_dir)
    for path in glob.glob(checkpoint + '*') + [os.path.join(os.path.dirname(checkpoint), 'checkpoint')]:
        shutil.copy(path, model_dir)


def explicit(directory, checkpoint, make_train_op=lambda loss: minimize(loss, momentum()), loss_of=cross_entropy, **fields):
    """(losses, state) of the explicit way."""
    with tf.Graph().as_default():
        run = Run(loss_of)
        CreateQuantizeTrainingGraph(config(directory, **fields))
        run.train_op = make_train_op(run.loss)
        return run.train(checkpoint=checkpoint), run.state()


def explicit_evaluation(directory, prefix):
    """Logits of the quantized evaluation graph on all data."""
    with tf.Graph().as_default() as graph:
        images = v1.placeholder(tf.float32, [None, 8, 8, 2])
        network(images, False)
        CreateQuantizeEvaluationGraph(config(directory))
        with v1.Session(graph=graph, config=SESSION) as session:
            v1.train.Saver().restore(session, prefix)
            return session.run('logits/BiasAdd/aquant:0', {images: IMAGES})


def executed(session, fetches, feed=None):
    """The types of all ops that a run executes, sorted, except constants, which TensorFlow merges in varying ways."""
    metadata = v1.RunMetadata()
    session.run(fetches, feed, v1.RunOptions(trace_level=v1.RunOptions.FULL_TRACE), metadata)
    types = [stats.timeline_label.split(' = ')[1].partition('(')[0] for device in metadata.step_stats.dev_stats
             for stats in device.node_stats if ' = ' in stats.timeline_label]
    return sorted(name for name in types if name != 'Const')


def assert_same(result, expected, ignored=()):
    """Asserts that (losses, state) are equal up to float rounding, except variables whose names begin with `ignored`."""
    (losses, state), (expected_losses, expected_state) = result, expected
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-6)
    state = {name: value for name, value in state.items() if not name.startswith(tuple(ignored))}
    assert sorted(state) == sorted(expected_state), set(state) ^ set(expected_state)
    for name, value in expected_state.items():
        np.testing.assert_allclose(state[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


class Losses(tf.estimator.SessionRunHook):
    """Keeps the loss of every step."""

    def __init__(self):
        self.values = []

    def begin(self):
        self._loss = v1.get_collection(v1.GraphKeys.LOSSES)[-1]  # an Estimator adds that of the EstimatorSpec

    def before_run(self, run_context):
        return tf.estimator.SessionRunArgs(self._loss)

    def after_run(self, run_context, run_values):
        self.values.append(run_values.results)


def model_fn(features, labels, mode, train=None, loss_of=cross_entropy):
    """An EstimatorSpec with all its parts; predictions are the output of the range itself."""
    logits = network(features, mode == MODES.TRAIN)
    predictions = {'logits': logits, 'classes': tf.argmax(logits, -1)}
    if mode == MODES.PREDICT:
        return tf.estimator.EstimatorSpec(mode, predictions, export_outputs={
            'serving_default': tf.estimator.export.PredictOutput(predictions),
            'scores': tf.estimator.export.ClassificationOutput(scores=logits),
            'values': tf.estimator.export.RegressionOutput(logits)})
    loss = loss_of(labels, logits)
    if mode == MODES.EVAL:
        return tf.estimator.EstimatorSpec(mode, predictions, loss, eval_metric_ops={
            'accuracy': v1.metrics.accuracy(labels, predictions['classes']), 'mean': v1.metrics.mean(logits)})
    train = train or (lambda loss: minimize(loss, momentum()))
    return tf.estimator.EstimatorSpec(mode, predictions, loss, train(loss))


def plain_model_fn(**options):
    """A model_fn with the arguments features, labels and mode."""
    return lambda features, labels, mode: model_fn(features, labels, mode, **options)


def make_estimator(function, directory, params=None, **run_config):
    """An Estimator of the model_fn `function` in the pathlib path `directory`."""
    return tf.estimator.Estimator(function, str(directory / 'model'),
                                  tf.estimator.RunConfig(**dict(_RUN_CONFIG, **run_config)), params)


def train_estimator(estimator, steps=STEPS, **options):
    """(losses, state), same as in `explicit`."""
    losses = Losses()
    estimator.train(input_fn, hooks=[losses], steps=steps, **options)
    reader = tf.train.load_checkpoint(estimator.latest_checkpoint())
    state = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()
             if not name.startswith('vai_q_tf/')}
    state['votes'] = reader.get_tensor('vai_q_tf/positions/votes')
    return losses.values, state
