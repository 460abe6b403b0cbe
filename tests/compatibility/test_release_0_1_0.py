"""Files of release 0.1.0 can be read: this version resumes its trainings and deploys the same numbers.

Names are those of a frozen file since, and a batch norm that stands alone adds the rounding of beta - mean * scale, where 0.1.0
took the mean times the rounded scale. All else that the two versions quantize is compared one by one.
"""
import functools
import io
import json
import os

import h5py
import numpy as np
import onnxruntime
import pytest
import tensorflow.compat.v1 as tf
from tensorflow import keras

import vai_q_tensorflow as vq
from tests import quick_tensorflow
from tests.compatibility import release_0_1_0 as release
from vai_q_tf import fixed_point
from vai_q_tf.lint.lint import lint

_NUMBERS = release.expected()
_NEXT = release.STEPS, release.MORE
# Sums of float training have no order that all machines keep; deployed networks compute with integers, which are exact.
_LOSS = 1e-4
# On some processors a sum falls on the other side of a tie, which changes a quantized weight of that network by a step.
_LOSS_OF_A_TURNED_WEIGHT = 1e-3
# The offset of the unfused batch norm has another rounding error.
_LOSS_OF_MIXED = 0.03
_ULPS = 5e-7
_OFFSET = 'norm3/FusedBatchNormV3/offset'
_BEHIND_OFFSET = ('relu3', 'max_pool', 'average_pool', 'concat', 'flat', 'logits/BiasAdd')
_EARLIER = {
    'conv1/kernel/wquant': 'conv1/BatchNorm_Fold/mul_1/wquant',
    'conv1/bias/wquant': 'conv1/BatchNorm_Fold/add_1/wquant',
    'conv1/kernel/biases/wquant': 'conv1/BatchNorm_Fold/sub/wquant',
    'depthwise/kernel/wquant': 'depthwise/BatchNorm_Fold/mul_1/wquant',
    'depthwise/kernel/biases/wquant': 'depthwise/BatchNorm_Fold/sub/wquant',
    'norm3/FusedBatchNormV3/scale/wquant': 'norm3/FusedBatchNormV3/BatchNorm_Fold/mul_0/wquant',
    _OFFSET + '/wquant': 'norm3/FusedBatchNormV3/BatchNorm_Fold/sub/wquant',
    'conv2/kernel/wquant': 'conv2/kernel/read/wquant',
    'conv2/bias/wquant': 'conv2/bias/read/wquant',
    'conv3/kernel/wquant': 'conv3/kernel/read/wquant',
    'conv3/bias/wquant': 'conv3/bias/read/wquant',
    'logits/kernel/wquant': 'logits/kernel/read/wquant',
    'logits/bias/wquant': 'logits/bias/read/wquant',
    'average_pool/AvgPool/mul/aquant': 'average_pool/AvgPool/aquant',
    'pool/mul/aquant': 'pool/aquant',
    'pool/squeeze/aquant': 'pool/aquant',
}

each_case = pytest.mark.parametrize('name', sorted(release.CASES))


@pytest.fixture(autouse=True)
def working_directory(tmp_path, monkeypatch):
    """FixNeurons have the directory in an attr, so it has to be the same relative one."""
    monkeypatch.chdir(tmp_path)


def session():
    return tf.Session(config=quick_tensorflow.one_thread())


@functools.lru_cache(None)
def training(name):
    """(the training graph that this version builds, a Saver that was made before the optimizer)"""
    with tf.Graph().as_default() as graph:
        return graph, release.build_training(name)


@functools.lru_cache(None)
def stored_training(name):
    """(the training graph of a stored meta graph, its Saver)"""
    with tf.Graph().as_default() as graph:
        saver = tf.train.import_meta_graph(release.meta_graph('{}.ckpt-{}.meta'.format(name, release.STEPS)))
        release.order_updates()
        return graph, saver


@functools.lru_cache(None)
def evaluation(name):
    """(the evaluation graph that this version builds, a Saver)"""
    with tf.Graph().as_default() as graph:
        release.build_evaluation(name)
        return graph, tf.train.Saver()


@pytest.fixture(scope='module', autouse=True)
def graphs():
    yield
    for kept in (training, stored_training, evaluation):
        kept.cache_clear()


def read_graph(path):
    return tf.GraphDef.FromString(release.read(path))


def assert_exact(found, name):
    np.testing.assert_array_equal(found, np.array(_NUMBERS[name]['logits'], np.float32))


def assert_same_positions(found, expected):
    """Each tensor has the position that the stored one of its name, or of its earlier name, has."""
    assert found == {name: expected[_EARLIER.get(name, name)] for name in found}
    assert {_EARLIER.get(name, name) for name in found} == set(expected)


