"""The mean of the weights over the last steps of a training, in the training graph and in its checkpoints."""
import collections

import numpy as np
import pytest
import tensorflow as tf

import vai_q_tf
from tests.combinations import each_value_once
from tests.qat.averages.running_means import assert_means, means, running_mean
from tests.qat.recipe import small
from vai_q_tf import QuantizeError, errors
from vai_q_tf.qat.positions.position_saveable import START_KEY

v1 = tf.compat.v1
_TRAINED = {'conv/kernel', 'norm/gamma', 'norm/beta', 'logits/kernel', 'logits/bias'}


def _settings(place, **fields):
    return small.config(place, **dict(dict(average_step=2), **fields))


def _train(training, steps, first=0):
    """The variables after each step."""
    values = []
    for number in range(first, first + steps):
        training.step(number)
        values.append(training.variables())
    return values


@pytest.mark.parametrize('start, recipe', each_value_once([0, 2, 5], ['auto', 'scratch', 'manual']))
def test_the_mean_is_that_of_the_values_after_each_step(tmp_path, start, recipe):
    with small.Training(_settings(tmp_path, average_step=start, recipe=recipe), small.float_weights()) as training:
        values = _train(training, 6)
        found, count = means(training.saver.save(training.session, str(tmp_path / 'model.ckpt')))
    assert count == 6 - start and set(found) == _TRAINED
    assert_means(found, values[start:])
    np.testing.assert_allclose(found['conv/kernel'], np.mean([value['conv/kernel'] for value in values[start:]], 0), rtol=1e-5)


def test_weights_that_move_by_a_constant(tmp_path):
    """A loss that is linear in the biases: steps 3 to 8 leave -3/4 to -8/4 and 3/8 to 8/8."""
    with tf.Graph().as_default():
        images = v1.placeholder(tf.float32, [4, 2])
        logits = v1.layers.dense(tf.identity(images, 'net_in'), 2, name='logits')
        loss = tf.reduce_mean(tf.reduce_sum(logits * [1., -.5], 1))
        step = v1.train.get_or_create_global_step()
        vai_q_tf.CreateQuantizeTrainingGraph(vai_q_tf.QuantizeConfig(
            ['net_in'], ['logits/BiasAdd'], output_dir=str(tmp_path), average_step=2, gradient='straight_through'))
        train = v1.train.GradientDescentOptimizer(0.25).minimize(loss, step)
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            for _ in range(8):
                session.run(train, {images: np.ones([4, 2], np.float32)})
            found, count = means(v1.train.Saver().save(session, str(tmp_path / 'model.ckpt')))
    assert count == 6
    np.testing.assert_array_equal(found['logits/bias'], [-5.5 / 4, 5.5 / 8])


def test_before_the_first_step_that_counts_there_is_no_mean(tmp_path):
    with small.Training(_settings(tmp_path), small.float_weights()) as training:
        for number in range(3):
            found, count = means(training.saver.save(training.session, str(tmp_path / 'model.ckpt'), number))
            assert count == 0 and all(not mean.size for mean in found.values())
            training.step(number)
        found, count = means(training.saver.save(training.session, str(tmp_path / 'model.ckpt'), 3))
        assert count == 1 and _is_last(found, training)


def test_saving_before_the_first_step_does_not_begin_the_training(tmp_path):
    """The saved averages do not depend on ops of a training step."""
    settings = _settings(tmp_path, recipe='manual', freeze_position_step=.5)
    with small.Training(settings, small.float_weights()) as training:
        for number in range(2):  # the second one would have the notes of the first one
            checkpoint = training.saver.save(training.session, str(tmp_path / 'model.ckpt'), number)
            assert not tf.train.load_checkpoint(checkpoint).get_tensor(START_KEY).any()


def test_slices_before_the_first_step_that_counts(tmp_path):
    """Slices in a checkpoint have a fixed shape; a resumed training does not take their zeros for means."""
    def build(images, training=True):
        with v1.variable_scope('', partitioner=v1.fixed_size_partitioner(2)):
            return small.network(images, training)

    with small.Training(_settings(tmp_path), build=build) as training:
        training.step(0)
        checkpoint = training.saver.save(training.session, str(tmp_path / 'model.ckpt'))
        found, count = means(checkpoint)
        assert count == 0 and found['conv/kernel'].shape == (3, 3, 2, 4) and not found['conv/kernel'].any()
        training.saver.restore(training.session, checkpoint)
        for number in range(1, 3):
            training.step(number)
        found, count = means(training.saver.save(training.session, str(tmp_path / 'model.ckpt')))
        kernel = np.concatenate(training.session.run(['conv/kernel/part_{}:0'.format(part) for part in range(2)]))
    assert count == 1
    np.testing.assert_array_equal(found['conv/kernel'], kernel)


