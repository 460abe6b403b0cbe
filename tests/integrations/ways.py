"""Ways to drive the same training: each trains the same small network on the same batches from a checkpoint of any kind.

A way is a function (place, start, first, steps) -> Course. It builds the quantization-aware training in a graph of its own,
starts from the checkpoint `start`, be it a float one or one that the way saved before, trains on the batches from number
`first` on, and saves. `place` is a directory, the same one where a training is continued. `plain` is the way that the others
equal.
"""
import contextlib
import os
from typing import List, NamedTuple

import numpy as np
import tensorflow as tf

from tests import quick_tensorflow
from vai_q_tf import (
    CreateQuantizeTrainingGraph,
    QuantizeConfig,
    QuantizeOptimizer,
    QuantizeTrainingHook,
    quantize_estimator,
    quantize_model_fn,
    slim_training_arguments,
)

v1 = tf.compat.v1
_LOSS_SCALE = ('current_loss_scale', 'good_steps')  # variables of an optimizer that scales the loss
_SESSION = quick_tensorflow.one_thread()
_OPTIMIZED = quick_tensorflow.one_thread(optimizers=True)


class Course(NamedTuple):
    """The loss of every step, and the prefix of the checkpoint at the end."""
    losses: List[float]
    checkpoint: str


def config(place):
    """The QuantizeConfig of the network, with the recipe that the name of the directory begins with, 'manual' or 'auto'."""
    recipe = 'manual' if os.path.basename(str(place)).startswith('manual') else 'auto'
    return QuantizeConfig(['net_in'], ['logits/BiasAdd'], [[-1, 8, 8, 2]], output_dir=os.path.join(str(place), 'quantized'),
                          position_decay=0.8, recipe=recipe)


def batch(number):
    """(images [16, 8, 8, 2], classes [16]); they grow, so that positions move."""
    random = np.random.RandomState(number)
    return random.randn(16, 8, 8, 2).astype(np.float32) * 1.5 ** number, random.randint(0, 4, 16).astype(np.int32)


def network(images, training=True):
    """[batch, 4] logits of a convolution with batch norm and a dense layer without."""
    net = tf.identity(images, name='net_in')
    net = v1.layers.conv2d(net, 8, 3, use_bias=False, name='conv')
    net = tf.nn.relu(v1.layers.batch_normalization(net, training=training, momentum=0.9, name='norm'), name='relu')
    return v1.layers.dense(tf.reduce_mean(net, [1, 2], name='pool'), 4, name='logits')


def cross_entropy(labels, logits):
    return v1.losses.sparse_softmax_cross_entropy(labels, logits)


def minimize(loss, optimizer=None):
    """The training op with its update ops."""
    optimizer = optimizer or v1.train.MomentumOptimizer(0.01, 0.9)
    with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
        return optimizer.minimize(loss, v1.train.get_or_create_global_step())


def float_checkpoint(place):
    """A checkpoint of a few steps of float training, with the state of the optimizer."""
    with tf.Graph().as_default(), v1.Session(config=_SESSION) as session:
        v1.set_random_seed(4)
        images, labels = placeholders()
        train = minimize(cross_entropy(labels, network(images)))
        session.run(v1.global_variables_initializer())
        for number in (40, 41):
            session.run(train, dict(zip((images, labels), (batch(number)[0] * 1e-7, batch(number)[1]))))
        return v1.train.Saver().save(session, str(place / 'float.ckpt'))


def placeholders():
    return v1.placeholder(tf.float32, [None, 8, 8, 2]), v1.placeholder(tf.int32, [None])


def _dataset(first, steps):
    batches = [batch(number) for number in range(first, first + steps)]
    return tf.data.Dataset.from_tensor_slices(tuple(np.stack(arrays) for arrays in zip(*batches)))


@contextlib.contextmanager
def _nothing():
    yield


