"""positions_by: the tensors that it applies to, the positions that it chooses, and that nothing overrules it."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.combinations import each_value_once
from tests.ptq import checking, networks
from tests.ptq.calibration.test_histograms import count_magnitudes, count_positions
from tests.same_network import dpu_model
from tests.support import read_graph
from vai_q_tf import errors
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.fixed_point import position_errors, search_position
from vai_q_tf.graph.view import GraphView
from vai_q_tf.passes import optimise
from vai_q_tf.plan.annotate import annotate
from vai_q_tf.plan.positions import final_positions
from vai_q_tf.ptq.calibration.calibrate import calibrate, calibrate_twice
from vai_q_tf.ptq.calibration.histograms import entropy_position, percentile_position
from vai_q_tf.ptq.quantize import quantize_frozen

STEPS = 4
CHOICES = ('votes', 'mse', 'percentile', 'entropy')
# No rule moves a chosen position.
FREE = dict(align_concat=2, align_pool=2, adjust_shift_bias=0, adjust_shift_cut=0)


def batches(step):
    """Data with a heavier tail in each batch, so that all choices differ in some tensor."""
    return {'input': np.random.RandomState(step).standard_t(2 + step % 3, (12, networks.SIZE, networks.SIZE, 3)) / 4}


def feed(step):
    return {'input:0': batches(step)['input'].astype(np.float32)}


def setup(**fields):
    graph_def, output = networks.branches()
    config = QuantizeConfig(['input'], [output], calib_iter=STEPS, **fields)
    graph_def = optimise(graph_def, config)
    return graph_def, annotate(GraphView(graph_def), config), config


def float_values(graph_def, names):
    """{tensor: its values in the float network, one array a batch}"""
    with tf.Graph().as_default() as graph, tf.Session(graph=graph) as session:
        tf.import_graph_def(graph_def, name='')
        runs = [session.run({name: name + ':0' for name in names}, feed(step)) for step in range(STEPS)]
    return {name: [run[name] for run in runs] for name in names}


def least_error(x, bits):
    first, found = position_errors(x, bits, below=bits + 1, above=6)
    return first + int(found.argmin())


def most_votes(batches_of_tensor, bits, method):
    votes = [search_position(x, bits, method) for x in batches_of_tensor]
    return min(set(votes), key=lambda position: (-votes.count(position), position))


CHOOSE = {
    'mse': lambda x, bits: least_error(x, bits),
    'percentile': lambda x, bits: percentile_position(count_positions(x, bits), 99.5),
    'entropy': lambda x, bits: entropy_position(count_magnitudes(x), bits)}


@pytest.mark.parametrize('bits, choice', each_value_once([4, 8, 16], CHOICES[1:]))
def test_positions_are_those_of_all_data_of_the_float_network(bits, choice):
    graph_def, plan, config = setup(positions_by=choice, percentile=99.5, activation_bit=bits,
                                    nodes_method=['conv1/Relu:0', 'conv3/Relu:2', 'residual:1'])
    found = calibrate(graph_def, plan, config, feed).observed
    computed = [record for record in plan.tensors if record.role in ('input', 'activation')]
    values = float_values(graph_def, [record.tensor for record in computed])
    assert {record.role for record in computed} == {'input', 'activation'} and len(computed) > 9
    for record in computed:
        if record.tensor == 'conv1/Relu':
            expected = most_votes(values[record.tensor], bits, 0)
        else:
            expected = CHOOSE[choice](np.concatenate([x.ravel() for x in values[record.tensor]]), bits)
        assert found[record.name].position == expected, record.name


def test_the_choices_differ():
    """Otherwise the tests above could not distinguish them."""
    found = {choice: calibrate(*setup(positions_by=choice, activation_bit=6), feed).observed for choice in CHOICES}
    positions = {choice: [found[choice][name].position for name in sorted(found[choice])] for choice in CHOICES}
    assert len(set(map(tuple, positions.values()))) == len(CHOICES)


def test_constants_keep_their_search():
    graph_def, plan, config = setup(percentile=60)
    by_votes, by_percentile = (calibrate(graph_def, plan, config.replace(positions_by=choice), feed).observed
                               for choice in (None, 'percentile'))
    constants = [record.name for record in plan.tensors if record.role not in ('input', 'activation')]
    assert len(constants) > 9
    assert all(by_votes[name].position == by_percentile[name].position for name in constants)
    assert all(by_votes[record.name].position < by_percentile[record.name].position
               for record in plan.tensors if record.role == 'input')


@pytest.mark.parametrize('fields', [{'nodes_method': ['input:0']}, {'method': 0}])
def test_an_input_keeps_the_method_that_the_config_names(fields):
    graph_def, plan, config = setup(positions_by='percentile', percentile=60, **fields)
    found = calibrate(graph_def, plan, config, feed).observed
    values = [feed(step)['input:0'] for step in range(STEPS)]
    (name,) = [record.name for record in plan.tensors if record.role == 'input']
    assert found[name].position == most_votes(values, 8, 0)


def test_none_is_votes_and_twice_is_votes_and_mse():
    graph_def, plan, config = setup(positions_by='entropy')
    none, votes, mse = (calibrate(graph_def, plan, config.replace(positions_by=choice), feed)
                        for choice in (None, 'votes', 'mse'))
    twice = calibrate_twice(graph_def, plan, config, feed)
    for one, other in ((none, votes), (votes, twice[0]), (mse, twice[1])):
        assert all(seen.position == other.observed[name].position for name, seen in one.observed.items())
        assert one.shapes == other.shapes


def test_aligned_tensors_get_the_least_error_of_all():
    graph_def, plan, config = setup(positions_by='percentile', percentile=60)
    observed = calibrate(graph_def, plan, config, feed).observed
    decided = final_positions.decide(plan, observed, config)
    groups = final_positions.shared(plan, config)
    assert groups
    for names in groups:
        least = final_positions.least_error(np.sum([observed[name].errors for name in names], axis=0))
        assert {decided[name] for name in names} == {least}
        assert any(observed[name].position > least for name in names)


@checking.unmeasured()
def quantized(graph_def, input_fn, config, effort='standard'):
    return read_graph(quantize_frozen(graph_def, input_fn, config, effort=effort))


def activations(model):
    return {node.name: node.attr['quantize_pos'].i for node in model.node
            if node.op == 'FixNeuron' and node.name.endswith('/aquant')}


@pytest.mark.parametrize('effort, choice', each_value_once(['standard', 'fast'], CHOICES))
def test_a_model_has_the_chosen_positions(tmp_path, capfd, effort, choice):
    graph_def, plan, config = setup(positions_by=choice, percentile=98, output_dir=str(tmp_path), activation_bit=6, **FREE)
    steps = []

    def in_sequence(step):
        steps.append(step)
        return batches(step)

    model = quantized(graph_def, in_sequence, config, effort)
    assert steps == list(range(STEPS))
    found = calibrate(graph_def, plan, config, feed).observed
    positions = activations(model)
    assert len(positions) > 9 and positions == {name: found[name].position for name in positions}
    printed = capfd.readouterr().err
    assert ('all together' in printed) == (effort == 'standard') and 'positions by error' not in printed


@pytest.mark.parametrize('choice, effort', each_value_once(CHOICES, ['fast', 'standard']))
def test_the_model_is_an_integer_model(tmp_path, choice, effort):
    graph_def, _, config = setup(positions_by=choice, percentile=98, output_dir=str(tmp_path))
    assert not dpu_model.differences(quantized(graph_def, batches, config, effort), batches(77))


def test_nothing_but_zeros_gets_the_position_of_a_neighbour(tmp_path):
    graph_def, _, config = setup(positions_by='percentile', output_dir=str(tmp_path))
    for choice in CHOICES:
        config = config.replace(positions_by=choice)
        model = quantized(graph_def, lambda step: {'input': np.zeros((2, 16, 16, 3))}, config, 'fast')
        assert all(-126 <= position <= 126 for position in activations(model).values())


def test_wrong_words_are_refused():
    with pytest.raises(errors.QuantizeError, match="positions_by is 'max'.*'percentile'"):
        setup(positions_by='max')
    with pytest.raises(errors.QuantizeError, match='percentile is 50; expected a number above 50'):
        setup(percentile=50)