def _is_last(found, training):
    last = training.variables()
    return all(np.array_equal(mean, last[name]) for name, mean in found.items())


def test_a_step_counts_once_however_often_the_network_runs(tmp_path):
    with small.Training(_settings(tmp_path), small.float_weights()) as training:
        values = []
        for number in range(6):
            for _ in range(number % 3):
                training.session.run(training.loss, training.feed(number))
            values += _train(training, 1, number)
            training.saver.save(training.session, str(tmp_path / 'model.ckpt'))
        found, count = means(training.saver.save(training.session, str(tmp_path / 'model.ckpt')))
    assert count == 4
    assert_means(found, values[2:])


@pytest.mark.parametrize('stop', [1, 2, pytest.param(3, marks=pytest.mark.slow), 5])
def test_a_training_that_goes_on_has_the_same_means_to_the_bit(tmp_path, stop):
    with small.Training(_settings(tmp_path), small.float_weights()) as training:
        values = _train(training, stop)
        checkpoint = training.saver.save(training.session, str(tmp_path / 'first.ckpt'))
    with small.Training(_settings(tmp_path)) as training:
        training.saver.restore(training.session, checkpoint)
        again, count = means(training.saver.save(training.session, str(tmp_path / 'again.ckpt')))
        first, _ = means(checkpoint)
        assert count == max(stop - 2, 0) and all(np.array_equal(again[name], first[name]) for name in first)
        values += _train(training, 7 - stop, stop)
        found, count = means(training.saver.save(training.session, str(tmp_path / 'second.ckpt')))
    assert count == 5
    assert_means(found, values[2:])


def test_an_earlier_checkpoint_takes_the_means_back(tmp_path):
    with small.Training(_settings(tmp_path), small.float_weights()) as training:
        values = _train(training, 4)
        checkpoints = [training.saver.save(training.session, str(tmp_path / 'model.ckpt'), 4)]
        _train(training, 3, 4)
        training.saver.restore(training.session, checkpoints[0])
        values += _train(training, 2, 4)
        found, count = means(training.saver.save(training.session, str(tmp_path / 'last.ckpt')))
    assert count == 4
    assert_means(found, values[2:])


def test_they_go_on_with_another_recipe(tmp_path):
    """The recipe 'manual' does not note how the training began."""
    with small.Training(_settings(tmp_path, recipe='manual'), small.float_weights()) as training:
        values = _train(training, 4)
        checkpoint = training.saver.save(training.session, str(tmp_path / 'model.ckpt'))
    with small.Training(_settings(tmp_path, recipe='auto')) as training:
        training.saver.restore(training.session, checkpoint)
        values += _train(training, 2, 4)
        found, count = means(training.saver.save(training.session, str(tmp_path / 'last.ckpt')))
    assert count == 4
    assert_means(found, values[2:])


@pytest.mark.parametrize('start, first', [(2, 0), (0, 3)])
def test_another_training_does_not_go_on_with_the_means(tmp_path, start, first):
    """It starts from the weights, with its own global step."""
    settings = _settings(tmp_path, average_step=start)
    with small.Training(settings, small.float_weights()) as training:
        _train(training, 6)
        checkpoint = training.saver.save(training.session, str(tmp_path / 'model.ckpt'))
    with small.Training(settings) as training:
        training.saver.restore(training.session, checkpoint)
        v1.train.get_global_step().load(first, training.session)
        none, count = means(training.saver.save(training.session, str(tmp_path / 'begun.ckpt')))
        assert count == 0 and all(not mean.size for mean in none.values())
        values = _train(training, 4)
        found, count = means(training.saver.save(training.session, str(tmp_path / 'second.ckpt')))
    assert count == 4 - start
    assert_means(found, values[start:])


@pytest.mark.parametrize('kind', ['float', 'quantized', 'later', 'some'])
def test_a_checkpoint_without_means_restores(tmp_path, kind):
    """No step of this training left the restored weights, so they do not count."""
    checkpoint = str(tmp_path / 'model.ckpt')
    if kind == 'float':
        with tf.Graph().as_default(), v1.Session() as session:
            small.network(v1.placeholder(tf.float32, [None, 6, 6, 2]))
            v1.train.create_global_step()
            session.run(v1.global_variables_initializer())
            session.run(v1.assign(v1.train.get_global_step(), 3))
            v1.train.Saver().save(session, checkpoint)
    else:
        steps = {'later': {'average_step': 90}, 'some': {'average_step': 2}}.get(kind, {})
        with small.Training(small.config(tmp_path, **steps)) as training:
            _train(training, 3)
            training.saver.save(training.session, checkpoint)
        if kind == 'some':  # a variable was not trained before
            _remove(checkpoint, 'vai_q_tf/averages/logits/bias')
    with small.Training(_settings(tmp_path)) as training:
        _train(training, 5)  # the state has means of other weights than the restored ones
        training.saver.restore(training.session, checkpoint)
        values = _train(training, 3, 3)
        found, count = means(training.saver.save(training.session, str(tmp_path / 'second.ckpt')))
    assert count == 3
    assert_means(found, values)


