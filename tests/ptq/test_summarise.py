"""The summary of a quantization: on stderr, in its file, and in the result of `quantize_frozen`."""
import copy
import json
import os
import pickle

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.frozen.test_training_data import IMAGES, _fused, _network
from vai_q_tf import errors
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.configuration.write_file import CONFIG_FILE
from vai_q_tf.ptq import quantize as quantize_file
from vai_q_tf.ptq import summarise
from vai_q_tf.ptq.quantize import quantize_frozen
from vai_q_tf.summary.text import SUMMARY_FILE
from vai_q_tf.terminal.verbosity import verbosity


def images(step):
    return {'x': IMAGES[::1 - 2 * (step % 2)]}


def _quantize(directory, feed=images, build=lambda: _network(_fused), config=None, **options):
    with tf.Graph().as_default() as graph:
        build()
    return quantize_frozen(graph.as_graph_def(), feed, QuantizeConfig(
        ['begin'], ['logits'], calib_iter=3, output_dir=str(directory), **(config or {})), **options)


def _file(directory):
    return json.loads((directory / SUMMARY_FILE).read_text())


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    directory = tmp_path_factory.mktemp('made')
    return directory, _quantize(directory, graph_path='float.pb', effort='fast')


def test_the_result_is_a_path(made):
    directory, result = made
    path = str(directory / 'quantize_eval_model.pb')
    assert result == path and isinstance(result, str) and '{}'.format(result) == path and os.path.exists(result)
    assert {path: 1}[result] == 1 and os.path.dirname(result) == str(directory)
    assert result.files == {'model': path, 'config': str(directory / CONFIG_FILE), 'summary': str(directory / SUMMARY_FILE)}
    assert repr(result).startswith("QuantizeResult('{}': 3 of 3 convolutions".format(path)) and SUMMARY_FILE in repr(result)
    for other in (copy.deepcopy(result), pickle.loads(pickle.dumps(result))):
        assert other == path and other.summary == result.summary


def test_the_facts(made):
    directory, result = made
    summary = result.summary
    assert len(summary.coverage.weighted) == len(summary.coverage.quantized) == 3 and not summary.coverage.floats
    one, = summary.inputs
    assert (one.name, one.bits, one.position) == ('begin', 8, 6)
    assert (one.low, one.high) == (float(IMAGES.min()), float(IMAGES.max()))
    assert one.saturated == 0
    assert summary.effort == 'fast' and not summary.warnings and not summary.aids and summary.db is None
    assert len(summary.worst) == 3 and [tensor.db for tensor in summary.worst][0] < 60
    assert summary.next_steps[-1].endswith(
        'vai_q_tensorflow analyze --input_frozen_graph {} --float_graph float.pb --input_fn {}.images '
        '--output_dir {}'.format(result, __name__, directory))
    read = _file(directory)
    assert read['coverage']['weighted'] == list(summary.coverage.weighted) and read['files'] == result.files
    assert read['inputs'] == [dict(one._asdict())] and read['next_steps'] == list(summary.next_steps)


def test_a_wrong_range_of_images_gets_a_warning(tmp_path, capsys):
    result = _quantize(tmp_path, lambda step: {'x': IMAGES * 255}, effort='fast')
    warning, odd = result.summary.warnings
    assert "The input 'x' is fed with values from 0.01879 to 255" in warning and _file(tmp_path)['warnings'] == [warning, odd]
    assert 'Resolve the warnings first.' in result.summary.next_steps
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith("  Warnings  The input 'x' is fed with") for line in lines)
    assert not _quantize(tmp_path, effort='fast').summary.warnings and _file(tmp_path)['warnings'] == []


@pytest.mark.parametrize('feed, words', [
    (lambda step: {'x': np.full_like(IMAGES, 0.5)}, 'All values of the input \'begin\' are 0.5'),
    (lambda step: {'x': IMAGES / 50 + 0.5}, 'at one end')])
def test_odd_inputs_get_a_warning(tmp_path, feed, words):
    assert any(words in text for text in _quantize(tmp_path, feed, effort='fast', skip_check=1).summary.warnings)