def constants(graph_def):
    """{name of a FixNeuron, as 0.1.0 called it: (the Const that it quantizes, its NodeDef)}"""
    nodes = {node.name: node for node in graph_def.node}
    return {_EARLIER.get(node.name, node.name): (tf.make_ndarray(nodes[node.input[0]].attr['value'].tensor), node)
            for node in graph_def.node if node.op == 'FixNeuron' and nodes[node.input[0]].op == 'Const'}


def integers(value, node):
    position, mode = node.attr['quantize_pos'].i, ('half_away', 'half_up')[node.attr['mode'].i == 1]
    return fixed_point.quantize(value, position, node.attr['bit_width'].i, mode)


def assert_same_constants(model, name):
    """All weights and biases are the stored ones, but for the offset of the batch norm that stands alone: see its formula."""
    found, expected = constants(model), constants(release.graph(name + '_model.pb'))
    assert set(found) == set(expected)
    for key, (value, node) in found.items():
        before, _ = expected[key]
        if key == _EARLIER[_OFFSET + '/wquant']:
            before = offset_by_formula(release.checkpoint(name))
        np.testing.assert_allclose(value, before, rtol=1e-6, atol=1e-7, err_msg=key)
        np.testing.assert_array_equal(integers(value, node), integers(before, node), err_msg=key)


def offset_by_formula(checkpoint):
    reader = tf.train.load_checkpoint(checkpoint)
    gamma, beta, mean, variance = (reader.get_tensor('norm3/' + part).astype(np.float64)
                                   for part in ('gamma', 'beta', 'moving_mean', 'moving_variance'))
    return (beta - mean * gamma / np.sqrt(variance + 1e-3)).astype(np.float32)


def with_stored_offset(model, name):
    """The model with the constant that 0.1.0 would write for the batch norm that stands alone."""
    stored = {node.name: node for node in release.graph(name + '_model.pb').node}
    changed = tf.GraphDef.FromString(model.SerializeToString())
    for node in changed.node:
        if node.name == _OFFSET or node.name.endswith('BatchNorm_Fold/sub') and node.name.startswith('norm3'):
            node.attr['value'].CopyFrom(stored[_OFFSET].attr['value'])
    return changed


def assert_deployed(path, name):
    """The model of a file computes with the stored numbers of a case, and the compiler takes it; the suffix has the step."""
    assert '{}_{}_'.format(release.MODEL, release.STEPS) in path
    model = read_graph(path)
    assert_same_positions(release.positions(model), _NUMBERS[name]['positions'])
    assert_same_constants(model, name)
    assert lint(model) == []
    symmetric = {node.name for node in model.node if '_symmetric' in node.attr}
    assert symmetric == ({key for key in release.positions(model) if key.endswith('/aquant')} if name == 'symmetric' else set())
    assert_exact(release.run_model(with_stored_offset(model, name), {'net_in:0': release.images_of_evaluation()}), name)
    return model


def evaluated(name, checkpoint):
    """The result of the evaluation graph that this version builds."""
    graph, saver = evaluation(name)
    with graph.as_default(), session() as running:
        saver.restore(running, checkpoint)
        return running.run(release.RESULT, {'images:0': release.images_of_evaluation()})


def deploy(name, checkpoint):
    """The files of CreateQuantizeDeployGraph; they go where deploy_checkpoint writes, too."""
    with evaluation(name)[0].as_default():
        return vq.CreateQuantizeDeployGraph(checkpoint, release.config(name, output_dir=os.path.join('quantized', 'deploy')))


def assert_goes_on(checkpoint, name, losses, tolerance, added=()):
    """The checkpoint, a few steps after the stored one, has its names and those `added`, and the expected positions."""
    np.testing.assert_allclose(losses, _NUMBERS[name]['losses'], rtol=tolerance)
    written, before = (tf.train.load_checkpoint(path).get_variable_to_shape_map()
                       for path in (checkpoint, release.checkpoint(name)))
    of_positions = {'vai_q_tf/positions/' + part for part in ('tensors', 'variables', 'votes')}
    assert set(written) == set(before) | set(added) and of_positions < set(before)
    assert [key for key in before if written[key] != before[key] and not (added and key in of_positions)] == []
    model = read_graph(deploy(name, checkpoint).eval_model)
    assert_same_positions(release.positions(model), _NUMBERS[name]['positions_after'])
    np.testing.assert_array_equal(
        release.run_model(model, {'net_in:0': release.images_of_evaluation()}), evaluated(name, checkpoint))


