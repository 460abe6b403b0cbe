"""What a recipe does in a training: calibration, statistics of batch norms, and when positions move."""
import numpy as np
import pytest
import tensorflow as tf

import vai_q_tf
from tests.qat.recipe import small
from vai_q_tf import fixed_point

v1 = tf.compat.v1
_IN_ONE_GROUP = ('pool/mul/aquant', 'pool/squeeze/aquant')  # they share the position of the relu, which they pool


def _suiting(weights, images, tie):
    """{quantized tensor: the position that suits its float values}, by the NumPy definition."""
    tensors = small.float_tensors(weights, images)
    tensors['conv/kernel/biases/wquant'] = tensors.pop('norm/bias/wquant')
    tensors.pop('pool/aquant')
    found = {}
    for name, value in tensors.items():
        method, mode = int(name != 'net_in/aquant'), int('aquant' in name)
        found[name] = fixed_point.search_position(value, 4, method, mode, tie=tie)
    return dict(found, **{name: found['relu/aquant'] for name in _IN_ONE_GROUP})


@pytest.mark.parametrize('recipe', ['auto', 'finetune'])
@pytest.mark.parametrize('seed', range(4))
def test_positions_are_calibrated_on_the_float_network(tmp_path, recipe, seed):
    weights = small.float_weights(seed)
    with small.Training(small.config(tmp_path, recipe=recipe), weights) as training:
        training.step(0)
        assert training.positions() == _suiting(weights, small.batch(0)[0], tie=1.3)


def test_calibration_on_quantized_values_would_find_other_positions(tmp_path):
    differing = 0
    for seed in range(4):
        weights = small.float_weights(seed)
        with small.Training(small.config(tmp_path, recipe='manual'), weights) as training:
            training.step(0)
            differing += training.positions() != _suiting(weights, small.batch(0)[0], tie=1.0)
    assert differing


def test_nothing_is_rounded_while_positions_are_calibrated(tmp_path):
    weights = small.float_weights()
    images, labels = small.batch(0)
    logits = small.float_tensors(weights, images)['logits/BiasAdd/aquant']
    shifted = logits - logits.max(axis=1, keepdims=True)
    expected = np.mean(np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels])
    with small.Training(small.config(tmp_path), weights) as training:
        np.testing.assert_allclose(training.step(0), expected, rtol=1e-5)
        assert not np.isclose(training.session.run(training.loss, training.feed(0)), expected, rtol=1e-3)


def test_calibration_resolves_a_near_tie_to_the_finer_position(tmp_path):
    """Inputs of method 1, scaled so that the error at the next finer position is about 1.2 times the least one."""
    images = small.batch(0)[0]

    def errors(images):
        return [np.square(fixed_point.quantize(images, position, 4) - images).sum() for position in range(-3, 6)]

    for scale in np.linspace(1, 2, 60, dtype=np.float32):
        found = errors(images * scale)
        best = int(np.argmin(found))
        if 1.1 < found[best + 1] / found[best] < 1.29:
            break
    else:
        raise AssertionError('no such scale')
    for recipe, expected in (('auto', best - 3 + 1), ('manual', best - 3)):
        settings = small.config(tmp_path, nodes_method=['net_in:1'], recipe=recipe)
        with small.Training(settings, small.float_weights()) as training:
            training.session.run(training.train, {training.images: images * scale, training.labels: small.batch(0)[1]})
            assert training.positions()['net_in/aquant'] == expected


def test_positions_stay_after_calibration_and_move_without_it(tmp_path):
    for recipe, moves in (('auto', False), ('finetune', False), ('manual', True), ('scratch', True)):
        with small.Training(small.config(tmp_path, recipe=recipe, position_decay=0.5), small.float_weights()) as training:
            training.step(0)
            before = training.positions()
            for number in range(1, 6):
                training.step(number, scale=30.)
            assert (training.positions() != before) == moves, recipe