def _remove(checkpoint, key):
    """Removes a tensor from a checkpoint."""
    reader = tf.train.load_checkpoint(checkpoint)
    names = sorted(set(reader.get_variable_to_shape_map()) - {key})
    with tf.Graph().as_default(), v1.Session() as session:
        session.run(tf.raw_ops.SaveV2(prefix=checkpoint, tensor_names=names, shape_and_slices=[''] * len(names),
                                      tensors=[tf.constant(reader.get_tensor(name)) for name in names]))


def test_a_checkpoint_with_means_restores_into_a_training_without(tmp_path):
    with small.Training(_settings(tmp_path), small.float_weights()) as training:
        _train(training, 4)
        checkpoint = training.saver.save(training.session, str(tmp_path / 'model.ckpt'))
        expected = training.variables()
    with small.Training(small.config(tmp_path)) as training:
        training.saver.restore(training.session, checkpoint)
        found = training.variables()
    assert all(np.array_equal(value, found[name]) for name, value in expected.items())


def _nodes(settings):
    with small.Training(settings) as training:
        collections = {name: len(training.graph.get_collection(name)) for name in training.graph.get_all_collection_keys()}
        return {node.name for node in training.graph.as_graph_def().node if not node.name.startswith('save/')}, collections


def test_without_the_option_the_graph_has_no_averages(tmp_path):
    without, collections = _nodes(small.config(tmp_path, freeze_position_step=0.5))
    averaging, others = _nodes(_settings(tmp_path, freeze_position_step=0.5))
    added = averaging - without
    assert without <= averaging and added
    prefixes = ('vai_q_tf/averag', 'vai_q_tf/means/', 'vai_q_tf/positions/recipe/average')
    assert [name for name in added if not name.startswith(prefixes)] == []
    collections[v1.GraphKeys.SAVEABLE_OBJECTS] += 1
    others.pop(v1.GraphKeys.COND_CONTEXT), collections.pop(v1.GraphKeys.COND_CONTEXT)
    assert others == collections


def _types(place, layers, use_resource, **fields):
    """{op type: count} in the training graph of that many dense layers, without and with a Saver."""
    with tf.Graph().as_default() as graph:
        with v1.variable_scope('', use_resource=use_resource):
            net = tf.identity(tf.zeros([2, 3]), 'net_in')
            for _ in range(layers):
                net = v1.layers.dense(net, 3)
        v1.train.get_or_create_global_step()
        vai_q_tf.CreateQuantizeTrainingGraph(vai_q_tf.QuantizeConfig(
            ['net_in'], [net.op.name], output_dir=str(place), **fields))
        before = collections.Counter(op.type for op in graph.get_operations())
        v1.train.Saver()
        return before, collections.Counter(op.type for op in graph.get_operations())


@pytest.mark.parametrize('use_resource', [False, True])
def test_ops_for_a_variable_are_few(tmp_path, use_resource):
    """No Switch among them. A large network has hundreds of variables."""
    (few, saved_few), (many, saved_many) = (_types(tmp_path, layers, use_resource, average_step=0) for layers in (1, 3))
    (one, saved_one), (more, saved_more) = (_types(tmp_path, layers, use_resource) for layers in (1, 3))
    variables = 4
    for kind in ('Switch', 'RefSwitch'):
        assert saved_many[kind] - saved_few[kind] == saved_more[kind] - saved_one[kind]
    assert many['Merge'] - few['Merge'] == more['Merge'] - one['Merge'] + variables
    assert sum((many - few).values()) - sum((more - one).values()) <= 21 * variables
    assert sum((saved_many - saved_few).values()) - sum((saved_more - saved_one).values()) <= 24 * variables


def _work(training, fetches, feed=None):
    """{op type: number of ops of the averages that a run computed} for reads of the state, copies, steps and assignments."""
    metadata = v1.RunMetadata()
    training.session.run(fetches, feed, v1.RunOptions(trace_level=v1.RunOptions.FULL_TRACE), metadata)
    names = {stats.node_name for device in metadata.step_stats.dev_stats for stats in device.node_stats}
    types = collections.Counter(op.type for op in training.graph.get_operations()
                                if op.name in names and op.name.startswith('vai_q_tf/averaging/'))
    return {kind: types[kind] for kind in ('ReadVariableOp', 'DeepCopy', 'RealDiv', 'AssignVariableOp') if types[kind]}


