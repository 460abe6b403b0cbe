"""sensitivity: costs that are known in advance, and chosen bits that keep their promise in the quantized model."""
import json
import math

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.ptq import checking, networks
from tests.support import read_graph, run
from vai_q_tf import errors
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.fixed_point import HALF_AWAY, quantize
from vai_q_tf.ptq.quantize import quantize_frozen
from vai_q_tf.report.bits.sensitivity import sensitivity
from vai_q_tf.report.bits.trials import Trials

STEPS = 3


def _data(_):
    """Multiples of 1/64 from -1 to 1, which 8 bits hold exactly; the same in each step, so that all vote for one position."""
    return {'input': (np.random.RandomState(1).randint(-64, 65, (64, 12)) / 64.0).astype(np.float32)}


def _layers():
    """GraphDef of three layers after the placeholder 'input', float [?, 12]; the last one, 'ruined', is the output.

    The first has weights that 8 bits hold exactly. In the last one weights near 0.1 share their tensor with one of 40 whose
    input is always 0.
    """
    random = np.random.RandomState(0)
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 12], name='input')
        exact = (random.randint(-128, 128, (12, 3)) / 128.0).astype(np.float32)
        ruined = random.normal(0, 0.1, (12, 3)).astype(np.float32)
        ruined[5, 1] = 40.0
        y = tf.matmul(x, tf.constant(exact, name='exact/kernel'), name='exact')
        plain = random.normal(0, 1, (3, 12)).astype(np.float32)
        plain[:, 5] = 0
        y = tf.matmul(tf.nn.relu(y, name='relu'), tf.constant(plain, name='plain/kernel'), name='plain')
        tf.matmul(y, tf.constant(ruined, name='ruined/kernel'), name='ruined')
        return graph.as_graph_def()


def _config(tmp_path, output='ruined', **fields):
    return QuantizeConfig(['input'], [output], **dict(dict(calib_iter=STEPS, output_dir=str(tmp_path / 'out')), **fields))


def _costs(result):
    return {cost.name: cost for cost in result.tensors}


@checking.unmeasured()
def _model(graph_def, input_fn, config):
    return read_graph(quantize_frozen(graph_def, input_fn, config, effort='fast'))


def _decibels(model, graph_def, output, input_fn, steps):
    """dB of an output of the model, by its definition."""
    batches = [input_fn(step) for step in range(steps)]
    feed = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    exact = run(graph_def, [output], feed)[0].astype(np.float64)
    quantized = run(model, [output + '/aquant'], feed)[0].astype(np.float64)
    return 10 * math.log10((exact ** 2).sum() / ((quantized - exact) ** 2).sum())


def _weight_bits(model):
    """{name of a weight's FixNeuron: (bits, elements)}"""
    nodes = {node.name: node for node in model.node}
    return {name: (node.attr['bit_width'].i, tf.make_ndarray(nodes[node.input[0]].attr['value'].tensor).size)
            for name, node in nodes.items() if name.endswith('kernel/wquant') or name.endswith('weights/wquant')}


# measurements

def test_costs_that_are_known_in_advance(tmp_path):
    result = sensitivity(_layers(), _data, _config(tmp_path))
    costs = _costs(result)
    assert [cost.name for cost in result.tensors][0] == 'ruined/kernel/wquant'
    assert {name for name, cost in costs.items() if cost.db == math.inf} == {'input/aquant', 'exact/kernel/wquant'}
    assert [cost.db for cost in result.tensors] == sorted(cost.db for cost in result.tensors)
    assert costs['input/aquant'].gain == costs['exact/kernel/wquant'].gain == 0
    assert max(result.tensors, key=lambda cost: cost.gain).name == 'ruined/kernel/wquant'
    assert costs['ruined/kernel/wquant'].gain > 20 and abs(result.db - costs['ruined/kernel/wquant'].db) < 1
    assert {cost.name: cost.role for cost in result.tensors if cost.role != 'activation'} == {
        'input/aquant': 'input', 'exact/kernel/wquant': 'weight', 'plain/kernel/wquant': 'weight',
        'ruined/kernel/wquant': 'weight'}


