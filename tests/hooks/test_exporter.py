"""QuantizeExporter keeps the best model; it, the listener and TensorFlow's exporters work with train_and_evaluate."""
import glob
import json
import logging
import os

import numpy as np
import pytest
import tensorflow as tf

from tests.integrations import trainings
from tests.support import read_graph
from vai_q_tf import (
    CreateQuantizeEvaluationGraph,
    CreateQuantizeTrainingGraph,
    QuantizeCheckpointListener,
    QuantizeConfig,
    QuantizeExporter,
    quantize_model_fn,
)
from vai_q_tf.configuration.write_file import CONFIG_FILE
from vai_q_tf.hooks.exporter import BEST_FILE

v1 = tf.compat.v1
MODES = tf.estimator.ModeKeys


def model_fn(features, labels, mode):
    """A float model; tf.estimator wraps the tensor of a serving_input_receiver_fn into a dict of one."""
    images = features['feature'] if isinstance(features, dict) else features
    logits = trainings.network(images, mode == MODES.TRAIN)
    if mode == MODES.PREDICT:
        return tf.estimator.EstimatorSpec(mode, {'logits': logits})
    loss = trainings.cross_entropy(labels, logits)
    metrics = {'accuracy': v1.metrics.accuracy(labels, tf.argmax(logits, -1))}
    train = trainings.minimize(loss, trainings.momentum()) if mode == MODES.TRAIN else None
    return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train, eval_metric_ops=metrics)


def receiver():
    images = v1.placeholder(tf.float32, [None, 8, 8, 2], name='images')
    return tf.estimator.export.ServingInputReceiver(images, {'images': images})


def eval_graph():
    """The float evaluation graph."""
    trainings.network(v1.placeholder(tf.float32, [None, 8, 8, 2]), False)


def _evaluation_data():
    return tf.data.Dataset.from_tensor_slices((trainings.IMAGES, trainings.LABELS)).batch(32)


def _estimator(directory, function=None):
    function = function or quantize_model_fn(model_fn, trainings.config(directory))
    return tf.estimator.Estimator(function, str(directory / 'model'), tf.estimator.RunConfig(
        tf_random_seed=3, save_checkpoints_steps=3, session_config=trainings.SESSION, keep_checkpoint_max=20))


def _train_and_evaluate(estimator, exporters, steps=6):
    tf.estimator.train_and_evaluate(
        estimator, tf.estimator.TrainSpec(trainings.input_fn, steps),
        tf.estimator.EvalSpec(_evaluation_data, None, exporters=exporters, throttle_secs=0, start_delay_secs=0))


def _run(path):
    """Logits of a frozen model."""
    graph_def = read_graph(path)
    with tf.Graph().as_default(), v1.Session(config=trainings.SESSION) as session:
        tf.import_graph_def(graph_def, name='')
        return session.run('logits/BiasAdd/aquant:0', {'net_in:0': trainings.IMAGES})


def _logits(directory, checkpoint):
    """Logits of the quantized evaluation graph."""
    with tf.Graph().as_default(), v1.Session(config=trainings.SESSION) as session:
        images = v1.placeholder(tf.float32, [None, 8, 8, 2])
        trainings.network(images, False)
        CreateQuantizeEvaluationGraph(trainings.config(directory))
        v1.train.Saver().restore(session, checkpoint)
        return session.run('logits/BiasAdd/aquant:0', {images: trainings.IMAGES})


def _losses(estimator):
    """{checkpoint: loss} of all evaluations, from the event files."""
    found = {}
    for path in glob.glob(os.path.join(estimator.model_dir, 'eval', '*.tfevents.*')):
        for event in v1.train.summary_iterator(path):
            for value in event.summary.value:
                if value.tag == 'loss':
                    found[os.path.join(estimator.model_dir, 'model.ckpt-{}'.format(event.step))] = value.simple_value
    return found


def _best(estimator, name='quantized'):
    directory = os.path.join(estimator.model_dir, 'export', name)
    with open(os.path.join(directory, BEST_FILE)) as stream:
        best = json.load(stream)
    return best, directory


