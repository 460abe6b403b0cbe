"""Efforts from end to end: settings that they respect, their messages, and when they fall back to calibration."""
import re

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.combinations import each_value_once
from tests.ptq.checking import assert_positions, unmeasured
from tests.ptq.effort.small import graph_of, noise_ratio
from tests.ptq.equalization.graphs import run_on
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.errors import INVALID_CONFIG, QuantizeError
from vai_q_tf.lint.lint import lint
from vai_q_tf.ptq.effort import trial
from vai_q_tf.ptq.effort.effort import AIDS
from vai_q_tf.ptq.effort.improve import EFFORTS
from vai_q_tf.ptq.quantize import quantize_frozen

_SHAPE = (8, 8, 3)
_PROGRESS = re.compile(r': (\d+ % of |done, )?\d+ (batch|layer|step)(e?s)?(, .* left| in [\d.]+ s)?$')


def _network(builder):
    """Convolutions, a depthwise one, both pools, a concat and a dense layer."""
    x = tf.nn.relu6(builder.conv(builder.x, 6, 'first'))
    x = tf.nn.relu(builder.depthwise(x, 'second', 2))
    x = tf.nn.max_pool(x, 2, 2, 'VALID')
    x = tf.concat([tf.nn.relu(builder.conv(x, 6, 'third')), builder.conv(x, 4, 'fourth', bias=False)], -1)
    return builder.dense(tf.reduce_mean(x, [1, 2]), 5, 'logits')


def _pooled(builder):
    """The network of most tests: two layers, and a pool whose results are smaller than its input."""
    x = tf.nn.relu(builder.conv(builder.x, 4, 'first'))
    return builder.dense(tf.reduce_mean(tf.nn.avg_pool(x, 4, 4, 'VALID', name='pool'), [1, 2]), 5, 'logits')


def _feed(step, count=8):
    return {'x': np.random.RandomState(step).normal(0.2, 1, (count,) + _SHAPE).astype(np.float32)}


class _Runs:
    """Runs the quantizer in one directory, so that models can be compared."""

    _known = {}

    def __init__(self, directory, capsys):
        self._directory, self._capsys, self.said, self.summary = str(directory), capsys, '', None

    def usual(self, effort, build=_network, **fields):
        """The result of a call with the usual data, computed once for all tests."""
        key = effort, build, tuple(sorted(fields.items()))
        if key not in self._known:
            self._known[key] = self(effort, build, **fields), self.summary
        model, self.summary = self._known[key]
        return model

    @unmeasured()
    def __call__(self, effort, build=_network, feed=_feed, options=(), inputs=('x',), shape=_SHAPE, **fields):
        """The model; `said` has the lines on stderr before the summary, without progress."""
        graph_def, output = build if isinstance(build, tuple) else graph_of(build, shape)
        config = QuantizeConfig(list(inputs), output if isinstance(output, list) else [output],
                                output_dir=self._directory, **dict({'calib_iter': 6}, **fields))
        self._capsys.readouterr()
        path = quantize_frozen(graph_def, feed, config, effort=effort, **dict(options))
        said = self._capsys.readouterr().err
        self.said = '\n'.join(line for line in said[:said.index('Summary: ')].splitlines() if not _PROGRESS.search(line))
        self.summary = path.summary
        with open(path, 'rb') as file:
            content = file.read()
        return content if path.endswith('.onnx') else tf.GraphDef.FromString(content)


@pytest.fixture
def quantized(tmp_path, capsys):
    return _Runs(tmp_path, capsys)


def _positions(model):
    return {node.name: node.attr['quantize_pos'].i for node in model.node if node.op == 'FixNeuron'}


def _constants(model):
    return {node.name: tf.make_ndarray(node.attr['value'].tensor) for node in model.node if node.op == 'Const'}


def _assert_equal(one, other):
    assert _positions(one) == _positions(other)
    first, second = _constants(one), _constants(other)
    assert set(first) == set(second)
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


@pytest.mark.parametrize('effort', EFFORTS)
def test_each_step_is_fed_once_and_two_runs_are_equal(quantized, effort):
    steps = []

    def feed(step):
        steps.append(step)
        return _feed(step)
    one = quantized(effort, feed=feed)
    assert steps == list(range(6))
    _assert_equal(quantized.usual(effort), one)
    assert not lint(one)
    assert_positions(one)


