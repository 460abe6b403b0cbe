"""tf.keras: `fit` trains as a session loop does, a model evaluates as the frozen network, and positions are saved."""
import functools
import glob

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from tests.combinations import each_pair_once
from tests.integrations.keras.training import (  # noqa: F401  (a fixture among them)
    BATCH,
    IMAGES,
    LABELS,
    Losses,
    assert_equal_training,
    backend,
    build,
    compile_,
    config_of,
    dense,
    fit,
    float_weights,
    layers,
    loss_function,
    session_loop,
    session_of_its_own,
    start,
    state_of,
    v1,
    votes_of,
)
from tests.support import read_graph
from vai_q_tf import CreateQuantizeEvaluationGraph, fixed_point, position_histogram
from vai_q_tf.integrations.keras.callback import QuantizeCallback
from vai_q_tf.integrations.keras.model import quantize_keras_model
from vai_q_tf.qat import graph_record
from vai_q_tf.qat.averages import average_saveable

_FIELDS = {'moving': {}, 'freezing': {'freeze_bn_step': 5, 'freeze_position_step': 6, 'recipe': 'auto'},
           'learned': {'position_update': 'learned'}}


@pytest.fixture(scope='module')
def looped(tmp_path_factory):
    """Function (name) -> (fields of a config, file of float weights, result of the session loop)."""
    @functools.lru_cache(None)
    def get(name):
        fields, directory = _FIELDS[name], tmp_path_factory.mktemp(name)
        weights = float_weights(directory)
        return fields, weights, session_loop(weights, directory, **fields)
    return get


@pytest.mark.parametrize('compiled, loaded, name', each_pair_once(
    ['before', 'after', 'both'], ['before', 'after'], list(_FIELDS)))
def test_fit_equals_the_session_loop(tmp_path, compiled, loaded, name, looped):
    fields, weights, expected = looped(name)
    start(1)
    model = build()
    if loaded == 'before':
        model.load_weights(weights)
    if compiled != 'after':
        compile_(model)
    callback = QuantizeCallback(config_of(model, tmp_path / 'fit', **fields), model)
    if compiled != 'before':
        compile_(model)
    if loaded == 'after':
        model.load_weights(weights)
    losses = fit(model, 1, [callback], rounds=2)
    assert_equal_training(losses, state_of(model), expected)
    assert backend.get_session().run(v1.train.get_global_step()) == 8


def test_only_a_training_learns_positions(tmp_path):
    weights = float_weights(tmp_path)
    start(1)
    model = build()
    model.load_weights(weights)
    callback = QuantizeCallback(config_of(model, tmp_path, position_update='learned'), model)
    compile_(model)
    fit(model, callbacks=[callback])
    graph = backend.get_session().graph
    votes = votes_of(graph)
    assert position_histogram.is_learned(votes).sum() == len(votes) - 1, 'all but the input'
    model.evaluate(IMAGES, LABELS, BATCH, verbose=0)
    model.test_on_batch(IMAGES[:BATCH], LABELS[:BATCH])
    model.predict(IMAGES, BATCH)
    np.testing.assert_array_equal(votes_of(graph), votes)
    model.train_on_batch(IMAGES[:BATCH], LABELS[:BATCH])
    assert not np.array_equal(votes_of(graph), votes)


def test_nodes_may_be_named_as_tensors(tmp_path):
    model = dense()
    config = config_of(model, tmp_path)
    config.input_nodes, config.output_nodes = [[name + ':0' for name in names]
                                               for names in (config.input_nodes, config.output_nodes)]
    assert quantize_keras_model(model, config) is model


def test_fit_runs_the_quantized_network(tmp_path):
    """Equality with the session loop alone does not show that the network is quantized."""
    weights = float_weights(tmp_path)
    model = build()
    model.load_weights(weights)
    quantize_keras_model(model, config_of(model, tmp_path))
    compile_(model)
    model.train_on_batch(IMAGES[:BATCH], LABELS[:BATCH])
    graph, session = v1.get_default_graph(), backend.get_session()
    read, kernel, product = session.run(
        [value for value in graph.get_operation_by_name('conv1/Conv2D').inputs] + ['conv1/Conv2D:0'],
        {model.input: IMAGES[:BATCH]})
    (position,) = {position_histogram.mode_position(row) for row, tensor in zip(
        votes_of(graph), graph_record.training_plan(graph).tensors) if tensor.role == 'input'}
    np.testing.assert_array_equal(read, fixed_point.quantize(IMAGES[:BATCH], position))
    windows = np.stack([read[:, y:y + 6, x:x + 6] for y in range(3) for x in range(3)], -2)
    np.testing.assert_allclose(product, np.einsum('byxkc,kcf->byxf', windows, kernel.reshape(9, 3, 6)), rtol=1e-4, atol=1e-5)


