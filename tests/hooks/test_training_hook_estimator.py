"""QuantizeTrainingHook in an Estimator and a MonitoredTrainingSession, with the other hooks, restarts, and misuse."""
import logging
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tests import quick_tensorflow
from tests.hooks import recipes
from tests.hooks.test_training_hook import ONE_THREAD, config, float_checkpoint, float_model
from tests.support import read_graph
from vai_q_tf import (
    CreateQuantizeTrainingGraph,
    QuantizeCheckpointListener,
    QuantizeError,
    QuantizePositionHook,
    QuantizeTrainingHook,
    errors,
)
from vai_q_tf.qat.positions.position_saveable import VOTES_KEY

v1 = tf.compat.v1


def model_fn(features, labels, mode, params):
    """A model_fn as users write it, without quantization."""
    losses, loss, step = float_model(recipes.layers_network)
    if 'start' in params:
        v1.train.init_from_checkpoint(params['start'], {variable.op.name: variable for variable in v1.global_variables()})
    if params.get('explicit'):
        CreateQuantizeTrainingGraph(params['explicit'])
    return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=recipes.summarized(loss, step, losses))


def estimator(directory, warm_start_from=None, **params):
    return tf.estimator.Estimator(
        model_fn, str(directory / 'model'), tf.estimator.RunConfig(
            save_checkpoints_steps=3, session_config=ONE_THREAD, log_step_count_steps=None), params, warm_start_from)


def input_fn():
    return tf.data.Dataset.from_tensors((0, 0)).repeat()


def checkpoint_values(directory):
    reader = tf.train.load_checkpoint(v1.train.latest_checkpoint(str(directory / 'model')))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def assert_same_values(found, expected):
    assert sorted(found) == sorted(expected)
    for name, value in expected.items():
        if np.asarray(value).dtype == object:
            assert found[name].tolist() == value.tolist()
        else:
            np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.fixture(scope='module')
def start(tmp_path_factory):
    return float_checkpoint(tmp_path_factory.mktemp('start'), recipes.layers_network)


@pytest.fixture(scope='module')
def explicit(tmp_path_factory, start):
    """The values in a checkpoint after six steps of the explicit way."""
    directory = tmp_path_factory.mktemp('explicit')
    estimator(directory, start=start, explicit=config(directory)).train(input_fn, steps=6)
    return checkpoint_values(directory)


@pytest.mark.parametrize('training_hook_first', [True, False])
def test_an_estimator_with_all_hooks_in_any_order(tmp_path, start, explicit, training_hook_first):
    hooks = [QuantizeTrainingHook(config(tmp_path)), QuantizePositionHook(str(tmp_path / 'history'), every_n_steps=2)]
    estimator(tmp_path, start=start).train(input_fn, hooks if training_hook_first else hooks[::-1], steps=6,
                                           saving_listeners=[QuantizeCheckpointListener(config(tmp_path))])
    assert_same_values(checkpoint_values(tmp_path), explicit)
    assert hooks[1].history
    models = [name for name in os.listdir(str(tmp_path / 'quantized')) if 'eval_model' in name]
    assert sorted(int(name.split('_')[3]) for name in models) == [3, 6]


def test_training_resumes_from_its_checkpoint(tmp_path, start, explicit):
    for steps in (3, 3):
        estimator(tmp_path, start=start).train(input_fn, [QuantizeTrainingHook(config(tmp_path))], steps=steps)
    assert_same_values(checkpoint_values(tmp_path), explicit)


def test_a_float_training_is_resumed_quantized(tmp_path, start, caplog):
    """It keeps its global step and the state of its optimizer, and positions start anew. Its checkpoint gets no model."""
    settings = config(tmp_path, recipe='auto')
    estimator(tmp_path / 'explicit', start=start).train(input_fn, steps=3)
    shutil.copytree(str(tmp_path / 'explicit'), str(tmp_path / 'hook'))
    estimator(tmp_path / 'explicit', explicit=settings).train(input_fn, steps=3)
    tf.get_logger().propagate = True
    with caplog.at_level(logging.ERROR):
        estimator(tmp_path / 'hook').train(input_fn, [QuantizeTrainingHook(settings)], steps=3,
                                           saving_listeners=[QuantizeCheckpointListener(settings)])
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    expected = checkpoint_values(tmp_path / 'explicit')
    assert expected['global_step'] == 6 and VOTES_KEY in expected
    assert_same_values(checkpoint_values(tmp_path / 'hook'), expected)
    models = [name for name in os.listdir(str(tmp_path / 'quantized')) if 'eval_model' in name]
    assert sorted(int(name.split('_')[3]) for name in models) == [6]


