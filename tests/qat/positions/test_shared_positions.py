"""Positions that tensors share, and the legal positions of the hardware, in training, evaluation and deploy."""
import numpy as np
import pytest
import tensorflow as tf

from tests.support import read_graph
from vai_q_tf import QuantizeConfig, fixed_point, passes, position_histogram
from vai_q_tf.graph.dependence import reach
from vai_q_tf.graph.view import GraphView
from vai_q_tf.integrations import functions
from vai_q_tf.plan.annotate import annotate
from vai_q_tf.plan.positions import final_positions
from vai_q_tf.qat import checkpoints
from vai_q_tf.qat.network.identity import Identity

tf1 = tf.compat.v1
_SIZE = 6
_ROOTS = ('wide/BiasAdd/aquant', 'narrow/BiasAdd/aquant')
_SHARED = ('pad/aquant', 'join/aquant', 'pool/MaxPool/aquant', 'flat/Reshape/aquant')


def _network(images):
    """A convolution of zeros with a bias of zeros, a concat of two branches of unlike range, a pool, a reshape."""
    scaled = tf.random_normal_initializer(0, 2, seed=1), tf.random_normal_initializer(0, 0.1, seed=2)
    narrow = tf1.layers.conv2d(images, 2, 3, kernel_initializer=scaled[1], name='narrow')
    wide = tf1.layers.conv2d(images, 2, 1, kernel_initializer=scaled[0], name='wide')
    dead = tf1.layers.conv2d(images, 2, 3, kernel_initializer=tf1.zeros_initializer(), name='dead')
    narrow = tf.pad(narrow, [[0, 0], [1, 1], [1, 1], [0, 0]], name='pad')
    x = tf1.layers.max_pooling2d(tf.concat([wide, narrow], -1, name='join'), 2, 2, name='pool')
    x = tf1.layers.dense(tf1.layers.flatten(x, name='flat'), 3, name='dense')
    return tf.add(x, tf1.layers.dense(tf1.layers.flatten(tf.nn.relu(dead, name='dead_relu'), name='flat2'), 3, name='dense2'),
                  name='out')


def _image():
    return tf1.placeholder(tf.float32, [None, _SIZE, _SIZE, 1], name='images')


def _config(directory, **fields):
    return QuantizeConfig(['images'], ['out'], [[-1, _SIZE, _SIZE, 1]], output_dir=str(directory), position_decay=0.6,
                          recipe='manual', **fields)


def _batch(step):
    return np.random.RandomState(step).randn(4, _SIZE, _SIZE, 1).astype(np.float32) * 2.0 ** (step % 5)


class _Training:
    """A session of the training graph. positions: {tensor: the position that it is quantized with}."""

    def __init__(self, directory, **fields):
        self.config = _config(directory, **fields)
        self.step = tf1.train.get_or_create_global_step()
        self.out = _network(_image())
        functions.CreateQuantizeTrainingGraph(self.config)
        self._tensors()

    def _tensors(self):
        self.count = tf1.assign_add(self.step, 1)
        graph = tf1.get_default_graph()
        self.quantizers = {op.name: op for op in graph.get_operations() if op.type == 'VaiFixNeuron'}
        self.positions = {name: op.inputs[1] for name, op in self.quantizers.items()}
        self.saver = tf1.train.Saver()
        self.session = tf1.Session()
        self.session.run(tf1.global_variables_initializer())

    def votes(self):
        names, votes = self.session.run(['vai_q_tf/positions/tensors:0', 'vai_q_tf/positions/votes:0'])
        return dict(zip((name.decode() for name in names), votes))


def _names():
    return {op.name for op in tf1.get_default_graph().get_operations()}


def _modes(votes):
    return {name: position_histogram.mode_position(row) for name, row in votes.items()}


def _plan(config):
    """That of the frozen float graph."""
    with tf.Graph().as_default() as graph, tf1.Session() as session:
        _network(_image())
        session.run(tf1.global_variables_initializer())
        frozen = tf1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(add_shapes=True), ['out'])
        return annotate(GraphView(passes.optimise(frozen, config)), config)


def _legal(config, modes):
    observed = {name: final_positions.Observation(position) for name, position in modes.items()}
    return final_positions.decide(_plan(config), observed, config)


