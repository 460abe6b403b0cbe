"""SynchronizePositionsHook exchanges all state of a training in one call; tests/distributed has several processes."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf import CreateQuantizeTrainingGraph, QuantizeConfig, QuantizeError, SynchronizePositionsHook, errors

_VOTES, _START = 'vai_q_tf/positions/votes:0', 'vai_q_tf/positions/start/noted:0'


def _training(directory):
    tf.layers.dense(tf.placeholder(tf.float32, [None, 4], 'x'), 3, name='dense')
    config = QuantizeConfig(['x'], ['dense/BiasAdd'], output_dir=str(directory), recipe='scratch')
    CreateQuantizeTrainingGraph(config)
    return config


def test_the_functions_give_the_votes(tmp_path):
    config, shapes = _training(tmp_path), []

    def broadcast(values):
        shapes.append(values.shape.as_list())
        return values * 0 + tf.reshape(tf.range(5 * 256, dtype=tf.float32), [5, 256])

    hook = SynchronizePositionsHook(config, broadcast, lambda votes: votes / 2)
    hook.begin()
    assert shapes == [[5, 256]]  # four tensors, and how the training started
    with tf.train.MonitoredSession(hooks=[hook]) as session:
        given = np.arange(4 * 256, dtype=np.float32).reshape(4, 256)
        np.testing.assert_array_equal(session.run(_VOTES), given)
        votes, start = session.run([_VOTES, _START])
        np.testing.assert_array_equal(votes, given / 2)
        np.testing.assert_array_equal(start[0], np.arange(4 * 256, 5 * 256))


def test_it_needs_a_quantized_graph():
    with pytest.raises(QuantizeError) as raised:
        SynchronizePositionsHook(tf.identity, tf.identity).begin()
    assert raised.value.code == errors.NOT_QUANTIZED


FORMS = {
    'config first': lambda config, first, second: SynchronizePositionsHook(config, first, second),
    'keywords': lambda config, first, second: SynchronizePositionsHook(average=second, broadcast=first, config=config),
    'of 0.1.0, positional': lambda config, first, second: SynchronizePositionsHook(first, second),
    'of 0.1.0, keywords': lambda config, first, second: SynchronizePositionsHook(average=second, broadcast=first),
    'of 0.1.0, mixed': lambda config, first, second: SynchronizePositionsHook(first, average=second),
}


@pytest.mark.parametrize('form', sorted(FORMS))
def test_call_forms(tmp_path, form):
    config, called = _training(tmp_path), []
    FORMS[form](config, lambda votes: called.append('broadcast') or tf.identity(votes),
                lambda votes: called.append('average') or tf.identity(votes)).begin()
    assert called == ['broadcast', 'average']


@pytest.mark.parametrize('arguments, words', [
    ((), 'broadcast must be a function, got NoneType'), ((tf.identity,), 'average must be a function, got NoneType'),
    (('config', tf.identity, tf.identity), 'QuantizeConfig, got str'),
    ((tf.identity,) * 3, 'QuantizeConfig, got function')], ids=['none', 'one', 'no config', 'three'])
def test_arguments_of_a_wrong_type(arguments, words):
    with pytest.raises(TypeError, match=words):
        SynchronizePositionsHook(*arguments)


def test_a_graph_of_another_range_is_refused(tmp_path):
    other = _training(tmp_path).replace(output_nodes=['other'])
    with pytest.raises(QuantizeError) as raised:
        SynchronizePositionsHook(other, tf.identity, tf.identity).begin()
    assert raised.value.code == errors.ALREADY_QUANTIZED
