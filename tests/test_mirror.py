"""The tests mirror the package: the test of vai_q_tf/a/b.py is tests/a/test_b.py, or the docstring of b says where it is."""
import ast
import os
import re

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def _modules_with_functions():
    """{path of a module of the package that defines a function: its ast.Module}"""
    found = {}
    for folder, _, names in os.walk(os.path.join(ROOT, 'vai_q_tf')):
        for name in names:
            path = os.path.join(folder, name)
            if name.endswith('.py') and name != '__init__.py':
                with open(path, encoding='utf-8') as source:
                    tree = ast.parse(source.read())
                if any(isinstance(node, ast.FunctionDef) for node in ast.walk(tree)):
                    found[os.path.relpath(path, ROOT)] = tree
    return found


_MODULES = _modules_with_functions()


def _mirror(path):
    folder, name = os.path.split(os.path.relpath(path, 'vai_q_tf'))
    return os.path.join('tests', folder, 'test_' + name.strip('_'))


@pytest.mark.parametrize('path', sorted(_MODULES))
def test_the_test_of_a_module_is_found_by_its_path(path):
    elsewhere = re.findall(r'^Tests: (tests/[\w/]+(?:\.py|/))', ast.get_docstring(_MODULES[path]) or '', re.MULTILINE)
    for test in elsewhere or [_mirror(path)]:
        assert os.path.exists(os.path.join(ROOT, test)), 'move the tests of {} to {}'.format(path, test)