@pytest.mark.parametrize('effort', ['fast', 'standard'])
def test_an_input_function_may_reuse_one_array(quantized, effort):
    array = np.zeros((8,) + _SHAPE, np.float32)

    def feed(step):
        array[:] = _feed(step)['x']
        return {'x': array}
    _assert_equal(quantized(effort, _pooled, feed), quantized.usual(effort, _pooled))


def test_efforts_gain(quantized):
    fresh = np.random.RandomState(99).normal(0.2, 1, (64,) + _SHAPE).astype(np.float32)
    graph_def, output = graph_of(_network, _SHAPE)
    expected, = run_on(graph_def, [output], fresh)
    fast, standard, high = (noise_ratio(expected, run_on(quantized.usual(effort, weight_bit=5), [output + '/aquant'], fresh)[0])
                            for effort in EFFORTS)
    assert standard > fast + 1 and high >= standard, (fast, standard, high)


@pytest.mark.parametrize('bits, worst', [(16, 50), (11, None)])
def test_a_batch_with_larger_values_is_not_outvoted_among_few_images(quantized, bits, worst):
    """One of five batches has a range 2.2 times as wide; 40 images are too few for the effort."""
    def feed(step):
        return {'x': np.random.RandomState(step).uniform(-1, 1, (8,) + _SHAPE).astype(np.float32) * (2.2 if step == 4 else 1)}

    def build(builder):
        return builder.conv(tf.nn.relu(builder.conv(builder.x, 6, 'first')), 4, 'second', 1)
    graph_def, output = graph_of(build, _SHAPE)
    fields = dict(calib_iter=5, activation_bit=bits, weight_bit=bits)
    model, fast = (quantized(effort, build, feed, **fields) for effort in ('standard', 'fast'))
    assert 'x/aquant' in _positions(model) and (_positions(model) == _positions(fast)) == (worst is None)
    if worst:
        for step in range(5):
            x = feed(step)['x']
            (expected,), (actual,) = run_on(graph_def, [output], x), run_on(model, [output + '/aquant'], x)
            assert noise_ratio(expected, actual) > worst


@pytest.mark.parametrize('effort, images', each_value_once(['standard', 'high'], [(1, 1), (1, 47), (47, 1), (23, 2)]))
def test_too_few_images(quantized, effort, images):
    count, steps = images
    feed = lambda step: _feed(step, count)  # noqa: E731
    model = quantized(effort, _pooled, feed, calib_iter=steps)
    assert quantized.said == (
        'The effort is fast instead of {}: other efforts need 48 images of calibration data or more; there {} {}.'
        .format(effort, 'is' if count * steps == 1 else 'are', count * steps))
    assert quantized.summary.obstacle and quantized.summary.obstacle in quantized.said
    _assert_equal(model, quantized('fast', _pooled, feed, calib_iter=steps))
    assert quantized.said == ''


@pytest.mark.parametrize('count, steps', [(48, 1), (1, 48), (24, 2)])
def test_just_enough_images(quantized, count, steps):
    quantized('standard', _pooled, lambda step: _feed(step, count), calib_iter=steps)
    assert not quantized.said and quantized.summary.aids and quantized.summary.effort == 'standard'


def _condition(builder):
    x = builder.conv(builder.x, 4, 'first')
    return tf.cond(tf.reduce_sum(builder.x) > -1e9, lambda: tf.nn.relu(x), lambda: x)


def _integers(builder):
    return tf.argmax(builder.dense(tf.reduce_mean(builder.conv(builder.x, 4, 'first'), [1, 2]), 5, 'logits'), -1)


@pytest.mark.parametrize('build, reason', [(_condition, 'the graph has conditions or loops'),
                                           (_integers, 'no output node gives floating-point numbers')])
def test_networks_that_cannot_be_judged(quantized, build, reason):
    model = quantized('high', build)
    assert 'The effort is fast instead of high: {}.'.format(reason) in quantized.said.splitlines()
    assert quantized.summary.obstacle == reason
    _assert_equal(model, quantized('fast', build))
    assert quantized.summary.obstacle == ''
    assert 'effort' not in quantized.said


