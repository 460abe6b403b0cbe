"""Parts of model functions as users write them: networks, and functions from a loss to a train op.

A network is a function (images [16, 8, 8, 2], training) -> features for the heads. A recipe is a function (loss, step, losses)
-> train op, where `losses` are the parts that `loss` sums.
"""
import numpy as np
import tensorflow as tf
from tensorflow.contrib import slim

v1 = tf.compat.v1

_RANDOM = np.random.RandomState(3)
IMAGES = _RANDOM.randn(64, 8, 8, 2).astype(np.float32) * 3
LABELS = _RANDOM.randint(0, 4, 64)


def layers_network(images, training, **options):
    """tf.layers, batch norm, average pool, dense."""
    net = v1.layers.conv2d(images, 8, 3, use_bias=False, name='conv1', **options)
    net = tf.nn.relu(v1.layers.batch_normalization(net, training=training, momentum=0.9, name='norm1'), name='relu1')
    return tf.reduce_mean(net, [1, 2], name='pool')


def regularized_network(images, training):
    """With an L2 loss of the weights."""
    return layers_network(images, training, kernel_regularizer=v1.keras.regularizers.l2(0.01))


def slim_network(images, training):
    """tf.slim with unfused batch norms and a depthwise convolution."""
    options = {'normalizer_fn': slim.batch_norm, 'normalizer_params': {
        'is_training': training, 'decay': 0.9, 'scale': True, 'fused': False}}
    net = slim.conv2d(images, 8, 3, scope='conv1', weights_regularizer=slim.l2_regularizer(0.01), **options)
    net = slim.separable_conv2d(net, None, 3, depth_multiplier=1, scope='depthwise', **options)
    return slim.flatten(slim.max_pool2d(net, 2, scope='pool'))


def keras_network(images, training):
    """tf.keras layers on resource variables."""
    layers = tf.keras.layers
    net = layers.Conv2D(8, 3, name='conv1')(images)
    norm = layers.BatchNormalization(momentum=0.9, name='norm1')
    net = layers.ReLU(name='relu1')(norm(net, training=training))
    for update in norm.updates:
        v1.add_to_collection(v1.GraphKeys.UPDATE_OPS, update)
    net = layers.DepthwiseConv2D(3, name='depthwise')(net)
    return layers.GlobalAveragePooling2D(name='pool')(net)


def shared_network(images, training):
    """Two towers with the same weights; the updates of shared moving averages would run in any order."""
    with v1.variable_scope('tower'):
        left = layers_network(images, False)
    with v1.variable_scope('tower', reuse=True):
        return left + layers_network(tf.reverse(images, [1]), False)


def partitioned_network(images, training):
    """Partitioned weights outside the range."""
    net = layers_network(images, training)
    with v1.variable_scope('parts', partitioner=v1.fixed_size_partitioner(2)):
        return net * tf.convert_to_tensor(v1.get_variable('scale', [8]))


def _minimize(optimizer, loss, step, **options):
    with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
        return optimizer.minimize(loss, step, **options)


def sgd(loss, step, losses):
    return _minimize(v1.train.GradientDescentOptimizer(0.05), loss, step)


def summarized(loss, step, losses):
    """Momentum, with histograms of gradients."""
    optimizer = v1.train.MomentumOptimizer(0.02, 0.9)
    pairs = optimizer.compute_gradients(loss)
    for gradient, variable in pairs:
        v1.summary.histogram(variable.op.name, gradient)
    with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
        return optimizer.apply_gradients(pairs, step)


def sgd_options(loss, step, losses):
    """No gating, colocation, and the update ops grouped with the train op."""
    optimizer = v1.train.GradientDescentOptimizer(0.05)
    train = optimizer.minimize(loss, step, gate_gradients=optimizer.GATE_NONE, colocate_gradients_with_ops=True)
    return tf.group(train, *v1.get_collection(v1.GraphKeys.UPDATE_OPS))


def sgd_gated(loss, step, losses):
    return _minimize(v1.train.GradientDescentOptimizer(0.05), loss, step, gate_gradients=v1.train.Optimizer.GATE_GRAPH)


def adam_clipped(loss, step, losses):
    """Clipped by the global norm, checked, scaled, with histograms of gradients."""
    optimizer = v1.train.AdamOptimizer(0.01)
    gradients, variables = zip(*optimizer.compute_gradients(loss))
    for gradient, variable in zip(gradients, variables):
        v1.summary.histogram(variable.op.name, gradient)
    gradients, norm = tf.clip_by_global_norm(gradients, 0.3)
    with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS) + [v1.debugging.check_numerics(norm, 'norm')]):
        return optimizer.apply_gradients(zip([gradient * 0.5 for gradient in gradients], variables), step)


def two_optimizers(loss, step, losses):
    """One for the first layer, one for the others; both wait for all gradients."""
    first, others = v1.train.MomentumOptimizer(0.02, 0.9), v1.train.AdamOptimizer(0.01)
    variables = v1.trainable_variables()
    pairs = first.compute_gradients(loss, [variable for variable in variables if 'conv1' in variable.name])
    more = others.compute_gradients(loss, [variable for variable in variables if 'conv1' not in variable.name])
    with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS) + [gradient for gradient, _ in pairs + more]):
        return tf.group(first.apply_gradients(pairs), others.apply_gradients(more, step))


def two_calls(loss, step, losses):
    """The sum of the gradients of two losses."""
    optimizer = v1.train.MomentumOptimizer(0.02, 0.9)
    first, second = (optimizer.compute_gradients(part) for part in losses[:2])
    total = [(one if other is None else other if one is None else one + other, variable)
             for (one, variable), (other, _) in zip(first, second)]
    with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
        return optimizer.apply_gradients(total, step)


