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


@pytest.mark.parametrize('arguments', [
    (lambda votes: votes, lambda votes: votes), (None, lambda votes: votes, lambda votes: votes)])
def test_the_config_may_be_omitted(tmp_path, arguments):
    _training(tmp_path)
    SynchronizePositionsHook(*arguments).begin()


def test_average_by_keyword(tmp_path):
    _training(tmp_path)
    SynchronizePositionsHook(lambda votes: votes, average=lambda votes: votes).begin()


def test_refusals(tmp_path):
    config = _training(tmp_path)
    with pytest.raises(TypeError, match='average must be a function, got str'):
        SynchronizePositionsHook(config, lambda votes: votes, 'mean')
    with pytest.raises(TypeError, match='broadcast must be a function, got NoneType'):
        SynchronizePositionsHook(config)
    with pytest.raises(QuantizeError) as raised:
        SynchronizePositionsHook(config.replace(output_nodes=['other']), lambda votes: votes, lambda votes: votes).begin()
    assert raised.value.code == errors.ALREADY_QUANTIZED
    with tf.Graph().as_default(), pytest.raises(QuantizeError) as raised:
        SynchronizePositionsHook(config, lambda votes: votes, lambda votes: votes).begin()
    assert raised.value.code == errors.NOT_QUANTIZED
