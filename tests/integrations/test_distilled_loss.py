"""The loss to which the hook or a wrapper adds the term of a distillation, and refusals if that is ambiguous."""
import numpy as np
import pytest
import tensorflow as tf

from tests.combinations import each_value_once
from tests.integrations import trainings
from vai_q_tf import (
    CreateQuantizeTrainingGraph,
    Distillation,
    QuantizeError,
    QuantizeTrainingHook,
    distillation_loss,
    errors,
    quantize_model_fn,
)

v1 = tf.compat.v1
MODES = tf.estimator.ModeKeys


def _clipped(loss):
    variables = v1.trainable_variables()
    gradients, _ = tf.clip_by_global_norm(tf.gradients(loss, variables), 0.1)
    with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
        return v1.train.AdamOptimizer(1e-3).apply_gradients(zip(gradients, variables), v1.train.get_global_step())


def _two_optimizers(loss):
    variables = v1.trainable_variables()
    step = v1.train.get_global_step()
    optimizers = trainings.momentum(), v1.train.AdamOptimizer(1e-3)
    pairs = [optimizer.compute_gradients(loss, part) for optimizer, part in zip(optimizers, (variables[:3], variables[3:]))]
    # None is applied before all are there, or it would be chance what weights the others are made of.
    gradients = [gradient for part in pairs for gradient, _ in part if gradient is not None]
    with tf.control_dependencies(gradients + v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
        return tf.group(optimizers[0].apply_gradients(pairs[0], step), optimizers[1].apply_gradients(pairs[1]))


def _regularized(loss):
    """A sum of two parts, which TensorFlow differentiates without an op for the sum."""
    return trainings.minimize(loss + 0.01 * tf.nn.l2_loss(v1.trainable_variables()[0]), trainings.momentum())


def _double_precision(loss):
    return trainings.minimize(tf.cast(loss, tf.float64), trainings.momentum())


@pytest.mark.parametrize('way, train', each_value_once(
    ['hook', 'model_fn'], [_clipped, _two_optimizers, _double_precision, _regularized]))
def test_train_ops(tmp_path, checkpoint, way, train):
    settings = dict(temperature=3.0, weight=20.0)
    expected = trainings.explicit(tmp_path, checkpoint, lambda loss: train(
        loss + distillation_loss(trainings.config(tmp_path), checkpoint, **settings)))
    with tf.Graph().as_default():
        run = _by_wrapper(way, tmp_path, Distillation(checkpoint, **settings), train)
        trainings.assert_same((run.train(checkpoint=checkpoint), run.state()), expected)


def _by_wrapper(way, directory, distillation, train):
    """A Run whose train op, made by the function `train` of its loss, is changed from outside."""
    runs = []

    def model_fn(features, labels, mode):
        runs.append(trainings.Run())
        runs[-1].train_op = train(runs[-1].loss)
        return tf.estimator.EstimatorSpec(mode, loss=runs[-1].loss, train_op=runs[-1].train_op)

    if way == 'hook':
        model_fn(None, None, MODES.TRAIN)
        QuantizeTrainingHook(trainings.config(directory), distillation=distillation).begin()
    else:
        quantize_model_fn(model_fn, trainings.config(directory), distillation=distillation)(None, None, MODES.TRAIN)
    return runs[-1]


def _two_losses(loss):
    """Gradients of parts of the loss, summed for each variable."""
    variables = v1.trainable_variables()
    parts = [tf.gradients(part, variables) for part in (loss + 0.0, tf.square(loss))]
    with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
        return trainings.momentum().apply_gradients(
            [(one + two, variable) for one, two, variable in zip(*parts, variables)], v1.train.get_or_create_global_step())


def _one_loss_twice(loss):
    """Gradients of each variable by two calls; the term would count twice."""
    variables = v1.trainable_variables()
    parts = [tf.gradients(loss, variables) for _ in range(2)]
    return trainings.momentum().apply_gradients([(one + two, variable) for one, two, variable in zip(*parts, variables)])


def _a_loss_for_each(loss):
    """Two losses, each for other variables."""
    variables = v1.trainable_variables()
    return tf.group(trainings.momentum().minimize(loss, var_list=variables[:3]),
                    trainings.momentum().minimize(tf.square(loss), var_list=variables[3:]))


def _scaled(loss):
    optimizer = trainings.momentum()
    pairs = optimizer.compute_gradients(loss * 128.0)
    return optimizer.apply_gradients([(gradient / 128.0, variable) for gradient, variable in pairs])


def _mixed_precision(loss):
    return trainings.minimize(loss, v1.train.experimental.enable_mixed_precision_graph_rewrite(trainings.momentum(), 'dynamic'))


def _weighed(loss):
    variables = v1.trainable_variables()
    return trainings.momentum().apply_gradients(zip(tf.gradients(loss, variables, grad_ys=tf.constant(0.5)), variables))


def _of_others(loss):
    """The loss is differentiated, but by no variable of the network."""
    variable = v1.get_variable('other', [])
    return trainings.momentum().minimize(loss * tf.square(variable), var_list=[variable])


def _vector(loss):
    return trainings.minimize(tf.stack([loss, loss]), trainings.momentum())


REFUSED = {
    'two losses': (_two_losses, 'not evident which is the loss'),
    'one loss twice': (_one_loss_twice, 'not evident which is the loss'),
    'a loss for each': (_a_loss_for_each, 'not evident which is the loss'), 'scaled': (_scaled, 'multiplied by a factor'),
    'mixed precision': (_mixed_precision, 'multiplied by a factor'), 'weighed': (_weighed, 'multiplied by a factor'),
    'of others': (_of_others, 'no gradient trains a variable of the network'), 'vector': (_vector, 'not a scalar')}


@pytest.mark.parametrize('way, name', each_value_once(['hook', 'model_fn'], sorted(REFUSED)))
def test_losses_that_are_not_evident(tmp_path, checkpoint, way, name):
    train, text = REFUSED[name]
    with pytest.raises(QuantizeError, match='{}.*distillation_loss'.format(text)) as raised:
        _by_wrapper(way, tmp_path, Distillation(checkpoint), train)
    assert raised.value.code == errors.UNSUPPORTED_GRAPH


@pytest.mark.parametrize('way', ['hook', 'model_fn'])
def test_of_two_players_the_range_decides(tmp_path, checkpoint, way):
    """A network before the range has its own loss through the range, like the generator of a GAN."""
    def model(with_term):
        v1.set_random_seed(6)
        step = v1.train.get_or_create_global_step()
        made = v1.layers.dense(tf.ones([16, 3]), 128, name='generator')
        labels = tf.constant(trainings.LABELS[:16])
        logits = trainings.network(tf.reshape(made, [16, 8, 8, 2]), True)
        loss, against = trainings.cross_entropy(labels, logits), -trainings.cross_entropy(labels, logits) + 3.0
        if with_term:
            loss += distillation_loss(trainings.config(tmp_path), checkpoint)
            CreateQuantizeTrainingGraph(trainings.config(tmp_path))
        variables = v1.trainable_variables()
        own = [variable for variable in variables if 'generator' in variable.name]
        optimizers = [trainings.momentum(), trainings.momentum()]
        others = [variable for variable in variables if variable not in own]
        gradients = [optimizer.compute_gradients(player, var_list=players) for optimizer, player, players in zip(
            optimizers, [against, loss], [own, others])]
        with tf.control_dependencies([gradient for pairs in gradients for gradient, _ in pairs]):
            applied = [optimizer.apply_gradients(pairs) for optimizer, pairs in zip(optimizers, gradients)]
        with tf.control_dependencies(applied):
            return loss, v1.assign_add(step, 1)

    def states(build):
        with tf.Graph().as_default(), v1.Session(config=trainings.SESSION) as session:
            train_op = build()
            session.run(v1.global_variables_initializer())
            for _ in range(3):
                session.run(train_op)
            return session.run({variable.op.name: variable for variable in v1.global_variables()})

    distillation = Distillation(checkpoint)

    def by_way():
        if way == 'hook':
            train_op = model(False)[1]
            QuantizeTrainingHook(trainings.config(tmp_path), distillation=distillation).begin()
            return train_op
        return quantize_model_fn(lambda features, labels, mode: tf.estimator.EstimatorSpec(
            mode, None, *model(False)), trainings.config(tmp_path), distillation=distillation)(None, None, MODES.TRAIN).train_op

    expected = states(lambda: model(True)[1])
    found = states(by_way)
    assert sorted(expected) == sorted(found)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
