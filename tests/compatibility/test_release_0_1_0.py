"""What release 0.1.0 wrote is read by every later version, which trains on from it and deploys the same models."""
import json

import numpy as np
import onnxruntime
import pytest
import tensorflow.compat.v1 as tf
from tensorflow import keras

import vai_q_tensorflow as vq
from tests.compatibility import release_0_1_0 as release

_NUMBERS = release.expected()
_NEXT = release.STEPS, release.MORE
# Sums of float training have no order that all machines keep; deployed networks compute with integers, which are exact.
_LOSS = 1e-4

each_case = pytest.mark.parametrize('name', sorted(release.CASES))


@pytest.fixture(autouse=True)
def working_directory(tmp_path, monkeypatch):
    """FixNeurons have the directory in an attr, so it has to be the same relative one."""
    monkeypatch.chdir(tmp_path)


def session():
    return tf.Session(config=release.SESSION)


def assert_stored_graph(path, name):
    """The GraphDef of a file is the stored one."""
    found, expected = tf.GraphDef.FromString(release.read(path)), release.graph(name)
    nodes = {node.name: node for node in expected.node}
    assert [node.name for node in found.node] == list(nodes)
    assert [node for node in found.node if node != nodes[node.name]] == []
    assert found.SerializeToString(deterministic=True) == expected.SerializeToString(deterministic=True)


def assert_deployed(path, name):
    """The model of a file is the stored one of a case; its suffix begins with the step."""
    assert '{}_{}_'.format(release.MODEL, release.STEPS) in path
    assert_stored_graph(path, name + '_model.pb')


def assert_exact(found, name):
    np.testing.assert_array_equal(found, np.array(_NUMBERS[name]['logits'], np.float32))


def assert_positions_after(checkpoint, name):
    """The checkpoint, a few steps after the stored one, has the names of the stored one and the expected positions."""
    written, before = (tf.train.load_checkpoint(path).get_variable_to_shape_map()
                       for path in (checkpoint, release.checkpoint(name)))
    assert written == before
    model = tf.GraphDef.FromString(release.read(release.deploy(name, checkpoint).eval_model))
    assert release.positions(model) == _NUMBERS[name]['positions_after']


@each_case
def test_a_training_that_is_built_afresh_goes_on_from_the_checkpoint(name, tmp_path):
    with session() as running:
        release.build_training(name)
        saver = tf.train.Saver()
        saver.restore(running, release.checkpoint(name))
        losses = release.take_steps(running, *_NEXT)
        checkpoint = saver.save(running, str(tmp_path / 'after.ckpt'))
    np.testing.assert_allclose(losses, _NUMBERS[name]['losses'], rtol=_LOSS)
    assert_positions_after(checkpoint, name)


@each_case
def test_the_meta_graph_of_the_training_goes_on_from_the_checkpoint(name, tmp_path):
    with session() as running:
        saver = tf.train.import_meta_graph(release.meta_graph('{}.ckpt-{}.meta'.format(name, release.STEPS)))
        saver.restore(running, release.checkpoint(name))
        losses = release.take_steps(running, *_NEXT)
        checkpoint = saver.save(running, str(tmp_path / 'after.ckpt'))
    np.testing.assert_allclose(losses, _NUMBERS[name]['losses'], rtol=_LOSS)
    assert_positions_after(checkpoint, name)


def test_a_training_starts_from_the_float_checkpoint():
    with session() as running:
        saver = release.build_training('mixed')
        running.run(tf.global_variables_initializer())
        saver.restore(running, release.stored(release.FLOAT))
        losses = release.take_steps(running, 0, release.STEPS)
    np.testing.assert_allclose(losses, _NUMBERS['mixed']['first_losses'], rtol=_LOSS)


@each_case
def test_the_evaluation_computes_the_stored_result(name):
    with session() as running:
        release.build_evaluation(name)
        tf.train.Saver().restore(running, release.checkpoint(name))
        assert_exact(running.run(release.RESULT, {'images:0': release.images_of_evaluation()}), name)


@each_case
def test_the_meta_graph_of_the_evaluation_computes_the_stored_result(name):
    with session() as running:
        tf.train.import_meta_graph(release.meta_graph(name + '_evaluation.meta')).restore(running, release.checkpoint(name))
        assert_exact(running.run(release.RESULT, {'images:0': release.images_of_evaluation()}), name)


