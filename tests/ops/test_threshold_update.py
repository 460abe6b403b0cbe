"""The update of a learned position runs once with each backward pass, and leaves the other gradients as they are."""
import math

import numpy as np
import pytest
import tensorflow as tf

from tests.ops import samples
from vai_q_tf import fixed_point, ops, position_histogram

v1 = tf.compat.v1


class Tensors:
    """A table with one row for each tensor quantized at a learned position, in the default graph."""

    def __init__(self, rows=2, networks=1, members=()):
        self.rows, self.networks, self.members = rows, networks, members
        self.handle = tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[rows, 256], shared_name='positions')
        self.legal = tf.constant([50] * rows)
        self.learning = v1.placeholder_with_default(True, [])
        self.votes = ops.read_positions(self.handle, rows)
        self.new = v1.placeholder(tf.float32)
        self.write = ops.write_positions(self.handle, self.new, rows)

    def position(self, row=0):
        elected = ops.kept_position(self.handle, fixed_point.NO_OBSERVATION, self.rows, row, 'x')
        return ops.learned_position(self.handle, elected, self.legal, self.learning, self.rows, row, self.members,
                                    self.networks)

    def session(self, *positions):
        session = v1.Session()
        table = np.zeros([self.rows, 256], np.float32)
        table[range(self.rows), np.array(positions) + position_histogram.HISTOGRAM_ZERO] = 1
        session.run(self.write, {self.new: table})
        return session


def _least_error(x, bits=4):
    first, errors = fixed_point.position_errors(x, bits, below=3, above=6)
    return first + int(errors.argmin())


@pytest.mark.parametrize('scaled', [False, True])
@pytest.mark.parametrize('offset', [-2, 3], ids=['rounded too coarsely', 'clipped'])
def test_a_loss_of_squared_errors_leads_to_the_position_of_least_error(scaled, offset):
    """An outlier among small values, from a position that does not clip it and from one that clips nearly all."""
    x = np.random.RandomState(1).standard_normal(2000).astype(np.float32)
    x[0] = 9.0
    best = _least_error(x)
    assert best > fixed_point.search_position(x, 4, method=0), 'the outlier is to be clipped'
    tensors = Tensors(rows=1)
    variable = tf.constant(x)
    if scaled:
        y = ops.scaled_fix_neuron(variable * 2., tf.constant([0.5]), tf.constant([1.]), tensors.position(), 4)
    else:
        y = ops.vai_fix_neuron(variable, tensors.position(), 4)
    backward = tf.gradients(tf.reduce_sum(tf.square(y - x)), variable)
    with tensors.session(best + offset) as session:
        course = []
        for _ in range(400):
            session.run(backward)
            course.append(position_histogram.mode_position(session.run(tensors.votes)[0]))
    there = course.index(best)
    assert course[:there] == sorted(course[:there], reverse=offset > 0) and course[0] == best + offset
    assert set(course[there:]) <= {best - 1, best, best + 1}


def test_only_a_backward_pass_that_runs_learns():
    tensors = Tensors(rows=1)
    x = tf.constant([0.3, 20., -4.])
    y = ops.vai_fix_neuron(x, tensors.position(), 4)
    backward = tf.gradients(y, x)
    with tensors.session(0) as session:
        before = session.run(tensors.votes)
        session.run(y)
        np.testing.assert_array_equal(session.run(tensors.votes), before)
        values = session.run([y, backward], {tensors.learning: False})[0]
        np.testing.assert_array_equal(session.run(tensors.votes), before)
        np.testing.assert_array_equal(values, fixed_point.quantize([0.3, 20., -4.], 50, 4))
        session.run(backward)
        gradient = fixed_point.threshold_gradient(np.ones(3), [0.3, 20., -4.], 0, 4)
        assert samples.same_bits(session.run(tensors.votes)[0], position_histogram.learn(before[0], gradient, 0.01))


@pytest.mark.parametrize('gradient', ['clipped', 'straight_through'])
def test_the_forwarded_gradient_is_unchanged(gradient):
    tensors = Tensors(rows=1)
    x, dy = tf.constant([0.3, 20., -4.]), tf.constant([1., 2., 3.])
    found = [tf.gradients(ops.vai_fix_neuron(x, position, 4, gradient=gradient), x, dy) for position in (tensors.position(), 0)]
    with tensors.session(0) as session:
        np.testing.assert_array_equal(*session.run(found))


