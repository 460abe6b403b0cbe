"""The modules of benchmarks/accuracy, which are not a package."""
import contextlib
import importlib
import os
import sys

from tests.examples.scripts import run
from tests.forks import ROOT

SCRIPTS = os.path.join(ROOT, 'benchmarks', 'accuracy')


@contextlib.contextmanager
def scripts(*names):
    """The modules of these names, which are importable by them inside of the context and forgotten after it.

    The examples have modules of the same names, so name every module that gets imported.
    """
    sys.path.insert(0, SCRIPTS)
    try:
        yield [importlib.import_module(name) for name in names]
    finally:
        sys.path.remove(SCRIPTS)
        for name in names:
            sys.modules.pop(name, None)


# test_efforts has the pool of processes that import TensorFlow.
_FORKING = '''
import multiprocessing, os, runpy, sys
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
forks = multiprocessing.get_context('fork')
multiprocessing.get_context = lambda kind: forks
runpy.run_path(sys.argv[0], run_name='__main__')
'''


def measure(script, directory, python, *arguments):
    """The output of a quick measurement in a forked process. python: that of tests/forks.py."""
    process = run(['-c', _FORKING, os.path.join(SCRIPTS, script), '--quick', '--output_dir', str(directory), '--processes', '1',
                   *arguments], directory, python)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout
