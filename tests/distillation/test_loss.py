"""distillation_loss: its value, its gradient, and what it refuses."""
import numpy as np
import pytest
import tensorflow as tf

from tests.combinations import each_value_once
from tests.integrations import trainings
from vai_q_tf import CreateQuantizeTrainingGraph, QuantizeError, distillation_loss, errors
from vai_q_tf.distillation.teacher import Teacher

v1 = tf.compat.v1
STUDENT = 'logits/BiasAdd/aquant:0'
TEACHER = 'vai_q_tf/teacher/logits/BiasAdd:0'


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    return trainings.float_checkpoint(tmp_path_factory.mktemp('float'))


def _softmax(logits):
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _expected(teacher, student, temperature, weight):
    p, q = (_softmax(logits.astype(np.float64) / temperature) for logits in (teacher, student))
    return weight * temperature ** 2 * np.mean(np.sum(p * (np.log(p) - np.log(q)), -1))


class _Training:
    """A quantized training with the term in its loss, and a session with other weights than the teacher's."""

    def __init__(self, directory, checkpoint, before=True, **settings):
        self.config = trainings.config(directory)
        self.run = trainings.Run()
        if before:
            self.term = distillation_loss(self.config, checkpoint, **settings)
            self.loss = self.run.loss + self.term
        CreateQuantizeTrainingGraph(self.config)
        if not before:
            self.term = distillation_loss(self.config, checkpoint, **settings)
            self.loss = self.run.loss + self.term
        self.feed = dict(zip((self.run.images, self.run.labels), trainings.batch(2)))
        self.session = v1.Session(config=trainings.SESSION)
        self.session.run(v1.global_variables_initializer())

    def __call__(self, *fetches, **fed):
        logits = {'student': STUDENT, 'teacher': TEACHER}
        return self.session.run(fetches, dict(self.feed, **{logits[name]: value for name, value in fed.items()}))


@pytest.mark.parametrize('settings, before', each_value_once(
    [{}, dict(temperature=1), dict(temperature=5.0, weight=0.25), dict(weight=0)], [True, False]), ids=str)
def test_the_value(tmp_path, checkpoint, before, settings):
    training = _Training(tmp_path, checkpoint, before, **settings)
    term, teacher, student = training(training.term, TEACHER, STUDENT)
    assert training.term.dtype == tf.float32 and training.term.shape == []
    expected = _expected(teacher, student, settings.get('temperature', 2.0), settings.get('weight', 0.5))
    np.testing.assert_allclose(term, expected, rtol=1e-4)
    np.testing.assert_allclose(training(training.loss)[0], training(training.run.loss)[0] + expected, rtol=1e-5)


def test_the_value_of_known_logits(tmp_path, checkpoint):
    """The divergence is not symmetric, 0 for equal logits, and finite for extreme ones."""
    training = _Training(tmp_path, checkpoint)
    teacher = np.zeros([16, 4], np.float32)
    teacher[:, 0] = np.linspace(-3, 8, 16)
    student = np.zeros([16, 4], np.float32)
    student[:, 1] = 4
    term, = training(training.term, teacher=teacher, student=student)
    np.testing.assert_allclose(term, _expected(teacher, student, 2.0, 0.5), rtol=1e-5)
    assert abs(term - _expected(student, teacher, 2.0, 0.5)) > 0.01
    assert training(training.term, teacher=teacher, student=teacher)[0] == 0
    assert training(training.term, teacher=teacher + 1, student=teacher)[0] < 1e-6
    certain = np.where(np.arange(4) == 2, 500.0, -500.0).astype(np.float32) * np.ones([16, 1], np.float32)
    assert 400 < training(training.term, teacher=certain, student=-certain)[0] < 1e4


def test_batches_of_other_sizes(tmp_path, checkpoint):
    """The last batch of the data is smaller; that of a replica may be empty."""
    training = _Training(tmp_path, checkpoint)
    gradients = tf.gradients(training.term, v1.trainable_variables())
    feed = training.feed
    training.feed = {tensor: value[:3] for tensor, value in feed.items()}
    term, teacher, student = training(training.term, TEACHER, STUDENT)
    np.testing.assert_allclose(term, _expected(teacher, student, 2.0, 0.5), rtol=1e-4)
    training.feed = {tensor: value[:0] for tensor, value in feed.items()}
    assert training(training.term)[0] == 0
    for gradient in training(*gradients):
        np.testing.assert_array_equal(gradient, np.zeros_like(gradient))