def _slope(x, position=0):
    return fixed_point.threshold_gradient(np.ones(np.shape(x)), x, position, 4)


def test_tensors_of_one_row_make_one_update_wherever_the_pass_ends():
    """A chain, whose second tensor is differentiated first."""
    tensors = Tensors(rows=2, members=(1,))
    position = tensors.position()
    x = tf.constant([0.3, 20.])
    first = ops.vai_fix_neuron(x, position, 4)
    second = ops.vai_fix_neuron(first * 0.3, tf.identity(position), 4)
    backward = tf.gradients(second, x)
    updates = [op for op in backward[0].graph.get_operations() if op.type == 'VaiLearnPosition']
    waited_for = [op for op in updates if op._control_outputs]
    assert len(updates) == 2 and len(waited_for) == 1
    assert all(position.op in update.control_inputs for update in updates), 'an update runs after the position is read'
    with tensors.session(0, 0) as session:
        before = session.run(tensors.votes)
        session.run(backward)
        quantized = fixed_point.quantize([0.3, 20.], 0, 4)
        later = fixed_point.threshold_gradient(np.ones(2), quantized * np.float32(0.3), 0, 4)
        earlier = fixed_point.threshold_gradient(np.full(2, np.float32(0.3)), [0.3, 20.], 0, 4)
        votes = session.run(tensors.votes)
        assert samples.same_bits(votes[0], position_histogram.learn(before[0], later + earlier, 0.01))
        assert samples.same_bits(votes[0], votes[1])


def test_another_call_for_the_same_tensor_is_another_step():
    """As with two optimizers that run in turn."""
    tensors = Tensors(rows=1)
    x = tf.constant([0.3, 20.])
    y = ops.vai_fix_neuron(x, tensors.position(), 4)
    passes = [tf.gradients(y, x), tf.gradients(y * 3., x)]
    with tensors.session(0) as session:
        expected = session.run(tensors.votes)[0]
        for backward, factor in zip(passes * 2, (1, 3, 1, 3)):
            session.run(backward)
            gradient = fixed_point.threshold_gradient(np.full(2, factor), [0.3, 20.], 0, 4)
            expected = position_histogram.learn(expected, gradient, 0.01)
            assert samples.same_bits(session.run(tensors.votes)[0], expected)


@pytest.mark.parametrize('calls', ['one call', 'a call for each'])
def test_copies_of_a_network_make_one_update(calls):
    """For weights that they share, and for a tensor that each of them has."""
    tensors = Tensors(rows=2, networks=2)
    weights = tf.constant([0.3, 20.])
    shared, own = ops.vai_fix_neuron(weights, tensors.position(0), 4), tensors.position(1)
    losses = [tf.reduce_sum(ops.vai_fix_neuron(shared * factor, own, 4)) for factor in (0.2, 0.4)]
    backward = tf.gradients(losses, weights) if calls == 'one call' else [tf.gradients(loss, weights) for loss in losses]
    with tensors.session(0, 0) as session:
        before = session.run(tensors.votes)
        session.run(backward)
        quantized = fixed_point.quantize([0.3, 20.], 0, 4)
        of_shared = sum(fixed_point.threshold_gradient(
            np.full(2, np.float32(factor)), [0.3, 20.], 0, 4) for factor in (0.2, 0.4))
        of_own = sum(_slope(quantized * np.float32(factor)) for factor in (0.2, 0.4))
        for row, expected in zip(range(2), (of_shared, of_own)):
            learned = position_histogram.learn(before[row], expected, 0.01)
            np.testing.assert_allclose(session.run(tensors.votes)[row], learned, rtol=1e-6)
            assert not math.isclose(expected, 0)


def test_a_second_derivative_learns_nothing_more():
    tensors = Tensors(rows=1)
    x = tf.constant([0.3, 2.])
    slope = tf.gradients(tf.square(ops.vai_fix_neuron(x, tensors.position(), 4)), x)[0]
    with tensors.session(0) as session:
        np.testing.assert_array_equal(session.run(tf.gradients(slope, x)[0]), [2., 2.])