def test_a_network_with_a_new_head_is_calibrated_then_positions_move(tmp_path):
    weights = dict(small.float_weights(), **{'logits/bias': np.zeros(3, np.float32)})
    with small.Training(small.config(tmp_path, position_decay=0.5), weights) as training:
        training.step(0)
        calibrated = training.positions()
        assert calibrated == _suiting(weights, small.batch(0)[0], tie=1.3)
        for number in range(1, 6):
            training.step(number, scale=30.)
        assert training.positions()['relu/aquant'] < calibrated['relu/aquant']
        variables = training.variables()
        assert all(np.array_equal(variables[name], weights[name]) for name in ('norm/moving_mean', 'norm/moving_variance'))


def test_batch_norms_use_their_moving_statistics_from_the_start(tmp_path):
    weights = small.float_weights()
    for recipe, moves in (('auto', False), ('finetune', False), ('manual', True), ('scratch', True)):
        with small.Training(small.config(tmp_path, recipe=recipe, position_decay=0.5), weights) as training:
            for number in range(3):
                training.step(number)
            variables = training.variables()
            for name in ('norm/moving_mean', 'norm/moving_variance'):
                assert (not np.array_equal(variables[name], weights[name])) == moves, recipe
            assert not np.array_equal(variables['norm/gamma'], weights['norm/gamma'])


def test_after_calibration_the_network_is_the_one_that_is_evaluated(tmp_path):
    settings = small.config(tmp_path)
    with small.Training(settings, small.float_weights()) as training:
        for number in range(3):
            training.step(number)
        trained = training.session.run('logits/BiasAdd/aquant:0', training.feed(7))
        checkpoint = training.saver.save(training.session, str(tmp_path / 'model.ckpt'))
    with tf.Graph().as_default(), v1.Session() as session:
        images = v1.placeholder(tf.float32, [None, 6, 6, 2])
        small.network(images, training=False)
        vai_q_tf.CreateQuantizeEvaluationGraph(settings)
        v1.train.Saver().restore(session, checkpoint)
        np.testing.assert_array_equal(session.run('logits/BiasAdd/aquant:0', {images: small.batch(7)[0]}), trained)


def test_a_training_from_scratch_equals_the_manual_recipe(tmp_path):
    def course(recipe):
        with small.Training(small.config(tmp_path, recipe=recipe, method=0)) as training:
            return [training.step(number) for number in range(5)], training.positions()

    losses, positions = course('manual')
    assert course('auto') == course('scratch') == (losses, positions)


@pytest.mark.parametrize('batch', [np.zeros, lambda shape: np.full(shape, np.nan), lambda shape: np.full(shape, np.inf)],
                         ids=['zeros', 'NaN', 'infinity'])
def test_a_batch_without_values_is_not_calibrated_on(tmp_path, capfd, batch):
    """Such as a warm-up run, or padding. Only the loss is run, or the weights would become NaN, too."""
    weights = small.float_weights()
    with small.Training(small.config(tmp_path), weights) as training:
        images, labels = small.batch(0)
        training.session.run(training.loss, {training.images: batch(images.shape), training.labels: labels})
        assert training.positions() == {} and training.noted()[0] == 0
        assert capfd.readouterr().err.count('waits for a batch to calibrate positions on') == 1
        training.step(0)
        assert training.positions() == _suiting(weights, images, tie=1.3)
        assert capfd.readouterr().err.count('This training starts from float weights') == 1


def test_an_input_of_integers_may_be_zero(tmp_path, capfd):
    """Such as the rows of a table to look up."""
    def build(images, training=True):
        rows = tf.cast(images[:, 0, 0, 0], tf.int32, name='net_in')
        net = tf.nn.embedding_lookup(v1.get_variable('table', [5, 72]), rows)
        return v1.layers.dense(v1.layers.dense(net, 4, tf.nn.relu, name='dense'), 3, name='logits')

    with small.Training(small.config(tmp_path, recipe='finetune', input_shapes=[]), build=build) as training:
        training.step(0, scale=0.)
        assert training.positions() and training.noted()[0] == 1
    assert 'waits for a batch' not in capfd.readouterr().err


