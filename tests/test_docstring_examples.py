"""The examples in docstrings run and give the results that they show."""
import doctest
import importlib
import io
import os
import types

import pytest

import vai_q_tf

_PACKAGE = os.path.dirname(vai_q_tf.__file__)
# Modules and folders whose docstrings have examples.
_ROOMS = ('fixed_point', 'position_histogram', 'patterns', 'passes')
# Rooms with modules of helpers, which need no example; tests/passes/test_pipeline.py requires one of each pass.
_NOT_REQUIRED = ('passes',)
_TOOLS, _WHOLE = 'a tool of passes, whose examples show it', 'needs a whole network and a config'
# {module with public functions, but without an example: reason}
_WITHOUT_EXAMPLE = {
    'passes/common/any_batch_shapes': _TOOLS, 'passes/common/changed_parameter': _TOOLS, 'passes/common/channels': _TOOLS,
    'passes/common/infer_shapes': _TOOLS, 'passes/common/parameters': _TOOLS, 'passes/common/rewriter': _TOOLS,
    'passes/common/snippets': _TOOLS, 'passes/folding/affine_chains': _TOOLS, 'passes/folding/folded_parameters': _TOOLS,
    'passes/partition': _WHOLE, 'passes/pipeline': _WHOLE,
}


def _modules():
    for room in _ROOMS:
        for folder, _, names in os.walk(os.path.join(_PACKAGE, room)):
            for name in names:
                if name.endswith('.py') and not name.startswith('__'):
                    yield os.path.relpath(os.path.join(folder, name), _PACKAGE)[:-len('.py')].replace(os.sep, '/')
        if os.path.exists(os.path.join(_PACKAGE, room + '.py')):
            yield room


_MODULES = sorted(_modules())


def _examples(module):
    return [test for test in doctest.DocTestFinder().find(module) if test.examples]


def _failures(module):
    """What doctest prints about the examples of a module that fail."""
    output, runner = io.StringIO(), doctest.DocTestRunner(verbose=False)
    for test in _examples(module):
        runner.run(test, out=output.write)
    return output.getvalue()


def _is_required(name):
    return name.partition('/')[0] not in _NOT_REQUIRED and name not in _WITHOUT_EXAMPLE


def _has_public_functions(module):
    return any(isinstance(value, (type, types.FunctionType)) and value.__module__ == module.__name__
               and not name.startswith('_') for name, value in vars(module).items())


@pytest.mark.parametrize('name', _MODULES)
def test_examples(name):
    module = importlib.import_module('vai_q_tf.' + name.replace('/', '.'))
    failures = _failures(module)
    assert not failures, failures
    if _is_required(name) and _has_public_functions(module):
        assert _examples(module), '{} has no example'.format(name)


@pytest.mark.parametrize('name', sorted(_WITHOUT_EXAMPLE))
def test_an_exception_has_no_example(name):
    assert name in _MODULES and not _examples(importlib.import_module('vai_q_tf.' + name.replace('/', '.')))


def test_a_wrong_result_is_a_failure():
    module = types.ModuleType('module', '>>> 1 + 1\n2\n')
    assert not _failures(module)
    module.__doc__ += '>>> 1 + 1\n3\n'
    assert 'Expected:\n    3\nGot:\n    2\n' in _failures(module)
