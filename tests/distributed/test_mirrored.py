"""MirroredStrategy: replicas train like one device on the whole batch, and share their positions."""
import json

import numpy as np
import pytest
import tensorflow as tf

from tests import quick_tensorflow
from tests.distributed import training
from vai_q_tf import (
    CreateQuantizeEvaluationGraph,
    CreateQuantizeTrainingGraph,
    QuantizeCheckpointListener,
    QuantizeError,
    QuantizePositionHook,
    errors,
    fixed_point,
    position_histogram,
)
from vai_q_tf.graph.view import GraphView
from vai_q_tf.hooks.position_hook import HISTORY_FILE
from vai_q_tf.qat.positions import position_saveable

STEPS = 40
_DEVICES = ['/cpu:0', '/cpu:1']


def _estimator(directory, replicas, optimizers=False, **params):
    strategy = tf.distribute.MirroredStrategy(_DEVICES) if replicas == 2 else None
    run_config = tf.estimator.RunConfig(
        str(directory / 'model'), tf_random_seed=5, train_distribute=strategy, save_checkpoints_steps=STEPS // 2,
        session_config=quick_tensorflow.two_devices(optimizers))
    return tf.estimator.Estimator(training.model_fn, config=run_config, params=dict(directory=str(directory), **params))


def _train(directory, replicas, steps=STEPS, hooks=(), listeners=(), **params):
    """(losses, estimator)"""
    losses = training.Losses()
    estimator = _estimator(directory, replicas, **params)
    estimator.train(lambda: training.input_fn(training.BATCH // replicas), steps=steps, hooks=[losses, *hooks],
                    saving_listeners=list(listeners))
    return losses.values, estimator


def _reader(estimator):
    return tf.train.load_checkpoint(estimator.latest_checkpoint())


def _votes(reader):
    return reader.get_tensor(position_saveable.VOTES_KEY)


@pytest.fixture(scope='module')
def start(tmp_path_factory):
    """A float checkpoint of one device."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.set_random_seed(1)
        training.network(tf.zeros([1, 8, 8, 2]), True)
        tf.compat.v1.train.get_or_create_global_step()
        session.run(tf.compat.v1.global_variables_initializer())
        return tf.compat.v1.train.Saver().save(session, str(tmp_path_factory.mktemp('float') / 'model.ckpt'))


@pytest.fixture(scope='module')
def accuracies(trained):
    """{replicas: accuracy of the training on one device}."""
    return {replicas: estimator.evaluate(training.input_fn, steps=4)['accuracy']
            for replicas, (_, _, estimator) in trained.items()}


@pytest.fixture(scope='module')
def trained(tmp_path_factory, start):
    """{replicas: (directory, losses, estimator)} after the same training on one and on two replicas."""
    found = {}
    for replicas in (1, 2):
        directory = tmp_path_factory.mktemp('replicas{}'.format(replicas))
        hook = QuantizePositionHook(str(directory), every_n_steps=5)
        listener = QuantizeCheckpointListener(training.config(directory))
        found[replicas] = (directory,) + _train(directory, replicas, hooks=[hook], listeners=[listener], optimizers=True,
                                                start=start, settings={'recipe': 'auto'})
    return found


def test_without_batch_norm_two_replicas_train_as_one_device(tmp_path):
    for name in ('one', 'two', 'float'):
        (tmp_path / name).mkdir()
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        # From a few starts, different rounding of a sum changes a quantized weight, and the trainings diverge.
        tf.compat.v1.set_random_seed(1)
        training.network(tf.zeros([1, 8, 8, 2]), True, norm=False)
        tf.compat.v1.train.get_or_create_global_step()
        session.run(tf.compat.v1.global_variables_initializer())
        start = tf.compat.v1.train.Saver().save(session, str(tmp_path / 'float' / 'model.ckpt'))
    settings = dict(norm=False, start=start, settings={'method': 0})
    _, first = _train(tmp_path / 'one', 1, **settings)
    _, second = _train(tmp_path / 'two', 2, **settings)
    one, two = _votes(_reader(first)), _votes(_reader(second))
    assert [position_histogram.mode_position(row) for row in two] == [position_histogram.mode_position(row) for row in one]
    # Rounding of sums may change single votes.
    assert np.abs(two - one).sum() < 0.02 * one.sum()
    for name in ('conv/kernel', 'conv/bias', 'logits/kernel', 'logits/bias'):
        expected = _reader(first).get_tensor(name)
        np.testing.assert_allclose(_reader(second).get_tensor(name), expected, atol=2e-3, err_msg=name)


def test_with_batch_norm_they_learn_as_well(trained, accuracies):
    for _, losses, _ in trained.values():
        assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
    assert accuracies[2] > accuracies[1] - 0.08
    tracked = {}
    for replicas, (_, _, estimator) in trained.items():
        tracked[replicas] = [position_histogram.mode_position(row) for row in _votes(_reader(estimator))]
    assert np.abs(np.subtract(tracked[1], tracked[2])).max() <= 1


def test_checkpoints_are_those_of_one_device(trained):
    one, two = (_reader(trained[replicas][2]).get_variable_to_shape_map() for replicas in (1, 2))
    assert one == two
    names = _reader(trained[2][2]).get_tensor(position_saveable.TENSORS_KEY).tolist()
    assert not [name for name in names if b'replica' in name]


def test_hook_and_listener_see_one_network(trained, accuracies):
    directory, _, estimator = trained[2]
    lines = [json.loads(line) for line in (directory / HISTORY_FILE).read_text().splitlines()]
    names = _reader(estimator).get_tensor(position_saveable.TENSORS_KEY).tolist()
    assert {line['tensor'] for line in lines} == {name.decode() for name in names}
    models = sorted((directory / 'quantized').glob('quantize_eval_model_*'))
    assert [path.name.split('_')[3] for path in models] == [str(STEPS // 2), str(STEPS)]
    model = tf.compat.v1.GraphDef.FromString(models[-1].read_bytes())
    images, _ = training.data()
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.import_graph_def(model, name='')
        frozen = session.run('logits/BiasAdd/aquant:0', {'images:0': images})
    predicted = np.mean(np.argmax(frozen, -1) == training.data()[1])
    assert predicted == pytest.approx(accuracies[2])


class RestoredVotes(tf.estimator.SessionRunHook):
    """Records the votes at the start of a training."""

    def after_create_session(self, session, coord):
        self.votes = session.run(position_saveable.VOTES_KEY + ':0')


def test_training_resumes_from_the_checkpoint_of_the_other_kind(trained, tmp_path, start):
    """One device from a checkpoint of two replicas, and vice versa."""
    for replicas in (1, 2):
        directory = tmp_path / str(replicas)
        directory.mkdir()
        (directory / 'model').symlink_to(trained[3 - replicas][0] / 'model')
        before = _reader(trained[3 - replicas][2])
        hook = RestoredVotes()
        _train(directory, replicas, steps=1, hooks=[hook], start=None, settings={'recipe': 'auto'})
        mine = sorted(map(tuple, hook.votes.tolist()))
        assert mine == sorted(map(tuple, _votes(before).tolist()))


class _Replicas:
    """The quantized training network on two replicas, in a session, without an optimizer."""

    def __init__(self, directory, start=None, **settings):
        self.strategy = tf.distribute.MirroredStrategy(_DEVICES)
        self.graph = tf.compat.v1.get_default_graph()

        def replica():
            context = tf.distribute.get_replica_context()
            images = tf.gather(self.images, tf.range(8) + 8 * context.replica_id_in_sync_group)
            training.network(images, True)
            CreateQuantizeTrainingGraph(training.config(directory, **settings))

        with self.strategy.scope():
            tf.compat.v1.train.get_or_create_global_step()
            self.images = tf.compat.v1.placeholder(tf.float32, [16, 8, 8, 2])
            self.strategy.experimental_run_v2(replica)
            self.outputs = [self.graph.get_tensor_by_name(prefix + 'logits/BiasAdd/aquant:0') for prefix in ('', 'replica_1/')]
            self.step = self.outputs + tf.compat.v1.get_collection(tf.compat.v1.GraphKeys.UPDATE_OPS)
            self.saver = tf.compat.v1.train.Saver()
            self.initializer = tf.compat.v1.global_variables_initializer()


def _session():
    return tf.compat.v1.Session(config=quick_tensorflow.two_devices())


@pytest.mark.parametrize('update', ['moving', 'current'])
def test_the_replicas_vote_together_and_have_the_same_position_in_the_same_step(tmp_path, update):
    network = _Replicas(tmp_path, position_update=update)
    tensors = [network.graph.get_tensor_by_name(name + ':0') for name in ('images/aquant', 'replica_1/images/aquant')]
    votes = np.zeros(position_histogram.HISTOGRAM_BINS, np.float32)
    moved = set()
    with _session() as session:
        session.run(network.initializer)
        for step in range(30):
            # The halves of a batch suit different positions.
            images = np.random.RandomState(step).randn(16, 8, 8, 2).astype(np.float32) * 2.0 ** (step // 5)
            images[8:] *= 4
            fetched = session.run(tensors, {network.images: images})
            counted = session.run(position_saveable.VOTES_KEY + ':0')[0]
            best = [fixed_point.search_position(half, 8, method=0, mode=1) for half in (images[:8], images[8:])]
            votes = position_histogram.vote(votes, min(best), 0.9)
            np.testing.assert_array_equal(counted, votes)
            moving = position_histogram.mode_position(votes)
            position = moving if update == 'moving' else min(best)
            for half, result in zip((images[:8], images[8:]), fetched):
                np.testing.assert_array_equal(result, fixed_point.quantize(half, position, 8, 'half_up'))
            moved.add(moving)
    assert len(moved) > 2


def test_weights_are_the_same_on_all_replicas_though_moving_averages_differ(tmp_path):
    network = _Replicas(tmp_path)
    names = ['{}conv/kernel/{}:0'.format(prefix, name) for name in ('wquant', 'biases/wquant') for prefix in ('', 'replica_1/')]
    with _session() as session:
        session.run(network.initializer)
        for step in range(5):
            images = np.random.RandomState(step).randn(16, 8, 8, 2).astype(np.float32)
            images[8:] += 2
            session.run(network.step, {network.images: images})
        weights = session.run(names, {network.images: images})
        averages = session.run(['norm/moving_mean{}/Read/ReadVariableOp:0'.format(name) for name in ('', '/replica_1')])
    assert np.abs(averages[0] - averages[1]).max() > 0.1
    np.testing.assert_array_equal(weights[0], weights[1])
    np.testing.assert_array_equal(weights[2], weights[3])


def test_frozen_replicas_compute_the_evaluation_network(tmp_path):
    """Positions and batch norm are frozen from the first step on, after some that moved them."""
    images = np.random.RandomState(0).randn(16, 8, 8, 2).astype(np.float32)
    images[8:] += 1
    with tf.Graph().as_default():
        network = _Replicas(tmp_path, freeze_bn_step=1, freeze_position_step=1)
        with _session() as session:
            session.run(network.initializer)
            for _ in range(3):
                session.run(network.step, {network.images: images})
            checkpoint = network.saver.save(session, str(tmp_path / 'model.ckpt'))
            frozen = np.concatenate(session.run(network.outputs, {
                network.images: images, 'vai_q_tf/track:0': False, 'vai_q_tf/use_batch_statistics:0': False}))
    with tf.Graph().as_default():
        fed = tf.compat.v1.placeholder(tf.float32, [None, 8, 8, 2])
        training.network(fed, False)
        CreateQuantizeEvaluationGraph(training.config(tmp_path))
        with tf.compat.v1.Session() as session:
            tf.compat.v1.train.Saver().restore(session, checkpoint)
            evaluated = session.run('logits/BiasAdd/aquant:0', {fed: images})
    np.testing.assert_array_equal(frozen, evaluated)


def test_replicas_do_not_wait_for_each_other_in_a_circle(tmp_path):
    """Every op of a replica is on its device, and no op of the forward pass exists twice."""
    network = _Replicas(tmp_path)
    view = GraphView(network.graph.as_graph_def())
    convolutions = [name for name in view.names if view.op(name) == 'Conv2D']
    assert convolutions == ['conv/Conv2D', 'replica_1/conv/Conv2D']
    for name in view.names:
        if view.op(name) in ('VaiFixNeuron', 'VaiScaledFixNeuron', 'VaiSearchPosition', 'VaiScaledSearchPosition'):
            expected = int(name.startswith('replica_1/'))
            assert network.graph.get_operation_by_name(name).device.endswith('CPU:{}'.format(expected)), name


def test_evaluation_on_two_replicas(trained, accuracies, tmp_path):
    directory, _, _ = trained[2]
    run_config = tf.estimator.RunConfig(str(directory / 'model'), eval_distribute=tf.distribute.MirroredStrategy(_DEVICES),
                                        session_config=quick_tensorflow.two_devices())
    distributed = tf.estimator.Estimator(training.model_fn, config=run_config, params={'directory': str(tmp_path)})
    found = distributed.evaluate(lambda: training.input_fn(8), steps=4)
    assert found['accuracy'] == pytest.approx(accuracies[2])


def test_networks_that_differ_are_refused(tmp_path):
    strategy = tf.distribute.MirroredStrategy(_DEVICES)

    built = []

    def replica():
        logits = training.network(tf.zeros([8, 8, 8, 2]), True)
        (tf.nn.relu if built else tf.nn.elu)(logits, name='result')
        built.append(logits)
        config = training.config(tmp_path)
        config.output_nodes = ['result']
        CreateQuantizeTrainingGraph(config)

    with strategy.scope(), pytest.raises(QuantizeError, match='not quantized alike') as raised:
        strategy.experimental_run_v2(replica)
    assert raised.value.code == errors.UNSUPPORTED_GRAPH


@pytest.mark.parametrize('make', [
    lambda: tf.distribute.OneDeviceStrategy('/cpu:0'), lambda: tf.distribute.MirroredStrategy(['/cpu:0'])],
    ids=['one_device', 'mirrored'])
def test_strategies_of_one_replica_quantize_as_without_a_strategy(tmp_path, make):
    def replica():
        logits = training.network(tf.ones([8, 8, 8, 2]), True)
        CreateQuantizeTrainingGraph(training.config(tmp_path))
        return tf.identity(logits)

    def quantized():
        return {op.name: op.type for op in tf.compat.v1.get_default_graph().get_operations() if op.type.startswith('Vai')}

    with tf.Graph().as_default():
        tf.compat.v1.train.get_or_create_global_step()
        replica()
        expected = quantized()
    strategy = make()
    with strategy.scope():
        tf.compat.v1.train.get_or_create_global_step()
        strategy.experimental_run_v2(replica)
        assert quantized() == expected
        with _session() as session:
            session.run(tf.compat.v1.global_variables_initializer())
            assert session.run('logits/BiasAdd/aquant:0').shape == (8, 4)


@pytest.mark.parametrize('make', [
    tf.distribute.experimental.MultiWorkerMirroredStrategy, tf.distribute.experimental.ParameterServerStrategy,
    lambda: tf.distribute.experimental.CentralStorageStrategy(['/cpu:0', '/cpu:1'])],
    ids=['MultiWorkerMirrored', 'ParameterServer', 'CentralStorage'])
def test_other_strategies_are_refused_by_name(tmp_path, make):
    strategy = make()

    def replica():
        training.network(tf.zeros([8, 8, 8, 2]), True)
        CreateQuantizeTrainingGraph(training.config(tmp_path))

    with strategy.scope(), pytest.raises(QuantizeError, match=type(strategy).__name__) as raised:
        strategy.experimental_run_v2(replica)
    assert raised.value.code == errors.UNSUPPORTED_GRAPH


def test_a_graph_for_a_tpu_is_refused_by_name(tmp_path):
    from tensorflow.python.tpu import tpu

    def computation(images):
        training.network(images, True)
        CreateQuantizeTrainingGraph(training.config(tmp_path))

    with pytest.raises(QuantizeError, match='TPU') as raised:
        tpu.rewrite(computation, [tf.zeros([8, 8, 8, 2])])
    assert raised.value.code == errors.UNSUPPORTED_GRAPH


@pytest.mark.parametrize('monitored', [False, True])
def test_replicas_make_one_update_of_a_learned_position(tmp_path, monitored):
    """Of both halves of the batch, at once, also if a gradient to look at was made before."""
    strategy = tf.distribute.MirroredStrategy(_DEVICES)
    images, gradients = tf.compat.v1.placeholder(tf.float32, [16, 8, 8, 2]), []

    def replica():
        half = 8 * tf.distribute.get_replica_context().replica_id_in_sync_group
        logits = training.network(images[half:half + 8], True)
        CreateQuantizeTrainingGraph(training.config(tmp_path, position_update='learned'))
        variables = [variable.get() for variable in tf.compat.v1.trainable_variables()]
        if monitored:
            tf.gradients(tf.reduce_mean(logits), variables)
        gradients.extend(tf.gradients(tf.reduce_mean(tf.square(logits)), variables))

    with strategy.scope():
        tf.compat.v1.train.get_or_create_global_step()
        strategy.experimental_run_v2(replica)
        initializer = tf.compat.v1.global_variables_initializer()
    operations = tf.compat.v1.get_default_graph().get_operations()
    row = next(op.get_attr('row') for op in operations if op.name == 'logits/BiasAdd/aquant/learned')
    updates = [op for op in operations if op.type == 'VaiLearnPosition' and op.get_attr('row') == row]
    assert [len(op.inputs) - 2 for op in updates] == ([1, 1, 2, 2] if monitored else [1, 2])
    slopes = [list(slope.op.inputs)[:3] for slope in updates[-1].inputs[2:]]
    with _session() as session:
        session.run(initializer)
        for step in range(5):
            before = session.run(position_saveable.VOTES_KEY + ':0')[row] if step else None
            fed = np.random.RandomState(step).randn(16, 8, 8, 2).astype(np.float32)
            inputs, _ = session.run([slopes, gradients], {images: fed})
            terms = [fixed_point.threshold_gradient(*tensors, 8) for tensors in inputs]
            after = session.run(position_saveable.VOTES_KEY + ':0')[row]
            if step:
                np.testing.assert_array_equal(after, position_histogram.learn(before, sum(terms), 0.01))