def test_the_gradient_of_the_student(tmp_path, checkpoint):
    training = _Training(tmp_path, checkpoint, temperature=3.0, weight=0.7)
    graph = v1.get_default_graph()
    student = graph.get_tensor_by_name(STUDENT)
    gradient, = tf.gradients(training.term, student)
    found, teacher, value = training(gradient, TEACHER, student)
    np.testing.assert_allclose(
        found, 0.7 * 3.0 * (_softmax(value / 3.0) - _softmax(teacher / 3.0)) / 16, rtol=1e-4, atol=1e-7)
    direction = np.random.RandomState(0).randn(16, 4)
    up, down = (_expected(teacher, value + sign * 1e-4 * direction, 3.0, 0.7) for sign in (1, -1))
    np.testing.assert_allclose((up - down) / 2e-4, np.sum(found * direction), rtol=1e-3)


def test_no_gradient_goes_through_the_teacher(tmp_path, checkpoint):
    training = _Training(tmp_path, checkpoint)
    graph = v1.get_default_graph()
    teacher = [output for op in graph.get_operations() if op.name.startswith('vai_q_tf/teacher')
               for output in op.outputs if output.dtype == tf.float32]
    assert len(teacher) > 20
    assert tf.gradients(training.term, teacher) == [None] * len(teacher)
    student = graph.get_tensor_by_name(STUDENT)
    assert tf.gradients(training.term, training.run.images, stop_gradients=[student]) == [None]
    assert tf.gradients(training.term, training.run.images) != [None]


def test_a_second_call_gets_the_same_term(tmp_path, checkpoint):
    training = _Training(tmp_path, checkpoint)
    graph = v1.get_default_graph()
    version = graph.version
    assert distillation_loss(training.config, checkpoint, output_node='logits/BiasAdd:0') is training.term
    assert graph.version == version
    other = distillation_loss(training.config, checkpoint, temperature=4)
    term, value, teacher, student = training(training.term, other, TEACHER, STUDENT)
    np.testing.assert_allclose([term, value], [_expected(teacher, student, 2.0, 0.5), _expected(teacher, student, 4.0, 0.5)],
                               rtol=1e-4)
    with tf.Graph().as_default() as another:
        trainings.Run()
        assert distillation_loss(training.config, checkpoint).graph is another


def test_another_output_node(tmp_path, checkpoint):
    images = v1.placeholder(tf.float32, [None, 8, 8, 2])
    tf.identity(trainings.network(images, True), 'second')
    settings = trainings.config(tmp_path).replace(output_nodes=['logits/BiasAdd', 'second'])
    term = distillation_loss(settings, checkpoint, output_node='second')
    assert 'vai_q_tf/teacher/second' in {op.name for op in v1.get_default_graph().get_operations()}
    assert term.shape == []
    with pytest.raises(QuantizeError, match="output_node is 'pool'; expected one of the output_nodes, logits/BiasAdd, second"):
        distillation_loss(settings, checkpoint, output_node='pool')


def test_double_precision_logits(tmp_path, checkpoint):
    """The term has single precision, same as a loss."""
    images = v1.placeholder(tf.float32, [None, 8, 8, 2])
    tf.cast(trainings.network(images, True), tf.float64, name='double')
    term = distillation_loss(trainings.config(tmp_path).replace(output_nodes=['double']), checkpoint)
    assert term.dtype == tf.float32


def _refused(code, text, call):
    graph = v1.get_default_graph()
    version = graph.version
    with pytest.raises(QuantizeError, match=text) as raised:
        call()
    assert raised.value.code == code
    assert graph.version == version


def test_wrong_checkpoints(tmp_path, checkpoint):
    training = _Training(tmp_path, checkpoint)
    prefix = v1.train.Saver().save(training.session, str(tmp_path / 'before.ckpt'))
    training(training.loss)
    trained = v1.train.Saver().save(training.session, str(tmp_path / 'trained.ckpt'))
    with v1.Session() as session:
        session.run(v1.global_variables_initializer())
        lacking = v1.train.Saver([variable for variable in v1.global_variables() if 'moving' not in variable.name]).save(
            session, str(tmp_path / 'lacking.ckpt'))
    with tf.Graph().as_default():
        trainings.Run()
        settings = trainings.config(tmp_path)
        _refused(errors.INVALID_INPUT, 'There is no checkpoint at', lambda: distillation_loss(settings, str(tmp_path / 'none')))
        _refused(errors.INVALID_INPUT, 'no value of 2 variables of the network: norm/moving_mean, norm/moving_variance',
                 lambda: distillation_loss(settings, lacking))
        _refused(errors.INVALID_INPUT, 'is one of a quantized training', lambda: distillation_loss(settings, trained))
        distillation_loss(settings, prefix)  # has positions, but no votes: it is from before the first step


