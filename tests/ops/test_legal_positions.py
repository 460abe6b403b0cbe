"""legal_positions against its definition, and ops on rows that share a position."""
import time

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.python.ops import resource_variable_ops as resource_ops

from tests.plan import random_plans
from vai_q_tf import fixed_point, ops, position_histogram
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.plan.positions.position_rules import position_rules
from vai_q_tf.plan.positions.settle import settle
from vai_q_tf.plan.quant_plan import ComputeGroup, OperandGroup, QuantPlan, QuantTensor


def _table(positions):
    """A table whose rows elect `positions`; None: no votes."""
    votes = np.zeros([len(positions), 256], np.float32)
    for row, position in zip(votes, positions):
        if position is not None:
            row[position + 128] = 2
            row[fixed_point.POSITION_ZERO + 128] += 1
            row[9 + 128] += 1
    return votes


def _legal(rules, positions):
    with tf.Graph().as_default():
        rows = len(rules.names)
        handle = resource_ops.var_handle_op(dtype=tf.float32, shape=[rows, 256])
        write = ops.write_positions(handle, _table(positions), rows)
        legal = ops.legal_positions(handle, rules)
        assert legal.shape.as_list() == [rows]
        with tf.compat.v1.Session() as session:
            session.run(write)
            return session.run(legal)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_random_plans(data):
    plan = data.draw(random_plans.plans())
    config = data.draw(random_plans.configs())
    positions = data.draw(random_plans.positions(plan))
    rules = position_rules(plan, config)
    decided = rules.of_tensors(settle(rules, rules.of_groups(positions)))
    # A row with votes for zeros elects one of its other votes, or none.
    rows = [positions[name] if positions[name] != fixed_point.POSITION_ZERO else None for name in rules.names]
    assert dict(zip(rules.names, _legal(rules, rows))) == decided


def test_a_row_of_zeros_only():
    plan = QuantPlan((), (), (), (QuantTensor('a', 'activation', 1, 8, 1, 'a', ()),), (), (), ())
    rules = position_rules(plan, QuantizeConfig(['in'], ['out']))
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        handle = resource_ops.var_handle_op(dtype=tf.float32, shape=[1, 256])
        voted = ops.moving_position(handle, fixed_point.POSITION_ZERO, 1, 0, 1.0, tensor='a')
        assert session.run(voted) == fixed_point.POSITION_ZERO
        assert session.run(ops.legal_positions(handle, rules)) == [0]


@pytest.mark.parametrize('change', [
    {'groups': (0, 1, 9)}, {'groups': (0, 1)}, {'sources': ((0,), (1,))}, {'sources': ((0,), (1,), (3,))},
    {'lowest': (0, 0, 2**31 - 1)}, {'lowest': (-127, 0, 0)}, {'level': 127}, {'level': -2**31},
    {'neighbours': ((7, (0, ())),)}, {'limits': (((0, ((5, 1),)),),)}, {'limits': (((0, ((1, 0),)),),)}])
def test_rules_that_do_not_fit_together_are_an_error(change):
    tensors = tuple(QuantTensor(name, 'activation', 1, 8, 1, name, ()) for name in 'abc')
    rules = position_rules(QuantPlan((), (), (), tensors, (), ()), QuantizeConfig(['in'], ['out']))
    with pytest.raises(tf.errors.InvalidArgumentError, match='do not fit together'):
        _legal(rules._replace(**change), [1, 2, 3])


@pytest.mark.slow
def test_it_costs_less_than_200_reads_of_the_table():
    """For a network of 150 layers and as many additions."""
    groups, operands, names = [], [], ['a0', 'b0']
    for number in range(1, 151):
        a, b, w, v = ('{}{}'.format(kind, number) for kind in 'abwv')
        groups.append(ComputeGroup(a, 'b{}'.format(number - 1), w, v, a, 9))
        operands.append(OperandGroup('add', b, (a, 'b{}'.format(number - 1)), b))
        names += [a, b, w, v]
    tensors = tuple(QuantTensor(name, 'activation', int(name[0] in 'ab'), 8, 1, name, ()) for name in names)
    rules = position_rules(QuantPlan((), (), (), tensors, tuple(groups), (), (), tuple(operands)),
                           QuantizeConfig(['in'], ['out']))
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        handle = resource_ops.var_handle_op(dtype=tf.float32, shape=[len(names), 256])
        positions = np.random.RandomState(0).randint(-3, 12, len(names))
        session.run(ops.write_positions(handle, _table(positions), len(names)))
        seconds = []
        for op in (ops.legal_positions(handle, rules).op, ops.read_positions(handle, rows=len(names)).op):
            run = session.make_callable(op)
            run()
            start = time.process_time()
            for _ in range(100):
                run()
            seconds.append(time.process_time() - start)
        assert seconds[0] < 200 * seconds[1], seconds


class _Shared:
    def __init__(self):
        self.batch = tf.compat.v1.placeholder(tf.int32, [])
        handle = resource_ops.var_handle_op(dtype=tf.float32, shape=[3, 256])
        self.kept = ops.kept_position(handle, self.batch, 3, 1, tensor='join')
        self.vote = ops.moving_position(handle, self.batch, 3, 1, 0.5, tensor='join', copies=[0, 2])
        self.read = ops.read_positions(handle, 3)


def test_a_vote_counts_for_several_rows_and_kept_positions_precede_it():
    shared, expected = _Shared(), np.zeros(256, np.float32)
    with tf.compat.v1.Session() as session:
        with pytest.raises(tf.errors.FailedPreconditionError, match="'join' was never tracked"):
            session.run(shared.kept, {shared.batch: fixed_point.NO_OBSERVATION})
        assert session.run(shared.kept, {shared.batch: 6}) == 6
        assert not session.run(shared.read).any()
        for position in (3, 5, 5, 5, 3):
            expected = position_histogram.vote(expected, position, 0.5)
            assert session.run(shared.vote, {shared.batch: position}) == position_histogram.mode_position(expected)
            np.testing.assert_array_equal(session.run(shared.read), [expected] * 3)
            for batch in (6, fixed_point.NO_OBSERVATION):
                assert session.run(shared.kept, {shared.batch: batch}) == position_histogram.mode_position(expected)


@pytest.mark.parametrize('copies', [[3], [-1], [1]])
def test_copies_must_be_other_rows(copies):
    handle = resource_ops.var_handle_op(dtype=tf.float32, shape=[3, 256])
    with tf.compat.v1.Session() as session:
        with pytest.raises(tf.errors.InvalidArgumentError, match='copies has'):
            session.run(ops.moving_position(handle, 0, 3, 1, 0.5, tensor='join', copies=copies))
