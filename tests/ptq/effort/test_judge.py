"""Errors of outputs against a definition in NumPy."""
import math

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.ptq.fitting.planned import constant, images, indexed, planned
from vai_q_tf.decibels import decibels
from vai_q_tf.ptq.effort.judge import Judge, relative_errors
from vai_q_tf.ptq.fitting.state import State, quantized_graph


def _outputs(sizes, seed, batches=3):
    random = np.random.RandomState(seed)
    return [[(size * random.normal(size=[2 + number, 4])).astype(np.float32) for size in sizes] for number in range(batches)]


def _definition(expected, actual):
    shares = []
    for output in range(len(expected[0])):
        one, other = (np.concatenate([batch[output] for batch in batches]).astype(np.float64) for batches in (expected, actual))
        shares.append(np.sum((one - other)**2) / np.sum(one**2))
    return np.mean(shares)


def _error(expected, actual):
    return relative_errors(expected, actual, [len(batch[0]) for batch in expected]).mean()


@pytest.mark.parametrize('sizes', [(1,), (1e-6, 1e6), (1e-3, 1, 1e3)])
def test_the_error_is_the_mean_of_those_of_the_outputs(sizes):
    """Also for outputs of very different sizes."""
    expected, noise = _outputs(sizes, 0), _outputs(sizes, 1)
    actual = [[value + 0.1 * error for value, error in zip(*batch)] for batch in zip(expected, noise)]
    assert _error(expected, actual) == pytest.approx(_definition(expected, actual), rel=1e-4)
    small = [[batch[0] * 0] + batch[1:] for batch in expected]
    assert _error(expected, small) == pytest.approx(1 / len(sizes))


@pytest.mark.parametrize('sizes', [(1,), (1e-3, 1e3)])
def test_each_image_has_its_error(sizes):
    """Exact but for one image, the error of all is its own."""
    expected = _outputs(sizes, 0)
    actual = [[value.copy() for value in batch] for batch in expected]
    for value in actual[1]:
        value[2] *= 1.5
    errors = relative_errors(expected, actual, [2, 3, 4])
    assert errors.shape == (9,) and np.flatnonzero(errors).tolist() == [4]
    assert errors.mean() == pytest.approx(_definition(expected, actual))


def test_an_output_of_another_number_of_rows():
    """Rows that can be divided by the images belong to them in order; a scalar belongs to all of them."""
    values = np.ones([6, 4], np.float32)
    other = values.copy()
    other[4] = 0
    np.testing.assert_allclose(relative_errors([[values]], [[other]], [3]), [0, 0, 4 * 3 / 24])
    np.testing.assert_allclose(relative_errors([[np.float32(2)]], [[np.float32(1)]], [3]), [0.25] * 3)


@pytest.mark.parametrize('value, expected', [(np.nan, -math.inf), (np.inf, -math.inf), (0, 10 * math.log10(20))])
@pytest.mark.filterwarnings('ignore::RuntimeWarning')
def test_one_value_that_is_not_finite_is_the_worst(value, expected):
    actual = [[np.ones(20, np.float32)]]
    actual[0][0][7] = value
    assert decibels(_error([[np.ones(20, np.float32)]], actual)) == pytest.approx(expected)
    if not np.isfinite(value):
        assert decibels(_error(actual, [[np.ones(20, np.float32)]])) == -math.inf
        assert decibels(_error(actual, actual)) == -math.inf


def test_the_error_of_an_output_of_zeros_is_absolute():
    zeros, other = [[np.zeros(4, np.float32)]], [[np.full(4, 0.5, np.float32)]]
    assert relative_errors(zeros, other, [1]) == [1] and decibels(_error(zeros, zeros)) == math.inf


def _case():
    """Two floating-point outputs, one of them quantized, and an output of integers."""
    x = tf.placeholder(tf.float32, [None, 4, 4, 3], name='x')
    y = tf.nn.bias_add(tf.nn.conv2d(x, constant(3, 3, 3, 4, name='w'), 1, 'SAME'), constant(4, name='b'), name='y')
    return planned([y, tf.sigmoid(y * 100, name='out'), tf.argmax(y, -1, name='best')])


def test_a_judge_compares_outputs_of_both_parts_of_the_data():
    case = _case()
    batches = [{'x': images(2 + number, 4, 4, 3, seed=number)} for number in range(5)]
    state = State({}, case.calibrated(batches))
    judge = Judge(case.graph_def, case.plan, indexed(batches[:3]), indexed(batches[3:]))
    graph_def = quantized_graph(case.graph_def, case.plan, state)

    def values(graph_def, tensors):
        with tf.Graph().as_default() as graph, tf.Session(graph=graph) as session:
            tf.import_graph_def(graph_def, name='')
            return [session.run([tensor + ':0' for tensor in tensors], feed) for feed in indexed(batches)]
    expected, actual = values(case.graph_def, ['y', 'out']), values(graph_def, ['y/aquant', 'out'])
    definitions = [_definition(expected[part], actual[part]) for part in (slice(2), slice(3, None), slice(3))]
    assert judge.errors(graph_def) == pytest.approx(tuple(definitions[:2]), rel=1e-3)  # as many fitted batches as unseen ones
    assert judge.fitted_error(graph_def) == pytest.approx(definitions[2], rel=1e-3)
    assert [len(part) for part in judge.errors_of_images(graph_def)] == [2 + 3, 5 + 6]


def test_a_perfect_network_has_no_error():
    case = planned([tf.nn.conv2d(tf.placeholder(tf.float32, [None, 4, 4, 3], name='x'),
                                 tf.constant(np.ones([1, 1, 3, 2], np.float32)), 1, 'SAME', name='y')])
    batches = indexed([{'x': np.round(images(2, 4, 4, 3) * 16) / 16}])
    judge = Judge(case.graph_def, case.plan, batches, batches)
    positions = {record.name: 4 if record.mode == 1 else 0 for record in case.plan.tensors}
    errors = judge.errors(quantized_graph(case.graph_def, case.plan, State({}, positions)))
    assert list(map(decibels, errors)) == [math.inf, math.inf]