def test_only_necessary_ops_run(tmp_path):
    """None before the first step that counts or if a step runs again; a checkpoint needs no assignment."""
    saved = ['vai_q_tf/averages/{}:0'.format(name) for name in _TRAINED]
    number = len(_TRAINED)
    with small.Training(_settings(tmp_path), small.float_weights()) as training:
        found = []
        for step in range(6):
            runs = [_work(training, fetched, training.feed(step)) for fetched in (training.loss, training.train)]
            found.append(runs + [_work(training, saved)])
        checkpoint = training.saver.save(training.session, str(tmp_path / 'model.ckpt'))
        training.saver.restore(training.session, checkpoint)
        assert _work(training, saved) == {'ReadVariableOp': 1 + number}
        v1.train.get_global_step().load(0, training.session)  # another training
        assert _work(training, saved) == {'ReadVariableOp': 1}
    one = {'ReadVariableOp': 1, 'AssignVariableOp': 1}  # the number of steps
    copied = {'DeepCopy': number, 'ReadVariableOp': 1}
    moved = {'RealDiv': number, 'ReadVariableOp': 1 + number}
    assert found == [
        [{'AssignVariableOp': 1}, one, {'ReadVariableOp': 1}], [one, one, {'ReadVariableOp': 1}], [one, one, copied],
        [{'AssignVariableOp': 1 + number, **copied}, one, moved],
        [{'AssignVariableOp': 1 + number, **moved}, one, moved],
        [{'AssignVariableOp': 1 + number, **moved}, one, moved]]


@pytest.mark.parametrize('use_resource', [False, True])
def test_fetched_values_do_not_change(tmp_path, use_resource):
    """They share no memory with the variables, which are updated in place."""
    def with_resources(images, training=True):
        with v1.variable_scope('', use_resource=True):
            return small.network(images, training)

    build = with_resources if use_resource else small.network
    with small.Training(_settings(tmp_path, average_step=0), small.float_weights(), build) as training:
        training.step(0)
        found = [training.session.run('vai_q_tf/averages/{}:0'.format(name)) for name in _TRAINED]
        before = [value.copy() for value in found]
        _train(training, 2, 1)
        assert all(np.array_equal(value, kept) for value, kept in zip(found, before))


def test_the_training_is_the_same(tmp_path):
    courses = []
    for settings in (small.config(tmp_path), _settings(tmp_path)):
        with small.Training(settings, small.float_weights()) as training:
            courses.append(([training.step(number) for number in range(5)], training.variables()))
    assert courses[0][0] == courses[1][0]
    assert all(np.array_equal(value, courses[1][1][name]) for name, value in courses[0][1].items())


def test_errors(tmp_path):
    with pytest.raises(QuantizeError, match='average_step is -1'):
        small.config(tmp_path, average_step=-1)
    with tf.Graph().as_default():
        v1.layers.dense(tf.identity(tf.zeros([2, 2]), 'net_in'), 2, name='logits', trainable=False)
        v1.train.create_global_step()
        with pytest.raises(QuantizeError, match='no trainable variables') as raised:
            vai_q_tf.CreateQuantizeTrainingGraph(_settings(tmp_path))
        assert raised.value.code == errors.UNSUPPORTED_GRAPH
    with tf.Graph().as_default():
        small.network(tf.zeros([1, 6, 6, 2]))
        with pytest.raises(QuantizeError, match='average_step count.*no global step yet') as raised:
            vai_q_tf.CreateQuantizeTrainingGraph(_settings(tmp_path))
        assert raised.value.code == errors.UNSUPPORTED_GRAPH


def test_half_precision_is_averaged_in_single(tmp_path):
    """The mean of 1 and many values next to it is between float16 numbers."""
    def build(images, training=True):
        net = v1.layers.flatten(tf.identity(images, name='net_in'))
        kernel = v1.get_variable('kernel', [72, 3], tf.float16, v1.ones_initializer())
        return tf.matmul(net, tf.cast(kernel, tf.float32), name='out')

    settings = _settings(tmp_path, average_step=0)
    settings.output_nodes = ['out']
    values = [np.full([72, 3], 1 + number % 2 / 1024, np.float16) for number in range(7)]
    with small.Training(settings, build=build, rate=0.) as training:
        training.step(0)
        for number, value in enumerate(values[1:], 1):
            training.assign({'kernel': value})
            training.step(number)
        found, count = means(training.saver.save(training.session, str(tmp_path / 'model.ckpt')))
    assert count == 7 and found['kernel'].dtype == np.float32
    np.testing.assert_array_equal(found['kernel'], running_mean([value.astype(np.float32) for value in values]))


def test_a_share_of_a_training_of_unknown_length_is_an_error(tmp_path):
    with small.Training(_settings(tmp_path, average_step=0.5), small.float_weights()) as training:
        training.saver.save(training.session, str(tmp_path / 'model.ckpt'))  # before the first step this is no error
        with pytest.raises(tf.errors.InvalidArgumentError, match='average_step cannot be a share'):
            training.step(0)