def _in_session(scope=_nothing, saver=v1.train.Saver, loss_of=cross_entropy, optimizer=lambda settings: None, prepare=None,
                inputs=None, rewrite=CreateQuantizeTrainingGraph):
    """A way with a plain session.

    Args:
      scope: context for building the network. saver: makes the Saver, after the rewrite.
      optimizer, rewrite: functions of the QuantizeConfig.
      prepare: what is done to the images before the range. inputs: function (first, steps) -> tensors; None feeds placeholders.
    """
    def way(place, start, first, steps):
        with tf.Graph().as_default(), v1.Session(config=_SESSION) as session:
            tensors = inputs(first, steps) if inputs else placeholders()
            images, labels = tensors
            with scope():
                logits = network(prepare(images) if prepare else images)
            loss = loss_of(labels, logits)
            rewrite(config(place))
            train = minimize(loss, optimizer(config(place)))
            session.run([v1.global_variables_initializer(), v1.local_variables_initializer()])
            session.run(v1.get_collection(v1.GraphKeys.TABLE_INITIALIZERS))
            own = saver()
            (_without(start, _LOSS_SCALE) or own).restore(session, start)
            coordinator = tf.train.Coordinator()
            threads = v1.train.start_queue_runners(session, coordinator)
            losses = []
            for number in range(first, first + steps):
                feed = None if inputs else dict(zip(tensors, batch(number)))
                losses.append(session.run([loss, train], feed)[0])
            coordinator.request_stop()
            coordinator.join(threads, ignore_live_threads=True)
            return Course(losses, own.save(session, os.path.join(str(place), 'model.ckpt'), first + steps))
    return way


def _without(checkpoint, names):
    """A Saver without the variables of such names if the graph has them and the checkpoint does not; else None."""
    found = [variable for variable in v1.global_variables() if variable.op.name in names]
    if not found or tf.train.load_checkpoint(checkpoint).has_tensor(found[0].op.name):
        return None
    kept = [variable for variable in v1.global_variables() if variable.op.name not in names]
    return v1.train.Saver(kept + v1.get_collection(v1.GraphKeys.SAVEABLE_OBJECTS))


plain = _in_session()


def _listed_saver():
    return v1.train.Saver(v1.global_variables() + v1.get_collection(v1.GraphKeys.SAVEABLE_OBJECTS))


def _named_saver():
    variables = {variable.op.name: variable for variable in v1.global_variables()}
    variables.update((saveable.name, saveable) for saveable in v1.get_collection(v1.GraphKeys.SAVEABLE_OBJECTS))
    return v1.train.Saver(variables)


def _from_iterator(first, steps):
    iterator = v1.data.make_initializable_iterator(_dataset(first, steps))
    v1.add_to_collection(v1.GraphKeys.TABLE_INITIALIZERS, iterator.initializer)
    images, labels = iterator.get_next()
    return tf.identity(images), tf.identity(labels)


def _from_queue(first, steps):
    images, labels = (np.concatenate(arrays) for arrays in zip(*(batch(number) for number in range(first, first + steps))))
    image, label = v1.train.slice_input_producer([images, labels], num_epochs=1, shuffle=False)
    return v1.train.batch([image, label], 16, num_threads=1)


def _loop(images):
    """Doubles the images and halves them again."""
    doubled = tf.while_loop(lambda count, value: count < 3, lambda count, value: (count + 1, value * 2), [0, images],
                            shape_invariants=[tf.TensorShape([]), images.shape])[1]
    return tf.cond(tf.reduce_sum(images) > -1e30, lambda: doubled / 8, lambda: doubled)


def _conditional_loss(labels, logits):
    return tf.cond(tf.size(labels) > 0, lambda: cross_entropy(labels, logits), lambda: tf.reduce_sum(logits))


def _heads(labels, logits):
    """Two losses that sum up to that of one."""
    tf.identity(logits, name='first_head')
    return tf.add_n([0.25 * cross_entropy(labels, logits), 0.75 * cross_entropy(labels, tf.identity(logits, 'second_head'))])


def _mixed_precision(settings):
    return v1.train.experimental.enable_mixed_precision_graph_rewrite(v1.train.MomentumOptimizer(0.01, 0.9), 'dynamic')


def _quantize_optimizer(settings):
    return QuantizeOptimizer(v1.train.MomentumOptimizer(0.01, 0.9), settings)


def _variables(**options):
    return lambda: v1.variable_scope(v1.get_variable_scope(), **options)


class _Losses(tf.estimator.SessionRunHook):
    """Keeps the loss of every step."""

    def __init__(self, loss):
        self._loss = loss
        self.values = []

    def before_run(self, run_context):
        return tf.estimator.SessionRunArgs(self._loss)

    def after_run(self, run_context, run_values):
        self.values.append(run_values.results)


