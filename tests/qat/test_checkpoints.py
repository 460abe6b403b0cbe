"""Contents of checkpoints, and errors about them."""
import os

import numpy as np
import pytest
import tensorflow as tf

from vai_q_tf import QuantizeConfig, QuantizeError, QuantizePositionHook, errors
from vai_q_tf.integrations import metagraph, slim, warm_start
from vai_q_tf.position_histogram import HISTOGRAM_BINS, mode_position
from vai_q_tf.qat import checkpoints, training
from vai_q_tf.qat.network.identity import Identity
from vai_q_tf.qat.positions.position_saveable import STRUCTURES_KEY, TENSORS_KEY, VARIABLES_KEY, VOTES_KEY
from vai_q_tf.qat.reading.checkpoint_reader import CheckpointReader

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
    'slim': (lambda graph, prefix, config: slim._restored_from(prefix),
             'cannot initialise 2 variables: dense/bias, dense/kernel (shape [4, 3], in the checkpoint [4, 4]). Give'),
    'model_fn': (lambda graph, prefix, config: (training.create_training_graph(graph, config),
                                                warm_start.start_from_float(graph, prefix)),
                 'has no value of 2 variables of the network: dense/bias, dense/kernel (shape [4, 3], in the checkpoint [4, '
                 '4]). Give a float checkpoint of this network; for new layers'),
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


def _reader(place, votes):
    values = {VOTES_KEY: np.float32(votes), TENSORS_KEY: ['a', 'b'], VARIABLES_KEY: ['', 'v'], STRUCTURES_KEY: ['s', 't']}
    names = sorted(values)
    with tf.Graph().as_default(), v1.Session() as session:
        session.run(tf.raw_ops.SaveV2(prefix=str(place / 'model'), tensor_names=names, shape_and_slices=[''] * len(names),
                                      tensors=[tf.constant(values[name]) for name in names]))
    return CheckpointReader(str(place / 'model'))


_IDENTITIES = {'a': Identity('', '', ()), 'c': Identity('t', '', ())}


def test_positions_are_those_with_most_votes(tmp_path):
    """Rows are found by name, and by structure if the name is another one."""
    votes = np.eye(2, HISTOGRAM_BINS, 3) + 2 * np.eye(2, HISTOGRAM_BINS, 130)
    found = checkpoints.read_positions(_reader(tmp_path, votes), _IDENTITIES)
    assert found == {name: mode_position(np.float32(row)) for name, row in zip(('a', 'c'), votes)}


@pytest.mark.parametrize('votes, identities, lost', [
    (np.eye(2, HISTOGRAM_BINS) * [[1], [0]], _IDENTITIES, '1 of 2 quantized tensors: c'),
    (np.eye(2, HISTOGRAM_BINS), dict(_IDENTITIES, d=Identity('u', 'w', ())), '1 of 3 quantized tensors: d')])
def test_a_tensor_without_votes_has_no_position(tmp_path, votes, identities, lost):
    with pytest.raises(QuantizeError, match='has no position of ' + lost) as raised:
        checkpoints.read_positions(_reader(tmp_path, votes), identities)
    assert raised.value.code == errors.MISSING_QUANTIZE_INFO
