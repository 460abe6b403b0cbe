"""Arguments with two names."""
import inspect

import pytest
import tensorflow as tf

import vai_q_tensorflow
from vai_q_tf.arguments import also_called
from vai_q_tf.integrations.metagraph import quantize_meta_graph

FUNCTIONS = [getattr(vai_q_tensorflow, name) for name in (
    'quantize_frozen', 'convert_datatype', 'inspect', 'quantize_train', 'quantize_evaluate', 'deploy_checkpoint')]


@also_called(old='new', former='present')
def function(first, new, present=3, *, last=4):
    """A docstring."""
    return first, new, present, last


def test_both_names():
    assert function(1, 2) == function(1, new=2) == function(1, old=2) == function(old=2, first=1) == (1, 2, 3, 4)
    assert function(1, old=2, former=5, last=6) == function(1, 2, 5, last=6)


@pytest.mark.parametrize('arguments, named', [((1,), dict(new=2, old=2)), ((1, 2), dict(old=2)), ((1, 2), dict(older=2)),
                                              ((1,), {}), ((1, 2, 3), dict(former=3))])
def test_one_argument_once(arguments, named):
    with pytest.raises(TypeError, match='function'):
        function(*arguments, **named)


def test_the_signature_has_the_first_names():
    assert str(inspect.signature(function)) == '(first, new, present=3, *, last=4)'
    assert (function.__name__, function.__doc__) == ('function', 'A docstring.')


@pytest.mark.parametrize('called', FUNCTIONS + [quantize_meta_graph], ids=lambda function: function.__name__)
def test_the_config_has_two_names(called):
    parameters = inspect.signature(called).parameters
    assert 'config' in parameters and 'q_config' not in parameters
    others = {name: None for name, parameter in parameters.items() if parameter.default is parameter.empty and name != 'config'}
    with pytest.raises(TypeError, match="got 'config' and 'q_config'"):
        called(config=None, q_config=None, **others)
    for name in ('config', 'q_config') if called is not vai_q_tensorflow.inspect else ():
        with pytest.raises(TypeError, match='config must be a vai_q_tensorflow.QuantizeConfig, got list'):
            called(**dict(others, **{name: []}))


def test_inspect_takes_the_config_by_both_names():
    with tf.Graph().as_default() as graph:
        tf.nn.relu(tf.nn.relu(tf.compat.v1.placeholder(tf.float32, [None, 4], name='x'), name='y'), name='z')
    config = vai_q_tensorflow.QuantizeConfig(['x'], ['y'])
    for found in (vai_q_tensorflow.inspect(graph.as_graph_def(), config=config),
                  vai_q_tensorflow.inspect(graph.as_graph_def(), q_config=config)):
        assert found.output_nodes == ('y',)
