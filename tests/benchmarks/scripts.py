"""The modules of benchmarks/accuracy, which lie in no package."""
import contextlib
import importlib
import os
import sys

from tests.examples.test_demo import ROOT

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