def test_one_floating_point_output_is_enough(quantized):
    def build(builder):
        logits = builder.dense(tf.reduce_mean(builder.conv(builder.x, 4, 'first'), [1, 2]), 5, 'logits')
        return tf.argmax(logits, -1, name='class')
    graph_def, _ = graph_of(build, _SHAPE)
    quantized('standard', (graph_def, ['logits/bias', 'class']))
    assert not quantized.said and quantized.summary.aids


@pytest.mark.parametrize('effort', ['', 'Fast', 'medium', None, 2])
def test_an_effort_that_does_not_exist(quantized, effort):
    with pytest.raises(QuantizeError) as caught:
        quantized(effort)
    assert caught.value.code == INVALID_CONFIG
    assert 'effort is {!r}; choose fast, standard or high.'.format(effort) in str(caught.value)


def test_the_summary_lists_what_was_tried(quantized):
    for effort in ('standard', 'high'):
        quantized.usual(effort, weight_bit=5)
        summary = quantized.summary
        assert (summary.effort, summary.fitted, summary.unseen) == (effort, True, True)
        names = [aid.name for aid in summary.aids]
        tried = [name for name in names if name in AIDS[effort]]
        assert len(set(tried)) == len(tried) and 'refitted weights' in tried
        assert names[len(tried):] in (['all together'], ['fitted biases and weights', 'all together'])
        for former, aid in zip(summary.aids, summary.aids[1:len(tried)]):
            assert not aid.kept or aid.before_db >= former.before_db


def test_constants_stay_if_nothing_was_fitted(quantized):
    """A layer without a bias and with exact weights: efforts can only choose positions."""
    def build(builder):
        weights = builder.random.randint(-7, 8, (3, 3, 3, 4)) / 8
        return builder.conv(builder.x, 4, 'first', weights=weights, bias=False)
    model = quantized('standard', build)
    assert not quantized.summary.fitted
    np.testing.assert_array_equal(_constants(model)['first/weights'], _constants(quantized('fast', build))['first/weights'])


# settings of the user

def _spiked(step):
    """One value is just out of range at the finest position that holds all others."""
    x = np.random.RandomState(step).uniform(-0.49, 0.49, (8,) + _SHAPE).astype(np.float32)
    x[0, 0, 0, 0] = 0.51 + 0.02 * (step % 2)
    return {'x': x}


def test_inputs_are_chosen_by_error_unless_methods_say_otherwise(quantized):
    def build(builder):
        return builder.conv(builder.x, 4, 'first', 1)
    found = {}
    for effort in ('fast', 'standard'):
        for fields in ({}, {'method': 0}, {'method': 2}, {'nodes_method': ['x:0']}, {'nodes_method': ['x:1']}):
            found[(effort, str(fields))] = _positions(quantized(effort, build, _spiked, **fields))['x/aquant']
    assert [found['fast', str(fields)] for fields in ({}, {'method': 0}, {'nodes_method': ['x:0']})] == [7] * 3
    assert found['standard', '{}'] == found['standard', str({'nodes_method': ['x:1']})] == 8
    assert [found['standard', str(fields)] for fields in ({'method': 0}, {'method': 2}, {'nodes_method': ['x:0']})] == [7] * 3


@pytest.mark.parametrize('method', [0, 2])
def test_other_methods_keep_their_positions(quantized, method):
    """Activations have the positions of `fast` if they share none."""
    def build(builder):
        return tf.nn.relu(builder.conv(builder.x, 4, 'first', 1))
    fast, standard = (_positions(quantized(effort, build, _spiked, method=method)) for effort in ('fast', 'standard'))
    assert standard['x/aquant'] == fast['x/aquant'] and standard['Relu/aquant'] == fast['Relu/aquant']


def test_one_tensor_of_method_0(quantized):
    def build(builder):
        x = tf.nn.relu(builder.conv(builder.x, 3, 'first', 1, np.eye(3).reshape(1, 1, 3, 3), bias=False), name='relu')
        return builder.conv(x, 4, 'second', 1)
    free, bound = (_positions(quantized('standard', build, _spiked, **fields)) for fields in ({}, {'nodes_method': ['relu:0']}))
    fast = _positions(quantized('fast', build, _spiked, nodes_method=['relu:0']))
    assert bound['relu/aquant'] == fast['relu/aquant'] < free['relu/aquant']


