"""The teacher stays the float network at inference while the student trains, and is neither saved nor deployed."""
import glob

import numpy as np
import pytest
import tensorflow as tf

from tests import quick_tensorflow
from tests.hooks import recipes
from tests.integrations import trainings
from tests.support import read_graph
from vai_q_tf import (
    CreateQuantizeEvaluationGraph,
    CreateQuantizeTrainingGraph,
    QuantizeCheckpointListener,
    QuantizeConfig,
    QuantizeError,
    distillation_loss,
    errors,
)
from vai_q_tf.graph.sessions import exact

v1 = tf.compat.v1
TEACHER = 'vai_q_tf/teacher/logits/BiasAdd:0'


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    return trainings.float_checkpoint(tmp_path_factory.mktemp('float'))


@pytest.fixture(scope='module')
def expected(checkpoint):
    """The float network's logits of a batch at inference."""
    with tf.Graph().as_default(), v1.Session(config=trainings.SESSION) as session:
        images = v1.placeholder(tf.float32, [None, 8, 8, 2])
        logits = trainings.network(images, False)
        v1.train.Saver().restore(session, checkpoint)
        return session.run(logits, {images: trainings.batch(2)[0]})


def _training(directory, checkpoint):
    """A Run with a train op; with a checkpoint its loss has the term."""
    run = trainings.Run()
    config = trainings.config(directory)
    if checkpoint:
        run.loss = run.loss + distillation_loss(config, checkpoint)
    CreateQuantizeTrainingGraph(config)
    run.train_op = trainings.minimize(run.loss, trainings.momentum())
    return run


def _course(directory, checkpoint):
    """A Run after two steps: its logits before and after them (`values`), the op types of a step (`executed`), its files."""
    with tf.Graph().as_default() as graph:
        run, saver = _training(directory, checkpoint), v1.train.Saver()
        logits = [graph.get_tensor_by_name(name) for name in ([TEACHER] if checkpoint else []) + ['logits/BiasAdd/aquant:0']]
        # The graph optimizer would fuse ops that the test counts.
        run.session = v1.Session(config=exact(quick_tensorflow.one_thread()))
        run.session.run(v1.global_variables_initializer())
        run.feed = dict(zip((run.images, run.labels), trainings.batch(2)))
        run.values = [run.session.run(logits, run.feed)]
        run.session.run(run.train_op, run.feed)
        run.executed = trainings.executed(run.session, [run.train_op, run.loss], run.feed)
        run.values.append(run.session.run(logits, run.feed))
        listener = QuantizeCheckpointListener(trainings.config(directory), checkpoint_dir=str(directory))
        listener.begin()
        run.prefix = saver.save(run.session, str(directory / 'model.ckpt'), 2)
        listener.after_save(run.session, 2)
        run.models = [_nodes(glob.glob(str(directory / 'quantized' / 'quantize_eval_{}_2_*'.format(kind)))[0])
                      for kind in ('graph', 'model')]
        return run


@pytest.fixture(scope='module')
def distilled(tmp_path_factory, checkpoint):
    return _course(tmp_path_factory.mktemp('distilled'), checkpoint)


@pytest.fixture(scope='module')
def plain(tmp_path_factory):
    return _course(tmp_path_factory.mktemp('plain'), None)


def test_it_stays_the_float_network_while_the_student_trains(distilled, expected):
    (teacher, student), (teacher_after, student_after) = distilled.values
    np.testing.assert_array_equal(teacher, expected)
    np.testing.assert_array_equal(teacher_after, expected)
    assert np.abs(student_after - student).max() > 0.01


def test_it_is_in_no_collection_and_no_checkpoint(distilled, plain):
    graph = distilled.session.graph
    for key in graph.get_all_collection_keys():
        if key != v1.GraphKeys.COND_CONTEXT:
            assert not [item for item in graph.get_collection(key) if 'vai_q_tf/teacher' in getattr(item, 'name', '')], key
    assert tf.train.list_variables(distilled.prefix) == tf.train.list_variables(plain.prefix)
    with graph.as_default():
        assert distilled.session.run(v1.report_uninitialized_variables()).size == 0


def test_a_step_runs_it_once_and_does_not_differentiate_it(distilled, plain):
    more = {'Conv2D': 1, 'MatMul': 1, 'FusedBatchNormV3': 1, 'Conv2DBackpropFilter': 0, 'Conv2DBackpropInput': 0,
            'VaiFixNeuron': 0, 'RestoreV2': 0}
    assert {name: distilled.executed.count(name) - plain.executed.count(name) for name in more} == more