def test_all_warnings_of_a_run_are_in_the_summary(tmp_path):
    found = _quantize(tmp_path, config={'nodes_bit': ['nothing:4']}, effort='fast').summary.warnings
    assert any(text.startswith("nodes_bit: 'nothing:4' does not name a quantized tensor") for text in found)


def test_a_summary_never_describes_another_model(tmp_path, monkeypatch):
    _quantize(tmp_path, effort='fast')
    with monkeypatch.context() as patch:
        def fail(*args):
            raise errors.QuantizeError(errors.INVALID_CONFIG, 'Cannot write', 'Full.')
        patch.setattr(quantize_file, 'write', fail)
        with pytest.raises(errors.QuantizeError):
            _quantize(tmp_path, effort='fast')
    assert (tmp_path / 'quantize_eval_model.pb').exists() and not (tmp_path / SUMMARY_FILE).exists()
    _quantize(tmp_path, effort='fast')
    with pytest.raises(errors.QuantizeError):
        _quantize(tmp_path, lambda step: {}, effort='fast')
    assert _file(tmp_path)['effort'] == 'fast', 'no model was written, so the summary still describes the old one'


@pytest.mark.parametrize('effort', ['fast', 'standard'])
def test_fast_finetuning_reports_its_gain(tmp_path, capsys, effort):
    result = _quantize(tmp_path, effort=effort, include_fast_ft=1, fast_ft_epochs=1, config={'weight_bit': 4})
    row = result.summary.aids[-1]
    line, = [line for line in capsys.readouterr().err.splitlines() if line.startswith('Fast finetuning: squared error')]
    assert row.name == 'fast finetuning' and ' of 3 layers have other weights now.' in line
    before, after = (float(word) for word in line.split() if word[:2] == '0.')
    assert after <= before
    if effort == 'fast':
        assert row.before_db == pytest.approx(-10 * np.log10(before), abs=0.01) and not result.summary.unseen
        assert row.after_db == pytest.approx(-10 * np.log10(after), abs=0.01) and row.kept == result.summary.fitted


def test_fitted_constants_have_no_error(tmp_path, monkeypatch):
    monkeypatch.setattr(summarise, 'MOST_WORST', 100)
    fast, standard = (_quantize(tmp_path, effort=effort).summary for effort in ('fast', 'standard'))
    assert {tensor.role for tensor in fast.worst} == {'input', 'weight', 'bias', 'activation'} and not fast.fitted
    assert standard.fitted and {tensor.role for tensor in standard.worst} == {'input', 'activation'}


def test_quiet_is_quiet(tmp_path, capsys):
    with verbosity('quiet'):
        result = _quantize(tmp_path, effort='standard', include_fast_ft=1, fast_ft_epochs=1)
    assert capsys.readouterr().err == '' and result.summary.aids and _file(tmp_path)['aids']


def test_weights_that_a_wide_result_pushes_out_of_range_are_a_warning(tmp_path):
    with tf.Graph().as_default() as graph:
        images = tf.placeholder(tf.float32, [None, 8, 8, 3], 'images')
        weights = tf.constant(np.random.RandomState(0).normal(0, 0.3, (3, 3, 3, 8)), tf.float32, name='weights')
        tf.nn.relu6(tf.nn.conv2d(images, weights, 1, 'SAME', name='conv'), name='relu')
    config = QuantizeConfig(['images'], ['relu'], calib_iter=1, output_dir=str(tmp_path))
    feed = lambda step: {'images': np.random.RandomState(step).uniform(-100, 100, (4, 8, 8, 3))}  # noqa: E731
    usual, wide = (quantize_frozen(graph.as_graph_def(), feed, config.replace(nodes_bit=bits), effort='fast').summary.warnings
                   for bits in ([], ['relu:16']))
    assert 'Many weights' not in ' '.join(usual)
    assert 'Many weights are out of range, because the position of the result raises that of the weights ' in ' '.join(wide)