@pytest.mark.parametrize('update', ['moving', 'current'])
def test_a_joint_takes_one_vote_a_step_the_least_of_its_roots(tmp_path, update):
    training = _Training(tmp_path, position_update=update)
    searched = {name[:-len('/search')] for name in _names() if name.endswith('/search')}
    assert set(_ROOTS) <= searched and not searched.intersection(_SHARED)
    searches = [tensor + '/search:0' for tensor in _ROOTS]
    expected, moved = np.zeros(position_histogram.HISTOGRAM_BINS, np.float32), set()
    with training.session as session:
        for step in range(25):
            feed = {'images:0': _batch(step)}
            found, positions, _ = session.run(
                [searches, training.positions, [training.out, 'out/aquant:0'][step % 2]], feed)
            assert found[0] < found[1]
            if step:
                kept = position_histogram.mode_position(expected)
                assert {positions[name] for name in _ROOTS + _SHARED} == {kept}
                moved.add(kept)
            else:
                assert [positions[name] for name in _ROOTS] == [found[0], min(found)] or [
                    positions[name] for name in _ROOTS] == [min(found), found[1]]
                assert {positions[name] for name in _SHARED} == {min(found)}
            expected = position_histogram.vote(expected, min(found), 0.6)
            votes = training.votes()
            for name in _ROOTS + _SHARED:
                np.testing.assert_array_equal(votes[name], expected)
    assert len(moved) > 1


def test_in_the_first_step_a_join_has_the_values_of_all_that_it_joins(tmp_path):
    """Also where another root of the group comes later: the wide branch would be cut off at the range of the narrow one."""
    x, y = (tf1.placeholder(tf.float32, [None, 2, 2, 1], name) for name in ('x', 'y'))
    wide = tf1.layers.conv2d(x, 2, 1, kernel_initializer=tf1.constant_initializer(3.), name='wide')
    narrow = tf1.layers.conv2d(x, 2, 1, kernel_initializer=tf1.constant_initializer(.01), name='narrow')
    joined = tf.concat([wide, narrow], -1, name='joined')
    tf.concat([tf1.layers.max_pooling2d(joined, 1, 1, name='pool'), y], -1, name='out')
    functions.CreateQuantizeTrainingGraph(QuantizeConfig(
        ['x', 'y'], ['out'], [[-1, 2, 2, 1]] * 2, output_dir=str(tmp_path), recipe='manual', weight_bit=16, activation_bit=16))
    values = np.random.RandomState(0).uniform(-1, 1, [4, 2, 2, 1])
    with tf1.Session() as session:
        session.run(tf1.global_variables_initializer())
        found = session.run('joined/aquant:0', {x: values, y: values * 8})
    np.testing.assert_allclose(found, values * [3., 3., .01, .01], atol=1e-3)


def test_what_is_moved_is_quantized_with_the_position_tensor_of_its_root(tmp_path):
    training = _Training(tmp_path, align_concat=2)
    assert training.positions['pad/aquant'] is training.positions['narrow/BiasAdd/aquant']
    for name in _SHARED[2:]:
        assert training.positions[name] is training.positions['join/aquant']
    assert training.positions['join/aquant'] is not training.positions['wide/BiasAdd/aquant']


def _trained(training, steps=8):
    with training.session as session:
        for step in range(steps):
            session.run([training.count, 'out/aquant:0'], {'images:0': _batch(step)})
        checkpoint = training.saver.save(session, str(training.config.output_dir) + '/model')
        return checkpoint, _modes(training.votes()), session.run(
            [training.positions, 'out/aquant:0'], {'images:0': _batch(50)})


@pytest.mark.parametrize('fields', [
    {}, {'align_rule': 'output', 'adjust_shift_bias': 2},
    {'align_concat': 2, 'align_pool': 2, 'adjust_shift_cut': 0, 'adjust_shift_bias': 0}], ids=str)
def test_frozen_training_evaluation_and_deploy_have_the_positions_of_the_hardware(tmp_path, fields):
    training = _Training(tmp_path, freeze_position_step=6, **fields)
    checkpoint, modes, (frozen, result) = _trained(training)
    legal = _legal(training.config, modes)
    assert frozen == legal
    assert fixed_point.POSITION_ZERO in modes.values() and fixed_point.POSITION_ZERO not in legal.values()
    with tf.Graph().as_default():
        _network(_image())
        functions.CreateQuantizeEvaluationGraph(training.config)
        operations = tf1.get_default_graph().get_operations()
        positions = {op.name: op.inputs[1] for op in operations if op.type == 'VaiFixNeuron'}
        with tf1.Session() as session:
            tf1.train.Saver().restore(session, checkpoint)
            evaluated = session.run([positions, 'out/aquant:0'], {'images:0': _batch(50)})
        assert evaluated[0] == legal
        np.testing.assert_array_equal(evaluated[1], result)
        path = functions.CreateQuantizeDeployGraph(checkpoint, training.config)[1]
    model = read_graph(path)
    deployed = {node.name: node.attr['quantize_pos'].i for node in model.node if node.op == 'FixNeuron'}
    assert deployed == legal
    with tf.Graph().as_default():
        tf1.import_graph_def(model, name='')
        with tf1.Session() as session:
            np.testing.assert_array_equal(session.run('out/aquant:0', {'images:0': _batch(50)}), result)