def test_every_number_against_its_definition(tmp_path):
    """A layer in NumPy, each tensor quantized alone, and left out alone."""
    random = np.random.RandomState(3)
    weights = random.normal(0, 0.3, (12, 3)).astype(np.float32)
    bias = random.normal(0, 0.3, 3).astype(np.float32)
    data = [np.random.RandomState(step).uniform(-1, 1, (2 + 3 * step, 12)).astype(np.float32) for step in range(STEPS)]
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 12], name='input')
        tf.nn.bias_add(tf.matmul(x, tf.constant(weights, name='w')), tf.constant(bias, name='b'), name='out')
    result = sensitivity(graph.as_graph_def(), lambda step: {'input': data[step]},
                         _config(tmp_path, 'out', weight_bit=5, bias_bit=6, activation_bit=7), sensitivity_iter=2)
    costs = _costs(result)
    assert {name: cost.bits for name, cost in costs.items()} == {
        'input/aquant': 7, 'w/wquant': 5, 'b/wquant': 6, 'out/aquant': 7}

    def decibels(*names):
        def at(name, value, rounding='half_up'):
            return quantize(value, costs[name].position, costs[name].bits, rounding) if name in names else value
        difference = energy = 0.0
        for x in data[:2]:
            exact = (x @ weights + bias).astype(np.float64)
            out = at('input/aquant', x) @ at('w/wquant', weights, HALF_AWAY) + at('b/wquant', bias, HALF_AWAY)
            difference += ((at('out/aquant', out) - exact) ** 2).sum()
            energy += (exact ** 2).sum()
        return 10 * np.log10(energy / difference)

    assert result.batches == 2 and result.weight_bits == 5
    assert result.db == pytest.approx(decibels(*costs), abs=1e-4)
    for name, cost in costs.items():
        assert cost.db == pytest.approx(decibels(name), abs=1e-3), name
        assert cost.gain == pytest.approx(decibels(*(other for other in costs if other != name)) - result.db, abs=1e-3), name


@pytest.mark.parametrize('fields', [{}, {'weight_bit': 5, 'nodes_bit': ['conv2/Conv2D:8']}], ids=str)
def test_the_network_is_the_model_of_quantize(tmp_path, fields):
    graph_def, output = networks.branches()
    config = _config(tmp_path, output, **fields)
    result = sensitivity(graph_def, networks.batches, config)
    model = _model(graph_def, networks.batches, config)
    positions = {node.name: (node.attr['bit_width'].i, node.attr['quantize_pos'].i)
                 for node in model.node if node.op == 'FixNeuron'}
    assert {cost.name: (cost.bits, cost.position) for cost in result.tensors} == positions
    assert result.db == pytest.approx(_decibels(model, graph_def, output, networks.batches, STEPS), abs=1e-3)
    weights = _weight_bits(model).values()
    assert result.weight_bits == pytest.approx(sum(bits * size for bits, size in weights) / sum(size for _, size in weights))


def test_data_is_read_once_and_in_order(tmp_path):
    steps = []

    def input_fn(step):
        steps.append(step)
        return _data(step)

    sensitivity(_layers(), input_fn, _config(tmp_path, calib_iter=5), sensitivity_iter=2, target_db=30)
    assert steps == list(range(5))


# a bound

def test_the_tensor_with_the_outlier_needs_16_bits(tmp_path):
    result = sensitivity(_layers(), _data, _config(tmp_path), target_db=30)
    assert result.db < 30 and result.choice.reached and result.choice.db >= 30
    assert result.choice.bits == (('ruined/kernel/wquant', 16),)
    assert result.choice.nodes_bit == ('ruined/kernel:16',)


