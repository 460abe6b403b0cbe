"""Training with batch statistics costs as much as the float network and updates the same moving averages."""
import collections
import functools
import tempfile

import numpy as np
import pytest
import tensorflow as tf

from tests.combinations import each_value_once
from tests.loading import load
from tests.qat import networks
from vai_q_tf import CreateQuantizeEvaluationGraph, CreateQuantizeTrainingGraph, QuantizeConfig

layers = tf.compat.v1.layers
_HARMLESS = {'weight_bit': 24, 'activation_bit': 24, 'position_update': 'current', 'simulate_dpu': 0}
_CONVOLUTIONS = ('Conv2D', 'DepthwiseConv2dNative', 'Conv2DBackpropInput')


@pytest.fixture(scope='module', autouse=True)
def graphs():
    yield
    _Graph.of.cache_clear()


class _Graph:
    """A training graph for several sessions, float if `fields` is None.

    Attributes: graph, step (the train op), loss, variables {name: tf.Variable}.
    """

    def __init__(self, build, directory, fields, rate):
        self.graph = tf.Graph()
        with self.graph.as_default():
            tf.compat.v1.set_random_seed(7)
            self.global_step = tf.compat.v1.train.get_or_create_global_step()
            output = build(True)
            self.loss = networks.quadratic_loss(output)
            if fields is not None:
                CreateQuantizeTrainingGraph(
                    QuantizeConfig(['x'], [output.op.name], output_dir=str(directory), **dict({'recipe': 'manual'}, **fields)))
            self.step = networks.training_step(output, self.loss, tf.compat.v1.train.GradientDescentOptimizer(rate))
            self.variables = {variable.op.name: variable for variable in tf.compat.v1.global_variables()}
            self.initializer = tf.compat.v1.global_variables_initializer()

    @classmethod
    @functools.lru_cache(40)
    def of(cls, build, fields, rate):
        """The graph of a network, cached, with a separate directory. fields: a frozenset of their items."""
        with tempfile.TemporaryDirectory() as directory:
            return cls(build, directory, None if fields is None else dict(fields), rate)


class _Training:
    """A session of a `_Graph`, and its attributes."""

    def __init__(self, build, fields, rate=0.02, optimizers=False):
        vars(self).update(vars(_Graph.of(build, None if fields is None else frozenset(fields.items()), rate)))
        options = tf.compat.v1.ConfigProto()
        # TensorFlow's optimizers of graphs fuse convolutions with other ops, under their names.
        options.graph_options.rewrite_options.disable_meta_optimizer = not optimizers
        self.session = tf.compat.v1.Session(graph=self.graph, config=options)
        self.session.run(self.initializer)

    def set(self, values):
        load({self.variables[name]: value for name, value in values.items()}, self.session)

    def values(self):
        return self.session.run(self.variables)

    def moving(self):
        return {name: value for name, value in self.values().items() if 'moving_' in name}

    def run(self, fetches, number=0, **options):
        return self.session.run(fetches, networks.batch_of(self.graph, ['x'], number), **options)


def _small(training, **options):
    """A convolution with batch norm and relu, and a dense layer."""
    x = layers.conv2d(networks.image(size=4), 4, 3, padding='same', use_bias=False, name='conv')
    x = tf.nn.relu(layers.batch_normalization(x, training=training, momentum=0.9, name='bn', **options), name='relu')
    return layers.dense(layers.flatten(x), 3, name='dense')


def _executions(training):
    """The number of convolutions in a step: {op type: count}, by the trace of the run."""
    metadata = tf.compat.v1.RunMetadata()
    training.run(training.step, options=tf.compat.v1.RunOptions(trace_level=tf.compat.v1.RunOptions.SOFTWARE_TRACE),
                 run_metadata=metadata)
    types = {op.name: op.type for op in training.graph.get_operations()}
    executed = [types.get(node.node_name.partition(':')[0], '') for device in metadata.step_stats.dev_stats
                for node in device.node_stats]
    return collections.Counter(op_type for op_type in executed if op_type.startswith(_CONVOLUTIONS))


@pytest.mark.parametrize('name, fields', each_value_once(
    ['slim_mobile', 'transposed', 'keras_residual'],
    [{}, {'freeze_bn_step': 3, 'bn_fold': 'batch'}, {'freeze_bn_step': 0}]))
def test_a_step_runs_each_convolution_once(name, fields):
    counts = []
    for setting in (None, fields):
        training = _Training(networks.NETWORKS[name], setting)
        counts.append(_executions(training))
    assert counts[0] and counts[1] == counts[0]