@pytest.mark.parametrize('effort, align_pool', [('standard', 1), ('high', 2)])
def test_an_align_pool_of_the_user(quantized, effort, align_pool):
    tried = []
    for fields in {}, {'align_pool': align_pool}:
        quantized.usual(effort, _pooled, **fields)
        tried.append('pools not aligned' in {aid.name for aid in quantized.summary.aids})
    assert tried == [True, False]


def test_pools_stay_aligned_without_a_gain(quantized, monkeypatch):
    monkeypatch.setattr(trial, '_LEAST_GAIN', 1000)
    model = quantized('high', _pooled)
    positions = _positions(model)
    assert positions['pool/mul/aquant'] == positions['Relu/aquant']
    _assert_equal(model, quantized.usual('fast', _pooled))


# formats of the model

@pytest.mark.parametrize('effort', ['standard', 'high'])
def test_quantized_weights_are_those_of_the_fix_neurons(quantized, effort):
    x = _feed(50)['x']
    one, other = (run_on(model, ['logits/bias/aquant'], x)[0] for model in (
        quantized(effort, _pooled, options={'keep_float_weight': 0}), quantized.usual(effort, _pooled)))
    np.testing.assert_array_equal(one, other)


def test_a_fixed_input_shape(quantized):
    model = quantized('standard', _pooled, options={'fix_input_shape': 1}, input_shapes=[[8, 8, 8, 3]])
    assert next(node for node in model.node if node.name == 'x').attr['shape'].shape.dim[0].size == 8


@pytest.mark.parametrize('replace_relu6', [0, 1])
def test_a_relu6_between_equalized_layers(quantized, replace_relu6):
    """It is a relu in the model if the config allows it, and its function does not change."""
    def build(builder):
        x = tf.nn.relu6(builder.conv(builder.x, 8, 'first', bias=np.full(8, 3)), name='six')
        return builder.conv(x, 4, 'second')
    model = quantized('high', build, weight_bit=16, nodes_bit=['x:16', 'second/bias:16'], replace_relu6=replace_relu6)
    ops = {node.name: node.op for node in model.node}
    assert ops['six'] == ('Relu' if replace_relu6 else 'Relu6') and not lint(model)
    fresh = np.random.RandomState(99).normal(0.2, 1, (64,) + _SHAPE).astype(np.float32)
    graph_def, output = graph_of(build, _SHAPE)
    expected, = run_on(graph_def, [output], fresh)
    assert noise_ratio(expected, run_on(model, [output + '/aquant'], fresh)[0]) > 30
    assert all(tensor.alone_db > 25 for tensor in quantized.summary.worst)  # against the scaled reference


@pytest.mark.parametrize('effort', ['standard', pytest.param('high', marks=pytest.mark.slow)])
def test_onnx(quantized, effort):
    onnx = pytest.importorskip('onnx')
    model = onnx.load_model_from_string(quantized(effort, _pooled, options={'output_format': 'onnx'}))
    onnx.checker.check_model(model)


@pytest.mark.parametrize('effort', ['standard', pytest.param('high', marks=pytest.mark.slow)])
def test_finetuning_goes_on_from_what_was_fitted(quantized, effort):
    """With a rate of almost 0 the model is the same; with a real one the error stays small."""
    fresh = _feed(50)['x']
    graph_def, output = graph_of(_network, _SHAPE)
    expected, = run_on(graph_def, [output], fresh)

    def quality(**options):
        model = quantized(effort, options=options, weight_bit=5) if options else quantized.usual(effort, weight_bit=5)
        return noise_ratio(expected, run_on(model, [output + '/aquant'], fresh)[0])
    plain, still, tuned = quality(), quality(include_fast_ft=1, fast_ft_epochs=1, fast_ft_lr=1e-12), quality(
        include_fast_ft=1, fast_ft_lr=1e-5)
    assert abs(plain - still) < 0.5 and tuned > plain - 1