def test_warm_start(tmp_path, start, explicit):
    everything = tf.estimator.WarmStartSettings(start, vars_to_warm_start=[
        name + ':0$' for name, _ in tf.train.list_variables(start) if name != 'global_step'])
    estimator(tmp_path, everything).train(input_fn, [QuantizeTrainingHook(config(tmp_path))], steps=6)
    assert_same_values(checkpoint_values(tmp_path), explicit)


def test_a_monitored_session_with_its_own_saver_hook(tmp_path, start, explicit):
    with tf.Graph().as_default():
        spec = model_fn(None, None, tf.estimator.ModeKeys.TRAIN, {'start': start})
        saver_hook = tf.estimator.CheckpointSaverHook(
            str(tmp_path / 'model'), save_steps=3, listeners=[QuantizeCheckpointListener(config(tmp_path))])
        with v1.train.MonitoredTrainingSession(
                checkpoint_dir=str(tmp_path / 'model'),
                hooks=[QuantizeTrainingHook(config(tmp_path)), tf.estimator.StopAtStepHook(6)],
                chief_only_hooks=[saver_hook], save_checkpoint_secs=None, save_checkpoint_steps=None,
                config=ONE_THREAD) as session:
            while not session.should_stop():
                session.run(spec.train_op)
    assert_same_values(checkpoint_values(tmp_path), explicit)
    models = [name for name in os.listdir(str(tmp_path / 'quantized')) if 'eval_model' in name]
    assert '6' in [name.split('_')[3] for name in models]


def towers(directory, explicit, steps=4):
    """Two towers on shared variables, whose gradients are averaged; returns (losses, votes)."""
    quantize = config(directory, output_nodes=['logits/BiasAdd'])
    with tf.Graph().as_default():
        v1.set_random_seed(5)
        step = v1.train.get_or_create_global_step()
        losses = []
        for tower in range(2):
            with tf.name_scope('tower_{}'.format(tower)), v1.variable_scope('', reuse=tower > 0):
                net = recipes.layers_network(tf.identity(recipes.IMAGES[16 * tower:16 * tower + 16], 'images'), False)
                losses.append(v1.losses.sparse_softmax_cross_entropy(
                    recipes.LABELS[16 * tower:16 * tower + 16], v1.layers.dense(net, 4, name='logits')))
        if explicit:
            CreateQuantizeTrainingGraph(quantize, towers=['tower_0', 'tower_1'])
        optimizer = v1.train.MomentumOptimizer(0.05, 0.9)
        pairs = [((one + other) / 2, variable) for (one, variable), (other, _) in zip(
            *(optimizer.compute_gradients(loss) for loss in losses))]
        train = optimizer.apply_gradients(pairs, step)
        hooks = [] if explicit else [QuantizeTrainingHook(quantize, towers=['tower_0', 'tower_1'])]
        with v1.train.MonitoredTrainingSession(hooks=hooks, config=ONE_THREAD) as session:
            return [session.run([losses, train])[0] for _ in range(steps)], session.run(VOTES_KEY + ':0')


def test_towers(tmp_path):
    for found, expected in zip(towers(tmp_path, False), towers(tmp_path, True)):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_contrib_training(tmp_path, start, explicit):
    with tf.Graph().as_default():
        spec = model_fn(None, None, tf.estimator.ModeKeys.TRAIN, {'start': start})
        tf.contrib.training.train(
            spec.train_op, str(tmp_path / 'model'), config=ONE_THREAD,
            hooks=[QuantizeTrainingHook(config(tmp_path)), tf.estimator.StopAtStepHook(num_steps=6)])
    assert_same_values(checkpoint_values(tmp_path), explicit)


def test_one_hook_in_several_graphs_and_twice_in_one(tmp_path):
    hook = QuantizeTrainingHook(config(tmp_path))
    for _ in range(2):
        with tf.Graph().as_default() as graph:
            losses, loss, step = float_model(recipes.layers_network)
            recipes.sgd(loss, step, losses)
            hook.begin()
            count = len(graph.get_operations())
            hook.begin()
            assert len(graph.get_operations()) == count
            assert len(graph.get_collection('vai_q_tf/training_plan')) == 1


