"""The common interface of hooks, listeners and callbacks: their arguments, and a docstring for each of their methods."""
import inspect

import pytest

import vai_q_tensorflow

HOOKS = ('QuantizeTrainingHook', 'QuantizePositionHook', 'QuantizeCheckpointListener', 'QuantizeExporter',
         'SynchronizePositionsHook', 'QuantizeCallback')


@pytest.mark.parametrize('name', HOOKS)
def test_the_config_comes_first(name):
    parameters = list(inspect.signature(getattr(vai_q_tensorflow, name)).parameters.values())
    assert parameters[0].name == 'config'
    assert {parameter.kind for parameter in parameters} == {inspect.Parameter.POSITIONAL_OR_KEYWORD}


def test_the_documented_signatures():
    def arguments(name):
        parameters = inspect.signature(getattr(vai_q_tensorflow, name)).parameters.values()
        return {parameter.name: parameter.default for parameter in parameters}

    assert list(arguments('QuantizePositionHook').items()) == [
        ('config', None), ('every_n_steps', None), ('every_n_secs', None), ('freeze_step', None), ('output_dir', None),
        ('statistics', True)]
    assert list(arguments('QuantizeCallback').items()) == [
        ('config', inspect.Parameter.empty), ('model', inspect.Parameter.empty), ('every_n_steps', 100)]
    assert list(arguments('SynchronizePositionsHook').items()) == [('config', None), ('broadcast', None), ('average', None)]


@pytest.mark.parametrize('name', HOOKS)
def test_every_method_says_in_a_line_what_it_does(name):
    methods = {key: value for key, value in vars(getattr(vai_q_tensorflow, name)).items()
               if not key.startswith('_') and (callable(value) or isinstance(value, property))}
    assert methods
    for key, method in methods.items():
        assert method.__doc__ and '\n' not in method.__doc__.strip(), '{}.{}'.format(name, key)
