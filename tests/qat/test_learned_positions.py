"""Learned positions in a training: where they begin, what moves them, and that they are in every checkpoint."""
import functools
import json

import numpy as np
import pytest
import tensorflow as tf

import vai_q_tf
from tests.combinations import each_value_once
from tests.qat.recipe import small
from vai_q_tf import fixed_point, ops, position_histogram, tf_internal
from vai_q_tf.qat.positions.position_saveable import VOTES_KEY

v1 = tf.compat.v1


def _config(place, **fields):
    return small.config(place, position_update='learned', **fields)


class _Training(small.Training):
    """Also tells of the table of votes, and of what each step finds out for it."""

    def votes(self):
        return self.session.run(VOTES_KEY + ':0')

    def slopes(self, number):
        """(the gradients to the thresholds by row, by the NumPy definition on what a step computes with), taking the step."""
        updates = [op for op in self.graph.get_operations() if op.type == 'VaiLearnPosition']
        latest = {op.get_attr('row'): op for op in updates}
        terms = [(row, slope.op) for row, update in latest.items() for slope in update.inputs[2:]]
        fetched = self.session.run([[list(op.inputs) for _, op in terms], self.train], self.feed(number))[0]
        found = {}
        for (row, op), inputs in zip(terms, fetched):
            *tensors, position, learning = inputs
            if learning:
                found[row] = found.get(row, 0.0) + _slope(op, tensors, position)
        return found


def _slope(op, tensors, position):
    dy, x = tensors[:2]
    if op.type == 'VaiScaledThresholdGrad':
        x, dy = (fixed_point.scaled(value, by, op.get_attr('inner')) for value, by in zip((x, dy), tensors[2:]))
    rounding = fixed_point.rounding_of(op.get_attr('mode'))
    return fixed_point.threshold_gradient(dy, x, position, op.get_attr('bit_width'), rounding)


def _same_bits(first, second):
    return first.tobytes() == second.tobytes()


@pytest.mark.parametrize('fields', [
    {}, {'recipe': 'scratch', 'gradient': 'straight_through'}, {'recipe': 'manual', 'bn_fold': 'moving'}], ids=str)
def test_every_step_is_an_update_by_the_definition(tmp_path, fields):
    # What is fetched of a variable is its memory, which the optimizer would have changed.
    with _Training(_config(tmp_path, **fields), small.float_weights(), rate=0.) as training:
        training.step(0)
        names = [name.decode() for name in training.session.run('vai_q_tf/positions/tensors:0')]
        learned = [name for name in names if name != 'net_in/aquant']  # nothing that is trained is before it
        for number in range(1, 12):
            before, slopes = training.votes(), None
            slopes, after = training.slopes(number), training.votes()
            rows = {names[row]: gradient for row, gradient in slopes.items()}
            rows.update({name: rows['relu/aquant'] for name in ('pool/mul/aquant', 'pool/squeeze/aquant')})
            assert set(rows) == set(learned)
            for name, gradient in rows.items():
                row = names.index(name)
                assert _same_bits(after[row], position_histogram.learn(before[row], gradient, 0.01)), name
                assert gradient != 0


def _joined(images, training=True):
    """A concat of two branches of unlike range, whose position is that of both."""
    net = tf.identity(images, name='net_in')
    wide = v1.layers.conv2d(net, 2, 3, kernel_initializer=tf.random_normal_initializer(0, 1, seed=1), name='wide')
    narrow = v1.layers.conv2d(net, 2, 3, kernel_initializer=tf.random_normal_initializer(0, 0.1, seed=2), name='narrow')
    joined = v1.layers.max_pooling2d(tf.concat([wide, narrow], -1, name='join'), 2, 2, name='joined')
    return v1.layers.dense(v1.layers.flatten(joined, name='flat'), 3, name='logits')