def _larger_loss(best_eval_result, current_eval_result):
    return current_eval_result['loss'] > best_eval_result['loss']


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """(directory, Estimator) of a training with all exporters."""
    directory = tmp_path_factory.mktemp('trained')
    config, estimator = trainings.config(directory), _estimator(directory)
    _train_and_evaluate(estimator, [
        tf.estimator.LatestExporter('latest', receiver), tf.estimator.FinalExporter('final', receiver),
        tf.estimator.BestExporter('best', receiver, compare_fn=lambda best_eval_result, current_eval_result: True),
        QuantizeExporter(config, receiver, compare_fn=_larger_loss),
        QuantizeExporter(config, eval_graph_fn=eval_graph, name='eval_graph', compare_fn=_larger_loss)])
    return directory, estimator


@pytest.mark.parametrize('name', ['quantized', 'eval_graph'])
def test_the_best_model_is_kept(trained, name):
    tmp_path, estimator = trained
    losses = _losses(estimator)
    worst = max(losses, key=losses.get)
    assert len(losses) > 1 and worst != estimator.latest_checkpoint()
    best, directory = _best(estimator, name)
    assert best['checkpoint'] == worst and best['metrics']['loss'] == pytest.approx(losses[worst])
    assert set(best['metrics']) == {'accuracy', 'loss', 'global_step'}
    assert sorted(os.listdir(directory)) == sorted(
        [BEST_FILE, CONFIG_FILE, 'latest.json', best['eval_graph'], best['eval_model']])
    config = QuantizeConfig.from_file(os.path.join(directory, CONFIG_FILE))
    assert repr(config) == repr(trainings.config(tmp_path).replace(output_dir=directory))
    np.testing.assert_array_equal(_run(os.path.join(directory, best['eval_model'])), _logits(tmp_path, worst))


class Made:
    """An Estimator with a model directory and a model_fn only."""

    def __init__(self, directory):
        self.model_dir = str(directory)
        self.config = None

    def model_fn(self, features, labels, mode, config):
        return model_fn(features, labels, mode)


@pytest.fixture(scope='module')
def checkpoints(tmp_path_factory):
    """Prefixes of the checkpoints of steps 1 to 4 of a quantized training."""
    directory = tmp_path_factory.mktemp('checkpoints')
    with tf.Graph().as_default():
        run = trainings.Run()
        CreateQuantizeTrainingGraph(trainings.config(directory))
        run.train_op = trainings.minimize(run.loss, trainings.momentum())
        saver = v1.train.Saver(max_to_keep=9)
        prefixes = []
        run.train(0)
        for step in range(4):
            images, labels = trainings.batch(step)
            run.session.run(run.train_op, {run.images: images, run.labels: labels})
            prefixes.append(saver.save(run.session, str(directory / 'model.ckpt'), step + 1))
        return prefixes


def _export(exporter, directory, checkpoint, **metrics):
    return exporter.export(Made(directory) if isinstance(directory, os.PathLike) else directory,
                           str(directory / 'export'), checkpoint, metrics, False)


def test_a_restarted_training_resumes_the_comparison(tmp_path, checkpoints):
    def exporter():
        return QuantizeExporter(trainings.config(tmp_path), receiver)

    first = exporter()
    assert _export(first, tmp_path, checkpoints[0], loss=np.float32(0.5), name='text') == str(tmp_path / 'export')
    assert _export(first, tmp_path, checkpoints[1], loss=0.7) is None
    again = exporter()
    assert _export(again, tmp_path, checkpoints[2], loss=0.6) is None
    assert _export(again, tmp_path, checkpoints[3], loss=np.float32(0.4)) is not None
    with open(str(tmp_path / 'export' / BEST_FILE)) as stream:
        best = json.load(stream)
    assert best['checkpoint'] == checkpoints[3] and best['metrics'] == {'loss': pytest.approx(0.4)}
    # If somebody removes the model, the next one is the best.
    os.unlink(str(tmp_path / 'export' / best['eval_model']))
    assert _export(exporter(), tmp_path, checkpoints[1], loss=0.9) is not None


@pytest.mark.parametrize('keep, left', [(1, [4]), (2, [3, 4]), (None, [1, 2, 3, 4])])
def test_keeps_as_many_models_as_requested(tmp_path, checkpoints, keep, left):
    exporter = QuantizeExporter(trainings.config(tmp_path), eval_graph_fn=eval_graph, exports_to_keep=keep)
    for number, checkpoint in enumerate(checkpoints):
        _export(exporter, tmp_path, checkpoint, loss=1.0 - 0.1 * number)
    for kind in ('graph', 'model'):
        names = [os.path.basename(path) for path in glob.glob(str(tmp_path / 'export' / 'quantize_eval_{}_*'.format(kind)))]
        assert sorted(int(name.split('_')[3]) for name in names) == left


