"""Savers with a list of variables save and restore the positions of a rewritten graph; others are warned of."""
import inspect

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from tensorflow.contrib import slim

from tests.combinations import each_value_once
from vai_q_tf import (
    CreateQuantizeEvaluationGraph,
    CreateQuantizeTrainingGraph,
    QuantizeCheckpointListener,
    QuantizeConfig,
    QuantizePositionHook,
)
from vai_q_tf.qat.positions import savers
from vai_q_tf.qat.positions.position_saveable import VOTES_KEY

LISTS = {
    'none': lambda: None,
    'global': tf.global_variables,
    'trainable': tf.trainable_variables,
    'iterator': lambda: iter(tf.global_variables()),
    'dict': lambda: {'my/' + variable.op.name: variable for variable in tf.global_variables()},
    'with them': lambda: tf.trainable_variables() + tf.get_collection(tf.GraphKeys.SAVEABLE_OBJECTS),
}


@pytest.fixture
def warnings(monkeypatch):
    found = []
    monkeypatch.setattr(tf.logging, 'warning', lambda text, *values: found.append(text % values))
    return found


def _config(directory):
    return QuantizeConfig(['x'], ['logits/BiasAdd'], output_dir=str(directory), recipe='manual')


def _network():
    hidden = tf.layers.dense(tf.placeholder(tf.float32, [None, 4], 'x'), 3, name='hidden')
    tf.layers.dense(tf.nn.relu(hidden), 2, name='logits')
    tf.train.get_or_create_global_step()


def _training(directory):
    _network()
    CreateQuantizeTrainingGraph(_config(directory))


def _run(session):
    session.run(tf.global_variables_initializer())
    session.run('logits/BiasAdd/aquant:0', {'x:0': np.ones([2, 4])})
    return session.run(VOTES_KEY + ':0')


@pytest.mark.parametrize('name', sorted(LISTS))
def test_a_list_of_the_whole_network_has_the_positions(tmp_path, warnings, name):
    with tf.Graph().as_default(), tf.Session() as session:
        _training(tmp_path)
        saver = tf.train.Saver(LISTS[name](), max_to_keep=3)
        votes = _run(session)
        prefix = saver.save(session, str(tmp_path / 'model'))
        savers.warn_of_missing_positions(session.graph, saver)
    np.testing.assert_array_equal(tf.train.load_variable(prefix, VOTES_KEY), votes)
    assert votes.any() and not [text for text in warnings if 'Saver' in text]
    with tf.Graph().as_default(), tf.Session() as session:
        _network()
        CreateQuantizeEvaluationGraph(_config(tmp_path))
        tf.train.Saver(LISTS[name]()).restore(session, prefix)
        np.testing.assert_array_equal(session.run(VOTES_KEY + ':0'), votes)


def test_partitioned_variables_of_a_list(tmp_path):
    with tf.Graph().as_default():
        with tf.variable_scope('', partitioner=tf.fixed_size_partitioner(2)):
            _training(tmp_path)
            whole = tf.get_variable('whole', [4])
        others = [variable for variable in tf.global_variables() if not variable.op.name.startswith('whole')]
        assert len(savers._with_positions(others + [whole])) == len(others) + 2
        assert len(savers._with_positions(others)) == len(others)


def test_a_partial_list_and_the_lists_of_a_float_graph_stay_as_they_are(tmp_path):
    with tf.Graph().as_default():
        _network()
        variables = tf.global_variables()
        assert savers._with_positions(variables) is variables
    with tf.Graph().as_default():
        _training(tmp_path)
        backbone = tf.trainable_variables('hidden')
        assert savers._with_positions(backbone) == backbone


def test_float_weights_in_format_v1_are_restored(tmp_path):
    """Many trained networks come in this checkpoint format."""
    with tf.Graph().as_default(), tf.Session() as session:
        _network()
        session.run(tf.global_variables_initializer())
        prefix = tf.train.Saver(write_version=tf.train.SaverDef.V1).save(session, str(tmp_path / 'model'))
        expected = session.run('hidden/kernel:0')
    with tf.Graph().as_default(), tf.Session() as session:
        _training(tmp_path)
        saver = tf.train.Saver(tf.global_variables())
        assert _run(session).any()
        saver.restore(session, prefix)
        np.testing.assert_array_equal(session.run('hidden/kernel:0'), expected)
        assert not session.run(VOTES_KEY + ':0').any()


SAVED_BY = {
    'before the rewrite': (True, lambda: tf.train.Saver()),
    'a part': (False, lambda: tf.train.Saver(tf.trainable_variables('hidden'))),
    'sharded part': (False, lambda: tf.train.Saver(tf.trainable_variables('hidden'), sharded=True)),
}