@pytest.mark.parametrize('recipe', ['finetune', 'scratch'])
def test_tensors_that_a_concat_joins_have_one_threshold(tmp_path, recipe):
    members = ['wide/BiasAdd/aquant', 'narrow/BiasAdd/aquant', 'join/aquant', 'joined/MaxPool/aquant', 'flat/Reshape/aquant']
    settings = _config(tmp_path, recipe=recipe)
    with _Training(settings, build=_joined, rate=0.) as training:
        names = [name.decode() for name in training.session.run('vai_q_tf/positions/tensors:0')]
        rows = [names.index(name) for name in members]
        for number in range(70):
            before, (slopes, after) = training.votes(), (training.slopes(number), training.votes())
            learned, = set(rows).intersection(slopes) or {None}
            assert (learned is None) == (recipe == 'finetune' and number == 0)
            if number:
                assert _same_bits(after[learned], position_histogram.learn(before[learned], slopes[learned], 0.01))
            assert len({after[row].tobytes() for row in rows}) == 1
        checkpoint = training.saver.save(training.session, str(tmp_path / 'model.ckpt'))
        course = [(training.step(number), training.votes().tobytes()) for number in range(70, 80)]
    with _Training(settings, build=_joined, rate=0.) as training:
        training.saver.restore(training.session, checkpoint)
        assert [(training.step(number), training.votes().tobytes()) for number in range(70, 80)] == course


def test_the_float_network_is_calibrated_first(tmp_path):
    """The positions of the first step are those that stay otherwise."""
    courses = {}
    for update in ('moving', 'learned'):
        with _Training(small.config(tmp_path, position_update=update), small.float_weights()) as training:
            loss = training.step(0, size=40)
            courses[update] = loss, training.votes().tobytes(), training.noted()
            assert not position_histogram.is_learned(training.votes()).any()
            training.step(1)
            assert position_histogram.is_learned(training.votes()).any() == (update == 'learned')
    assert courses['moving'] == courses['learned']


def test_after_calibration_nothing_is_searched_that_is_learned(tmp_path):
    with _Training(_config(tmp_path), small.float_weights()) as training:
        searches = [op.outputs[0] for op in training.graph.get_operations() if op.type.endswith('SearchPosition')]
        first, second, third = (training.session.run([searches, training.train], training.feed(0))[0] for _ in range(3))
        assert fixed_point.NO_OBSERVATION not in first
        assert set(second) == set(third) == {fixed_point.NO_OBSERVATION}


def test_from_scratch_what_no_gradient_reaches_goes_on_voting(tmp_path):
    with _Training(_config(tmp_path, position_decay=0.5)) as training:
        for number in range(6):
            training.step(number, scale=2. ** number)
        suiting = fixed_point.search_position(small.batch(5, scale=2. ** 5)[0], 4, method=0)
        assert training.positions()['net_in/aquant'] in (suiting, suiting + 1)
        assert not position_histogram.is_learned(training.votes()[0])


def test_they_move_after_a_start_from_float_weights_and_the_history_shows_it(tmp_path):
    settings = _config(tmp_path)
    training = _Training(settings, small.float_weights())
    with training:
        hook = vai_q_tf.QuantizePositionHook(settings, every_n_steps=50)
        hook.begin()
        with v1.train.MonitoredSession(hooks=[hook]) as session:
            for variable in v1.global_variables():
                if variable.op.name in small.WEIGHTS:
                    session.run(variable.initializer, {variable.initializer.inputs[1]: small.float_weights()[variable.op.name]})
            for number in range(200):
                session.run(training.train, training.feed(number))
            names, votes = session.run(['vai_q_tf/positions/tensors:0', VOTES_KEY + ':0'])
    lines = [json.loads(line) for line in (tmp_path / 'quantized' / 'quantize_position_history.jsonl').read_text().splitlines()]
    last = {line['tensor']: line['position'] for line in lines}
    assert last == {name.decode(): position_histogram.mode_position(row) for name, row in zip(names, votes)}
    assert any(line['step'] > 1 for line in lines)


def test_the_optimizer_sees_no_threshold(tmp_path):
    found = []
    for update in ('moving', 'learned'):
        with _Training(small.config(tmp_path, position_update=update)) as training:
            found.append({key: [getattr(item, 'name', item) for item in training.graph.get_collection(key)]
                          for key in training.graph.get_all_collection_keys() if not key.startswith('vai_q_tf')})
            found[-1].pop(v1.GraphKeys.COND_CONTEXT, None)
    assert found[0] == found[1]