def test_the_written_graph_is_that_of_the_network(tmp_path):
    kinds = {}
    for name in ('explicit', 'hook'):
        with tf.Graph().as_default():
            losses, loss, step = float_model(recipes.layers_network)
            if name == 'explicit':
                CreateQuantizeTrainingGraph(config(tmp_path / name))
            recipes.sgd(loss, step, losses)
            if name == 'hook':
                QuantizeTrainingHook(config(tmp_path / name)).begin()
        path = tmp_path / name / 'quantized' / 'quantize_train_graph.pb'
        kinds[name] = {node.name: node.op for node in read_graph(path).node
                       if not node.name.startswith('vai_q_tf/')}
    # The hook cannot tell a learning rate from what the network reads.
    assert kinds['hook'].pop('GradientDescent/learning_rate') == 'Const'
    assert kinds['hook'] == kinds['explicit']


def test_a_saver_from_before_is_a_warning(tmp_path, caplog):
    losses, loss, step = float_model(recipes.layers_network)
    recipes.sgd(loss, step, losses)
    v1.train.Saver()
    tf.get_logger().propagate = True
    with caplog.at_level(logging.WARNING, tf.get_logger().name):
        QuantizeTrainingHook(config(tmp_path)).begin()
    assert any('no quantize positions' in record.getMessage() for record in caplog.records)


def penalty(loss, step, losses):
    """Of the gradients of the features."""
    features = v1.get_default_graph().get_tensor_by_name('pool:0')
    slope = tf.reduce_sum(tf.square(tf.gradients(losses[1], features)[0]))
    return recipes.sgd(loss + slope, step, losses)


def in_a_condition(loss, step, losses):
    return tf.cond(tf.equal(step, 0), lambda: v1.train.GradientDescentOptimizer(0.1).minimize(loss), tf.no_op)


def nothing(loss, step, losses):
    return tf.no_op()


def finalized(loss, step, losses):
    recipes.sgd(loss, step, losses)
    v1.get_default_graph().finalize()


def quantized_otherwise(loss, step, losses):
    CreateQuantizeTrainingGraph(config(OUTPUT, output_nodes=['logits/BiasAdd']))
    recipes.sgd(loss, step, losses)


def built_behind_a_training_step(loss, step, losses):
    with tf.control_dependencies([recipes.sgd(loss, step, losses)]):
        other = v1.layers.dense(tf.identity(tf.ones([2, 3]), 'other'), 2, name='second')
    v1.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_mean(tf.square(other)))


OUTPUT = None
WRONG = {
    penalty: (errors.GRAPH_HAS_GRADIENTS, 'QuantizeOptimizer', {}),
    in_a_condition: (errors.UNSUPPORTED_GRAPH, 'tf.cond', {}),
    nothing: (errors.GRAPH_HAS_GRADIENTS, 'no gradients', {}),
    finalized: (errors.GRAPH_FINALIZED, 'finalized', {}),
    quantized_otherwise: (errors.ALREADY_QUANTIZED, 'value/BiasAdd', {}),
    built_behind_a_training_step: (errors.UNSUPPORTED_GRAPH, "'other'.*wait", dict(
        input_nodes=['other'], output_nodes=['second/BiasAdd'])),
    recipes.sgd: (errors.UNKNOWN_NODE, 'logits/BiasAdd', dict(output_nodes=['logits/Biasadd'])),
}


@pytest.mark.parametrize('recipe', list(WRONG), ids=lambda recipe: recipe.__name__)
def test_wrong_use_is_an_error_before_the_first_step(tmp_path, monkeypatch, recipe):
    monkeypatch.setitem(globals(), 'OUTPUT', tmp_path)
    code, message, fields = WRONG[recipe]
    losses, loss, step = float_model(recipes.layers_network)
    recipe(loss, step, losses)
    with pytest.raises(QuantizeError, match=message) as raised:
        QuantizeTrainingHook(config(tmp_path, **fields)).begin()
    assert raised.value.code == code


def test_a_mirrored_strategy_is_refused(tmp_path):
    strategy = tf.distribute.MirroredStrategy(['/cpu:0', '/cpu:1'])
    run_config = tf.estimator.RunConfig(train_distribute=strategy, session_config=quick_tensorflow.two_devices())
    with pytest.raises(QuantizeError, match='2 replicas.*model_fn'):
        tf.estimator.Estimator(model_fn, str(tmp_path), run_config, {}).train(
            input_fn, [QuantizeTrainingHook(config(tmp_path))], steps=1)


def test_a_config_is_needed():
    with pytest.raises(TypeError, match='QuantizeConfig'):
        QuantizeTrainingHook({'input_nodes': []})