def test_a_loss_that_keras_builds_again_reads_the_quantized_output(tmp_path, looped):
    _, weights, expected = looped('moving')
    start(1)
    model = build()
    model.load_weights(weights)
    compile_(model)
    quantize_keras_model(model, config_of(model, tmp_path))
    losses = fit(model, sample_weight=np.ones(len(LABELS)))  # which makes Keras build loss and metrics again
    assert_equal_training(losses, state_of(model), expected)


def test_a_training_step_runs_each_op_of_the_float_network_once(tmp_path):
    def executed(model):
        metadata = v1.RunMetadata()
        compile_(model, options=v1.RunOptions(trace_level=v1.RunOptions.FULL_TRACE), run_metadata=metadata)
        model.train_on_batch(IMAGES[:BATCH], LABELS[:BATCH])
        graph = backend.get_session().graph
        ran = {node.node_name for device in metadata.step_stats.dev_stats for node in device.node_stats}
        types = [graph.get_operation_by_name(name).type for name in ran if name in graph._nodes_by_name]
        return {kind: types.count(kind) for kind in types if kind.startswith(('Conv2D', 'Depthwise', 'MatMul', 'FusedBatch'))}

    expected = executed(build())
    assert expected['Conv2D'] == 1 and expected['Conv2DBackpropFilter'] == 1
    start(1)
    model = build()
    assert executed(quantize_keras_model(model, config_of(model, tmp_path))) == expected


@pytest.mark.parametrize('activation', [None, 'softmax'])
def test_predict_evaluate_and_validation_run_the_network_that_is_deployed(tmp_path, activation):
    model = build(dropout=0.3, activation=activation)
    config = config_of(model, tmp_path)
    callback = QuantizeCallback(model, config)
    model.compile(v1.train.MomentumOptimizer(0.1, 0.9), keras.losses.SparseCategoricalCrossentropy(
        from_logits=activation is None), metrics=['accuracy'])
    losses = Losses()
    history = model.fit(IMAGES, LABELS, BATCH, 2, verbose=0, validation_data=(IMAGES, LABELS), callbacks=[callback, losses])
    votes = votes_of(backend.get_session().graph)
    predicted = model.predict(IMAGES)
    loss, accuracy = model.evaluate(IMAGES, LABELS, verbose=0)
    np.testing.assert_array_equal(model.predict_on_batch(IMAGES), predicted)
    np.testing.assert_array_equal(votes_of(backend.get_session().graph), votes)
    assert [history.history['val_loss'][-1], history.history['val_acc'][-1]] == pytest.approx([loss, accuracy], rel=1e-6)

    start(0)
    model = build(dropout=0.3, activation=activation)
    name = model.output.op.name
    CreateQuantizeEvaluationGraph(config)
    session = backend.get_session()
    v1.train.Saver().restore(session, tf.train.latest_checkpoint(str(tmp_path)))
    expected = session.run(name + (':0' if activation else '/aquant:0'), {model.input: IMAGES})
    np.testing.assert_array_equal(predicted, expected)
    if activation is None:
        rows = expected - expected.max(1, keepdims=True)
        crossentropy = np.log(np.exp(rows).sum(1)) - rows[np.arange(len(LABELS)), LABELS]
        assert loss == pytest.approx(crossentropy.mean(), rel=1e-5)
    assert accuracy == pytest.approx(np.mean(expected.argmax(1) == LABELS))

    (frozen,) = glob.glob(str(tmp_path / 'quantize_eval_model_8_*.pb'))
    graph_def = read_graph(frozen)
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(graph_def, name='')
        np.testing.assert_array_equal(session.run(graph_def.node[-1].name + ':0', {'images:0': IMAGES}), predicted)


def save(model, path):
    if path.endswith('model.h5'):
        model.save(path)
    elif path.endswith('checkpoint'):
        path = tf.train.Checkpoint(model=model).save(path, session=backend.get_session())
    else:
        model.save_weights(path)
    return path


def load(model, path):
    if 'checkpoint' in path:
        tf.train.Checkpoint(model=model).restore(path).initialize_or_restore(backend.get_session())
    else:
        model.load_weights(path)