@pytest.mark.parametrize('name, fields', each_value_once(
    ['slim_mobile', 'layers_biased', 'unfused', 'transposed', 'keras_residual'], [{}, {'freeze_bn_step': 100}]))
def test_harmless_quantization_trains_as_float(name, fields):
    """With 24 bits losses, variables and moving averages are those of the float network."""
    float_training = _Training(networks.NETWORKS[name], None)
    quantized = _Training(networks.NETWORKS[name], dict(_HARMLESS, gradient='straight_through', **fields),
                          optimizers=name in ('slim_mobile', 'unfused'))
    start = float_training.values()
    quantized.set(start)
    for number in range(20):
        expected = float_training.run([float_training.loss, float_training.step], number)[0]
        loss = quantized.run([quantized.loss, quantized.step], number)[0]
        np.testing.assert_allclose(loss, expected, rtol=1e-4, err_msg='step {}'.format(number))
    result, moved = quantized.values(), 0
    for variable, value in float_training.values().items():
        moved += not np.array_equal(value, start[variable])
        np.testing.assert_allclose(result[variable], value, rtol=1e-4, atol=2e-4 * np.abs(value).max() + 1e-6,
                                   err_msg=variable)
    assert moved >= len(start) - 2  # a bias in front of a batch norm has no gradient


