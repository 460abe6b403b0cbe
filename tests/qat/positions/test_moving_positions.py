"""Moving positions: every checkpoint has them, none needs them, and training and evaluation use the same ones."""
import numpy as np
import pytest
import tensorflow as tf

from vai_q_tf import QuantizeConfig, QuantizeError, errors, fixed_point, passes, position_histogram
from vai_q_tf.graph.view import GraphView
from vai_q_tf.integrations import functions
from vai_q_tf.plan.annotate import annotate
from vai_q_tf.qat import checkpoints
from vai_q_tf.qat.network.identity import Identity

_BITS, _DECAY = 8, 0.9


def _network():
    images = tf.compat.v1.placeholder(tf.float32, [None, 6], name='images')
    return images, tf.layers.dense(images, 3, activation=tf.nn.relu, name='dense')


def _config(directory, **settings):
    return QuantizeConfig(['images'], ['dense/Relu'], [[-1, 6]], output_dir=str(directory), position_decay=_DECAY,
                          recipe='manual', **settings)


def _training(directory, **settings):
    """A session of the quantized training network, and the ops to use it."""
    images, output = _network()
    step = tf.compat.v1.train.get_or_create_global_step()
    loss = tf.reduce_sum(output)
    functions.CreateQuantizeTrainingGraph(_config(directory, **settings))
    train = tf.compat.v1.train.GradientDescentOptimizer(0.01).minimize(loss, step)
    return images, loss, train


def _session():
    session = tf.compat.v1.Session()
    session.run(tf.compat.v1.global_variables_initializer())
    return session