def test_a_checkpoint_whose_members_have_votes_of_their_own_gives_the_least_of_the_roots(tmp_path):
    apart = _Training(tmp_path, align_concat=2, align_pool=2)
    checkpoint, modes, _ = _trained(apart)
    least = min(modes[name] for name in _ROOTS)
    assert modes[_ROOTS[0]] != modes[_ROOTS[1]]
    config = _config(tmp_path)
    with tf.Graph().as_default():
        _network(_image())
        functions.CreateQuantizeEvaluationGraph(config)
        positions = {op.name: op.inputs[1] for op in tf1.get_default_graph().get_operations() if op.type == 'VaiFixNeuron'}
        with tf1.Session() as session:
            tf1.train.Saver().restore(session, checkpoint)
            found = session.run(positions, {'images:0': _batch(50)})
    assert {found[name] for name in _ROOTS + _SHARED} == {least}
    assert found == _legal(config, modes)
    read = checkpoints.read_positions(tf.train.load_checkpoint(checkpoint), dict.fromkeys(modes, Identity('', '', ())))
    assert read == modes


def test_a_run_that_is_told_not_to_track_uses_them_too(tmp_path):
    """As QuantizePositionHook does, from the step that it was given on."""
    training = _Training(tmp_path)
    with training.session as session:
        for step in range(5):
            session.run('out/aquant:0', {'images:0': _batch(step)})
        votes = training.votes()
        found = session.run(training.positions, {'images:0': _batch(9), 'vai_q_tf/track:0': False})
        assert found == _legal(training.config, _modes(votes))
        for name, row in training.votes().items():
            np.testing.assert_array_equal(row, votes[name])


def test_towers_vote_together_for_what_they_join(tmp_path):
    towers = ['tower_0', 'tower_1']
    images = _image()
    tf1.train.get_or_create_global_step()
    for number, tower in enumerate(towers):
        with tf1.name_scope(tower), tf1.variable_scope(tf1.get_variable_scope(), reuse=number > 0):
            out = _network(tf.identity(images[2 * number:2 * number + 2], name='part'))
    del out
    config = _config(tmp_path)
    config.input_nodes = ['part']
    functions.CreateQuantizeTrainingGraph(config, towers=towers)
    graph = tf1.get_default_graph()
    searches = ['{}/{}/search:0'.format(tower, name) for tower in towers for name in _ROOTS]
    shared = {op.name: op.inputs[1] for op in graph.get_operations() if op.type == 'VaiFixNeuron' and op.name.endswith(_SHARED)}
    assert len(shared) == 2 * len(_SHARED)
    # Only the vote needs both towers: what the second one quantizes first does not wait for the first one.
    first, = (op for op in graph.get_operations() if op.type == 'VaiKeptPosition' and op.name.startswith('tower_1/')
              and op.name.endswith('/position'))
    before = {op.name for op in reach([first], lambda op: [tensor.op for tensor in op.inputs])}
    assert before & {name[:-len(':0')] for name in searches} == {first.name[:-len('position')] + 'search'}
    expected = np.zeros(position_histogram.HISTOGRAM_BINS, np.float32)
    with tf1.Session() as session:
        session.run(tf1.global_variables_initializer())
        for step in range(12):
            found, positions, _ = session.run(
                [searches, shared, [tower + '/out/aquant:0' for tower in towers]], {'images:0': _batch(step)})
            if step:
                assert set(positions.values()) == {position_histogram.mode_position(expected)}
            expected = position_histogram.vote(expected, min(found), 0.6)
            names, votes = session.run(['vai_q_tf/positions/tensors:0', 'vai_q_tf/positions/votes:0'])
            for name in _ROOTS + _SHARED:
                np.testing.assert_array_equal(dict(zip(names, votes))[name.encode()], expected)