@pytest.mark.parametrize('name', sorted(SAVED_BY))
def test_hook_and_listener_warn_once(tmp_path, warnings, name):
    before, make = SAVED_BY[name]
    with tf.Graph().as_default() as graph, tf.Session() as session:
        _network()
        saver = make() if before else None
        CreateQuantizeTrainingGraph(_config(tmp_path))
        saver = saver or make()
        listener = QuantizeCheckpointListener(_config(tmp_path), saver=saver)
        listener.begin()
        assert not [text for text in warnings if 'Saver' in text]
        listener.before_save(session, 0)
        listener.before_save(session, 1)
        hook = QuantizePositionHook(_config(tmp_path))
        hook.begin()
        session.run(tf.global_variables_initializer())
        hook.after_create_session(session, None)
        assert graph.get_collection(tf.GraphKeys.SAVERS) == []
    said = [text for text in warnings if 'Saver' in text]
    assert len(said) == 1
    assert 'no quantize positions' in said[0] and VOTES_KEY in said[0] and 'SAVEABLE_OBJECTS' in said[0]


def test_no_warning_if_another_saver_has_them(tmp_path, warnings):
    with tf.Graph().as_default() as graph:
        _network()
        tf.train.Saver()
        CreateQuantizeTrainingGraph(_config(tmp_path))
        tf.train.Saver()
        savers.warn_of_missing_positions(graph)
    assert not warnings


class _Way:
    """A way to train `steps` steps that writes checkpoints into `directory` by the tf.train.Saver of `make_saver`.

    No thread of a Supervisor saves as well, or which checkpoint is the latest would depend on timing.
    """

    def __init__(self, directory, make_saver, before=False):
        """before: whether the Saver is made before the graph is rewritten."""
        self.directory, self._make_saver, self._before = str(directory / 'run'), make_saver, before
        self.config = _config(directory)

    def _rewrite(self):
        """Rewrites the float network in the default graph; (loss, train op, Saver)."""
        saver = self._make_saver() if self._before else None
        CreateQuantizeTrainingGraph(self.config)
        loss = tf.reduce_mean(tf.square(tf.get_default_graph().get_tensor_by_name('logits/BiasAdd/aquant:0')))
        train = tf.train.GradientDescentOptimizer(0.1).minimize(loss, tf.train.get_global_step())
        return loss, train, saver or self._make_saver()

    def _graph(self):
        """Builds a training in the default graph; (train op, Saver)."""
        tf.set_random_seed(1)
        _network()
        return self._rewrite()[1:]

    def monitored(self, steps):
        with tf.Graph().as_default():
            train, saver = self._graph()
            with tf.train.MonitoredTrainingSession(
                    checkpoint_dir=self.directory, scaffold=tf.train.Scaffold(saver=saver), save_checkpoint_steps=1,
                    log_step_count_steps=None) as session:
                for _ in range(steps):
                    session.run(train, _FEED)

    def supervisor(self, steps):
        with tf.Graph().as_default():
            train, saver = self._graph()
            supervisor = tf.train.Supervisor(logdir=self.directory, saver=saver or tf.train.Supervisor.USE_DEFAULT,
                                             save_model_secs=0, summary_op=None)
            with supervisor.managed_session() as session:
                for _ in range(steps):
                    session.run(train, _FEED)
                supervisor.saver.save(session, supervisor.save_path, supervisor.global_step)

    def slim(self, steps):
        with tf.Graph().as_default() as graph:
            train, saver = self._graph()
            x = graph.get_tensor_by_name('x:0')

            def step(session, *_):
                session.run(train, _FEED)
                return 0., session.run(tf.train.get_global_step()) >= last
            last = steps + (0 if tf.train.latest_checkpoint(self.directory) is None else 3)
            slim.learning.train(x, self.directory, train_step_fn=step, saver=saver, summary_op=None, log_every_n_steps=0,
                                save_interval_secs=0)

    def estimator(self, steps):
        def model_fn(features, labels, mode):
            tf.set_random_seed(1)
            x = tf.identity(features, 'x')
            tf.layers.dense(tf.nn.relu(tf.layers.dense(x, 3, name='hidden')), 2, name='logits')
            loss, train, saver = self._rewrite()
            return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train, scaffold=tf.train.Scaffold(saver=saver))

        estimator = tf.estimator.Estimator(model_fn, self.directory)
        estimator.train(lambda: tf.data.Dataset.from_tensors(np.ones([2, 4], np.float32)).repeat(), steps=steps)


_FEED = {'x:0': np.ones([2, 4])}
WHOLE = {
    'none': lambda: None, 'list': lambda: tf.train.Saver(tf.global_variables()),
    'dict': lambda: tf.train.Saver({'my/' + variable.op.name: variable for variable in tf.global_variables()}),
    'max_to_keep': lambda: tf.train.Saver(max_to_keep=1)}


@pytest.mark.parametrize('way, saver', each_value_once(['monitored', 'supervisor', 'slim', 'estimator'], sorted(WHOLE)))
def test_a_resumed_training_has_the_votes_of_the_steps_before(tmp_path, warnings, way, saver):
    """Without decay each step adds one vote to those restored."""
    run = _Way(tmp_path, WHOLE[saver])
    run.config.position_decay = 1.0
    for steps in (3, 5):
        getattr(run, way)(3 if steps == 3 else 2)
        votes = tf.train.load_variable(tf.train.latest_checkpoint(run.directory), VOTES_KEY)
        np.testing.assert_array_equal(votes.sum(axis=1), np.full(len(votes), steps))
    assert not [text for text in warnings if 'positions' in text]