@pytest.mark.parametrize('target', [36, 60] + [pytest.param(target, marks=pytest.mark.slow) for target in (40, 50)])
def test_a_model_with_the_listed_bits_has_the_decibels(tmp_path, target):
    graph_def, output = networks.branches()
    config = _config(tmp_path, output)
    result = sensitivity(graph_def, networks.batches, config, target_db=target)
    choice, costs = result.choice, _costs(result)
    assert choice.reached and choice.db >= target
    weights = [costs[name].db for name, _ in choice.bits if costs[name].role == 'weight']
    assert weights and weights == sorted(weights)
    model = _model(graph_def, networks.batches, config.replace(nodes_bit=list(choice.nodes_bit)))
    assert _decibels(model, graph_def, output, networks.batches, STEPS) == pytest.approx(choice.db, abs=1e-2)
    bits = {node.name: node.attr['bit_width'].i for node in model.node if node.op == 'FixNeuron'}
    assert {name for name, width in bits.items() if width == 16} == {name for name, _ in choice.bits}
    assert {width for width in bits.values()} == {8, 16}


def test_a_bound_needs_more_tensors_if_16_bits_are_worse_than_float(tmp_path, monkeypatch):
    """The search leaves tensors float. If 16 bits were no better than 9, the check must notice, and add tensors."""
    graph_def, output = networks.branches()
    config = _config(tmp_path, output)
    usual = sensitivity(graph_def, networks.batches, config, target_db=35).choice
    monkeypatch.setattr('vai_q_tf.report.bits.bit_choice.WIDE', 9)
    narrower = sensitivity(graph_def, networks.batches, config, target_db=35).choice
    assert narrower.reached and narrower.db >= 35 and len(narrower.bits) > len(usual.bits)
    assert {width for _, width in narrower.bits} == {9}
    model = _model(graph_def, networks.batches, config.replace(nodes_bit=list(narrower.nodes_bit)))
    assert _decibels(model, graph_def, output, networks.batches, STEPS) >= 35 - 1e-3


def test_tensors_of_one_position_stay_wide_together(tmp_path):
    graph_def, output = networks.branches()
    choice = sensitivity(graph_def, networks.batches, _config(tmp_path, output), target_db=40).choice
    group = {'concat/aquant', 'max_pool/aquant', 'average_pool/mul/aquant', 'conv4/Relu/aquant', 'residual/Relu/aquant',
             'conv3/Relu/aquant', 'global_average/mul/aquant', 'logits/flatten/aquant'}
    assert group <= {name for name, _ in choice.bits}
    assert 'average_pool:16' in choice.nodes_bit  # the user's name of the pool that the passes replaced


def test_a_bound_that_holds_needs_no_tensor(tmp_path):
    graph_def, output = networks.branches()
    config = _config(tmp_path, output, nodes_bit=['conv2/Conv2D:10'])
    result = sensitivity(graph_def, networks.batches, config, target_db=10)
    assert result.choice == (10, True, ('conv2/Conv2D:10',), (), result.db)


def test_a_bound_that_cannot_be_reached(tmp_path):
    graph_def, output = networks.branches()
    config = _config(tmp_path, output)
    result = sensitivity(graph_def, networks.batches, config, target_db=120)
    assert not result.choice.reached and len(result.choice.bits) == len(result.tensors)
    model = _model(graph_def, networks.batches, config.replace(weight_bit=16, activation_bit=16))
    assert _decibels(model, graph_def, output, networks.batches, STEPS) == pytest.approx(result.choice.db, abs=0.1)


# a budget

@pytest.mark.parametrize('target', [4, 6, 7.9] + [pytest.param(target, marks=pytest.mark.slow) for target in (4.7, 5.5, 8)])
def test_a_model_within_the_budget_has_the_decibels(tmp_path, target):
    graph_def, output = networks.branches()
    config = _config(tmp_path, output)
    result = sensitivity(graph_def, networks.batches, config, target_bits=target)
    choice = result.choice
    model = _model(graph_def, networks.batches, config.replace(nodes_bit=list(choice.nodes_bit)))
    weights = _weight_bits(model)
    assert len(weights) == 6 and {name: bits for name, (bits, _) in weights.items()} == dict(choice.bits)
    average = sum(bits * size for bits, size in weights.values()) / sum(size for _, size in weights.values())
    assert average == pytest.approx(choice.weight_bits) and average <= target
    assert all(4 <= bits <= 8 for bits, _ in weights.values())
    assert _decibels(model, graph_def, output, networks.batches, STEPS) == pytest.approx(choice.db, abs=1e-2)
    assert choice.db >= choice.uniform_db and choice.uniform_bits == int(target)
    uniform = _model(graph_def, networks.batches, config.replace(
        nodes_bit=['{}:{}'.format(name[:-len('/wquant')], int(target)) for name in weights]))
    assert _decibels(uniform, graph_def, output, networks.batches, STEPS) == pytest.approx(choice.uniform_db, abs=1e-2)
    others = {node.attr['bit_width'].i for node in model.node if node.op == 'FixNeuron' and node.name not in weights}
    assert others == {8}