def two_losses(loss, step, losses):
    """Both losses in one call of tf.gradients, each with its own weight."""
    variables = v1.trainable_variables()
    gradients = tf.gradients(losses[:2], variables, grad_ys=[tf.constant(0.7), tf.constant(0.3)])
    with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
        return v1.train.GradientDescentOptimizer(0.05).apply_gradients(zip(gradients, variables), step)


def averaged(loss, step, losses):
    """Moving averages of all weights and statistics, after each step."""
    average = tf.train.ExponentialMovingAverage(0.9)
    with tf.control_dependencies([_minimize(v1.train.GradientDescentOptimizer(0.05), loss, step)]):
        return average.apply(v1.trainable_variables() + v1.moving_average_variables() + v1.model_variables())


def accumulated(loss, step, losses):
    """Momentum with the gradients of every two steps; scaled for numbers of 16 bits."""
    optimizer = v1.train.MomentumOptimizer(0.02, 0.9)
    pairs = [(gradient / 128, variable) for gradient, variable in optimizer.compute_gradients(loss * 128)]
    sums = [v1.get_variable(variable.op.name + '/sum', variable.shape, initializer=v1.zeros_initializer(), trainable=False)
            for _, variable in pairs]
    with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
        add = tf.group(*[v1.assign_add(total, gradient) for total, (gradient, _) in zip(sums, pairs)])

    def apply():
        with tf.control_dependencies([optimizer.apply_gradients(
                [(tf.identity(total), variable) for total, (_, variable) in zip(sums, pairs)])]):
            return tf.group(*[v1.assign(total, tf.zeros_like(total)) for total in sums])

    with tf.control_dependencies([add]):
        applied = tf.cond(tf.equal(step % 2, 1), apply, tf.no_op)
    with tf.control_dependencies([applied]):
        return v1.assign_add(step, 1)


def applied_in_a_condition(loss, step, losses):
    """Gradients that are only applied where they are finite, through the switches of the condition."""
    optimizer = v1.train.MomentumOptimizer(0.02, 0.9)
    pairs = optimizer.compute_gradients(loss)
    finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(gradient)) for gradient, _ in pairs])
    with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
        applied = tf.cond(finite, lambda: optimizer.apply_gradients(pairs), tf.no_op)
    with tf.control_dependencies([applied]):
        return v1.assign_add(step, 1)


def decayed(loss, step, losses):
    """Adam with decoupled weight decay."""
    optimizer = tf.contrib.opt.AdamWOptimizer(0.01, learning_rate=0.01)
    pairs = optimizer.compute_gradients(loss)
    # Weights decay at once when nothing else is said.
    with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS) + [gradient for gradient, _ in pairs]):
        return optimizer.apply_gradients(pairs, step)


def slim_train_op(loss, step, losses):
    return slim.learning.create_train_op(
        loss, v1.train.RMSPropOptimizer(0.01), global_step=step, clip_gradient_norm=0.5, summarize_gradients=True,
        colocate_gradients_with_ops=True)


def contrib_train_op(loss, step, losses):
    return tf.contrib.training.create_train_op(
        loss, v1.train.AdamOptimizer(0.01), global_step=step,
        transform_grads_fn=tf.contrib.training.clip_gradient_norms_fn(0.5))


def optimize_loss(loss, step, losses):
    return tf.contrib.layers.optimize_loss(
        loss, step, 0.05, lambda rate: v1.train.MomentumOptimizer(rate, 0.9), clip_gradients=0.5, gradient_multipliers={
            variable: 2.0 for variable in v1.trainable_variables()[:1]}, summaries=['gradients', 'gradient_norm'])


def keras_optimizer(loss, step, losses):
    """A tf.keras optimizer, which calls tf.gradients itself."""
    variables = v1.trainable_variables()
    optimizer = tf.keras.optimizers.Adam(0.01)
    with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
        updates = optimizer.get_updates(loss, variables)
    with tf.control_dependencies(updates):
        return v1.assign_add(step, 1)


def loss_scaled(loss, step, losses):
    """The wrapper for mixed precision, with its loss scale."""
    return _minimize(tf.train.experimental.enable_mixed_precision_graph_rewrite(
        v1.train.MomentumOptimizer(0.02, 0.9)), loss, step)


def loop_and_condition(logits):
    """A recurrent network and a condition after the network."""
    cell = tf.nn.rnn_cell.LSTMCell(5, name='cell')
    values, _ = v1.nn.dynamic_rnn(cell, tf.stack([logits, logits * 0.5], 1), dtype=tf.float32)
    weights = v1.get_variable('either', [5, 4])
    return tf.cond(tf.reduce_sum(values) > 0, lambda: tf.matmul(values[:, -1], weights),
                   lambda: tf.matmul(values[:, 0], weights * 2))


def embedded(logits):
    """Rows of a table, some of them more than once."""
    table = v1.get_variable('table', [10, 4])
    rows = v1.nn.embedding_lookup(table, tf.range(16) % 5) + v1.nn.embedding_lookup(table, tf.range(16) % 7)
    return logits * rows


def sparse_adam(loss, step, losses):
    """Clipped; gradients may be tf.IndexedSlices."""
    optimizer = v1.train.AdamOptimizer(0.01)
    gradients, variables = zip(*optimizer.compute_gradients(loss))
    gradients, _ = tf.clip_by_global_norm(gradients, 0.3)
    with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
        return optimizer.apply_gradients(zip(gradients, variables), step)