def test_a_float_checkpoint_begins_anew(tmp_path):
    """Even after a step on initial values, which a script may run before it restores."""
    weights = small.float_weights()
    with small.Training(small.config(tmp_path), weights) as training:
        checkpoint = v1.train.Saver(v1.global_variables()).save(training.session, str(tmp_path / 'float.ckpt'))
    with small.Training(small.config(tmp_path)) as training:
        training.session.run(training.loss, training.feed(0))
        assert training.noted()[0] == 3
        training.saver.restore(training.session, checkpoint)
        training.step(0)
        assert training.noted()[0] == 1
        assert training.positions() == _suiting(weights, small.batch(0)[0], tie=1.3)


def test_a_run_of_a_part_of_the_network_begins_nothing(tmp_path):
    """Such as one that prints the shape of a feature, here even before the float weights are loaded."""
    weights, feed = small.float_weights(), small.batch(1)[0]
    with small.Training(small.config(tmp_path)) as training:
        training.session.run('pool:0', {training.images: feed})
        assert training.noted()[0] == 3
        training.assign(weights)
        training.session.run('pool:0', {training.images: feed})
        training.step(0)
        assert training.noted() == (1, 0)
        assert training.positions() == _suiting(weights, small.batch(0)[0], tie=1.3)
        training.step(1)
        assert training.positions() == _suiting(weights, small.batch(0)[0], tie=1.3)


def test_a_run_without_tracking_keeps_nothing(tmp_path):
    """tf.keras evaluates the training graph like this."""
    with small.Training(small.config(tmp_path), small.float_weights()) as training:
        with pytest.raises(tf.errors.FailedPreconditionError, match='never tracked'):
            training.session.run(training.loss, dict(training.feed(0), **{'vai_q_tf/track:0': False}))
        assert training.noted() == (0, 0)
        training.step(0)
        before = training.positions()
        training.session.run(training.loss, dict(training.feed(1, scale=50.), **{'vai_q_tf/track:0': False}))
        assert training.positions() == before


@pytest.mark.parametrize('recipe', ['auto', 'finetune', 'scratch', 'manual'])
def test_steps_of_the_config_override_the_recipe(tmp_path, recipe):
    settings = small.config(tmp_path, recipe=recipe, freeze_bn_step=2, freeze_position_step=4, position_decay=0.5)
    with small.Training(settings, small.float_weights()) as training:
        averages, positions = [], []
        for number in range(7):
            training.step(number, scale=3. ** number)
            averages.append(training.variables()['norm/moving_mean'])
            positions.append(training.positions())
    assert [np.array_equal(first, second) for first, second in zip(averages, averages[1:])] == [False] + [True] * 5
    assert [first == second for first, second in zip(positions, positions[1:])] == [False] * 3 + [True] * 3


def test_a_graph_without_a_global_step_trains(tmp_path):
    for build in (small.network, lambda images: small.network(images, training=False)):
        with tf.Graph().as_default(), v1.Session() as session:
            images = v1.placeholder(tf.float32, [None, 6, 6, 2])
            loss = tf.reduce_mean(tf.square(build(images)))
            vai_q_tf.CreateQuantizeTrainingGraph(small.config(tmp_path))
            train = v1.train.GradientDescentOptimizer(0.01).minimize(loss)
            session.run(v1.global_variables_initializer())
            losses = [session.run([loss, train], {images: small.batch(0)[0]})[0] for _ in range(3)]
            assert np.isfinite(losses).all()


def test_prints_once_how_the_training_starts(tmp_path, capfd):
    with small.Training(small.config(tmp_path), small.float_weights()) as training:
        training.step(0)
        said = capfd.readouterr().err
        training.step(1)
        assert 'This training' not in capfd.readouterr().err
    assert said.count('This training starts from float weights. Batch norms use moving statistics. Positions are calibrated on '
                      'the float network in this step, then they stay.\n') == 1


def test_a_wider_bias(tmp_path):
    """bias_bit widens the biases and nothing else."""
    bits = {}
    for width in (None, 8):
        with small.Training(small.config(tmp_path, bias_bit=width), small.float_weights()) as training:
            bits[width] = {op.name: op.get_attr('bit_width') for op in training.graph.get_operations()
                           if op.type in ('VaiFixNeuron', 'VaiScaledFixNeuron')}
    assert set(bits[None].values()) == {4}
    assert {name for name, width in bits[8].items() if width == 8} == {'conv/kernel/biases/wquant', 'logits/bias/wquant'}
