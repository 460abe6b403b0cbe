"""The network that the Keras tests train, by `fit` and by a session loop on CreateQuantizeTrainingGraph."""
import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from tests.loading import load
from vai_q_tf import CreateQuantizeTrainingGraph, QuantizeConfig
from vai_q_tf.qat.positions import position_saveable

backend, layers, v1 = keras.backend, keras.layers, tf.compat.v1
BATCH = 16
RANDOM = np.random.RandomState(0)
IMAGES = RANDOM.randn(64, 8, 8, 3).astype(np.float32)
LABELS = RANDOM.randint(0, 4, 64)


@pytest.fixture(autouse=True)
def session_of_its_own():
    start(1)
    yield
    backend.clear_session()


def start(phase):
    backend.clear_session()
    v1.set_random_seed(1)
    if phase is not None:
        backend.set_learning_phase(phase)


def build(dropout=0.0, activation=None):
    x = inputs = keras.Input([8, 8, 3], name='images')
    x = layers.Conv2D(6, 3, use_bias=False, name='conv1')(x)
    x = layers.ReLU(name='relu1')(layers.BatchNormalization(momentum=0.9, name='norm1')(x))
    x = layers.ReLU(6., name='relu2')(layers.DepthwiseConv2D(3, padding='same', name='depthwise')(x))
    if dropout:
        x = layers.Dropout(dropout, name='dropout')(x)
    x = layers.GlobalAveragePooling2D(name='pool')(x)
    return keras.Model(inputs, layers.Dense(4, activation=activation, name='dense')(x))


def config_of(model, directory, **fields):
    return QuantizeConfig([tensor.op.name for tensor in model.inputs], [tensor.op.name for tensor in model.outputs],
                          output_dir=str(directory), **dict({'recipe': 'manual'}, **fields))


def loss_function():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def compile_(model, **options):
    model.compile(v1.train.MomentumOptimizer(0.1, 0.9), loss_function(), metrics=['accuracy'], **options)


class Losses(keras.callbacks.Callback):
    """The loss of every batch."""

    def __init__(self):
        super().__init__()
        self.values = []

    def on_train_batch_end(self, batch, logs=None):
        self.values.append(float(logs['loss']))


def fit(model, epochs=2, callbacks=(), rounds=1, **options):
    """The loss of every step; `rounds` of the data are an epoch, at whose end a QuantizeCallback saves and freezes."""
    losses, (images, labels) = Losses(), (np.concatenate([data] * rounds) for data in (IMAGES, LABELS))
    model.fit(images, labels, BATCH, epochs, verbose=0, shuffle=False, callbacks=[losses] + list(callbacks), **options)
    return losses.values


def votes_of(graph):
    return backend.get_session().run(graph.get_tensor_by_name(position_saveable.VOTES_KEY + ':0'))


def state_of(model):
    """({variable: value}, votes) of a trained model, variables named as in a float graph."""
    session = backend.get_session()
    names = [variable.op.name for variable in model.weights]
    return dict(zip(names, session.run(model.weights))), votes_of(session.graph)


def float_weights(directory):
    """Saves the weights that every training of a test starts from."""
    path = str(directory / 'float.h5')
    model = build()
    model.set_weights([RANDOM.uniform(0.5, 1.5, value.shape) if 'variance' in weight.name or 'gamma' in weight.name
                       else RANDOM.randn(*value.shape) * 0.3 for weight, value in zip(model.weights, model.get_weights())])
    model.save_weights(path)
    start(1)
    return path


def session_loop(weights, directory, steps=8, **fields):
    """(losses, variables, votes) of the explicit way: a rewrite of the graph and a session of TensorFlow."""
    start(1)
    model = build()
    model.load_weights(weights)
    values = model.get_weights()
    start(1)
    model = build()
    labels = v1.placeholder(tf.int64, [None])
    loss = loss_function()(labels, model.output)
    step = v1.train.get_or_create_global_step()
    CreateQuantizeTrainingGraph(config_of(model, directory / 'loop', **fields))
    with tf.control_dependencies(model.updates):
        train = v1.train.MomentumOptimizer(0.1, 0.9).minimize(loss, step)
    with v1.Session() as session:
        session.run(v1.global_variables_initializer())
        load(dict(zip(model.weights, values)), session)
        losses = []
        for number in range(steps):
            rows = np.arange(number * BATCH, (number + 1) * BATCH) % len(LABELS)
            losses.append(session.run([loss, train], {model.input: IMAGES[rows], labels: LABELS[rows]})[0])
        return (losses,) + state_of(model)


def assert_equal_training(losses, state, expected):
    np.testing.assert_allclose(losses, expected[0], rtol=1e-6)
    assert state[0].keys() == expected[1].keys()
    for name, value in expected[1].items():
        np.testing.assert_allclose(state[0][name], value, rtol=1e-5, atol=1e-6, err_msg=name)
    np.testing.assert_array_equal(state[1], expected[2])


def dense():
    """A model that is quantized in little time."""
    inputs = keras.Input([4], name='features')
    return keras.Model(inputs, layers.Dense(3, name='dense')(inputs))
