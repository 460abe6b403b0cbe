""".ci/find_python on machines with a few fake interpreters."""
import os
import subprocess
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SCRIPT = os.path.join(ROOT, '.ci', 'find_python')
SYSTEM = '/usr/bin:/bin'

RUNS = '#!/bin/sh\ncase "$2" in *executable*) echo {0} ;; esac\n'  # a Python at path {0}, as far as the script calls it
BROKEN_SHIM = '#!/bin/sh\nexit 127\n'


@pytest.fixture
def machine(tmp_path):
    """A directory with the only interpreters on PATH, and a home without pyenv."""
    for name in ('bin', 'home'):
        (tmp_path / name).mkdir()
    for name in ('python3.7', 'python3.6', 'python3', 'python'):  # hide the system's own
        install(tmp_path / 'bin' / name, BROKEN_SHIM)
    return tmp_path


def install(path, script=RUNS):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        path.unlink()
    path.write_text(script.format(path))
    path.chmod(0o755)
    return str(path)


def find(machine, *arguments):
    environment = {'PATH': '{}:{}'.format(machine / 'bin', SYSTEM), 'HOME': str(machine / 'home')}
    return subprocess.run(['bash', SCRIPT] + list(arguments), env=environment, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True)


def test_python37_comes_before_36_and_the_rest(machine):
    for name in ('python3', 'python3.6'):
        install(machine / 'bin' / name)
    wanted = install(machine / 'bin' / 'python3.7')
    assert find(machine).stdout.strip() == wanted


def test_a_shim_that_does_not_run_is_passed_over(machine):
    wanted = install(machine / 'bin' / 'python3')
    assert find(machine).stdout.strip() == wanted


def test_pyenv_versions_count_without_their_shims_and_the_newer_wins(machine):
    versions = machine / 'home' / '.pyenv' / 'versions'
    install(versions / '3.6.15' / 'bin' / 'python')
    install(versions / '3.9.1' / 'bin' / 'python')
    wanted = install(versions / '3.7.16' / 'bin' / 'python')
    assert find(machine).stdout.strip() == wanted


def test_none_found_says_how_to_get_one(machine):
    result = find(machine)
    assert result.returncode == 1 and result.stdout == ''
    for way in ('pyenv install 3.7', 'conda create', 'apt install', 'PYTHON='):
        assert way in result.stderr


def test_the_python_named_is_the_only_candidate(machine):
    install(machine / 'bin' / 'python3.7')
    named = install(machine / 'elsewhere' / 'python')
    assert find(machine, named).stdout.strip() == named
    result = find(machine, str(machine / 'gone'))
    assert result.returncode == 1 and result.stdout == '' and 'gone' in result.stderr


def test_a_real_python_is_judged_by_its_version(machine):
    assert find(machine, sys.executable).returncode == 0
    other = install(machine / 'bin' / 'python3', '#!/bin/sh\nexec {} -c "import sys; sys.version_info = (3, 8, 1)\n'
                    'exec(sys.argv[1])" "$2"\n'.format(sys.executable))
    assert find(machine, other).returncode == 1