@each_case
def test_a_newly_built_training_resumes_from_the_checkpoint(name, tmp_path):
    with training(name)[0].as_default(), session() as running:
        saver = tf.train.Saver()
        saver.restore(running, release.checkpoint(name))
        losses = release.take_steps(running, *_NEXT)
        checkpoint = saver.save(running, str(tmp_path / 'after.ckpt'))
    assert_goes_on(checkpoint, name, losses, _LOSS_OF_MIXED if name == 'mixed' else _LOSS,
                       ['vai_q_tf/positions/' + part for part in ('bits', 'structures', 'start/noted')])


@each_case
def test_the_meta_graph_of_the_training_resumes_from_the_checkpoint(name, tmp_path):
    graph, saver = stored_training(name)
    with graph.as_default(), session() as running:
        saver.restore(running, release.checkpoint(name))
        hook = vq.QuantizePositionHook(str(tmp_path), statistics=False)
        hook.begin()
        hook.after_create_session(running, None)
        losses = release.take_steps(running, *_NEXT)
        hook.follow(running, sum(_NEXT))
        checkpoint = saver.save(running, str(tmp_path / 'after.ckpt'))
    assert_goes_on(checkpoint, name, losses, _LOSS_OF_A_TURNED_WEIGHT if name == 'mixed' else _LOSS)
    assert {change.tensor: change.position for change in hook.history} == _NUMBERS[name]['positions_after']


def activations(graph, checkpoint, feeds):
    """{name: (quantized activation, position)} of a training step from the checkpoint."""
    with graph.as_default(), session() as running:
        tf.train.Saver().restore(running, checkpoint)
        neurons = {op.name: (op.outputs[0], op.inputs[1]) for op in graph.get_operations()
                   if op.type == 'VaiFixNeuron' and op.name.endswith('/aquant')}
        return running.run(neurons, feeds)


@each_case
def test_the_next_step_computes_what_it_computed(name):
    """All activations of a training step before the unfused batch norm."""
    feeds = release.batch(release.STEPS)
    before, now = (activations(build(name)[0], release.checkpoint(name), feeds) for build in (stored_training, training))
    compared = set()
    for key, (value, position) in now.items():
        copy, plain = key.rpartition('clone_')[1] and key.partition('/')[0] + '/', key.partition('/')[2]
        earlier = copy + _EARLIER.get(plain, plain) if copy else _EARLIER.get(key, key)
        if name == 'mixed' and earlier.startswith(_BEHIND_OFFSET):
            continue
        np.testing.assert_array_equal(value.ravel(), before[earlier][0].ravel(), err_msg=key)
        assert position == before[earlier][1], key
        compared.add(earlier)
    assert compared == ({'net_in/aquant', 'relu1/aquant', 'leaky2/aquant', 'conv3/BiasAdd/aquant', 'add/aquant'}
                        if name == 'mixed' else set(before))


def test_a_training_starts_from_the_float_checkpoint():
    graph, saver = training('mixed')
    with graph.as_default(), session() as running:
        running.run(tf.global_variables_initializer())
        saver.restore(running, release.stored(release.FLOAT))
        losses = release.take_steps(running, 0, release.STEPS)
    np.testing.assert_allclose(losses, _NUMBERS['mixed']['first_losses'], rtol=_LOSS_OF_MIXED)


@each_case
def test_the_meta_graph_of_the_evaluation_computes_the_stored_result(name):
    with session() as running:
        tf.train.import_meta_graph(release.meta_graph(name + '_evaluation.meta')).restore(running, release.checkpoint(name))
        assert_exact(running.run(release.RESULT, {'images:0': release.images_of_evaluation()}), name)


@each_case
def test_the_checkpoint_is_deployed_with_its_numbers(name):
    files = deploy(name, release.checkpoint(name))
    model = assert_deployed(files.eval_model, name)
    graph_def, reader = read_graph(files.eval_graph), tf.train.load_checkpoint(release.checkpoint(name))
    assert release.positions(graph_def) == release.positions(model)
    feeds = {node.name + ':0': reader.get_tensor(node.name) for node in graph_def.node if node.op == 'VariableV2'}
    result = release.run_model(model, {'net_in:0': release.images_of_evaluation()})
    np.testing.assert_array_equal(evaluated(name, release.checkpoint(name)), result)
    np.testing.assert_array_equal(
        release.run_model(graph_def, dict(feeds, **{'images:0': release.images_of_evaluation()})), result)
    if name != 'mixed':
        assert_exact(result, name)


@pytest.mark.parametrize('meta', ['{}.ckpt-{}.meta', '{}_evaluation.meta'])
@each_case
def test_the_checkpoint_is_deployed_from_meta_graphs(name, meta):
    path = vq.deploy_checkpoint(release.meta_graph(meta.format(name, release.STEPS)), release.checkpoint(name),
                                release.config(name))
    model = assert_deployed(path, name)
    np.testing.assert_array_equal(release.run_model(model, {'net_in:0': release.images_of_evaluation()}),
                                  evaluated(name, release.checkpoint(name)))