def test_a_diverged_teacher(tmp_path):
    run = trainings.Run()
    with v1.Session() as session:
        session.run(v1.global_variables_initializer())
        run.restored[0].load(np.full(run.restored[0].shape, np.nan), session)
        prefix = v1.train.Saver().save(session, str(tmp_path / 'model.ckpt'))
    _refused(errors.NOT_FINITE, "NaN or infinity for 'conv/kernel'",
             lambda: distillation_loss(trainings.config(tmp_path), prefix))


def test_another_network(tmp_path, checkpoint):
    net = tf.identity(v1.placeholder(tf.float32, [None, 8, 8, 2]), 'net_in')
    v1.layers.dense(v1.layers.flatten(v1.layers.conv2d(net, 4, 3, use_bias=False, name='conv')), 4, name='logits')
    _refused(errors.INVALID_INPUT, r'2 variables.*: conv/kernel \(shape \[3, 3, 2, 4\], in the checkpoint \[3, 3, 2, 8\]\), ',
             lambda: distillation_loss(trainings.config(tmp_path), checkpoint))


def test_a_parameter_of_another_type(tmp_path):
    with tf.Graph().as_default(), v1.Session() as session:
        half = v1.get_variable('conv/kernel', [3, 3, 2, 8], tf.float16)
        session.run(half.initializer)
        prefix = v1.train.Saver().save(session, str(tmp_path / 'half.ckpt'))
    net = tf.identity(v1.placeholder(tf.float32, [None, 8, 8, 2]), 'net_in')
    v1.layers.conv2d(net, 8, 3, use_bias=False, name='conv')
    _refused(errors.INVALID_INPUT, r'1 variables.*: conv/kernel \(float32, in the checkpoint float16\)', lambda: Teacher(
        v1.get_default_graph(), trainings.config(tmp_path).replace(output_nodes=['conv/Conv2D']), prefix, 'conv/Conv2D'))


@pytest.mark.parametrize('output, text', [
    ('pool', r"node 'pool' has the shape \(\?, 1, 1, 8\)"), ('softmax', r"is the result of 'softmax' \(Softmax\)"),
    ('copy', r"node 'copy' is the result of 'softmax' \(Softmax\)"),
    ('flat', r"node 'flat' is the result of 'sigmoid' \(Sigmoid\)"),
    ('value/BiasAdd', r'has the shape \(\?, 1\)')])
def test_outputs_that_are_not_logits(tmp_path, checkpoint, output, text):
    net = trainings.network(v1.placeholder(tf.float32, [None, 8, 8, 2]), True)
    tf.reduce_mean(v1.get_default_graph().get_tensor_by_name('relu:0'), [1, 2], True, 'pool_2')
    tf.identity(tf.nn.softmax(net, name='softmax'), 'copy')
    tf.reshape(tf.nn.sigmoid(net, name='sigmoid'), [-1, 4], name='flat')
    v1.layers.dense(net, 1, name='value')
    with v1.Session() as session:
        session.run(v1.global_variables_initializer())
        prefix = v1.train.Saver().save(session, str(tmp_path / 'model.ckpt'))
    settings = trainings.config(tmp_path).replace(output_nodes=[output.replace('pool', 'pool_2')])
    _refused(errors.UNSUPPORTED_GRAPH, text.replace('pool', 'pool_2'), lambda: distillation_loss(settings, prefix))


def test_other_refusals(tmp_path, checkpoint):
    settings = trainings.config(tmp_path)
    with pytest.raises(TypeError, match='config must be'):
        distillation_loss('config', checkpoint)
    trainings.network(v1.placeholder(tf.float32, [None, 8, 8, 2]), True)
    _refused(errors.UNKNOWN_NODE, 'did you mean', lambda: distillation_loss(settings.replace(
        output_nodes=['logits/BiasAd']), checkpoint))
    CreateQuantizeTrainingGraph(settings)
    _refused(errors.ALREADY_QUANTIZED, 'from net_in to logits/BiasAdd',
             lambda: distillation_loss(settings.replace(output_nodes=['pool']), checkpoint))
    v1.get_default_graph().finalize()
    _refused(errors.GRAPH_FINALIZED, 'finalized', lambda: distillation_loss(settings, checkpoint))


def test_a_random_layer_is_refused(tmp_path, checkpoint):
    net = trainings.network(v1.placeholder(tf.float32, [None, 8, 8, 2]), True)
    tf.add(net, tf.random.normal([4], name='noise'), 'noisy')
    settings = trainings.config(tmp_path).replace(output_nodes=['noisy'])
    _refused(errors.UNSUPPORTED_GRAPH, "node 'noise/RandomStandardNormal' .* is random",
             lambda: distillation_loss(settings, checkpoint))
