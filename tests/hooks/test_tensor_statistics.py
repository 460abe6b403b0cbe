"""Statistics of quantized tensors in TensorBoard equal NumPy's, and do not change the training."""
import glob

import numpy as np
import pytest
import tensorflow as tf

from vai_q_tf import QuantizeConfig, QuantizePositionHook, position_histogram
from vai_q_tf.hooks.tensor_statistics import TensorStatistics, statistic
from vai_q_tf.integrations import functions
from vai_q_tf.qat import graph_record

v1 = tf.compat.v1
DATA = (np.random.RandomState(0).randn(20, 4, 6, 6, 3) * 2.0 ** np.arange(20)[:, None, None, None, None]).astype(np.float32)


def _train(directory, hooks, steps=8, fetch=(), rate=1e-3, **settings):
    """Trains a convolution with a batch norm; returns the values of the fetches (functions of the graph) in each step."""
    with tf.Graph().as_default() as graph:
        v1.set_random_seed(1)
        step = v1.train.get_or_create_global_step()
        images = tf.gather(tf.constant(DATA), step, name='images')
        net = v1.layers.conv2d(images, 4, 3, use_bias=False, name='block/conv')
        net = tf.nn.relu(v1.layers.batch_normalization(net, training=True, name='block/bn'), name='block/relu')
        loss = tf.reduce_sum(v1.layers.dense(v1.layers.flatten(net), 3, name='dense'))
        functions.CreateQuantizeTrainingGraph(QuantizeConfig(
            ['images'], ['dense/BiasAdd'], output_dir=str(directory), position_decay=0.9, **settings))
        with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
            train = v1.train.GradientDescentOptimizer(rate).minimize(loss, step)
        with v1.train.MonitoredTrainingSession(hooks=hooks, save_summaries_steps=None) as session:
            wanted = [train, loss] + [of_graph(graph) for of_graph in fetch]
            return [session.run(wanted)[1:] for _ in range(steps)]


def _scalars(directory):
    """{step: {tag: value}} of the event files of a directory."""
    found = {}
    for path in glob.glob(str(directory / 'events.*')):
        for event in v1.train.summary_iterator(path):
            for value in event.summary.value:
                found.setdefault(event.step, {})[value.tag] = value.simple_value
    return found


def _tensors(graph):
    """{name: [values, position, quantized values, ...]} of the ops that quantize."""
    return {name: list(op.inputs) + list(op.outputs) for name, op in graph_record.quantizing_ops(graph).items()}


def _expected(name, fetched):
    """(share out of range, dB) by NumPy."""
    values, position, quantized = fetched[0].astype(np.float64), fetched[-2], fetched[-1].astype(np.float64)
    if len(fetched) > 3:  # one scale a channel, the last axis
        values, quantized = values * fetched[1], quantized / fetched[2]
    integers = values * 2.0 ** position
    noise = np.sum((quantized - values) ** 2)
    return np.mean((integers > 127) | (integers < -128)), 10 * np.log10(np.sum(values ** 2) / noise) if noise else None


@pytest.mark.parametrize('recipe', ['manual', 'finetune'])
def test_scalars_are_those_of_the_step(tmp_path, recipe):
    hook = QuantizePositionHook(str(tmp_path), every_n_steps=3)
    seen = _train(tmp_path, [hook], fetch=[_tensors], rate=0.0, recipe=recipe)  # a fetched weight may be the new one
    scalars = _scalars(tmp_path)
    compared, lossy = set(), 0
    for step in sorted(scalars):
        for tag, value in scalars[step].items():
            layer, _, rest = tag.partition('/')
            what, _, name = rest.partition('/')
            if what in ('saturated', 'noise_db'):
                expected = _expected(name, seen[step - 1][1][name])[what == 'noise_db']
                assert value == pytest.approx(expected, rel=1e-3, abs=1e-6), (step, tag)
                compared.add((name, what))
                lossy += value > 0 and what == 'saturated'
    names = set(seen[0][1])
    assert {'images/aquant', 'block/conv/kernel/wquant', 'block/relu/aquant', 'dense/kernel/wquant'} <= names
    assert {name for name, _ in compared} == names and len(compared) > len(names) + 2
    assert lossy
    tags = scalars[3]
    assert {'quantize/moved', 'quantize.images/position/images/aquant', 'quantize.images/saturated/images/aquant',
            'quantize.block.conv.Conv2D/noise_db/block/relu/aquant',
            'quantize.block.conv.Conv2D/noise_db/block/conv/kernel/wquant'} <= set(tags)