@each_case
def test_the_checkpoint_is_deployed_as_it_was(name):
    files = release.deploy(name, release.checkpoint(name))
    assert_deployed(files.eval_model, name)
    assert_stored_graph(files.eval_graph, name + '_graph.pb')
    for path in files:
        found = release.positions(tf.GraphDef.FromString(release.read(path)))
        assert found == _NUMBERS[name]['positions'] and len(set(found.values())) > 4


@pytest.mark.parametrize('meta', ['{}.ckpt-{}.meta', '{}_evaluation.meta'])
@each_case
def test_the_checkpoint_is_deployed_from_meta_graphs(name, meta):
    path = vq.deploy_checkpoint(release.meta_graph(meta.format(name, release.STEPS)), release.checkpoint(name),
                                release.config(name))
    assert_deployed(path, name)


def test_activations_of_one_case_have_a_symmetric_range():
    for name in release.CASES:
        neurons = [node for node in release.graph(name + '_model.pb').node if node.op == 'FixNeuron']
        symmetric = {node.name for node in neurons if node.attr['_symmetric'].b}
        assert symmetric == ({node.name for node in neurons if node.attr['mode'].i == 1} if name == 'symmetric' else set())


def test_the_frozen_float_graph_is_quantized_as_it_was_but_for_what_is_moved():
    """The hardware copies what a Reshape reads, so its result has the position of that since."""
    found = tf.GraphDef.FromString(release.read(release.quantize_float_graph()))
    positions = release.positions(found)
    flat = {'flat/Reshape/aquant': positions['concat/aquant']}
    assert positions == dict(_NUMBERS['frozen']['positions'], **flat) != _NUMBERS['frozen']['positions']
    expected = release.graph('frozen_model.pb')
    for node in expected.node:
        if node.name in flat:
            node.attr['quantize_pos'].i = flat[node.name]
    assert list(found.node) == list(expected.node)


@pytest.mark.parametrize('name', sorted(release.CASES) + ['frozen'])
def test_the_models_compute_the_stored_result(name):
    model = release.graph(name + '_model.pb')
    assert_exact(release.run_model(model, {'images:0': release.images_of_evaluation()} if name == 'frozen' else {
        'net_in:0': release.images_of_evaluation()}), name)


@each_case
def test_the_evaluation_graphs_compute_the_stored_result_with_the_variables_of_the_checkpoint(name):
    graph_def, reader = release.graph(name + '_graph.pb'), tf.train.load_checkpoint(release.checkpoint(name))
    feeds = {node.name + ':0': reader.get_tensor(node.name) for node in graph_def.node if node.op == 'VariableV2'}
    assert_exact(release.run_model(graph_def, dict(feeds, **{'images:0': release.images_of_evaluation()})), name)


def test_the_onnx_model_computes_the_stored_result():
    data = release.read(release.stored('frozen_model.onnx'))
    running = onnxruntime.InferenceSession(data, providers=['CPUExecutionProvider'])
    feed, = running.get_inputs()
    assert_exact(running.run(None, {feed.name: release.images_of_evaluation()})[0], 'frozen')


def test_keras_weights_load_with_their_positions(tmp_path):
    path = tmp_path / release.KERAS_WEIGHTS
    path.write_bytes(release.read(release.stored(release.KERAS_WEIGHTS)))
    model = release.build_keras()
    model.load_weights(str(path))
    assert_exact(model.predict(release.images_of_evaluation()), 'keras')
    np.testing.assert_allclose(release.fit_keras(model, *_NEXT), _NUMBERS['keras']['losses'], rtol=_LOSS)
    keras.backend.clear_session()


@each_case
def test_the_plans_in_meta_graphs_are_json(name):
    """Later versions may add to them; these are what they have to read."""
    for meta, key in (('{}.ckpt-{}.meta', 'vai_q_tf/training_plan'), ('{}_evaluation.meta', 'vai_q_tf/evaluation_plan')):
        texts = release.meta_graph(meta.format(name, release.STEPS)).collection_def[key].bytes_list.value
        assert [tensor['name'] for tensor in json.loads(texts[0].decode())['tensors']]