def test_it_reads_the_float_input(distilled):
    """The rewrite quantizes the input of the student only."""
    graph = distilled.session.graph
    assert graph.get_operation_by_name('vai_q_tf/teacher/conv/Conv2D').inputs[0].op.name == 'net_in'
    assert graph.get_operation_by_name('conv/Conv2D').inputs[0].op.name == 'net_in/aquant'


def test_quantized_models_have_no_part_of_it(distilled, plain):
    assert distilled.models == plain.models


def _nodes(path):
    return {node.name: (node.op, list(node.input)) for node in read_graph(path).node}


def test_a_restart_has_the_same_teacher(tmp_path, checkpoint, expected):
    """A killed training resumes from its checkpoint; the teacher has the weights of the float checkpoint again."""
    def train(directory, steps):
        losses = []
        with tf.Graph().as_default():
            run = _training(tmp_path, checkpoint)
            v1.train.init_from_checkpoint(checkpoint, {
                variable.op.name: variable.op.name for variable in v1.trainable_variables() + v1.moving_average_variables()})
            with v1.train.MonitoredTrainingSession(
                    checkpoint_dir=str(tmp_path / directory), save_checkpoint_steps=100, save_summaries_steps=None,
                    save_summaries_secs=None, log_step_count_steps=None, config=trainings.SESSION) as session:
                for _ in range(steps):
                    feed = dict(zip((run.images, run.labels), trainings.batch(2)))
                    loss, teacher, _ = session.run([run.loss, TEACHER, run.train_op], feed)
                    losses.append(loss)
                    np.testing.assert_array_equal(teacher, expected)
        return losses

    assert train('stopped', 2) + train('stopped', 3) == train('whole', 5)


def test_in_a_meta_graph(distilled, expected):
    before, teacher_before = distilled.session.run([distilled.loss, TEACHER], distilled.feed)
    with tf.Graph().as_default(), v1.Session(config=trainings.SESSION) as session:
        v1.train.import_meta_graph(distilled.prefix + '.meta').restore(session, distilled.prefix)
        feed = {tensor.name: value for tensor, value in distilled.feed.items()}
        loss, teacher = session.run([distilled.loss.name, TEACHER], feed)
        session.run(distilled.train_op.name, feed)
    np.testing.assert_array_equal(teacher, expected)
    np.testing.assert_array_equal(teacher, teacher_before)
    assert loss == pytest.approx(before, rel=1e-6)


def test_a_meta_graph_that_is_quantized_later(tmp_path, checkpoint):
    run = trainings.Run()
    term = distillation_loss(trainings.config(tmp_path), checkpoint)
    meta_graph = v1.train.export_meta_graph(clear_devices=True)
    with tf.Graph().as_default() as graph:
        v1.train.import_meta_graph(meta_graph)
        CreateQuantizeTrainingGraph(trainings.config(tmp_path))
        assert graph.get_operation_by_name('vai_q_tf/teacher/conv/Conv2D').inputs[0].op.name == 'net_in'
        with v1.Session(config=trainings.SESSION) as session:
            session.run(v1.global_variables_initializer())
            feed = dict(zip((run.images.name, run.labels.name), trainings.batch(2)))
            assert session.run(term.name, feed) > 0


def _dropout_network(images, training):
    net = v1.layers.conv2d(images, 6, 3, name='conv1')
    net = v1.layers.dropout(v1.layers.flatten(tf.nn.relu(net)), 0.5, training=training)
    return v1.layers.dense(net, 8, name='dense')


def _parts_network(images, training):
    """Partitioned weights inside the range."""
    with v1.variable_scope('parts', partitioner=v1.fixed_size_partitioner(2)):
        return recipes.layers_network(images, training)


def _table_network(images, training):
    """Rows of a table of resources, looked up by a second output of an input node."""
    with v1.variable_scope('', use_resource=True):
        images, rows = tf.identity_n([images, tf.range(16) % 5], name='both')
        table = v1.get_variable('table', [5, 8])
        return recipes.layers_network(images, training) + v1.nn.embedding_lookup(table, rows)


NETWORKS = {function.__name__: function for function in (
    recipes.layers_network, recipes.slim_network, recipes.keras_network, recipes.shared_network, recipes.partitioned_network,
    _dropout_network, _parts_network, _table_network)}