def test_the_tensor_with_the_outlier_keeps_its_bits(tmp_path):
    choice = sensitivity(_layers(), _data, _config(tmp_path), target_bits=6.5).choice
    bits = dict(choice.bits)
    assert bits['ruined/kernel/wquant'] == 8 and choice.db > choice.uniform_db
    assert 'ruined/kernel:8' not in choice.nodes_bit  # which it has anyway


def test_weights_get_more_bits_than_they_have(tmp_path):
    choice = sensitivity(_layers(), _data, _config(tmp_path, weight_bit=5), target_bits=8).choice
    assert set(dict(choice.bits).values()) == {8} and len(choice.bits) == len(choice.nodes_bit) == 3


def test_a_choice_worse_than_uniform_bits_is_not_taken(tmp_path, monkeypatch):
    """The check notices a search that gives the most costly tensor the fewest bits."""
    monkeypatch.setattr('vai_q_tf.report.bits.bit_choice.within_budget', lambda errors, sizes, budget: {
        name: 4 if name.startswith('logits') else 7 for name in errors})
    graph_def, output = networks.branches()
    choice = sensitivity(graph_def, networks.batches, _config(tmp_path, output), target_bits=6.9).choice
    assert set(dict(choice.bits).values()) == {6} and choice.uniform_bits == 6 and choice.db == choice.uniform_db


def test_entries_of_the_user_for_other_tensors_stay(tmp_path):
    config = _config(tmp_path, weight_bit=5, nodes_bit=['relu:7', 'exact:6', 'ruined/kernel:7'])
    choice = sensitivity(_layers(), _data, config, target_bits=6).choice
    assert choice.nodes_bit[0] == 'relu:7' and not {'exact:6', 'ruined/kernel:7'} & set(choice.nodes_bit)
    model = _model(_layers(), _data, config.replace(nodes_bit=list(choice.nodes_bit)))
    assert {name: bits for name, (bits, _) in _weight_bits(model).items()} == dict(choice.bits)
    assert {node.name: node.attr['bit_width'].i for node in model.node}['relu/aquant'] == 7


# results and refusals

def test_the_report_has_all_numbers(tmp_path):
    for options in ({}, {'target_db': 30}, {'target_bits': 6}):
        result = sensitivity(_layers(), _data, _config(tmp_path), **options)
        with open(str(tmp_path / 'out' / 'sensitivity.json')) as file:
            report = json.loads(file.read(), parse_constant=pytest.fail)
        assert (report['db'], report['weight_bits'], report['batches']) == (result.db, 8, STEPS)
        for record, cost in zip(report['tensors'], result.tensors):
            expected = dict(cost._asdict(), db=cost.db if cost.db < math.inf else None)
            assert record == expected
        assert len(report['tensors']) == len(result.tensors) == 7
        if options:
            choice = dict(report['choice'])
            assert choice.pop('nodes_bit') == ','.join(result.choice.nodes_bit) != ''
            assert choice.pop('bits') == dict(result.choice.bits) and choice['db'] == result.choice.db
            assert set(choice) == set(result.choice._fields) - {'nodes_bit', 'bits'}
        else:
            assert report['choice'] is None