def test_activations_of_one_case_have_a_symmetric_range():
    for name in release.CASES:
        neurons = [node for node in release.graph(name + '_model.pb').node if node.op == 'FixNeuron']
        symmetric = {node.name for node in neurons if node.attr['_symmetric'].b}
        assert symmetric == ({node.name for node in neurons if node.attr['mode'].i == 1} if name == 'symmetric' else set())


def test_the_frozen_float_graph_is_quantized_as_before_except_moved_tensors():
    """The hardware copies the input of a Reshape, so by now its result has the position of the input."""
    found = tf.GraphDef.FromString(release.read(release.quantize_float_graph()))
    positions = release.positions(found)
    flat = {'flat/Reshape/aquant': positions['concat/aquant']}
    assert positions == dict(_NUMBERS['frozen']['positions'], **flat) != _NUMBERS['frozen']['positions']
    expected = release.graph('frozen_model.pb')
    quantized = [{key: integers(value, node) for key, (value, node) in constants(graph).items()} for graph in (found, expected)]
    assert set(quantized[0]) == set(quantized[1])
    for key, value in quantized[0].items():
        np.testing.assert_array_equal(value, quantized[1][key], err_msg=key)
    nodes, earlier = [{node.name: node for node in graph.node} for graph in (found, expected)]
    assert set(nodes) == set(earlier)
    for name, before in earlier.items():
        node = nodes[name]
        if name in flat:
            before.attr['quantize_pos'].i = flat[name]
        if before.op == 'FixNeuron':
            before.attr['output_dir'].s = b''  # no tool reads it, and models of two directories are equal without
        if before.op == 'Const':
            values = [tf.make_ndarray(constant.attr['value'].tensor) for constant in (node, before)]
            np.testing.assert_allclose(*values, rtol=_ULPS, err_msg=name)
            node.attr['value'].CopyFrom(before.attr['value'])
    assert nodes == earlier


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


def loaded_keras(tmp_path, **fields):
    path = tmp_path / release.KERAS_WEIGHTS
    path.write_bytes(release.read(release.stored(release.KERAS_WEIGHTS)))
    model = release.build_keras(**fields)
    model.load_weights(str(path))
    return model


def test_keras_weights_load_with_their_positions(tmp_path):
    """Without the factor of the pool, which 0.1.0 did not have in training, all is as it was."""
    model = loaded_keras(tmp_path, simulate_dpu=0)
    assert_exact(model.predict(release.images_of_evaluation()), 'keras')
    np.testing.assert_allclose(release.fit_keras(model, *_NEXT), _NUMBERS['keras']['losses'], rtol=_LOSS)
    keras.backend.clear_session()


_KERAS = {
    'conv1/kernel/wquant': 'conv1/BatchNorm_Fold/mul_1/wquant',
    'conv1/kernel/biases/wquant': 'conv1/BatchNorm_Fold/sub/wquant',
    'logits/kernel/wquant': 'logits/MatMul/ReadVariableOp/wquant',
    'logits/bias/wquant': 'logits/BiasAdd/ReadVariableOp/wquant',
    'pool/Mean/mul/aquant': 'pool/Mean/aquant',
    'pool/Mean/squeeze/aquant': 'pool/Mean/aquant',
}


def test_the_votes_of_keras_weights_go_to_the_tensors_of_today(tmp_path):
    with h5py.File(io.BytesIO(release.read(release.stored(release.KERAS_WEIGHTS))), 'r') as stream:
        saved = np.load(io.BytesIO(stream['vai_q_tf_positions'][()].tobytes()))
        before = dict(zip(saved['tensors'].tolist(), saved['votes']))
    model = loaded_keras(tmp_path)
    names, votes = keras.backend.get_session().run(['vai_q_tf/positions/tensors:0', 'vai_q_tf/positions/votes:0'])
    assert {_KERAS.get(name.decode(), name.decode()) for name in names} == set(before)
    for name, row in zip(names, votes):
        np.testing.assert_array_equal(row, before[_KERAS.get(name.decode(), name.decode())], err_msg=name.decode())
    assert np.unique(model.predict(release.images_of_evaluation())).size > 10
    keras.backend.clear_session()


@each_case
def test_the_plans_in_meta_graphs_are_json(name):
    """Later versions may add to them; these are what they have to read."""
    for meta, key in (('{}.ckpt-{}.meta', 'vai_q_tf/training_plan'), ('{}_evaluation.meta', 'vai_q_tf/evaluation_plan')):
        texts = release.meta_graph(meta.format(name, release.STEPS)).collection_def[key].bytes_list.value
        assert [tensor['name'] for tensor in json.loads(texts[0].decode())['tensors']]
