"""Data unlike those of the training are noticed by the statistics that training left in the network; others are not."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.frozen.training_data import TrainingData, _clipped, _spread
from vai_q_tf.graph.checks.make_graph import make_graph

RANDOM = np.random.RandomState(0)
WEIGHTS = RANDOM.normal(0, 0.3, (3, 3, 3, 8)).astype(np.float32)
IMAGES = RANDOM.uniform(0, 1, (16, 8, 8, 3)).astype(np.float32)


def _statistics(x):
    """Mean and variance per channel of the convolution on the training images."""
    with tf.Graph().as_default(), tf.Session() as session:
        y = tf.nn.conv2d(x.astype(np.float32), WEIGHTS, 1, 'VALID')
        return session.run(tf.nn.moments(y, [0, 1, 2]))


def _fused(y, mean, variance):
    return tf.nn.fused_batch_norm(y, np.full(8, 0.7, np.float32), np.full(8, 0.1, np.float32), mean, variance, 1e-3,
                                  is_training=False)[0]


def _decomposed(y, mean, variance):
    return tf.nn.batch_normalization(y, tf.constant(mean), tf.constant(variance), np.full(8, 0.1, np.float32),
                                     np.full(8, 0.7, np.float32), 1e-3)


def _with_learning_phase(y, mean, variance):
    """The layer that tf.layers makes if `training` is a tensor, in control flow of TensorFlow 1."""
    ones, zeros = np.ones(8, np.float32), np.zeros(8, np.float32)
    return tf.cond(tf.placeholder_with_default(False, []),
                   lambda: tf.nn.fused_batch_norm(y, ones, zeros, epsilon=1e-3, is_training=True)[0],
                   lambda: _fused(y, mean, variance))


def _network(norm=None, trained_on=IMAGES, untrained=False, scale=1.0, softmax=True, preprocess=lambda x: x, relu=tf.nn.relu):
    mean, variance = (np.zeros(8, np.float32), np.ones(8, np.float32)) if untrained else _statistics(trained_on)
    x = preprocess(tf.placeholder(tf.float32, [None, 8, 8, 3], name='x'))
    y = tf.nn.conv2d(tf.identity(x, name='begin'), WEIGHTS, 1, 'VALID')
    y = relu(norm(y, mean, variance) if norm else y, name='relu')
    if norm:  # the input of a second norm is not that of the training; only the first one counts
        y = tf.nn.conv2d(y, np.ones([1, 1, 8, 8], np.float32), 1, 'SAME')
        y = norm(y, np.full(8, 7.0, np.float32), np.full(8, 1e-6, np.float32))
    weights = np.random.RandomState(1).normal(0, scale, (8, 10)).astype(np.float32)
    y = tf.matmul(tf.reduce_mean(y, [1, 2]), weights, name='logits')
    if softmax:
        tf.nn.softmax(y, name='softmax')


def _warnings(build, images, **options):
    with tf.Graph().as_default() as built:
        build(**options)
    graph = make_graph(built.as_graph_def())
    data = TrainingData(graph, built.as_graph_def(), QuantizeConfig(['begin'], ['logits']))
    batch = {'x:0': images}
    with tf.Session(graph=graph) as session:
        return data.warnings(session.run(data.fetches, batch), batch)


WRONG = [(IMAGES * 255, '0.01879 to 255'), (IMAGES / 255, 'to 0.00392'), (np.zeros_like(IMAGES), 'are 0, unlike'),
         (np.full_like(IMAGES, 90), 'are 90, unlike'), (IMAGES + 100, 'times as far from the mean as in the training')]
RIGHT = [IMAGES, IMAGES[:1], IMAGES[::-1] * 2 - 1, IMAGES / 4, IMAGES * 4, 1 - IMAGES]


@pytest.mark.parametrize('norm', [_fused, _decomposed, _with_learning_phase])
def test_batch_norms_notice_wrong_data(norm):
    for images, words in WRONG:
        text, = _warnings(_network, images, norm=norm)
        assert words in text and "'x'" in text and 'unlike the data of the training' in text and 'input_fn' in text, text
    for images in RIGHT:
        assert _warnings(_network, images, norm=norm) == []


def test_the_range_that_would_fit():
    text, = _warnings(_network, IMAGES * 255, norm=_fused)
    assert 'Values from about 7.37e-05 to 1 have the right scale' in text, text
    assert 'varies 255 times as much as in the training' in text, text
    assert not _warnings(_network, IMAGES * 255, norm=_fused, trained_on=IMAGES * 255)
    text, = _warnings(_network, IMAGES, norm=_fused, trained_on=IMAGES * 255)
    assert 'Values from about 0.0188 to 255 have the right scale' in text, text


def test_preprocessing_in_the_graph():
    assert not _warnings(_network, IMAGES * 255, norm=_fused, preprocess=lambda x: x / 255)
    assert _warnings(_network, IMAGES, norm=_fused, preprocess=lambda x: x / 255)


def test_statistics_that_were_never_updated_do_not_count():
    assert not _warnings(_network, IMAGES * 255, norm=_fused, untrained=True)


def test_logits_show_values_that_are_too_large():
    text, = _warnings(_network, IMAGES * 255, scale=3.0)
    assert "the softmax 'softmax' are" in text and 'apart; training leaves' in text and 'from 0.01879 to 255' in text, text
    assert not _warnings(_network, IMAGES, scale=3.0) and not _warnings(_network, IMAGES / 255, scale=3.0)


def test_the_spread_of_logits_is_their_range():
    with tf.Session() as session:
        assert session.run(_spread(tf.constant([[-5.0, 2.0], [1.0, 10.0]]))) == (8.0,)


@pytest.mark.parametrize('softmax', [True, False])
def test_clipped_values_show_values_that_are_too_large(softmax):
    text, = _warnings(_network, IMAGES * 255, relu=tf.nn.relu6, softmax=softmax)
    assert "of the positive inputs of the Relu6 'relu' are above 6" in text and 'from 0.01879 to 255' in text, text
    for images in (IMAGES, IMAGES * 3, IMAGES / 255, IMAGES * 0):
        assert not _warnings(_network, images, relu=tf.nn.relu6, softmax=softmax)


def test_the_clipped_share_is_of_the_positive_values():
    with tf.Session() as session:
        assert session.run(_clipped(tf.constant([[0.0, 0, 0], [0.5, 6, 6]]))) == (np.float32(2 / 3),)
        assert session.run(_clipped(tf.zeros([4]))) == (0,)


def test_outputs_that_no_softmax_reads_may_be_of_a_regression():
    text, = _warnings(_network, IMAGES * 255, scale=3.0, softmax=False)
    assert "unlike the data of the training, if these are logits: the values of the output 'logits' are" in text, text
    assert not _warnings(_network, IMAGES, scale=3.0, softmax=False)
    assert not _warnings(_network, IMAGES, scale=3000.0, softmax=False), 'with inputs this small they are large on purpose'


def test_channels_before_rows_and_columns():
    data = np.random.RandomState(0).normal([[[0]], [[50]]], [[[1]], [[4]]], (4, 2, 5, 5)).astype(np.float32)
    with tf.Graph().as_default() as built:
        x = tf.placeholder(tf.float32, [None, 2, 5, 5], name='x')
        y = tf.nn.fused_batch_norm(x, [1.0, 1.0], [0.0, 0.0], data.mean((0, 2, 3)), data.var((0, 2, 3)), is_training=False,
                                   data_format='NCHW')[0]
        tf.identity(y, name='logits')
    graph = make_graph(built.as_graph_def())
    watched = TrainingData(graph, built.as_graph_def(), QuantizeConfig(['x'], ['logits']))
    with tf.Session(graph=graph) as session:
        for factor, count in ((1, 0), (100, 1)):
            batch = {'x:0': data * factor}
            assert len(watched.warnings(session.run(watched.fetches, batch), batch)) == count


def test_nothing_is_measured_in_an_invalid_range():
    with tf.Graph().as_default() as graph:
        _network()
    assert TrainingData(graph, graph.as_graph_def(), QuantizeConfig(['no'], ['logits'])).fetches == []
