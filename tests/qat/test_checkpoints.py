"""What is said of checkpoints."""
import os

import numpy as np
import pytest
import tensorflow as tf

from vai_q_tf import QuantizeConfig, QuantizeError, QuantizePositionHook, errors
from vai_q_tf.integrations import metagraph, slim, warm_start
from vai_q_tf.qat import checkpoints, training

v1 = tf.compat.v1


def test_variables_that_are_missing():
    assert checkpoints.missing_variables('x/model', {'b', 'a'}, 'Look.').args == (
        "[Quantize_TF1_Invalid_Input][Not found] The checkpoint 'x/model' has no value of 2 variables: a, b. Look.",)
    error = checkpoints.missing_variables('x', ['a'], 'Look.', 'cannot read {} of 7 variables', errors.MISSING_QUANTIZE_INFO)
    assert error.code == errors.MISSING_QUANTIZE_INFO
    assert "The checkpoint 'x' cannot read 1 of 7 variables: a. Look." in str(error)


def test_the_name_of_a_variable_is_that_of_the_whole():
    variable = v1.get_variable('whole', [4, 2], partitioner=v1.fixed_size_partitioner(2))
    assert {checkpoints.variable_name(part) for part in variable} == {'whole'}
    assert checkpoints.variable_name(v1.get_variable('plain', [2])) == 'plain'


WAYS = {
    'MetaGraph': (lambda graph, prefix, config: metagraph._check_variables(graph, prefix),
                  'has no value of 2 of 2 variables of the MetaGraph: dense/bias, dense/kernel (shape [4, 3], in the '
                  'checkpoint [4, 4]). Give a checkpoint of this network.'),
    'slim': (lambda graph, prefix, config: slim._initialiser(prefix),
             'cannot initialise 2 variables: dense/bias, dense/kernel (shape [4, 3], in the checkpoint [4, 4]). Give'),
    'model_fn': (lambda graph, prefix, config: (training.create_training_graph(graph, config),
                                                warm_start.start_from_float(graph, prefix)),
                 'has no value of 2 variables of the network: dense/bias, dense/kernel (shape [4, 3], in the checkpoint [4, '
                 '4]). Give a float checkpoint of this network.'),
}


@pytest.mark.parametrize('way', sorted(WAYS))
def test_each_way_says_what_it_lacks(tmp_path, way):
    with tf.Graph().as_default(), v1.Session() as session:
        v1.get_variable('dense/kernel', initializer=np.zeros([4, 4], np.float32))
        session.run(v1.global_variables_initializer())
        prefix = v1.train.Saver().save(session, str(tmp_path / 'model.ckpt'))
    v1.layers.dense(v1.placeholder(tf.float32, [None, 4], 'x'), 3, name='dense')
    check, words = WAYS[way]
    with pytest.raises(QuantizeError) as raised:
        check(v1.get_default_graph(), prefix, QuantizeConfig(['x'], ['dense/BiasAdd'], output_dir=str(tmp_path)))
    assert raised.value.code == errors.INVALID_INPUT and words in str(raised.value)


@pytest.mark.parametrize('way', sorted(WAYS))
@pytest.mark.parametrize('damage', ['type', 'data'])
def test_no_way_starts_from_damaged_values(tmp_path, way, damage):
    with tf.Graph().as_default(), v1.Session() as session:
        v1.get_variable('dense/kernel', initializer=np.zeros([4, 3], np.float64 if damage == 'type' else np.float32))
        v1.get_variable('dense/bias', initializer=np.zeros([3], np.float32))
        session.run(v1.global_variables_initializer())
        prefix = v1.train.Saver().save(session, str(tmp_path / 'model.ckpt'))
    if damage == 'data':
        os.truncate(prefix + '.data-00000-of-00001', 20)
    v1.layers.dense(v1.placeholder(tf.float32, [None, 4], 'x'), 3, name='dense')
    with pytest.raises(QuantizeError, match=prefix) as raised:
        WAYS[way][0](v1.get_default_graph(), prefix, QuantizeConfig(['x'], ['dense/BiasAdd'], output_dir=str(tmp_path)))
    assert raised.value.code == errors.INVALID_INPUT
    assert ('dense/kernel (float32, in the checkpoint float64)' if damage == 'type' else 'Damaged') in str(raised.value)


@pytest.mark.parametrize('who, need', [
    ('QuantizePositionHook counts global steps', lambda config: QuantizePositionHook(config).begin()),
    ('freeze_bn_step, freeze_position_step and average_step count', lambda config: training.create_training_graph(
        v1.get_default_graph(), config))])
def test_who_counts_steps_needs_a_step(tmp_path, who, need):
    v1.layers.dense(v1.placeholder(tf.float32, [None, 4], 'x'), 3, name='dense')
    with pytest.raises(QuantizeError, match=who + '.*no global step yet. Call tf.train.get_or_create_global_step') as raised:
        need(QuantizeConfig(['x'], ['dense/BiasAdd'], output_dir=str(tmp_path), freeze_bn_step=5))
    assert raised.value.code == errors.UNSUPPORTED_GRAPH
