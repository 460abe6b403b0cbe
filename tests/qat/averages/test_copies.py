"""Averages of variables on several devices: replicas, towers, parameter servers."""
import socket

import tensorflow as tf

import vai_q_tf
from tests import quick_tensorflow
from tests.distributed import training
from tests.qat.averages.running_means import assert_means, means

v1 = tf.compat.v1


def _variables(checkpoint):
    reader = tf.train.load_checkpoint(checkpoint)
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map() if not name.startswith('vai_q_tf/')}


def test_mirrored_strategy(tmp_path):
    """A checkpoint is saved in each step, so the averaged values are in checkpoints."""
    strategy = tf.distribute.MirroredStrategy(['/cpu:0', '/cpu:1'])
    session_config = quick_tensorflow.one_thread()
    session_config.device_count['CPU'] = 2
    run_config = tf.estimator.RunConfig(
        str(tmp_path / 'model'), tf_random_seed=5, train_distribute=strategy, save_checkpoints_steps=1, keep_checkpoint_max=99,
        session_config=session_config)
    estimator = tf.estimator.Estimator(training.model_fn, config=run_config, params={
        'directory': str(tmp_path), 'settings': {'average_step': 0.5}})
    for last in (6, 8):  # steps 4 to 6 count in the first run, and stay when the training becomes longer
        estimator.train(lambda: training.input_fn(8), max_steps=last)
    found, count = means(estimator.latest_checkpoint())
    assert count == 5
    assert_means(found, [_variables(str(tmp_path / 'model' / 'model.ckpt-{}').format(step)) for step in range(4, 9)])
    vai_q_tf.averaged_checkpoint(estimator.latest_checkpoint())


def test_towers_share_them(tmp_path):
    images = v1.placeholder(tf.float32, [16, 8, 8, 2])
    labels = v1.placeholder(tf.int32, [16])
    step = v1.train.get_or_create_global_step()
    losses = []
    for index, tower in enumerate(('clone_0', 'clone_1')):
        with tf.name_scope(tower), v1.variable_scope(v1.get_variable_scope(), reuse=index > 0):
            rows = slice(index * 8, index * 8 + 8)
            logits = training.network(images[rows], True, norm=False)
            losses.append(v1.losses.sparse_softmax_cross_entropy(labels[rows], logits))
    vai_q_tf.CreateQuantizeTrainingGraph(training.config(tmp_path, average_step=1), towers=['clone_0', 'clone_1'])
    train = v1.train.GradientDescentOptimizer(0.05).minimize(tf.add_n(losses), step)
    data = training.data()
    with v1.Session() as session:
        session.run(v1.global_variables_initializer())
        values = []
        for _ in range(4):
            session.run(train, {images: data[0][:16], labels: data[1][:16]})
            values.append({variable.op.name: session.run(variable) for variable in v1.trainable_variables()})
        found, count = means(v1.train.Saver().save(session, str(tmp_path / 'model.ckpt')))
    assert count == 3 and set(found) == set(values[0])
    assert_means(found, values[1:])


def test_the_variables_of_a_tower_may_have_its_name(tmp_path):
    with v1.variable_scope('model'):
        images, labels = v1.placeholder(tf.float32, [8, 8, 8, 2]), v1.placeholder(tf.int32, [8])
        loss = v1.losses.sparse_softmax_cross_entropy(labels, training.network(images, True, norm=False))
    step = v1.train.get_or_create_global_step()
    vai_q_tf.CreateQuantizeTrainingGraph(training.config(tmp_path, average_step=0), towers=['model'])
    train = v1.train.GradientDescentOptimizer(0.05).minimize(loss, step)
    data = training.data()
    with v1.Session() as session:
        session.run(v1.global_variables_initializer())
        values = []
        for _ in range(2):
            session.run(train, {images: data[0][:8], labels: data[1][:8]})
            values.append({variable.op.name: session.run(variable) for variable in v1.trainable_variables()})
        found, count = means(v1.train.Saver().save(session, str(tmp_path / 'model.ckpt')))
    assert count == 2 and set(found) == set(values[0])
    assert_means(found, values)


def test_parameter_servers_keep_those_of_their_variables(tmp_path):
    """Two workers take steps in turns, each in its own graph and session."""
    with socket.socket() as one, socket.socket() as two:
        one.bind(('localhost', 0)), two.bind(('localhost', 0))
        ports = [taken.getsockname()[1] for taken in (one, two)]
    cluster = tf.train.ClusterSpec({'ps': ['localhost:{}'.format(port) for port in ports]})
    servers = [tf.distribute.Server(cluster, 'ps', index) for index in range(2)]
    values, trainings = [], []
    for _ in range(2):
        with tf.Graph().as_default():
            with tf.device(v1.train.replica_device_setter(cluster=cluster, worker_device='/job:ps/task:0')):
                images, labels = v1.placeholder(tf.float32, [16, 8, 8, 2]), v1.placeholder(tf.int32, [16])
                step = v1.train.get_or_create_global_step()
                loss = v1.losses.sparse_softmax_cross_entropy(labels, training.network(images, True))
                vai_q_tf.CreateQuantizeTrainingGraph(training.config(tmp_path, average_step=1))
                train = v1.train.GradientDescentOptimizer(0.05).minimize(loss, step)
            trainings.append((v1.Session(servers[0].target), train, images, labels, v1.trainable_variables(),
                              v1.train.Saver(sharded=True), v1.global_variables_initializer()))
    for session, *_ in trainings:
        graph = session.graph
        devices = {variable.op.name: variable.device for variable in graph.get_collection(v1.GraphKeys.TRAINABLE_VARIABLES)}
        assert len(set(devices.values())) == 2
        for name, device in devices.items():
            mean = graph.get_operation_by_name('vai_q_tf/means/' + name)
            saved = graph.get_operation_by_name('vai_q_tf/averages/' + name).inputs[0].op
            readers = [op for op in mean.outputs[0].consumers() if op.name.startswith('vai_q_tf/averaging/')]
            assert saved.type == 'Merge' and {op.type for op in readers} == {'ReadVariableOp', 'AssignVariableOp'}
            assert {op.device for op in [mean, saved] + readers + [value.op for value in saved.inputs]} == {device}
    trainings[0][0].run(trainings[0][-1])
    data = training.data()
    for number in range(6):
        session, train, images, labels, variables, saver, _ = trainings[number % 2]
        session.run(train, {images: data[0][:16], labels: data[1][:16]})
        values.append(dict(zip(devices, session.run(variables))))
        checkpoint = saver.save(session, str(tmp_path / 'model.ckpt'), number + 1)
    found, count = means(checkpoint)
    assert count == 5
    assert_means(found, values[1:])
    session, *_, saver, _ = trainings[1]
    saver.restore(session, str(tmp_path / 'model.ckpt-3'))
    assert_means(means(saver.save(session, str(tmp_path / 'again.ckpt')))[0], values[1:3])
