"""CONTRIBUTING.md and `make help` name files, commits, targets and modules that exist."""
import importlib.util
import os
import re
import subprocess

import pytest

from tests.examples.blocks import ROOT, Document

CONTRIBUTING = Document('CONTRIBUTING.md').text
_PATHS = sorted(set(re.findall(r'`([\w./]+(?:/|\.(?:py|md|h|html)))`', CONTRIBUTING)) | set(re.findall(
    r'(?:\]\(|python -m pytest |TESTS=)([\w./]+)', CONTRIBUTING)))


def _output(*command):
    return subprocess.check_output(command, cwd=ROOT, universal_newlines=True, stderr=subprocess.STDOUT)


def test_paths_exist():
    assert len(_PATHS) > 30
    missing = {path for path in _PATHS if not any(
        os.path.exists(os.path.join(ROOT, folder, path)) for folder in ('', 'vai_q_tf'))}
    assert missing == {'vai_q_tf/a/b.py', 'tests/a/test_b.py'}, 'these two are any module and its test'


@pytest.mark.parametrize('commit', re.findall(r'git show (\w+)', CONTRIBUTING))
def test_commits_exist(commit):
    if not os.path.exists(os.path.join(ROOT, '.git')):
        pytest.skip('not a git checkout')
    if _output('git', 'rev-parse', '--is-shallow-repository').strip() == 'true':
        pytest.skip('a shallow clone has no history')
    assert _output('git', 'cat-file', '-t', commit).strip() == 'commit'


@pytest.mark.parametrize('module', sorted(set(re.findall(r'python -m (tests[\w.]+)', CONTRIBUTING))))
def test_modules_exist(module):
    assert importlib.util.find_spec(module)


def test_targets_exist_and_help_lists_them():
    with open(os.path.join(ROOT, 'Makefile'), encoding='utf-8') as makefile:
        targets = set(re.search(r'^\.PHONY: (.*)$', makefile.read(), re.MULTILINE).group(1).split())
    named = {target for line in re.findall(r'make ((?:[a-z-]+ ?)+)', CONTRIBUTING) for target in line.split()
             if target in targets or '-' in target}
    assert {'kernels', 'lint', 'test', 'coverage', 'fuzz', 'pre-commit'} <= named <= targets
    listed = set(re.findall(r'^make (\S+)', _output('make', 'help'), re.MULTILINE))
    assert listed == targets - {'help'}
