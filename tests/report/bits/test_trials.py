"""Bits and errors of one small network: a layer, a concat of its result with itself, and a mean."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.ptq.prepare import prepare
from vai_q_tf.report.bits.trials import Trials

STEPS = 3
DATA = [np.random.RandomState(step).uniform(-1, 1, (2, 4, 4, 3)).astype(np.float32) for step in range(STEPS)]


@pytest.fixture(scope='module')
def network(tmp_path_factory):
    """(Trials on two of three batches, the network Quantized with its config)"""
    random = np.random.RandomState(0)
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 4, 4, 3], name='input')
        y = tf.nn.relu(tf.nn.conv2d(x, tf.constant(random.normal(size=(1, 1, 3, 2)), tf.float32, name='w'), 1, 'SAME'), 'relu')
        mean = tf.reduce_mean(tf.concat([y, tf.nn.relu6(x, 'relu6')], -1, name='concat'), [1, 2], name='mean')
        tf.matmul(mean, tf.constant(random.normal(size=(5, 4)), tf.float32, name='v'), name='out')
    config = QuantizeConfig(['input'], ['out'], calib_iter=STEPS, nodes_bit=['relu6:7', 'v:5'],
                            output_dir=str(tmp_path_factory.mktemp('trials')))
    prepared = prepare(graph.as_graph_def(), lambda step: {'input': DATA[step]}, config)
    trials = Trials(prepared, config, 2, None)
    return trials, trials.quantize(config)


def _bits(quantized):
    return {tensor.name: tensor.bits for tensor in quantized.plan.tensors}


def test_sizes_and_mean_bits_of_weights(network):
    trials, base = network
    assert trials.weight_sizes(base) == {'w/wquant': 6, 'v/wquant': 20}
    assert trials.weight_bits(base) == (6 * 8 + 20 * 5) / 26


def test_tensors_of_one_position_are_one_unit(network):
    trials, base = network
    units = [set(unit) for unit in trials.units(base)]
    assert sorted(name for unit in units for name in unit) == sorted(_bits(base))
    together, = [unit for unit in units if 'concat/aquant' in unit]
    assert {'relu/aquant', 'relu6/aquant'} <= together and not {'w/wquant', 'v/wquant', 'out/aquant'} & together


def test_entries_for_bits(network):
    trials, base = network
    assert trials.can_name('w/wquant') and trials.can_name('out/aquant')
    unnamed = [name for name in _bits(base) if not trials.can_name(name)]
    assert unnamed and all(name.startswith('mean') for name in unnamed)
    wanted = dict(dict.fromkeys(unnamed, 12), **{'w/wquant': 6, 'v/wquant': 8})
    config = trials.with_bits(wanted)
    assert config.nodes_bit[0] == 'relu6:7' and 'mean:12' in config.nodes_bit and 'v:5' not in config.nodes_bit
    assert _bits(trials.quantize(config)) == dict(_bits(base), **wanted)


def test_all_ways_to_measure_agree(network):
    trials, base = network
    assert trials.batches == 2
    with trials.network(base) as switchable:
        nothing, everything = trials.measure(switchable, [{}, base.positions], 'Test')
        search = trials.search(switchable, 'Test')
        assert nothing == 0 < everything == search(base.positions) == search(base.positions) == trials.error(base)
