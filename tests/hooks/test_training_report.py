"""The report next to each model of a training."""
import glob
import json
import logging
import os
import re
import sys

import pytest
import tensorflow as tf

import vai_q_tensorflow
from tests import quick_tensorflow
from tests.hooks import train_estimator
from vai_q_tf import QuantizeCheckpointListener, QuantizeError, QuantizeExporter, errors
from vai_q_tf.hooks import training_report
from vai_q_tf.qat.deploy import FrozenFiles

v1 = tf.compat.v1


def _train(directory, listener, steps=20):
    run_config = tf.estimator.RunConfig(os.path.join(directory, 'model'), tf_random_seed=5, save_checkpoints_steps=10,
                                        save_summary_steps=2, session_config=quick_tensorflow.one_thread())
    estimator = tf.estimator.Estimator(train_estimator.model_fn, config=run_config, params={'directory': directory})
    hook = vai_q_tensorflow.QuantizePositionHook(train_estimator.config(directory).output_dir, every_n_steps=5)
    estimator.train(lambda: tf.data.Dataset.from_tensors((0, 0)).repeat(), hooks=[hook], max_steps=steps,
                    saving_listeners=[listener])
    return estimator


@pytest.fixture(scope='module')
def training(tmp_path_factory):
    """(directory, its Estimator) of a training with a report on each checkpoint."""
    directory = str(tmp_path_factory.mktemp('training'))
    config = train_estimator.config(directory)
    return directory, _train(directory, QuantizeCheckpointListener(config, train_estimator.eval_graph, report=True))


def _data(path, name):
    with open(path, encoding='utf-8') as stream:
        text = stream.read()
    return text, json.loads(re.search('id="{}">(.*?)</script>'.format(name), text).group(1))


def test_each_model_has_a_report_with_positions_losses_and_weights(training):
    directory, _ = training
    models = sorted(glob.glob(os.path.join(directory, 'quantized', 'quantize_eval_model_*.pb')))
    reports = sorted(glob.glob(os.path.join(directory, 'quantized', 'quantize_report_*.html')))
    assert [path.replace('eval_model', 'report').replace('.pb', '.html') for path in models] == reports and len(reports) == 2
    text, plots = _data(reports[-1], 'plot-data')
    assert set(plots) == {'network', 'histogram', 'history', 'loss'}
    assert '<h1>Quantized model of step 20</h1>' in text and models[-1] in text
    assert 'changed their position up to step 20' in text
    assert '<th scope="row">loss</th><td>1</td>' in text and '<td>19</td>' in text
    assert set(_data(reports[-1], 'page-data')[1]['names']) == {
        'conv/kernel/wquant', 'conv/kernel/biases/wquant', 'logits/kernel/wquant', 'logits/bias/wquant'}
    assert len(glob.glob(os.path.join(directory, 'model', '*tfevents*'))) == 1


def test_it_shows_the_model_with_its_shapes(training):
    """Without shapes, `lint` could not judge ops that the compiler does not know."""
    directory, _ = training
    model, = glob.glob(os.path.join(directory, 'quantized', 'quantize_eval_model_20_*.pb'))
    contents = training_report._contents(
        FrozenFiles(model, model), (None, None), os.path.join(directory, 'c'), directory, '20_1')
    assert all('_output_shapes' in node.attr for node in contents.model.node)


def test_a_report_that_fails_leaves_model_and_training(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(training_report, 'read_losses', lambda directory: 1 / 0)
    caplog.set_level(logging.INFO, 'tensorflow')
    directory = str(tmp_path)
    listener = QuantizeCheckpointListener(train_estimator.config(directory), train_estimator.eval_graph, report=True)
    estimator = _train(directory, listener, 3)
    assert estimator.latest_checkpoint().endswith('-3')
    assert 'No report quantize_report_3_' in caplog.text and 'division by zero' in caplog.text
    names = os.listdir(os.path.join(directory, 'quantized'))
    assert [name for name in names if name.startswith('quantize_eval_model_3')]
    assert not [name for name in names if name.endswith('.html')]


def test_the_exporter_keeps_a_report_as_long_as_its_model(training, tmp_path):
    directory, estimator = training
    exporter = QuantizeExporter(train_estimator.config(directory), eval_graph_fn=train_estimator.eval_graph, report=True)
    for step, loss in ((10, 2.0), (20, 1.0)):
        checkpoint = os.path.join(directory, 'model', 'model.ckpt-{}'.format(step))
        exporter.export(estimator, str(tmp_path), checkpoint, {'loss': loss}, False)
        reports = [name for name in os.listdir(str(tmp_path)) if name.endswith('.html')]
        assert len(reports) == 1 and reports[0].startswith('quantize_report_{}_'.format(step))
        assert set(_data(str(tmp_path / reports[0]), 'plot-data')[1]) == {'network', 'histogram', 'history', 'loss'}


def test_averaged_weights_have_a_separate_report(training, tmp_path):
    directory, _ = training
    model = glob.glob(os.path.join(directory, 'quantized', 'quantize_eval_model_20_*.pb'))[0]
    averaged = str(tmp_path / 'quantize_eval_model_averaged_20_20200101000000.pb')
    os.link(model, averaged)
    listener = vai_q_tensorflow.QuantizeCheckpointListener(train_estimator.config(directory), train_estimator.eval_graph)
    with tf.Graph().as_default():
        train_estimator.network(v1.placeholder(tf.float32, [None, 8, 8, 2], name='images'), False)
        listener.begin()
    training_report.report_training(vai_q_tensorflow.FrozenFiles('', averaged), listener._freezer.network, '', str(tmp_path))
    text, _ = _data(str(tmp_path / 'quantize_report_averaged_20_20200101000000.html'), 'plot-data')
    assert '<h1>Quantized model of step 20, averaged weights</h1>' in text


def test_missing_packages_are_an_error_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'bokeh', None)
    config = train_estimator.config(str(tmp_path))
    for make in (lambda: QuantizeCheckpointListener(config, report=True),
                 lambda: QuantizeExporter(config, eval_graph_fn=train_estimator.eval_graph, report=True)):
        with pytest.raises(QuantizeError, match='vai_q_tf.report') as caught:
            make()
        assert caught.value.code == errors.MISSING_LIBRARY
    QuantizeCheckpointListener(config)