@pytest.mark.parametrize('stop, recipe', each_value_once([1, 70], ['auto', 'scratch']))
def test_a_restart_goes_on_bit_by_bit(tmp_path, recipe, stop):
    settings = _config(tmp_path, recipe=recipe)
    with _Training(settings, small.float_weights()) as training:
        for number in range(stop):
            training.step(number, size=50)
        checkpoint = training.saver.save(training.session, str(tmp_path / 'model.ckpt'))
        course = [(training.step(number), training.votes().tobytes()) for number in range(stop, stop + 20)]
    with _Training(settings) as training:
        training.saver.restore(training.session, checkpoint)
        assert [(training.step(number), training.votes().tobytes()) for number in range(stop, stop + 20)] == course


def test_frozen_they_stay_and_are_those_of_evaluation(tmp_path):
    settings = _config(tmp_path, freeze_position_step=80)
    with _Training(settings, small.float_weights()) as training:
        for number in range(80):
            training.step(number)
        frozen = training.votes()
        for number in range(80, 90):
            training.step(number)
        assert _same_bits(training.votes(), frozen)
        trained = training.session.run('logits/BiasAdd/aquant:0', training.feed(7))
        checkpoint = training.saver.save(training.session, str(tmp_path / 'model.ckpt'))
    with tf.Graph().as_default(), v1.Session() as session:
        images = v1.placeholder(tf.float32, [None, 6, 6, 2])
        logits = small.network(images, training=False)
        vai_q_tf.CreateQuantizeEvaluationGraph(settings)
        saver = v1.train.Saver()
        slope = tf.gradients(v1.get_default_graph().get_tensor_by_name('logits/BiasAdd/aquant:0'), v1.trainable_variables())
        saver.restore(session, checkpoint)
        np.testing.assert_array_equal(session.run('logits/BiasAdd/aquant:0', {images: small.batch(7)[0]}), trained)
        session.run(slope, {images: small.batch(8, scale=100.)[0]})
        assert _same_bits(session.run(VOTES_KEY + ':0'), frozen)
        assert logits.graph is images.graph


def test_a_share_freezes_them_by_default(tmp_path):
    from vai_q_tf.qat.recipe import length
    for recipe in ('auto', 'finetune', 'scratch'):
        with _Training(_config(tmp_path, recipe=recipe), small.float_weights()) as training:
            length.note_length(training.session, 120)
            courses = []
            for number in range(85):
                training.step(number)
                courses.append(training.votes().tobytes())
        assert [first == second for first, second in zip(courses, courses[1:])] == [False] * 79 + [True] * 5


def _votes_of_a_training(place, special=''):
    """The votes after some steps, where gradients are made in a usual or in a special way."""
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(1)
        images, labels = map(tf.constant, small.batch(0))
        loss = v1.losses.sparse_softmax_cross_entropy(labels, small.network(images))
        vai_q_tf.CreateQuantizeTrainingGraph(_config(place))
        optimizer = v1.train.GradientDescentOptimizer(0.05)
        if special == 'tf.gradients before':
            tf.gradients(loss, v1.trainable_variables())
        if special == 'tf.cond':
            train = tf.cond(loss >= 0, functools.partial(optimizer.minimize, loss), tf.no_op)
        else:
            train = optimizer.minimize(loss)
        if special == 'tf.gradients after':
            tf.gradients(loss, v1.trainable_variables())
        session.run(v1.global_variables_initializer())
        for _ in range(8):
            session.run(train)
        return session.run(VOTES_KEY + ':0')


@pytest.fixture(scope='module')
def usual_votes(tmp_path_factory):
    return _votes_of_a_training(tmp_path_factory.mktemp('usual'))


