"""The how-to pages on the ways to train: each page runs, and each way leaves the files that it should."""
import json

import pytest
import tensorflow as tf

from tests.docs.once import Runs

FOLDER = 'how_to/training/'
WAYS = [FOLDER + name + '.md' for name in (
    'optimizer_and_hook', 'estimator', 'train_and_evaluate', 'slim', 'keras', 'metagraph', 'distributed')]
# {page: {directory of the files: steps of the models in it}}
MODELS = {
    'optimizer_and_hook': {'monitored/quantized': [20]},
    'estimator': {'float_quantized/files': [20, 40], 'float_4_bits/files': [20, 40, 60, 80, 100],
                  'resumed/files': [20, 20, 40], 'wrapped/files': [20], 'hook/files': [20]},
    'train_and_evaluate': {'best/files': [20], 'best/export/accuracy': [20], 'spec/files': [20]},
    'slim': {'slim/quantized': [20], 'contrib/quantized': [20]},
    'keras': {'quantized': [63, 126], 'saved': [63], 'distilled': [63], 'estimator_quantized/files': [20]},
    'metagraph': {'results/deploy': [270], 'python/deploy': [270]},
    'distributed': {'mirrored/quantized': [10]},
}
HISTORIES = {'estimator': ['float_quantized', 'wrapped', 'hook/files'], 'train_and_evaluate': ['best'],
             'slim': ['slim/quantized'], 'keras': ['quantized', 'estimator_quantized'], 'distributed': ['mirrored']}
FILES = {'optimizer_and_hook': ['optimizer/model.ckpt-20.index', 'optimizer/quantized/quantize_train_graph.pb'],
         'keras': ['quantized.h5', 'quantized/model.ckpt-126.index', 'loop/model.ckpt-10.index'],
         'distributed': ['towers/model.ckpt-10.index', 'towers/quantized/quantize_train_graph.pb']}


@pytest.fixture(scope='module')
def ran(tmp_path_factory, forked_python):
    return Runs(tmp_path_factory, forked_python)


@pytest.mark.parametrize('path', WAYS)
def test_no_export_failed(path, ran):
    log = ''.join(ran(path)[1].values())
    assert 'No quantized model' not in log and 'No best' not in log


@pytest.mark.parametrize('page', MODELS)
def test_every_checkpoint_left_a_model(page, ran):
    directory, _ = ran('{}{}.md'.format(FOLDER, page))
    found = {place: sorted(int(path.name.split('_')[3]) for path in (directory / place).glob('quantize_eval_model_*.pb'))
             for place in MODELS[page]}
    assert found == MODELS[page]


@pytest.mark.parametrize('page', HISTORIES)
def test_positions_were_followed(page, ran):
    for place in HISTORIES[page]:
        history = ran('{}{}.md'.format(FOLDER, page))[0] / place / 'quantize_position_history.jsonl'
        tensors = {json.loads(line)['tensor'] for line in history.read_text().splitlines()}
        assert 'logits/BiasAdd/aquant' in tensors and any(tensor.endswith('/wquant') for tensor in tensors), place


@pytest.mark.parametrize('page', FILES)
def test_the_files_are_there(page, ran):
    directory, _ = ran('{}{}.md'.format(FOLDER, page))
    assert [path for path in FILES[page] if not (directory / path).exists()] == []


def test_the_best_model_is_there(ran):
    directory = ran(FOLDER + 'train_and_evaluate.md')[0] / 'best' / 'export' / 'accuracy'
    best = json.loads((directory / 'best.json').read_text())
    assert (directory / best['eval_model']).exists() and (directory / best['eval_graph']).exists()


@pytest.mark.parametrize('page', ['estimator', 'train_and_evaluate'])
def test_no_estimator_continues_the_float_global_step(page, ran):
    directory, _ = ran('{}{}.md'.format(FOLDER, page))
    places = {place.split('/')[0] for place in MODELS[page]}
    steps = {place: int(tf.train.latest_checkpoint(str(directory / place)).split('-')[-1]) for place in places}
    assert all(step <= 100 for step in steps.values()), steps


def test_every_training_starts_from_float_weights(ran):
    for path in WAYS:
        log = ''.join(ran(path)[1].values())
        assert 'starts from float weights. ' in log and 'starts from scratch' not in log, path