@pytest.mark.parametrize('options', [
    {'target_bits': 3.9}, {'target_bits': 8.1}, {'target_bits': float('nan')}, {'target_bits': '6'}, {'target_bits': True},
    {'target_db': 0}, {'target_db': -3}, {'target_db': float('inf')}, {'target_db': float('nan')}, {'target_db': 'all'},
    {'sensitivity_iter': 0}, {'sensitivity_iter': 1.5}, {'gpu_memory_fraction': 2}, {'target_bits': 6, 'target_db': 30}],
    ids=str)
def test_values_out_of_range_are_refused_before_anything_is_read(tmp_path, options):
    with pytest.raises(errors.QuantizeError) as caught:
        sensitivity('no.pb', _data, _config(tmp_path), **options)
    assert caught.value.code == errors.INVALID_CONFIG and all(name in str(caught.value) for name in options)


def test_a_network_without_weights_has_no_bits_to_choose(tmp_path):
    with tf.Graph().as_default() as graph:
        tf.nn.relu(tf.placeholder(tf.float32, [None, 12], name='input'), name='out')
    config = _config(tmp_path, 'out')
    with pytest.raises(errors.QuantizeError, match='no weights are quantized'):
        sensitivity(graph.as_graph_def(), _data, config, target_bits=6)
    assert sensitivity(graph.as_graph_def(), _data, config).weight_bits == 0


def test_weights_that_no_entry_can_name_keep_their_bits(tmp_path, monkeypatch):
    can_name = Trials.can_name
    monkeypatch.setattr(Trials, 'can_name', lambda self, name: 'plain' not in name and can_name(self, name))
    choice = sensitivity(_layers(), _data, _config(tmp_path), target_bits=7).choice
    assert set(dict(choice.bits)) == {'exact/kernel/wquant', 'ruined/kernel/wquant'} and choice.weight_bits <= 7
    with pytest.raises(errors.QuantizeError, match='plain/kernel/wquant') as caught:
        sensitivity(_layers(), _data, _config(tmp_path), target_bits=4)
    assert caught.value.code == errors.INVALID_CONFIG


def test_arguments_that_quantize_refuses_are_refused(tmp_path):
    for graph_def, input_fn, fields, code in (
            ('no.pb', _data, {}, errors.INVALID_INPUT), (_layers(), 'nothing', {}, errors.INVALID_INPUT_FN),
            (_layers(), lambda step: {}, {}, errors.INVALID_INPUT_FN),
            (_layers(), _data, {'output_nodes': ['nobody']}, errors.UNKNOWN_NODE)):
        with pytest.raises(errors.QuantizeError) as caught:
            sensitivity(graph_def, input_fn, _config(tmp_path).replace(**fields))
        assert caught.value.code == code
    with pytest.raises(TypeError, match='QuantizeConfig'):
        sensitivity(_layers(), _data, None)


def test_a_mean_whose_tensors_the_passes_added_gets_more_bits(tmp_path):
    """The passes turn it into a pool, a factor and a squeeze; only the name of the mean can name their tensors."""
    random = np.random.RandomState(0)
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 4, 4, 3], name='input')
        mean = tf.reduce_mean(tf.nn.relu(tf.nn.conv2d(x, random.normal(size=(3, 3, 3, 6)).astype(np.float32), 1, 'SAME')),
                              [1, 2], name='mean')
        tf.matmul(mean, random.normal(size=(6, 4)).astype(np.float32), name='out')
    graph_def, config = graph.as_graph_def(), _config(tmp_path, 'out')

    def data(step):
        return {'input': np.random.RandomState(step).uniform(-1, 1, (8, 4, 4, 3)).astype(np.float32)}
    choice = sensitivity(graph_def, data, config, target_db=60).choice
    assert choice.reached and 'mean:16' in choice.nodes_bit
    model = _model(graph_def, data, config.replace(nodes_bit=list(choice.nodes_bit)))
    assert _decibels(model, graph_def, 'out', data, STEPS) == pytest.approx(choice.db, abs=1e-2)


def test_no_entries_if_the_bits_stay(tmp_path):
    assert sensitivity(_layers(), _data, _config(tmp_path), target_bits=8).choice.nodes_bit == ()
