"""Contents of the distributions."""
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

import vai_q_tf

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def project_files(*patterns):
    """The files of the working tree that git does not ignore, by relative path."""
    if not os.path.exists(os.path.join(ROOT, '.git')):
        pytest.skip('not a git checkout')
    command = ('git', 'ls-files', '--cached', '--others', '--exclude-standard') + patterns
    listed = subprocess.check_output(command, cwd=ROOT, universal_newlines=True)
    return {name for name in listed.split() if os.path.exists(os.path.join(ROOT, name))}


def run_setup(source, *arguments):
    return subprocess.check_output((sys.executable, 'setup.py', '--quiet') + arguments, cwd=str(source),
                                   stderr=subprocess.STDOUT, universal_newlines=True)


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """A copy of the project, in which to build."""
    copy = tmp_path_factory.mktemp('source')
    for name in project_files():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(os.path.join(ROOT, name), str(copy / name))
    return copy


def test_sdist_holds_all_that_a_build_and_the_tests_need(source):
    run_setup(source, 'sdist')
    (path,) = (source / 'dist').glob('*.tar.gz')
    with tarfile.open(str(path)) as archive:
        packed = {name.partition('/')[2] for name in archive.getnames()}
    needed = project_files('kernels', 'vai_q_tf', 'tests/*.py', 'setup.py', 'setup.cfg', 'pyproject.toml', 'Makefile',
                           'vai_q_tensorflow.py', 'LICENSE', 'README.md', 'CHANGELOG.md', '.ci')
    assert needed - packed == set()
    assert not [name for name in packed if name.endswith(('.so', '.o', '.pyc'))]


@pytest.mark.parametrize('cpu, wanted', [('1', 'tensorflow==1.15.5'), ('0', 'tensorflow-gpu==1.15.5'),
                                         ('', 'tensorflow-gpu==1.15.5')])
def test_one_tensorflow_is_required(source, monkeypatch, cpu, wanted):
    monkeypatch.setenv('VAI_Q_TF_CPU', cpu)
    run_setup(source, 'egg_info')
    requirements = (source / 'vai_q_tf.egg-info' / 'requires.txt').read_text().split()
    assert [name for name in requirements if name.startswith('tensorflow') and 'estimator' not in name] == [wanted]
    assert {'tensorflow-estimator==1.15.1', 'numpy', 'absl-py', 'protobuf<3.21'} < set(requirements)


def test_version_is_that_of_the_package(source):
    assert run_setup(source, '--version').split()[-1] == vai_q_tf.__version__


@pytest.mark.slow
def test_wheel_fits_every_python_and_holds_the_library(source, monkeypatch):
    monkeypatch.setenv('VAI_Q_TF_CPU', '1')
    run_setup(source, 'bdist_wheel')
    (path,) = (source / 'dist').glob('*.whl')
    assert path.name == 'vai_q_tf-{}-py3-none-linux_x86_64.whl'.format(vai_q_tf.__version__)
    with zipfile.ZipFile(str(path)) as archive:
        names = archive.namelist()
        tags = archive.read([name for name in names if name.endswith('dist-info/WHEEL')][0]).decode()
    assert [name for name in names if name.endswith('.so')] == ['vai_q_tf/ops/libvai_q_tf_ops.so']
    assert {'vai_q_tensorflow.py', 'vai_q_tf/py.typed'} < set(names)
    assert not [name for name in names if name.startswith('tests')]
    assert 'Root-Is-Purelib: false' in tags