def test_a_failed_export_is_logged_and_changes_nothing(tmp_path, checkpoints, caplog):
    tf.get_logger().propagate = True
    exporter = QuantizeExporter(trainings.config(tmp_path), receiver)
    with caplog.at_level(logging.INFO):
        _export(exporter, tmp_path, checkpoints[0], loss=0.5)
    line, = [record.getMessage() for record in caplog.records if record.getMessage().startswith('Best quantized model so far')]
    assert 'convolutions and matmuls are quantized' in line and line.endswith('that the DPU compiler would refuse)')
    before = sorted(os.listdir(str(tmp_path / 'export')))
    with caplog.at_level(logging.ERROR):
        assert _export(exporter, tmp_path, str(tmp_path / 'no_such'), loss=0.4) is None
        assert _export(exporter, tmp_path, checkpoints[1], accuracy=0.4) is None
    messages = [record.getMessage() for record in caplog.records if 'No best quantized model' in record.getMessage()]
    assert len(messages) == 2 and 'no_such' in messages[0] and 'loss' in messages[1]
    assert sorted(os.listdir(str(tmp_path / 'export'))) == before


def test_wrong_arguments():
    settings = trainings.QuantizeConfig(['a'], ['b'])
    for arguments in ({}, {'serving_input_receiver_fn': receiver, 'eval_graph_fn': eval_graph}):
        with pytest.raises(ValueError, match='exactly one'):
            QuantizeExporter(settings, **arguments)
    with pytest.raises(ValueError, match='compare_fn'):
        QuantizeExporter(settings, receiver, compare_fn=lambda best, current: True)
    with pytest.raises(ValueError, match='exports_to_keep'):
        QuantizeExporter(settings, receiver, exports_to_keep=0)
    with pytest.raises(TypeError, match='QuantizeConfig'):
        QuantizeExporter(receiver, receiver)


def test_the_exporters_of_tensorflow_export_the_quantized_graph(trained):
    tmp_path, estimator = trained
    expected = _logits(tmp_path, estimator.latest_checkpoint())
    for name in ('latest', 'final', 'best'):
        saved = sorted(glob.glob(os.path.join(estimator.model_dir, 'export', name, '*')))
        with tf.Graph().as_default() as graph, v1.Session(graph=graph, config=trainings.SESSION) as session:
            outputs = v1.saved_model.load(session, ['serve'], saved[-1]).signature_def['serving_default'].outputs
            np.testing.assert_array_equal(
                session.run(outputs['logits'].name, {'images:0': trainings.IMAGES}), expected, err_msg=name)
    # quantize_model_fn added the listener.
    model, = glob.glob(str(tmp_path / 'quantized' / 'quantize_eval_model_6_*'))
    np.testing.assert_array_equal(_run(model), expected)


def test_the_listener_of_an_edited_model_fn_works_with_train_and_evaluate(tmp_path):
    settings = trainings.config(tmp_path)

    def edited(features, labels, mode):
        images = features['feature'] if isinstance(features, dict) else features
        logits = trainings.network(images, mode == MODES.TRAIN)
        loss = None if labels is None else trainings.cross_entropy(labels, logits)
        classes = tf.argmax(logits, -1)
        if mode != MODES.TRAIN:
            CreateQuantizeEvaluationGraph(settings)
            return tf.estimator.EstimatorSpec(mode, {'classes': classes}, loss)
        CreateQuantizeTrainingGraph(settings)
        return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=trainings.minimize(loss, trainings.momentum()))

    estimator = _estimator(tmp_path, edited)
    # A TrainSpec of TensorFlow 1.15 has no saving_listeners.
    saving = v1.train.CheckpointSaverHook(estimator.model_dir, save_steps=3, listeners=[QuantizeCheckpointListener(settings)])
    tf.estimator.train_and_evaluate(
        estimator, tf.estimator.TrainSpec(trainings.input_fn, 6, hooks=[saving]),
        tf.estimator.EvalSpec(_evaluation_data, None, exporters=QuantizeExporter(settings, receiver), throttle_secs=0))
    model, = glob.glob(str(tmp_path / 'quantized' / 'quantize_eval_model_6_*'))
    np.testing.assert_array_equal(_run(model), _logits(tmp_path, estimator.latest_checkpoint()))
    best, directory = _best(estimator)
    np.testing.assert_array_equal(_run(os.path.join(directory, best['eval_model'])), _logits(tmp_path, best['checkpoint']))
