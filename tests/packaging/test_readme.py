"""The examples of the README run in their order without changes, and write the files that it names."""
import re

import pytest

from tests.examples.blocks import Document, run_python, run_sh
from vai_q_tf.configuration.options import COMMANDS

README = Document('README.md')


def test_quantization_aware_training(tmp_path, forked_python):
    assert len(README.python) == 6
    printed, log = run_python(README.python, tmp_path, forked_python)
    assert printed == '', 'the compiler would refuse the model: ' + printed
    written = sorted(re.sub(r'\d{14}', 'DATE', path.name) for path in (tmp_path / 'quantize_results').iterdir())
    evaluations = ['quantize_eval_{}_{}_DATE.pb'.format(kind, step) for kind in ('graph', 'model') for step in (10, 15, 20, 30)]
    assert written == ['latest.json', 'quantize_config.yaml'] + evaluations + ['quantize_train_graph.pb'], log


def test_post_training_quantization(tmp_path, forked_python):
    assert sorted(README.files) == ['calibration.py', 'freeze.py'] and len(README.sh) == 1
    README.write_files(tmp_path)
    printed, log = run_sh(README.sh, tmp_path, forked_python)
    assert 'From images to logits/BiasAdd: ' in printed
    assert 'will not accept' not in log
    written = sorted(path.name for path in (tmp_path / 'quantize_results').iterdir())
    assert written == ['quantize_config.yaml', 'quantize_eval_model.pb', 'quantize_summary.json']


def test_all_commands_are_listed():
    commands = [name for name, _ in COMMANDS]
    assert list(README.rows('|'.join(commands))) == commands


@pytest.mark.parametrize('link', re.findall(r'\]\(([^)#:]+)\)', README.text))
def test_the_links_lead_to_files(link):
    assert Document(link).text