def _batch(step):
    return np.random.RandomState(step).randn(16, 6).astype(np.float32) * 2.0 ** (step // 8)


def _votes(session):
    return session.run('vai_q_tf/positions/votes:0')


def test_every_step_is_a_vote_whatever_is_fetched(tmp_path):
    images, loss, train = _training(tmp_path)
    names = [name.decode() for name in tf.get_static_value(
        tf.compat.v1.get_default_graph().get_tensor_by_name('vai_q_tf/positions/rows:0'))]
    row = names.index('images/aquant')
    expected = np.zeros(position_histogram.HISTOGRAM_BINS, np.float32)
    moved = set()
    with _session() as session:
        for step in range(30):
            fetches = [train, loss, 'dense/Relu/aquant:0'][step % 3]
            session.run(fetches, {images: _batch(step)})
            best = fixed_point.search_position(_batch(step), _BITS, method=0, mode=1)
            expected = position_histogram.vote(expected, best, _DECAY)
            np.testing.assert_array_equal(_votes(session)[row], expected)
            moved.add(position_histogram.mode_position(expected))
    assert len(moved) > 1


@pytest.mark.parametrize('update', ['moving', 'current'])
def test_training_quantizes_with_the_position_of_the_update_rule(tmp_path, update):
    images, _, _ = _training(tmp_path, position_update=update)
    votes = np.zeros(position_histogram.HISTOGRAM_BINS, np.float32)
    differ = 0
    with _session() as session:
        for step in range(20):
            quantized = session.run('images/aquant:0', {images: _batch(step)})
            best = fixed_point.search_position(_batch(step), _BITS, method=0, mode=1)
            votes = position_histogram.vote(votes, best, _DECAY)
            moving = position_histogram.mode_position(votes)
            position = moving if update == 'moving' else best
            np.testing.assert_array_equal(quantized, fixed_point.quantize(_batch(step), position, _BITS, 'half_up'))
            differ += moving != best
    assert differ


def test_frozen_from_the_step_on(tmp_path):
    images, _, train = _training(tmp_path, freeze_position_step=5)
    with _session() as session:
        for step in range(5):
            session.run(train, {images: _batch(step)})
        frozen = _votes(session)
        for step in range(5, 12):
            session.run(train, {images: _batch(step + 40)})
        np.testing.assert_array_equal(_votes(session), frozen)


@pytest.mark.parametrize('sharded', [False, True])
def test_a_float_checkpoint_restores_and_a_quantized_one_brings_its_positions(tmp_path, sharded):
    with tf.Graph().as_default():
        _network()
        with _session() as session:
            kernel = session.run('dense/kernel:0')
            float_checkpoint = tf.compat.v1.train.Saver(sharded=sharded).save(session, str(tmp_path / 'float'))
    with tf.Graph().as_default():
        images, _, train = _training(tmp_path)
        variables = [v for v in tf.compat.v1.global_variables() if 'global_step' not in v.name]
        saveables = tf.compat.v1.get_collection(tf.compat.v1.GraphKeys.SAVEABLE_OBJECTS)
        restorer = tf.compat.v1.train.Saver(variables + saveables, sharded=sharded)
        saver = tf.compat.v1.train.Saver(sharded=sharded)
        with _session() as session:
            restorer.restore(session, float_checkpoint)
            np.testing.assert_array_equal(session.run('dense/kernel:0'), kernel)
            assert not _votes(session).any()
            for step in range(10):
                session.run(train, {images: _batch(step)})
            votes = _votes(session)
            checkpoint = saver.save(session, str(tmp_path / 'quantized'))
            following = session.run('dense/Relu/aquant:0', {images: _batch(11)})
    with tf.Graph().as_default():
        images, _, _ = _training(tmp_path)
        saver = tf.compat.v1.train.Saver(sharded=sharded)
        with tf.compat.v1.Session() as session:
            saver.restore(session, checkpoint)
            np.testing.assert_array_equal(_votes(session), votes)
            np.testing.assert_array_equal(session.run('dense/Relu/aquant:0', {images: _batch(11)}), following)
    reader = tf.train.load_checkpoint(checkpoint)
    known_by_name = dict.fromkeys(['images/aquant', 'dense/kernel/wquant'], Identity('', '', ()))
    found = checkpoints.read_positions(reader, known_by_name)
    assert found['images/aquant'] == position_histogram.mode_position(votes[0])


def test_a_default_saver_restores_a_float_checkpoint_with_the_same_variables(tmp_path):
    with tf.Graph().as_default():
        _network()
        with _session() as session:
            kernel = session.run('dense/kernel:0')
            checkpoint = tf.compat.v1.train.Saver().save(session, str(tmp_path / 'float'))
    with tf.Graph().as_default():
        images, output = _network()
        functions.CreateQuantizeTrainingGraph(_config(tmp_path))
        saver = tf.compat.v1.train.Saver()
        with _session() as session:
            saver.restore(session, checkpoint)
            np.testing.assert_array_equal(session.run('dense/kernel:0'), kernel)
            session.run('dense/Relu/aquant:0', {images: _batch(0)})


@pytest.mark.parametrize('rewrite, keeps', [(functions.CreateQuantizeEvaluationGraph, True),
                                            (functions.CreateQuantizeTrainingGraph, False)])
def test_rows_are_found_by_name_when_the_network_grew(tmp_path, rewrite, keeps):
    """In an evaluation; a training calibrates all tensors anew, since it has to calibrate the new ones on the float network."""
    with tf.Graph().as_default():
        images, _, train = _training(tmp_path)
        with _session() as session:
            session.run(train, {images: _batch(3)})
            checkpoint = tf.compat.v1.train.Saver().save(session, str(tmp_path / 'small'))
            names = session.run('vai_q_tf/positions/tensors:0').tolist()
            small = dict(zip(names, _votes(session)))
    images, output = _network()
    tf.layers.dense(output, 2, name='more')
    config = _config(tmp_path)
    config.output_nodes = ['more/BiasAdd']
    rewrite(config)
    old = [v for v in tf.compat.v1.global_variables() if v.name.startswith('dense')]
    saver = tf.compat.v1.train.Saver(old + tf.compat.v1.get_collection(tf.compat.v1.GraphKeys.SAVEABLE_OBJECTS))
    with _session() as session:
        saver.restore(session, checkpoint)
        grown = dict(zip(session.run('vai_q_tf/positions/tensors:0').tolist(), _votes(session)))
    assert {name.decode() for name in set(grown) - set(small)} == {
        'more/kernel/wquant', 'more/bias/wquant', 'more/BiasAdd/aquant'}
    for name, votes in grown.items():
        np.testing.assert_array_equal(votes, small.get(name, np.zeros(position_histogram.HISTOGRAM_BINS)) * keeps)


def test_saver_made_before_the_rewrite_is_reported_when_it_matters(tmp_path):
    images, _ = _network()
    saver = tf.compat.v1.train.Saver()
    functions.CreateQuantizeTrainingGraph(_config(tmp_path))
    with _session() as session:
        session.run('dense/Relu/aquant:0', {images: _batch(0)})
        checkpoint = saver.save(session, str(tmp_path / 'early'))
    with tf.Graph().as_default():
        _network()
        functions.CreateQuantizeEvaluationGraph(_config(tmp_path))
        with pytest.raises(QuantizeError, match='before the graph was rewritten') as raised:
            functions.CreateQuantizeDeployGraph(checkpoint, _config(tmp_path))
    assert raised.value.code == errors.MISSING_QUANTIZE_INFO
    assert not list(tmp_path.glob('quantize_eval*'))


def test_a_tensor_that_was_never_tracked_is_named(tmp_path):
    images, output = _network()
    step = tf.compat.v1.train.get_or_create_global_step()
    side = tf.layers.dense(output, 2, name='side')
    config = _config(tmp_path)
    config.output_nodes = ['dense/Relu', 'side/BiasAdd']
    functions.CreateQuantizeTrainingGraph(config)
    del step, side
    with _session() as session:
        # The side branch does not run.
        session.run('dense/Relu/aquant:0', {images: _batch(0)})
        checkpoint = tf.compat.v1.train.Saver().save(session, str(tmp_path / 'partly'))
    with tf.Graph().as_default():
        images, output = _network()
        tf.layers.dense(output, 2, name='side')
        functions.CreateQuantizeEvaluationGraph(config)
        with pytest.raises(QuantizeError) as raised:
            functions.CreateQuantizeDeployGraph(checkpoint, config)
        saver = tf.compat.v1.train.Saver(
            [v for v in tf.compat.v1.global_variables() if v.name.startswith(('dense', 'side'))]
            + tf.compat.v1.get_collection(tf.compat.v1.GraphKeys.SAVEABLE_OBJECTS))
        with tf.compat.v1.Session() as session:
            saver.restore(session, checkpoint)
            with pytest.raises(tf.errors.FailedPreconditionError, match="'side/"):
                session.run('side/BiasAdd/aquant:0', {images: _batch(0)})
            session.run('dense/Relu/aquant:0', {images: _batch(0)})
    assert raised.value.code == errors.MISSING_QUANTIZE_INFO
    for name in ('side/kernel/wquant', 'side/bias/wquant', 'side/BiasAdd/aquant'):
        assert name in str(raised.value)
    assert 'dense/kernel' not in str(raised.value)


def test_meta_graph_with_positions_trains_on(tmp_path):
    with tf.Graph().as_default():
        images, _, train = _training(tmp_path)
        with _session() as session:
            for step in range(5):
                session.run(train, {images: _batch(step)})
            checkpoint = tf.compat.v1.train.Saver().save(session, str(tmp_path / 'meta'))
            session.run(train, {images: _batch(5)})
            expected = _votes(session), session.run('dense/kernel:0')
            train_name = train.name
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.train.import_meta_graph(checkpoint + '.meta').restore(session, checkpoint)
        session.run(train_name, {'images:0': _batch(5)})
        np.testing.assert_array_equal(_votes(session), expected[0])
        np.testing.assert_array_equal(session.run('dense/kernel:0'), expected[1])


@pytest.mark.parametrize('rewrite', [functions.CreateQuantizeTrainingGraph, functions.CreateQuantizeEvaluationGraph])
def test_the_plan_of_training_evaluation_and_files_is_one(rewrite, tmp_path):
    """The rows of the table are the tensors of the plan of the frozen float graph, in its order."""
    _, output = _network()
    with _session() as session:
        frozen = tf.compat.v1.graph_util.convert_variables_to_constants(
            session, session.graph.as_graph_def(add_shapes=True), [output.op.name])
    plan = annotate(GraphView(passes.optimise(frozen, _config(tmp_path))), _config(tmp_path))
    rewrite(_config(tmp_path))
    with tf.compat.v1.Session() as session:
        names = [name.decode() for name in session.run('vai_q_tf/positions/tensors:0')]
    assert names == [record.name for record in plan.tensors] and len(names) == 4


@pytest.mark.parametrize('device', ['/cpu:0', '/device:CPU:0', ''])
def test_a_sharded_saver_of_a_network_that_is_pinned_to_a_device(tmp_path, device):
    """A sharded Saver groups the saved tensors by device."""
    votes = checkpoint = None
    for number in range(2):
        with tf.Graph().as_default():
            with tf.device(device):
                images, _ = _network()
            functions.CreateQuantizeTrainingGraph(_config(tmp_path))
            saver = tf.compat.v1.train.Saver(sharded=True)
            with _session() as session:
                if number:
                    saver.restore(session, checkpoint)
                    np.testing.assert_array_equal(_votes(session), votes)
                else:
                    session.run('dense/Relu/aquant:0', {images: _batch(0)})
                    votes, checkpoint = _votes(session), saver.save(session, str(tmp_path / 'pinned'))
    assert votes.any()


def test_a_checkpoint_from_before_the_first_step_is_evaluated_with_the_positions_of_the_data(tmp_path):
    """A cluster's evaluator starts with the checkpoint of step 0; a float checkpoint is still an error."""
    with tf.Graph().as_default():
        _training(tmp_path)
        with _session() as session:
            checkpoint = tf.compat.v1.train.Saver().save(session, str(tmp_path / 'step0'))
    with tf.Graph().as_default():
        images, output = _network()
        with _session() as session:
            float_checkpoint = tf.compat.v1.train.Saver().save(session, str(tmp_path / 'float'))
    with tf.Graph().as_default():
        images, _ = _network()
        functions.CreateQuantizeEvaluationGraph(_config(tmp_path))
        variables = [v for v in tf.compat.v1.global_variables() if v.name.startswith('dense')]
        saver = tf.compat.v1.train.Saver(
            variables + tf.compat.v1.get_collection(tf.compat.v1.GraphKeys.SAVEABLE_OBJECTS))
        with tf.compat.v1.Session() as session:
            saver.restore(session, checkpoint)
            quantized = session.run('images/aquant:0', {images: _batch(0)})
            best = fixed_point.search_position(_batch(0), _BITS, method=0, mode=1)
            np.testing.assert_array_equal(quantized, fixed_point.quantize(_batch(0), best, _BITS, 'half_up'))
            session.run('dense/Relu/aquant:0', {images: _batch(1)})
            saver.restore(session, float_checkpoint)
            with pytest.raises(tf.errors.FailedPreconditionError, match='never tracked'):
                session.run('dense/Relu/aquant:0', {images: _batch(0)})
        with pytest.raises(QuantizeError) as raised:
            functions.CreateQuantizeDeployGraph(checkpoint, _config(tmp_path))
        assert raised.value.code == errors.MISSING_QUANTIZE_INFO
