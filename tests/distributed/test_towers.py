"""Towers that share variables in one graph, as in tf.slim's model_deploy, have the positions of one network."""
import numpy as np
import pytest
import tensorflow as tf

from tests import quick_tensorflow
from tests.combinations import each_value_once
from tests.distributed import training
from vai_q_tf import (
    CreateQuantizeDeployGraph,
    CreateQuantizeEvaluationGraph,
    CreateQuantizeTrainingGraph,
    QuantizeCheckpointListener,
    QuantizeError,
    errors,
    fixed_point,
    position_histogram,
)
from vai_q_tf.qat import checkpoints
from vai_q_tf.qat.network.identity import Identity
from vai_q_tf.qat.positions import position_saveable

_TOWERS = ['clone_0', 'clone_1']


def _session():
    return tf.compat.v1.Session(config=quick_tensorflow.two_devices())


class _Training:
    """Two towers on halves of a batch, or one network on all of it, without batch norm."""

    def __init__(self, directory, towers, rewrite=True, train=True, **settings):
        self.images = tf.compat.v1.placeholder(tf.float32, [16, 8, 8, 2])
        self.labels = tf.compat.v1.placeholder(tf.int32, [16])
        step = tf.compat.v1.train.get_or_create_global_step()
        losses = []
        for index, tower in enumerate(towers or [None]):
            size = 16 // len(towers or [1])
            with tf.device('/cpu:{}'.format(index)), tf.name_scope(tower):
                with tf.compat.v1.variable_scope(tf.compat.v1.get_variable_scope(), reuse=index > 0):
                    images, labels = (part[index * size:index * size + size] for part in (self.images, self.labels))
                    logits = training.network(images, True, norm=False)
                    losses.append(tf.compat.v1.losses.sparse_softmax_cross_entropy(labels, logits))
        if rewrite:
            CreateQuantizeTrainingGraph(training.config(directory, method=0, **settings), towers=towers or None)
        self.loss = tf.add_n(losses) / len(losses)
        self.train = tf.compat.v1.train.MomentumOptimizer(0.05, 0.9).minimize(self.loss, step) if train else None
        self.saver = tf.compat.v1.train.Saver()

    def run(self, session, steps=20):
        images, labels = training.data()
        losses = []
        for number in range(steps):
            rows = np.arange(16 * number, 16 * number + 16) % 64
            losses.append(session.run([self.loss, self.train], {self.images: images[rows], self.labels: labels[rows]})[0])
        return losses


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """{towers: (losses, checkpoint, directory)} from the same float checkpoint."""
    found = {}
    start = tmp_path_factory.mktemp('float')
    with tf.Graph().as_default(), _session() as session:
        tf.compat.v1.set_random_seed(2)
        network = _Training(start, [], rewrite=False)
        session.run(tf.compat.v1.global_variables_initializer())
        start = network.saver.save(session, str(start / 'model.ckpt'))
    for towers in ((), tuple(_TOWERS)):
        directory = tmp_path_factory.mktemp('towers{}'.format(len(towers)))
        with tf.Graph().as_default(), _session() as session:
            network = _Training(directory, list(towers))
            network.saver.restore(session, start)
            losses = network.run(session)
            listener = QuantizeCheckpointListener(training.config(directory), checkpoint_dir=str(directory))
            listener.begin()
            checkpoint = network.saver.save(session, str(directory / 'model.ckpt'), 20)
            listener.after_save(session, 20)
            found[towers] = losses, checkpoint, directory
    return found


def test_two_towers_train_as_one_network(trained):
    (losses, checkpoint, _), (expected, one, _) = trained[tuple(_TOWERS)], trained[()]
    np.testing.assert_allclose(losses, expected, rtol=1e-3)
    mine, other = (tf.train.load_checkpoint(path) for path in (checkpoint, one))
    assert mine.get_variable_to_shape_map() == other.get_variable_to_shape_map()
    by_name = {name.decode(): Identity('', '', ()) for name in other.get_tensor(position_saveable.TENSORS_KEY)}
    assert sorted(mine.get_tensor(position_saveable.TENSORS_KEY)) == sorted(other.get_tensor(position_saveable.TENSORS_KEY))
    assert checkpoints.read_positions(mine, by_name) == checkpoints.read_positions(other, by_name)


def test_evaluation_and_listener_see_one_network(trained):
    _, checkpoint, directory = trained[tuple(_TOWERS)]
    images, _ = training.data()
    with tf.Graph().as_default():
        fed = tf.compat.v1.placeholder(tf.float32, [None, 8, 8, 2])
        training.network(fed, False, norm=False)
        config = training.config(directory / 'called', method=0)
        CreateQuantizeEvaluationGraph(config)
        called = CreateQuantizeDeployGraph(checkpoint, config).eval_model
    listened, = (directory / 'quantized').glob('quantize_eval_model_20_*')
    results = []
    for path in (called, str(listened)):
        with tf.Graph().as_default(), tf.compat.v1.Session() as session, open(path, 'rb') as stream:
            tf.import_graph_def(tf.compat.v1.GraphDef.FromString(stream.read()), name='')
            results.append(session.run('logits/BiasAdd/aquant:0', {'images:0': images}))
    np.testing.assert_array_equal(*results)