WITHOUT = {
    'a part': (False, lambda: tf.train.Saver([found for found in tf.global_variables() if 'bias' not in found.op.name])),
    'before the rewrite': (True, tf.train.Saver)}


@pytest.mark.parametrize('saver', sorted(WITHOUT))
@pytest.mark.parametrize('way', ['monitored', 'supervisor', 'slim', 'estimator'])
def test_a_training_without_positions_in_its_checkpoints_warns_once(tmp_path, warnings, way, saver):
    """At the first save, whichever way to train saves."""
    before, make = WITHOUT[saver]
    run = _Way(tmp_path, make, before)
    getattr(run, way)(2)
    assert not tf.train.load_checkpoint(run.directory).has_tensor(VOTES_KEY)
    said = [text for text in warnings if 'no quantize positions' in text]
    assert len(said) == 1 and 'SAVEABLE_OBJECTS' in said[0]


def test_savers_of_float_and_evaluation_graphs_warn_of_nothing(tmp_path, warnings):
    for rewrite in (lambda: None, lambda: CreateQuantizeEvaluationGraph(_config(tmp_path))):
        with tf.Graph().as_default(), tf.Session() as session:
            _network()
            rewrite()
            session.run(tf.global_variables_initializer())
            tf.train.Saver(tf.trainable_variables('hidden')).save(session, str(tmp_path / 'model'))
    assert not [text for text in warnings if 'Saver' in text]


@pytest.mark.parametrize('make', [
    tf.train.Saver, lambda variables: tf.train.Saver(variables, sharded=True),
    lambda variables: tf.train.Saver(variables, write_version=tf.train.SaverDef.V1)], ids=['plain', 'sharded', 'first format'])
def test_the_warning_names_the_saver_that_lacks_them(tmp_path, warnings, make):
    with tf.Graph().as_default() as graph:
        _training(tmp_path)
        savers.warn_of_missing_positions(graph)
        whole = tf.train.Saver()
        savers.warn_of_missing_positions(graph, whole)
        assert not warnings, 'there is no Saver without them'
        savers.warn_of_missing_positions(graph, make(tf.trainable_variables('hidden')))
        text, = warnings
        assert 'no quantize positions' in text and "of node 'save_1/" in text


def test_the_saver_that_lacks_them_warns_when_it_saves(tmp_path, warnings):
    with tf.Graph().as_default(), tf.Session() as session:
        _training(tmp_path)
        whole, part = tf.train.Saver(), tf.train.Saver(tf.trainable_variables('hidden'))
        session.run(tf.global_variables_initializer())
        whole.save(session, str(tmp_path / 'whole'))
        assert not warnings
        part.save(session, str(tmp_path / 'part'))
        assert len(warnings) == 1


@pytest.mark.parametrize('make, node', [
    (lambda: None, ''), (tf.train.Saver, 'save/SaveV2'), (lambda: tf.train.Saver(defer_build=True), ''),
    (lambda: tf.train.Saver(write_version=tf.train.SaverDef.V1), 'save/save'),
    (lambda: tf.raw_ops.Save(filename='a', tensor_names=['b'], data=[tf.ones([2])], name='mine'), 'mine')])
def test_warns_of_a_saver_made_before_the_rewrite(warnings, make, node):
    with tf.Graph().as_default() as graph:
        _network()
        make()
        savers.warn_of_earlier_savers(graph)
    assert len(warnings) == bool(node) and all("(node '{}')".format(node) in text for text in warnings)


def test_saveable_objects_of_the_user_are_not_added(tmp_path):
    with tf.Graph().as_default() as graph:
        _training(tmp_path)
        tf.add_to_collection(tf.GraphKeys.SAVEABLE_OBJECTS, tf.get_variable('mine', [2], trainable=False))
        added = savers._with_positions(tf.trainable_variables())[len(tf.trainable_variables()):]
        assert added and 'mine' not in [found.op.name for found in added]
        whole = tf.trainable_variables() + added
        assert savers._with_positions(whole) == whole
        graph.clear_collection(tf.GraphKeys.TRAINABLE_VARIABLES)  # nothing is trained but the positions
        assert savers._with_positions(tf.global_variables())[len(tf.global_variables()):] == added
        part = tf.global_variables('hidden')
        assert savers._with_positions(part) == part


def test_the_signature_of_savers_is_that_of_tensorflow():
    assert list(inspect.signature(tf.train.Saver).parameters)[:3] == ['var_list', 'reshape', 'sharded']
    assert list(inspect.signature(tf.train.Saver.save).parameters)[:4] == ['self', 'sess', 'save_path', 'global_step']