def test_thresholds_of_learned_positions(tmp_path):
    hook = QuantizePositionHook(str(tmp_path), every_n_steps=2)
    seen = _train(tmp_path, [hook], fetch=[graph_record.votes], position_update='learned', recipe='manual')
    name, number = 'dense/kernel/wquant', hook._names.index('dense/kernel/wquant')
    threshold = _scalars(tmp_path)[8]['quantize.dense.MatMul/threshold/' + name]
    position = _scalars(tmp_path)[8]['quantize.dense.MatMul/position/' + name]
    assert position == 7 - np.ceil(np.log2(threshold)) and len(seen) == 8 and number >= 0
    row = np.zeros(256, np.float32)
    row[position_histogram.HISTOGRAM_ZERO + 3] = 1
    assert position_histogram.learned_threshold(position_histogram.learn(row, 0.0, 0.01), 8) == pytest.approx(2 ** 3.5)
    moved = position_histogram.learn(row, 1.0, 0.25)  # by 0.25 tanh(1)
    assert position_histogram.learned_threshold(moved, 8) == pytest.approx(2 ** (3.5 - 0.25 * np.tanh(1)), rel=1e-5)


def test_the_training_is_the_same_without(tmp_path):
    plain = _train(tmp_path / 'plain', [], recipe='manual')
    watched = _train(tmp_path / 'watched', [QuantizePositionHook(str(tmp_path / 'events'), every_n_steps=2)], recipe='manual')
    assert plain == watched


def test_statistics_are_computed_only_before_reports(tmp_path, monkeypatch):
    asked = []
    of_run = TensorStatistics.of_run
    monkeypatch.setattr(TensorStatistics, 'of_run', lambda self, fetches: asked.append(1) or of_run(self, fetches))
    _train(tmp_path, [QuantizePositionHook(str(tmp_path), every_n_steps=4)], steps=9, recipe='manual')
    assert 2 <= len(asked) <= 4
    asked.clear()
    _train(tmp_path / 'off', [QuantizePositionHook(str(tmp_path / 'off'), every_n_steps=4, statistics=False)], recipe='manual')
    assert not asked and not any('noise_db' in tag for tags in _scalars(tmp_path / 'off').values() for tag in tags)


def test_tensors_that_a_run_does_not_compute_are_not_fetched(tmp_path):
    images = v1.placeholder(tf.float32, [None, 4], name='images')
    step = v1.train.get_or_create_global_step()
    loss = tf.reduce_sum(v1.layers.dense(v1.layers.dense(images, 3, name='one'), 3, name='two'))
    functions.CreateQuantizeTrainingGraph(QuantizeConfig(['images'], ['two/BiasAdd'], output_dir=str(tmp_path)))
    graph = v1.get_default_graph()
    statistics, count = TensorStatistics(graph), len(graph.get_operations())
    assert statistics.of_run(step) == {} and statistics.of_run('global_step') == {} and statistics.of_run(object()) == {}
    half = set(statistics.of_run({'a': ['one/BiasAdd/aquant:0']}))
    assert half == {'images/aquant', 'one/kernel/wquant', 'one/bias/wquant', 'one/BiasAdd/aquant'}
    assert set(statistics.of_run([loss, step])) == half | {'two/kernel/wquant', 'two/bias/wquant', 'two/BiasAdd/aquant'}
    graph.finalize()
    assert set(TensorStatistics(graph).of_run(loss)) == set(statistics.of_run(loss))
    assert len(graph.get_operations()) == count


def test_a_statistic_without_signal_or_noise():
    assert statistic([0.5, 1.0, 0.0]) == (0.5, None) and statistic([0.0, 0.0, 0.0]).db is None
    assert statistic([0.0, 100.0, 1.0]) == (0.0, 20.0)


def test_a_finalized_graph_gets_no_ops(tmp_path):
    """Such as that of a session which exists already; then there are no statistics."""
    v1.layers.dense(v1.placeholder(tf.float32, [None, 4], 'x'), 3, name='dense')
    functions.CreateQuantizeTrainingGraph(QuantizeConfig(['x'], ['dense/BiasAdd'], output_dir=str(tmp_path)))
    graph = v1.get_default_graph()
    graph.finalize()
    assert TensorStatistics(graph).of_run(graph.get_tensor_by_name('dense/BiasAdd/aquant:0')) == {}