def test_shared_weights_are_quantized_once_and_positions_are_common(tmp_path):
    network = _Training(tmp_path, _TOWERS)
    graph = tf.compat.v1.get_default_graph()
    quantized = [op.name for op in graph.get_operations() if op.type == 'VaiFixNeuron']
    assert sorted(quantized) == sorted(
        ['conv/kernel/wquant', 'conv/bias/wquant', 'logits/kernel/wquant', 'logits/bias/wquant']
        + ['{}/{}/aquant'.format(tower, name) for tower in _TOWERS
           for name in ('images', 'relu', 'pool/mul', 'pool/squeeze', 'logits/BiasAdd')])
    images, labels = training.data()
    images = images[:16].copy()
    images[8:] *= 16
    with _session() as session:
        session.run(tf.compat.v1.global_variables_initializer())
        halves = session.run(['{}/images/aquant:0'.format(tower) for tower in _TOWERS],
                             {network.images: images, network.labels: labels[:16]})
    position = fixed_point.search_position(images, 8, method=0, mode=1)
    np.testing.assert_array_equal(np.concatenate(halves), fixed_point.quantize(images, position, 8, 'half_up'))


@pytest.mark.parametrize('towers', ['clone_0', [], [3], ['']], ids=str)
def test_only_a_list_of_scopes_is_accepted(tmp_path, towers):
    with pytest.raises(QuantizeError, match='name scopes') as raised:
        CreateQuantizeTrainingGraph(training.config(tmp_path), towers=towers)
    assert raised.value.code == errors.INVALID_CONFIG


def test_a_missing_tower_is_named(tmp_path):
    with tf.name_scope('clone_0'):
        training.network(tf.zeros([1, 8, 8, 2]), True, norm=False)
    with pytest.raises(QuantizeError, match='clone_1/images') as raised:
        CreateQuantizeTrainingGraph(training.config(tmp_path), towers=_TOWERS)
    assert raised.value.code == errors.UNKNOWN_NODE


def test_slim_model_deploy_with_batch_norm(tmp_path):
    """Towers of batch norms with one set of moving averages have one set of quantized weights."""
    from tensorflow.contrib import slim

    def clone(images):
        norm = {'normalizer_fn': slim.batch_norm, 'normalizer_params': {'is_training': True, 'decay': 0.9, 'scale': True}}
        net = slim.conv2d(tf.identity(images, 'net_in'), 8, 3, scope='conv', **norm)
        return slim.fully_connected(tf.reduce_mean(net, [1, 2]), 4, activation_fn=None, scope='fc')

    images = tf.constant(training.data()[0][:16])
    for index, tower in enumerate(_TOWERS):
        with tf.name_scope(tower), tf.compat.v1.variable_scope(tf.compat.v1.get_variable_scope(), reuse=index > 0):
            clone(images[8 * index:8 * index + 8])
    config = training.config(tmp_path)
    config.input_nodes, config.output_nodes = ['net_in'], ['fc/BiasAdd']
    config.input_shapes = [[-1, 8, 8, 2]]
    CreateQuantizeTrainingGraph(config, towers=_TOWERS)
    graph = tf.compat.v1.get_default_graph()
    weights = {graph.get_operation_by_name(tower + '/conv/Conv2D').inputs[1].name for tower in _TOWERS}
    assert weights == {'conv/weights/wquant:0'}
    with _session() as session:
        session.run(tf.compat.v1.global_variables_initializer())
        quantized, convolved = session.run(['conv/weights/wquant:0', [tower + '/conv/Conv2D:0' for tower in _TOWERS]])
    assert np.unique(quantized).size > 20 and not np.array_equal(*convolved)


@pytest.mark.parametrize('calls, monitored', each_value_once([1, 2], ['', 'sum', 'tower']))
def test_two_towers_learn_positions_as_one_network(tmp_path, calls, monitored):
    """With the gradients of the sum of the losses, and with those of each tower, as model_deploy makes them; and with
    gradients beside them that nobody fetches."""
    start, courses = {}, []
    for towers in ([], _TOWERS):
        with tf.Graph().as_default() as graph, _session() as session:
            network = _Training(tmp_path, towers, position_update='learned', train=calls == 1 or not towers)
            if not network.train:
                losses = tf.compat.v1.losses.get_losses()
                gradients = [tf.gradients(loss / 2, tf.compat.v1.trainable_variables()) for loss in losses]
                network.train = tf.compat.v1.train.MomentumOptimizer(0.05, 0.9).apply_gradients(
                    zip(map(tf.add_n, zip(*gradients)), tf.compat.v1.trainable_variables()))
            if monitored:
                looked_at = network.loss if monitored == 'sum' else tf.compat.v1.losses.get_losses()[0]
                tf.gradients(looked_at, tf.compat.v1.trainable_variables())
            session.run(tf.compat.v1.global_variables_initializer())
            for variable in tf.compat.v1.trainable_variables():
                variable.load(start.setdefault(variable.op.name, session.run(variable)), session)
            network.run(session, steps=12)
            names, votes = session.run([position_saveable.TENSORS_KEY + ':0', position_saveable.VOTES_KEY + ':0'])
            courses.append(dict(zip(names, votes)))
            updates = {}
            for op in graph.get_operations():
                if op.type == 'VaiLearnPosition':
                    updates.setdefault(op.get_attr('row'), []).append(len(op.inputs) - 2)
            assert max(map(max, updates.values())) == (6 if towers else 3), 'the relu and the two results of its pool'
    one, two = courses
    assert set(one) == set(two) and sum(position_histogram.is_learned(votes) for votes in one.values()) == len(one) - 1
    for name, votes in one.items():
        np.testing.assert_allclose(two[name], votes, rtol=1e-3, atol=1e-5, err_msg=name.decode())
