"""The guide to the ways to train: its examples run unchanged, and each writes the files that the guide names."""
import json
import os
import re

import pytest

from tests.examples.blocks import ROOT, Document, run_python

GUIDE = Document('docs', 'ways_to_train.md')
# The ways whose models are written with every checkpoint, and the steps of the models.
MODELS = {
    'hook/quantized': [10, 20], 'float_quantized/quantized': [10], 'model_fn/quantized': [10], 'exported/quantized': [10, 20],
    'edited/quantized': [10], 'monitored/quantized': [10], 'slim/quantized': [10], 'contrib/quantized': [10], 'keras': [4, 8],
    'keras_float_quantized/quantized': [10], 'mirrored/quantized': [10]}
HISTORIES = [
    'hook/quantized', 'float_quantized', 'model_fn', 'exported', 'slim/quantized', 'keras', 'keras_float_quantized', 'mirrored']


@pytest.fixture(scope='module')
def ran(tmp_path_factory, forked_python):
    """(directory, log) of all examples. Those without a need for two checkpoints stop at the first."""
    directory = tmp_path_factory.mktemp('ways')
    blocks = [block if re.search("'hook/|'exported/", block) else re.sub(r'(steps=|StopAtStepHook\()20\b', r'\g<1>10', block)
              for block in GUIDE.python]
    return directory, run_python(blocks, directory, forked_python)[1]


def test_no_export_failed(ran):
    assert 'No quantized model' not in ran[1]
    assert 'No best' not in ran[1]


def test_every_checkpoint_left_a_model(ran):
    found = {place: sorted(int(path.name.split('_')[3]) for path in (ran[0] / place).glob('quantize_eval_model_*.pb'))
             for place in MODELS}
    assert found == MODELS


@pytest.mark.parametrize('place', HISTORIES)
def test_positions_were_followed(ran, place):
    lines = (ran[0] / place / 'quantize_position_history.jsonl').read_text().splitlines()
    tensors = {json.loads(line)['tensor'] for line in lines}
    assert 'logits/BiasAdd/aquant' in tensors and any(tensor.endswith('/wquant') for tensor in tensors)


@pytest.mark.parametrize('path', [
    'optimizer/model.ckpt-20.index', 'optimizer/quantized/quantize_train_graph.pb', 'keras/weights.h5',
    'keras/model.ckpt-8.index', 'keras_loop/model.ckpt-10.index', 'towers/quantized/quantize_train_graph.pb'])
def test_the_files_are_there(ran, path):
    assert (ran[0] / path).exists()


def test_the_best_model_is_there(ran):
    directory = ran[0] / 'exported' / 'export' / 'best'
    best = json.loads((directory / 'best.json').read_text())
    assert (directory / best['eval_model']).exists() and (directory / best['eval_graph']).exists()


@pytest.mark.parametrize('name', ['ways_to_train', 'quantization_aware_training', 'post_training_quantization',
                                  'distributed_training'])
def test_links_lead_to_sections(name):
    for file, section in re.findall(r'\]\(([\w./]*)#?([\w-]*)\)', Document('docs', name + '.md').text):
        if file.endswith('.png'):
            assert os.path.exists(os.path.join(ROOT, 'docs', file))
            continue
        text = Document('docs', file or name + '.md').text
        headings = {re.sub(r'[^\w -]', '', heading.lower()).replace(' ', '-')
                    for heading in re.findall(r'^#+ (.+)$', text, re.MULTILINE)}
        assert not section or section in headings, (file, section)