@pytest.mark.parametrize('name', sorted(NETWORKS))
def test_networks(tmp_path, name):
    """The teacher's logits are those of the float network at inference, for every network."""
    def build(training):
        images = tf.identity(tf.constant(recipes.IMAGES[:16]), name='images')
        with v1.variable_scope('', use_resource=name == 'keras_network'):
            return v1.layers.dense(NETWORKS[name](images, training), 4, name='logits')

    prefix = str(tmp_path / 'model.ckpt')
    with tf.Graph().as_default(), v1.Session(config=trainings.SESSION) as session:
        v1.set_random_seed(1)
        logits = build(True)
        train = trainings.minimize(tf.reduce_mean(tf.square(logits - 1.0)), v1.train.GradientDescentOptimizer(0.01))
        session.run(v1.global_variables_initializer())
        session.run(train)
        v1.train.Saver().save(session, prefix)
    with tf.Graph().as_default(), v1.Session(config=trainings.SESSION) as session:
        logits = build(False)
        v1.train.Saver().restore(session, prefix)
        expected = session.run(logits)
    config = QuantizeConfig(['both' if name == '_table_network' else 'images'], ['logits/BiasAdd'],
                            output_dir=str(tmp_path / 'quantized'), recipe='manual')
    with tf.Graph().as_default(), v1.Session(config=trainings.SESSION) as session:
        logits = build(True)
        term = distillation_loss(config, prefix)
        CreateQuantizeTrainingGraph(config)
        train = trainings.minimize(term, v1.train.GradientDescentOptimizer(0.01))
        session.run(v1.global_variables_initializer())
        for _ in range(2):
            np.testing.assert_array_equal(session.run([TEACHER, train])[0], expected)


def test_teacher_and_student_share_an_iterator(tmp_path, checkpoint):
    """A step takes one element, for both of them."""
    iterator = v1.data.make_initializable_iterator(tf.data.Dataset.range(100))
    offsets = iterator.get_next()
    net = trainings.network(v1.placeholder(tf.float32, [None, 8, 8, 2], 'fed'), True)
    tf.add(net, tf.cast(offsets, tf.float32), 'shifted')
    config = trainings.config(tmp_path).replace(output_nodes=['shifted'])
    distillation_loss(config, checkpoint)
    with v1.Session(config=trainings.SESSION) as session:
        session.run([v1.global_variables_initializer(), iterator.initializer])
        for number in range(3):
            shifted, teacher = session.run(['vai_q_tf/teacher/shifted:0', TEACHER], {'fed:0': trainings.batch(2)[0]})
            np.testing.assert_allclose(shifted - teacher, number, atol=1e-5)


def test_towers(tmp_path, checkpoint, expected):
    """The term of each tower takes the nodes of the tower; both teachers have the same weights."""
    config, terms, images = trainings.config(tmp_path), [], v1.placeholder(tf.float32, [None, 8, 8, 2])
    towers = ['clone_0', 'clone_1']
    for number, tower in enumerate(towers):
        with v1.name_scope(tower), v1.variable_scope('', reuse=number > 0):
            trainings.network(images, True)
        terms.append(distillation_loss(config.replace(
            input_nodes=[tower + '/net_in'], output_nodes=[tower + '/logits/BiasAdd']), checkpoint))
    CreateQuantizeTrainingGraph(config, towers=towers)
    train = trainings.minimize(tf.add_n(terms) / 2, trainings.momentum())
    teachers = [op.outputs[0] for op in v1.get_default_graph().get_operations()
                if op.name.startswith('vai_q_tf/teacher') and op.name.endswith('/logits/BiasAdd')]
    assert len(teachers) == 2
    with v1.Session(config=trainings.SESSION) as session:
        session.run(v1.global_variables_initializer())
        for _ in range(2):
            values = session.run(teachers + [train], {images: trainings.batch(2)[0]})
            np.testing.assert_array_equal(values[0], expected)
            np.testing.assert_array_equal(values[1], expected)


@pytest.mark.parametrize('before', [True, False])
def test_in_the_evaluation_graph(tmp_path, distilled, checkpoint, expected, before):
    """A model function may add the term in every mode, before the rewrite or after it."""
    images, config = v1.placeholder(tf.float32, [None, 8, 8, 2]), trainings.config(tmp_path)
    trainings.network(images, False)
    term = distillation_loss(config, checkpoint) if before else None
    CreateQuantizeEvaluationGraph(config)
    term = term if before else distillation_loss(config, checkpoint)
    with v1.Session(config=trainings.SESSION) as session:
        v1.train.Saver().restore(session, distilled.prefix)
        teacher, student, value = session.run([TEACHER, 'logits/BiasAdd/aquant:0', term], {images: trainings.batch(2)[0]})
    np.testing.assert_array_equal(teacher, expected)
    target, own = (np.log(np.exp(logits / 2) / np.exp(logits / 2).sum(-1, keepdims=True)) for logits in (teacher, student))
    np.testing.assert_allclose(value, 2 * np.mean(np.sum(np.exp(target) * (target - own), -1)), rtol=1e-4)


