"""Calibration by votes and by errors in one pass: votes equal those of a single calibration, errors those of NumPy."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.ptq.equalization.graphs import Builder, run_on
from vai_q_tf import passes
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.fixed_point import quantize, rounding_of
from vai_q_tf.graph.view import GraphView
from vai_q_tf.plan.annotate import annotate
from vai_q_tf.ptq.calibration.calibrate import calibrate, calibrate_twice


def _network(**fields):
    """(GraphDef, QuantPlan, QuantizeConfig) of three convolutions around a concat."""
    with tf.Graph().as_default() as graph:
        builder = Builder([None, 6, 6, 3])
        left = tf.nn.relu(builder.conv(builder.x, 4, 'left'), name='one')
        right = tf.nn.relu(builder.conv(builder.x, 4, 'right') * 0.1, name='other')
        builder.conv(tf.concat([left, right], -1, name='both'), 5, 'last')
    config = QuantizeConfig(['x'], ['last/bias'], calib_iter=4, **fields)
    graph_def = passes.optimise(graph.as_graph_def(), config)
    return graph_def, annotate(GraphView(graph_def), config), config


def _feed(step):
    """Values of one batch are far larger than those of the others; each batch has a few outliers."""
    random = np.random.RandomState(step)
    return {'x:0': (random.standard_cauchy((4, 6, 6, 3)).clip(-20, 20) * (1 / 8, 8, 1 / 8, 1 / 8)[step]).astype(np.float32)}


@pytest.fixture(scope='module')
def network():
    return _network(nodes_method=['one:0'])


def _errors(network, record):
    """{position: squared error over all batches} of the float tensor."""
    values = [run_on(network[0], [record.tensor], _feed(step)['x:0'])[0] for step in range(4)]
    return {position: sum(np.square(quantize(value, position, record.bits, rounding_of(record.mode)) - value,
                                    dtype=np.float64).sum() for value in values) for position in range(-10, 20)}


def test_both_equal_a_calibration_of_their_own_and_each_step_is_fed_once(network):
    graph_def, plan, config = network
    steps = []

    def feed(step):
        steps.append(step)
        return _feed(step)
    votes, by_errors = calibrate_twice(graph_def, plan, config, feed)
    assert steps == [0, 1, 2, 3]
    alone = calibrate(graph_def, plan, config, _feed)
    errors_alone = calibrate(graph_def, plan, config.replace(positions_by='mse'), _feed)
    for one, other in ((votes, alone), (by_errors, errors_alone)):
        assert set(one.observed) == set(other.observed) == {record.name for record in plan.tensors}
        for name, found in one.observed.items():
            assert found.position == other.observed[name].position
            np.testing.assert_array_equal(found.errors, other.observed[name].errors)
    assert by_errors.shapes == errors_alone.shapes and set(votes.shapes) == {node.name for node in graph_def.node}


def test_method_1_has_the_least_error_of_the_float_network(network):
    graph_def, plan, config = network
    votes, by_errors = calibrate_twice(graph_def, plan, config, _feed)
    checked, changed = set(), set()
    for record in plan.tensors:
        if record.method == 1 and record.role == 'activation':
            errors = _errors(network, record)
            position = by_errors.observed[record.name].position
            assert errors[position] <= min(errors.values()) * (1 + 1e-6), record.name
            np.testing.assert_allclose(by_errors.observed[record.name].errors[128 + position], errors[position], rtol=1e-4)
            checked.add(record.name)
            if position != votes.observed[record.name].position:
                changed.add(record.name)
    assert checked == {'other/aquant', 'both/aquant', 'last/bias/aquant'} and changed


def test_method_0_keeps_the_position_of_its_votes(network):
    """'one' is in a group, so its errors are measured."""
    graph_def, plan, config = network
    _, by_errors = calibrate_twice(graph_def, plan, config, _feed)
    record, = (record for record in plan.tensors if record.name == 'one/aquant')
    assert record.method == 0 and by_errors.observed['one/aquant'].errors is not None
    ranges = [np.abs(run_on(graph_def, ['one'], _feed(step)['x:0'])[0]).max() for step in range(4)]
    fitting = [int(np.floor(np.log2(127.5 / each))) for each in ranges]
    assert by_errors.observed['one/aquant'].position == max(sorted(set(fitting)), key=lambda position: (
        fitting.count(position), -position))
    assert by_errors.observed['one/aquant'].position != min(_errors(network, record).items(), key=lambda item: item[1])[0]


def test_inputs_are_chosen_by_error_too(network):
    graph_def, plan, config = network
    votes, by_errors = calibrate_twice(graph_def, plan, config, _feed)
    record, = (record for record in plan.tensors if record.role == 'input')
    errors = _errors(network, record)
    assert errors[by_errors.observed['x/aquant'].position] == pytest.approx(min(errors.values()), rel=1e-4)
    assert votes.observed['x/aquant'].position == calibrate(graph_def, plan, config, _feed).observed['x/aquant'].position


def test_zeros_have_no_position():
    graph_def, plan, config = _network()
    _, by_errors = calibrate_twice(graph_def, plan, config, lambda step: {'x:0': np.zeros([2, 6, 6, 3], np.float32)})
    assert by_errors.observed['x/aquant'].position == 127