def monitored_session(place, start, first, steps):
    """tf.train.MonitoredTrainingSession; a float checkpoint through the init_fn of a Scaffold."""
    with tf.Graph().as_default():
        images, labels = placeholders()
        loss = cross_entropy(labels, network(images))
        CreateQuantizeTrainingGraph(config(place))
        train = minimize(loss)
        saver = v1.train.Saver()
        scaffold = v1.train.Scaffold(saver=saver, init_fn=lambda _, session: saver.restore(session, start))
        directory = os.path.join(str(place), 'monitored')
        losses = []
        with v1.train.MonitoredTrainingSession(
                checkpoint_dir=directory, scaffold=scaffold, save_checkpoint_steps=1000, save_summaries_steps=None,
                save_summaries_secs=None, log_step_count_steps=None, config=_OPTIMIZED) as session:
            for number in range(first, first + steps):
                losses.append(session.run([loss, train], dict(zip((images, labels), batch(number))))[0])
        return Course(losses, tf.train.latest_checkpoint(directory))


def _in_estimator(rewrite=lambda settings: None, hooks=lambda settings: [], wrap=lambda model_fn, settings: model_fn,
                  wrap_estimator=lambda estimator, settings, directory: estimator):
    """A way with an Estimator; rewrite is called in its model function. A float checkpoint by init_from_checkpoint."""
    def way(place, start, first, steps):
        found = []

        def model_fn(features, labels, mode):
            loss = cross_entropy(labels, network(features))
            rewrite(config(place))
            train = minimize(loss)
            v1.train.init_from_checkpoint(start, {'/': '/'})
            found.append(_Losses(loss))
            return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train, training_hooks=[found[-1]])

        directory = os.path.join(str(place), 'estimator')
        estimator = tf.estimator.Estimator(wrap(model_fn, config(place)), directory, tf.estimator.RunConfig(
            session_config=_SESSION, save_checkpoints_steps=1000))
        estimator = wrap_estimator(estimator, config(place), directory + '_quantized')
        estimator.train(lambda: _dataset(first, steps), hooks=hooks(config(place)), steps=steps)
        return Course(found[-1].values, estimator.latest_checkpoint())
    return way


def slim_training(place, start, first, steps):
    """slim.learning.train, fed by a queue."""
    from tensorflow.contrib import slim
    directory, losses = os.path.join(str(place), 'slim'), []

    def step(*arguments):
        loss, should_stop = slim.learning.train_step(*arguments)
        losses.append(loss)
        return loss, should_stop

    with tf.Graph().as_default():
        images, labels = _from_queue(first, steps)
        train = slim.learning.create_train_op(cross_entropy(labels, network(images)), v1.train.MomentumOptimizer(0.01, 0.9))
        arguments = slim_training_arguments(config(place), train_step_fn=step)
        last = tf.train.load_checkpoint(start).get_tensor('global_step') + steps
        slim.learning.train(train, directory, number_of_steps=last, session_config=_OPTIMIZED, save_summaries_secs=None,
                            init_fn=lambda session: arguments['saver'].restore(session, start), **arguments)
    return Course(losses, tf.train.latest_checkpoint(directory))


SCOPES = {
    'resource variables': _variables(use_resource=True),
    'reference variables': _variables(use_resource=False),
    'partitioned variables': _variables(partitioner=v1.fixed_size_partitioner(2)),
    'partitioned resource variables': _variables(partitioner=v1.fixed_size_partitioner(2), use_resource=True),
}

# Kinds of variables, savers, inputs and losses know nothing of each other: each of them is in one of a few ways.
WAYS = {
    'resource variables': _in_session(
        SCOPES['resource variables'], lambda: v1.train.Saver(sharded=True), inputs=_from_iterator),
    'reference variables': _in_session(SCOPES['reference variables'], _listed_saver, inputs=_from_queue),
    'partitioned variables': _in_session(SCOPES['partitioned variables'], loss_of=_conditional_loss),
    'partitioned resource variables': _in_session(SCOPES['partitioned resource variables'], prepare=_loop),
    'monitored session': monitored_session,
    'mixed precision': _in_session(saver=_named_saver, loss_of=_heads, optimizer=_mixed_precision),
    'optimizer wrapper': _in_session(rewrite=lambda settings: None, optimizer=_quantize_optimizer),
    'training hook': _in_estimator(hooks=lambda settings: [QuantizeTrainingHook(settings)]),
    'estimator': _in_estimator(CreateQuantizeTrainingGraph),
    'model function wrapper': _in_estimator(wrap=quantize_model_fn),
    'estimator wrapper': _in_estimator(wrap_estimator=quantize_estimator),
    'slim': slim_training,
}