_FILES = ['weights.h5', 'weights', 'model.h5', 'checkpoint']


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
    """({file: path}, predictions, votes) of a model after `fit`."""
    directory = tmp_path_factory.mktemp('saved')
    start(1)
    model = build()
    quantize_keras_model(model, config_of(model, directory))
    compile_(model)
    fit(model)
    return ({file: save(model, str(directory / file)) for file in _FILES}, model.predict(IMAGES),
            votes_of(model.inputs[0].graph))


@pytest.mark.parametrize('file', _FILES)
def test_positions_are_saved_with_the_weights(tmp_path, file, saved):
    paths, predicted, votes = saved
    path = paths[file]
    start(0)
    model = build()
    load(quantize_keras_model(model, config_of(model, tmp_path)), path)
    np.testing.assert_array_equal(votes_of(model.inputs[0].graph), votes)
    np.testing.assert_array_equal(model.predict(IMAGES), predicted)
    assert backend.get_session().run(v1.train.get_global_step()) == 8
    start(0)
    model = build()  # a float model takes the weights and leaves the positions
    load(model, path)
    assert np.abs(model.predict(IMAGES) - predicted).max() < 0.5


def test_training_continues_from_its_checkpoint(tmp_path, looped):
    _, weights, expected = looped('moving')

    def quantized():
        start(1)
        model = build()
        quantize_keras_model(model, config_of(model, tmp_path))
        compile_(model)
        return model

    model = quantized()
    model.load_weights(weights)
    losses = fit(model, epochs=1)
    model.save_weights(str(tmp_path / 'weights'))  # with the state of the optimizer
    model = quantized()
    model.load_weights(str(tmp_path / 'weights'))
    losses += fit(model, epochs=1)
    assert_equal_training(losses, state_of(model), expected)


@pytest.mark.parametrize('name', ['float.h5', 'float'])
def test_float_weights_begin_a_new_training(tmp_path, capfd, name):
    """As when several settings are tried in one graph."""
    model = build()
    for layer in model.layers:
        layer.set_weights([np.random.RandomState(0).rand(*weight.shape) for weight in layer.get_weights()])
    model.save_weights(str(tmp_path / name))
    model.save_weights(str(tmp_path / 'by_name.h5'))
    quantize_keras_model(model, config_of(model, tmp_path, recipe='auto', average_step=1))
    compile_(model)
    first = fit(model)
    model.load_weights(str(tmp_path / 'by_name.h5'), by_name=True)
    assert votes_of(model.inputs[0].graph).any()
    model.load_weights(str(tmp_path / name))
    assert not votes_of(model.inputs[0].graph).any()
    compile_(model)
    assert fit(model) == first
    assert capfd.readouterr().err.count('This training starts from float weights.') == 2
    count, _ = backend.get_session().run(average_saveable.STEPS_KEY + ':0')
    assert count == 8


def test_sequential_models_and_several_outputs(tmp_path):
    model = keras.Sequential([layers.Conv2D(4, 3, activation='relu', input_shape=(8, 8, 3), name='conv'),
                              layers.Flatten(), layers.Dense(4, name='dense')])
    quantize_keras_model(model, config_of(model, tmp_path))
    compile_(model)
    first, *_, last = fit(model, epochs=5)
    assert last < first and model.predict(IMAGES).shape == (64, 4)
    assert isinstance(model, keras.Sequential)

    start(1)
    inputs = keras.Input([8, 8, 3], name='images')
    x = layers.Conv2D(4, 3, activation='relu', name='conv')(inputs)
    x = layers.Flatten()(x)
    model = keras.Model(inputs, [layers.Dense(4, name='class')(x), layers.Dense(1, name='size')(x)])
    quantize_keras_model(model, config_of(model, tmp_path))
    model.compile('adam', [loss_function(), 'mse'], metrics={'class': ['accuracy'], 'size': ['mae']})
    sizes = IMAGES.mean((1, 2, 3))
    model.fit(IMAGES, [LABELS, sizes], BATCH, 3, verbose=0)
    classes, guesses = model.predict(IMAGES)
    results = dict(zip(model.metrics_names, model.evaluate(IMAGES, [LABELS, sizes], verbose=0)))
    assert results['size_loss'] == pytest.approx(np.mean((guesses[:, 0] - sizes)**2), rel=1e-4)
    assert results['size_mean_absolute_error'] == pytest.approx(np.mean(np.abs(guesses[:, 0] - sizes)), rel=1e-4)
    assert results['class_acc'] == pytest.approx(np.mean(classes.argmax(1) == LABELS))
