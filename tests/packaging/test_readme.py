"""The examples of the README run as they stand, after the first model, whose files they use; it fits two screens."""
import os
import re

import pytest

from tests.docs.once import FIRST_MODEL, Runs, run_first_model
from tests.docs.pages import Page
from tests.forks import ROOT
from vai_q_tf.configuration.options import COMMANDS
from vai_q_tf.dpu import TARGETS

README = Page('../README.md')


def test_the_examples_run(tmp_path_factory, forked_python):
    trained = run_first_model(tmp_path_factory.mktemp('trained'), forked_python, 'train.py')
    directory, printed = Runs(tmp_path_factory, forked_python, {FIRST_MODEL: trained})('../README.md')
    assert "['ApplyAdam', 'VaiFixNeuron']" in list(printed.values())[-1], 'the training step of the last block, hidden, ran'
    written = sorted(path.name for path in (directory / 'quantize_results').iterdir())
    assert {'quantize_eval_model.pb', 'quantize_summary.json', 'quantize_train_graph.pb'} <= set(written)


def test_it_fits_two_screens():
    assert README.text.count('\n') <= 146
    shown = re.sub('<!--.*?-->', '', README.text, flags=re.DOTALL)
    assert max(len(line) for line in shown.splitlines() if not line.startswith('|')) <= 128


def test_all_commands_and_devices_are_named():
    for name in [name for name, _ in COMMANDS] + list(TARGETS):
        assert re.search(r'\b{}\b'.format(name), README.text.partition('## Install')[2]), name


def test_versions_are_those_of_the_package():
    with open(os.path.join(ROOT, 'setup.py'), encoding='utf-8') as stream:
        setup = stream.read()
    (version,) = set(re.findall(r'tensorflow(?:-gpu)?==([\d.]+)', setup))
    assert '| TensorFlow | {},'.format(version) in README.text
    pythons = re.findall(r"Python :: (3\.\d)'", setup)
    assert '| Python | {} |'.format(', '.join(pythons)) in README.text


@pytest.mark.parametrize('link', re.findall(r'\]\(([^)#:]+)\)', README.text))
def test_the_links_lead_to_files(link):
    assert os.path.exists(os.path.join(ROOT, link))
