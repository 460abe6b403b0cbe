"""A choice between groups of ops."""
import collections

import pytest
import tensorflow as tf

from vai_q_tf.qat.averages.cases import run_case

v1 = tf.compat.v1


def _variable(name, initial=0, use_resource=True, device=None):
    with v1.device(device):
        return v1.get_variable(name, [], tf.int64, v1.constant_initializer(initial), use_resource=use_resource)


@pytest.mark.parametrize('use_resource', [False, True])
@pytest.mark.parametrize('holds', range(3))
def test_the_ops_of_one_case_run(use_resource, holds):
    """Those of the others do not: neither ops whose inputs come from outside the cases, nor their readers."""
    case = v1.placeholder(tf.int64, [])
    counters = [_variable('counter{}'.format(number), use_resource=use_resource) for number in range(3)]
    values = run_case([
        (tf.equal(case, number), lambda number=number, counter=counter: [counter.assign_add(1) + 10 * number, case + 0])
        for number, counter in enumerate(counters)])
    with v1.Session() as session:
        session.run(v1.global_variables_initializer())
        assert session.run(values, {case: holds}) == [10 * holds + 1, holds]
        assert session.run(counters) == [int(number == holds) for number in range(3)]


@pytest.mark.parametrize('holds, expected', [(True, 7), (False, 0)])
def test_an_op_that_waits_for_operations_waits_for_those_of_the_case(holds, expected):
    case, state = v1.placeholder(tf.bool, []), _variable('state')
    written = run_case([(case, lambda: tf.group(state.assign(7))), (tf.logical_not(case), tf.no_op)])
    with tf.control_dependencies(written):
        after = state.read_value()
    with v1.Session() as session:
        session.run(v1.global_variables_initializer())
        assert session.run(after, {case: holds}) == expected


def test_a_variable_without_a_value_is_not_read():
    case, state = v1.placeholder(tf.bool, []), _variable('state')
    value, = run_case([(case, lambda: [state.read_value() + 1]), (tf.logical_not(case), lambda: [tf.constant(5, tf.int64)])])
    with v1.Session() as session:
        assert session.run(value, {case: False}) == 5
        with pytest.raises(tf.errors.FailedPreconditionError):
            session.run(value, {case: True})


def test_values_stay_on_their_devices():
    """Each Merge has the device of the values that it merges."""
    devices = ['/device:CPU:0', '/device:CPU:1']
    case = v1.placeholder(tf.bool, [])
    states = [_variable('state{}'.format(number), number, device=device) for number, device in enumerate(devices)]

    def read(factor):
        values = []
        for state, device in zip(states, devices):
            with v1.device(device):
                values.append(state.read_value() * factor)
        return values

    with v1.device('/device:CPU:0'):
        values = run_case([(case, lambda: read(2)), (tf.logical_not(case), lambda: read(3))])
    assert [value.device for value in values] == devices
    with v1.Session(config=v1.ConfigProto(device_count={'CPU': 2})) as session:
        session.run(v1.global_variables_initializer())
        assert session.run(values, {case: True}) == [0, 2]
        assert session.run(values, {case: False}) == [0, 3]


def test_a_case_has_one_switch():
    case = v1.placeholder(tf.bool, [])
    states = [_variable('state{}'.format(number)) for number in range(5)]
    run_case([(condition, lambda: [state.read_value() for state in states]) for condition in (case, tf.logical_not(case))])
    types = collections.Counter(op.type for op in v1.get_default_graph().get_operations())
    assert types['Switch'] == 2 and types['Merge'] == 5