@pytest.mark.parametrize('inside', ['tf.cond', 'tf.gradients before', 'tf.gradients after'])
def test_one_update_a_step_wherever_the_gradients_are_made(tmp_path, inside, usual_votes):
    """In a branch, as a training that leaves out steps has them, and beside gradients that nobody fetches."""
    assert position_histogram.is_learned(usual_votes).sum() == len(usual_votes) - 1
    np.testing.assert_array_equal(_votes_of_a_training(tmp_path, inside), usual_votes)


def test_positions_become_legal_when_they_no_longer_learn(tmp_path):
    """A bias whose shift is too far for the hardware."""
    weights = small.float_weights()
    weights['logits/bias'] = weights['logits/bias'] * np.float32(1e-9)
    with _Training(_config(tmp_path, freeze_position_step=6), weights, rate=0.) as training:
        in_use = []
        for number in range(8):
            feed = training.feed(number)
            in_use.append(training.session.run(['logits/bias/wquant/learned:0', training.train], feed)[0])
        elected = training.positions()['logits/bias/wquant']
        legal = dict(zip(training.positions(), training.session.run('vai_q_tf/positions/legal:0')))['logits/bias/wquant']
    assert elected > legal + 5
    assert in_use[1:] == [elected] * 5 + [legal] * 2


def test_an_optimizer_waits_for_the_gradients_of_thresholds(tmp_path):
    """It changes variables in the place that they read."""
    with _Training(_config(tmp_path)) as training:
        slopes = [op for op in training.graph.get_operations() if op.type in ('VaiThresholdGrad', 'VaiScaledThresholdGrad')]
        assert slopes
        for op in slopes:
            assert any(waiting.type == 'Identity' for waiting in tf_internal.waiting_ops(op)), op.name


def test_what_is_told_not_to_track_learns_nothing(tmp_path):
    with _Training(_config(tmp_path), small.float_weights()) as training:
        for number in range(3):
            training.step(number)
        before = training.votes()
        training.session.run(training.train, dict(training.feed(3), **{'vai_q_tf/track:0': False}))
        training.session.run(training.loss, training.feed(3))
        assert _same_bits(training.votes(), before)
        training.step(3)
        assert not _same_bits(training.votes(), before)


def test_other_updates_have_none_of_the_ops(tmp_path):
    for update in ('moving', 'current'):
        with _Training(small.config(tmp_path, position_update=update)) as training:
            assert not [op.name for op in training.graph.get_operations() if 'Learn' in op.type or 'Threshold' in op.type]


def test_a_training_changes_from_one_update_to_another(tmp_path):
    """A checkpoint of either is a start for the other."""
    with _Training(_config(tmp_path), small.float_weights()) as training:
        for number in range(90):
            training.step(number)
        positions = training.positions()
        learned = training.saver.save(training.session, str(tmp_path / 'learned.ckpt'))
    with _Training(small.config(tmp_path, recipe='manual')) as training:
        training.saver.restore(training.session, learned)
        assert training.positions() == positions
        for number in range(5):
            training.step(number)
        voted, positions = training.saver.save(training.session, str(tmp_path / 'voted.ckpt')), training.positions()
    with _Training(_config(tmp_path, recipe='manual')) as training:
        training.saver.restore(training.session, voted)
        training.step(5)
        assert training.positions() == positions


def test_an_imported_meta_graph_goes_on_learning(tmp_path):
    with _Training(_config(tmp_path), small.float_weights()) as training:
        for number in range(3):
            training.step(number)
        checkpoint = training.saver.save(training.session, str(tmp_path / 'model.ckpt'), write_meta_graph=True)
        feed = {tensor.name: value for tensor, value in training.feed(3).items()}
        step, loss = training.train.name, training.loss.name
        training.step(3)
        expected = training.votes()
    for again in (False, True):
        with tf.Graph().as_default() as graph, v1.Session() as session:
            ops.load_library()
            saver = v1.train.import_meta_graph(checkpoint + '.meta')
            run = step
            if again:
                run = tf.gradients(graph.get_tensor_by_name(loss), v1.trainable_variables())
            saver.restore(session, checkpoint)
            session.run(run, feed)
            assert _same_bits(session.run(VOTES_KEY + ':0'), expected)