@pytest.mark.parametrize('fused', [True, False])
def test_moving_averages_follow_the_batch(fused):
    """By the definition: old + 0.1 * (statistic - old), of the convolution with the quantized weights."""
    training = _Training(lambda training: _small(training, fused=fused), {})
    training.run(training.step)
    before = training.moving()
    convolution = training.graph.get_tensor_by_name('conv/Conv2D:0')
    # The positions of this step are not those of the next: what the convolution gave in the step itself counts.
    y = training.run([convolution, training.step], 1)[0].astype(np.float64).reshape(-1, 4)
    after = training.moving()
    variance = y.var(axis=0) * (len(y) / (len(y) - 1.) if fused else 1.)
    for name, statistic in (('bn/moving_mean', y.mean(axis=0)), ('bn/moving_variance', variance)):
        assert not np.array_equal(after[name], before[name])
        np.testing.assert_allclose(after[name], before[name] + 0.1 * (statistic - before[name]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('name, bn_fold', [
    ('slim_mobile', 'batch'), ('transposed', 'batch'), ('keras_residual', 'batch'), ('layers_biased', 'moving'),
    ('unfused', 'moving')] + [pytest.param(name, 'batch', marks=pytest.mark.slow) for name in ('layers_biased', 'unfused')])
def test_moving_averages_stop_at_the_step(name, bn_fold):
    training = _Training(networks.NETWORKS[name], {'freeze_bn_step': 3, 'bn_fold': bn_fold})
    for number in range(6):
        before = training.moving()
        training.run(training.step, number)
        assert training.session.run(training.global_step) == number + 1
        for variable, value in training.moving().items():
            assert np.array_equal(value, before[variable]) == (number >= 3), (number, variable)


@pytest.mark.parametrize('fused, fields', each_value_once([True, False], [{}, {'freeze_bn_step': 3}]))
def test_gamma_that_starts_at_zero_trains(fused, fields):
    """Its first steps have a gradient: the normalised convolution times the incoming gradient."""
    def residual(training):
        x = tf.reshape(networks.image(size=4), [-1, 4, 4, 3])
        y = layers.conv2d(x, 3, 3, padding='same', use_bias=False, name='conv')
        y = layers.batch_normalization(y, training=training, fused=fused, gamma_initializer=tf.zeros_initializer(),
                                       momentum=0.9, name='bn')
        return layers.dense(layers.flatten(tf.nn.relu(x + y)), 3, name='dense')

    training = _Training(residual, fields, rate=0.2)
    gammas = []
    for number in range(8):
        training.run(training.step, number)
        values = training.values()
        assert all(np.isfinite(value).all() for value in values.values())
        gammas.append(values['bn/gamma'])
    assert np.all(gammas[0] != 0)
    assert np.any(gammas[-1] != gammas[0])


def test_first_gradient_of_a_zero_gamma_is_that_of_the_float_network():
    def build(training):
        return _small(training, gamma_initializer=tf.zeros_initializer(), beta_initializer=tf.ones_initializer())

    float_training = _Training(build, None, rate=1.)
    training = _Training(build, _HARMLESS, rate=1.)
    training.set(float_training.values())
    for which in (float_training, training):
        which.run(which.step)
    expected = float_training.values()['bn/gamma']
    assert np.all(expected != 0)
    np.testing.assert_allclose(training.values()['bn/gamma'], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('fields', [{}, {'freeze_bn_step': 4}])
def test_negative_gammas_and_an_empty_channel(fields):
    """A channel without weights is just the offset; no value becomes NaN; the network still learns."""
    training = _Training(_small, dict(fields, freeze_position_step=1))
    kernel = training.values()['conv/kernel']
    kernel[..., 0] = 0
    training.set({'bn/gamma': [-1., -0.5, -2., 1.], 'conv/kernel': kernel, 'bn/moving_variance': [0.] * 4})
    losses = [training.run([training.loss, training.step], 0)[0] for _ in range(30)]
    assert np.isfinite(losses).all() and losses[-1] < 0.7 * losses[0]
    values = training.values()
    assert all(np.isfinite(value).all() for value in values.values())
    assert values['bn/gamma'].tolist() != [-1., -0.5, -2., 1.]


@pytest.mark.parametrize('fetch', ['step', 'loss', 'update'])
def test_updates_run_whatever_is_fetched(fetch):
    """The train op moves positions, averages and weights; the loss alone moves positions, as a run of the network."""
    training = _Training(_small, {})
    votes = training.graph.get_tensor_by_name('vai_q_tf/positions/votes:0')
    fetches = {'step': training.step, 'loss': training.loss, 'update': training.graph.get_collection(
        tf.compat.v1.GraphKeys.UPDATE_OPS)}[fetch]
    before = training.values()
    for _ in range(3):
        training.run(fetches)
    after = training.values()
    moved = {name for name, value in after.items() if not np.array_equal(value, before[name])}
    averages = {'bn/moving_mean', 'bn/moving_variance'}
    assert moved == {'step': set(after), 'loss': set(), 'update': averages}[fetch]
    counted = training.session.run(votes).sum(axis=1)
    decayed = 1 + 0.98 + 0.98**2
    if fetch == 'update':  # what the statistics of the batch depend on: the input and the weights of the convolution
        assert sorted(set(np.round(counted.astype(float), 3))) == [0, round(decayed, 3)]
    else:
        np.testing.assert_allclose(counted, decayed, rtol=1e-5)


@pytest.mark.parametrize('name, fields', each_value_once(
    ['slim_mobile', 'layers_biased', 'keras_residual'],
    [{}, {'freeze_bn_step': 3, 'bn_fold': 'moving'}, {'freeze_bn_step': 2, 'freeze_position_step': 2}]))
def test_float_checkpoint_restores(name, fields, tmp_path):
    build = networks.NETWORKS[name]
    training = _Training(build, None)
    training.run(training.step)
    with training.graph.as_default():
        prefix = tf.compat.v1.train.Saver().save(training.session, str(tmp_path / 'float.ckpt'))
    expected = training.values()

    quantized = _Training(build, fields)
    with quantized.graph.as_default():
        tf.compat.v1.train.Saver().restore(quantized.session, prefix)
    for variable, value in quantized.values().items():
        np.testing.assert_array_equal(value, expected[variable], err_msg=variable)
    assert np.isfinite(quantized.run([quantized.loss, quantized.step])[0])


def test_quantized_training_learns_the_evaluation_network(tmp_path):
    """The loss of the evaluation network on the training batch falls with training on batch statistics."""
    def evaluate(checkpoint, config):
        with tf.Graph().as_default() as graph:
            loss = networks.quadratic_loss(_small(False))
            CreateQuantizeEvaluationGraph(config)
            with tf.compat.v1.Session() as session:
                tf.compat.v1.train.Saver().restore(session, checkpoint)
                return session.run(loss, networks.batch_of(graph, ['x'], 0))

    training = _Training(_small, {})
    config = QuantizeConfig(['x'], ['dense/BiasAdd'], output_dir=str(tmp_path))
    with training.graph.as_default():
        saver = tf.compat.v1.train.Saver()
    losses = []
    for number in range(200):
        trained = training.run([training.loss, training.step])[0]
        if number in (2, 199):
            losses.append(evaluate(saver.save(training.session, str(tmp_path / 'model.ckpt'), number), config))
    assert losses[1] < 0.1 * losses[0]
    assert losses[1] < trained + 0.05


@pytest.mark.parametrize('variance', [0., 1.])
def test_a_channel_without_scale_does_not_decide_the_position(variance):
    """Its folded weights are zeros in evaluation, so it must not reduce the precision of other channels."""
    positions = []
    for gamma in (1e-8, 0.):
        training = _Training(_small, {})
        training.set({'bn/gamma': [gamma, 0.05, 0.05, 0.05], 'bn/moving_variance': [variance, 1., 1., 1.]})
        positions.append(training.run('conv/kernel/wquant/position:0'))
    assert positions[0] == positions[1]


def test_the_scale_of_zero_gammas_is_that_of_ones():
    """The position depends on 1 / sqrt(variance), an eighth here."""
    positions = []
    for gamma in (1., 0.):
        training = _Training(_small, {})
        training.set({'bn/gamma': [gamma] * 4, 'bn/moving_variance': [64.] * 4})
        positions.append(training.run('conv/kernel/wquant/position:0'))
    assert positions[0] == positions[1]


def test_zero_gammas_train_beside_one_without_gradient():
    """The first channel follows a relu whose output is zero; the gammas of the others move as in float."""
    def build(training):
        return _small(training, gamma_initializer=tf.zeros_initializer(),
                      beta_initializer=tf.constant_initializer([-1., 1., 1., 1.]))

    float_training, quantized = (_Training(build, fields, rate=1e-3) for fields in (None, {}))
    quantized.set(float_training.values())
    for number in range(100):
        for training in (float_training, quantized):
            training.run(training.step, number % 4)
    expected, gamma = (training.values()['bn/gamma'] for training in (float_training, quantized))
    assert expected[0] == gamma[0] == 0 and np.abs(expected[1:]).min() > 1e-4
    np.testing.assert_allclose(gamma, expected, atol=0.3 * np.abs(expected).max())


@pytest.mark.parametrize('name, fields', [
    pytest.param('keras_residual', {}, marks=pytest.mark.slow), ('keras_residual', {'freeze_bn_step': 3, 'bn_fold': 'batch'}),
    ('keras_residual', {'bn_fold': 'moving'}),
    ('unfused', {}), pytest.param('unfused', {'freeze_bn_step': 3, 'bn_fold': 'batch'}, marks=pytest.mark.slow),
    ('unfused', {'freeze_bn_step': 3, 'bn_fold': 'moving'})])
def test_updates_wait_until_the_fold_has_read(name, fields):
    """Without an order, a step may fold with the averages before or after its update."""
    training = _Training(networks.NETWORKS[name], fields)
    operations = training.graph.get_operations()
    updates = [op for op in operations if op.type.startswith('AssignSub') and 'moving_' in op.inputs[0].name]
    assert len(updates) >= 6
    feeding = {op: [value.op for value in op.inputs] + list(op.control_inputs) for op in operations}
    folding = _ancestors(feeding, [op for op in operations if op.name.endswith('/wquant')])
    for update in updates:
        before = _ancestors(feeding, [update])
        reads = [op for op in operations if op.type in ('Identity', 'ReadVariableOp') and update.inputs[0].op in (
            tensor.op for tensor in op.inputs)]
        folds = [op for op in folding if any(tensor.op in reads for tensor in op.inputs)]
        assert folds
        assert before.issuperset(folds), update.name


def _ancestors(feeding, operations):
    """The ops that some ops wait for, directly or not, given {op: its control inputs}."""
    found, pending = set(), list(operations)
    while pending:
        for op in feeding[pending.pop()]:
            if op not in found:
                found.add(op)
                pending.append(op)
    return found


@pytest.mark.parametrize('fused', [True, False])
def test_moving_averages_that_only_the_network_waits_for(fused):
    """As with `updates_collections=None` of slim: the evaluation form has none of the ops that waited for the updates."""
    def build(training):
        x = tf.contrib.slim.conv2d(networks.image(), 4, 3, normalizer_fn=tf.contrib.slim.batch_norm, normalizer_params={
            'is_training': training, 'updates_collections': None, 'fused': fused})
        return tf.identity(x, 'out')
    training = _Training(build, {'bn_fold': 'moving'})
    before = training.moving()
    training.run(training.step)
    assert before and not any(np.array_equal(value, before[name]) for name, value in training.moving().items())


@pytest.mark.parametrize('factor', [None, 3.])
def test_a_factor_after_a_fused_norm_is_no_part_of_its_offset(factor, tmp_path):
    """The error of the bias goes into the offset of the norm only if the result of that is not multiplied any more."""
    with tf.Graph().as_default() as graph:
        x = layers.batch_normalization(layers.conv2d(networks.image(), 4, 3, use_bias=False), training=True, name='bn')
        tf.identity(x if factor is None else x * factor, name='out')
        CreateQuantizeTrainingGraph(QuantizeConfig(['x'], ['out'], output_dir=str(tmp_path)))
    offset = graph.get_operation_by_name('bn/FusedBatchNormV3').inputs[2].op.name
    assert (offset == 'bn/beta/read') == (factor is not None)