def test_the_place_of_its_ops(tmp_path, checkpoint):
    """The teacher runs in the process of the network, on any device of it, and waits for nothing that the caller waits for."""
    with tf.device('/job:ps/task:1/device:GPU:0'):
        images = v1.placeholder(tf.float32, [None, 8, 8, 2], 'images')
        trainings.network(images, True)
    with tf.control_dependencies([tf.no_op('before')]), tf.device('/job:worker/task:2'), v1.name_scope('scope'):
        term = distillation_loss(trainings.config(tmp_path), checkpoint)
    assert term.device == '/job:ps/task:1/device:GPU:0'
    teacher = [op for op in term.graph.get_operations() if op.name.startswith('vai_q_tf/teacher')]
    assert len(teacher) > 20 and {op.device for op in teacher} == {'/job:ps/task:1'}
    assert not [op for op in term.graph.get_operations() if 'before' in {control.name for control in op.control_inputs}]


def test_on_a_server_each_checkpoint_has_its_own_parameters(tmp_path, checkpoint, expected):
    """There variables outlive a session."""
    with tf.Graph().as_default(), v1.Session() as session:
        trainings.network(v1.placeholder(tf.float32, [None, 8, 8, 2]), True)
        session.run([variable.initializer for variable in v1.global_variables()])
        session.run([variable.assign_add(variable) for variable in v1.trainable_variables()])
        other = v1.train.Saver().save(session, str(tmp_path / 'other.ckpt'))
    server = v1.train.Server.create_local_server()
    logits = []
    for teacher in (checkpoint, other):
        with tf.Graph().as_default(), v1.Session(server.target) as session:
            images = v1.placeholder(tf.float32, [None, 8, 8, 2])
            trainings.network(images, True)
            distillation_loss(trainings.config(tmp_path), teacher)
            logits.append(session.run(TEACHER, {images: trainings.batch(2)[0]}))
    np.testing.assert_allclose(logits[0], expected, rtol=1e-5, atol=1e-6)
    assert np.abs(logits[1] - expected).max() > 0.1


def test_parameters_that_are_lost_are_restored(tmp_path, checkpoint, expected):
    images = v1.placeholder(tf.float32, [None, 8, 8, 2])
    trainings.network(images, True)
    distillation_loss(trainings.config(tmp_path), checkpoint)
    handle = v1.get_default_graph().get_tensor_by_name('vai_q_tf/teacher_parameters/conv/kernel:0')
    destroy = tf.raw_ops.DestroyResourceOp(resource=handle)
    with v1.Session(config=trainings.SESSION) as session:
        for _ in range(2):
            np.testing.assert_array_equal(session.run(TEACHER, {images: trainings.batch(2)[0]}), expected)
            session.run(destroy)


def test_a_network_without_variables(tmp_path, checkpoint):
    images = v1.placeholder(tf.float32, [None, 4], 'images')
    tf.add(tf.matmul(images, tf.eye(4)), tf.ones([4]), name='logits')
    config = QuantizeConfig(['images'], ['logits'], output_dir=str(tmp_path))
    term = distillation_loss(config, checkpoint)
    CreateQuantizeTrainingGraph(config)
    with v1.Session(config=trainings.SESSION) as session:
        teacher, value = session.run(['vai_q_tf/teacher/logits:0', term], {images: np.eye(4)})
    np.testing.assert_array_equal(teacher, np.eye(4) + 1)
    assert value < 1e-3


def test_damaged_values_are_found_at_once(tmp_path, checkpoint):
    for end, size in (('.index', None), ('.data-00000-of-00001', 100)):
        with open(checkpoint + end, 'rb') as source, open(str(tmp_path / 'model.ckpt') + end, 'wb') as target:
            target.write(source.read(size))
    trainings.network(v1.placeholder(tf.float32, [None, 8, 8, 2]), True)
    with pytest.raises(QuantizeError, match='model.ckpt.*damaged') as raised:
        distillation_loss(trainings.config(tmp_path), str(tmp_path / 'model.ckpt'))
    assert raised.value.code == errors.INVALID_INPUT
