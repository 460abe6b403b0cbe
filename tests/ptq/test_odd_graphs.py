"""Loops, unknown ops and graphs that TensorFlow refuses, from the float graph to the model."""
import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.support import read_graph
from vai_q_tf import errors, ops
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.frozen.load import runnable
from vai_q_tf.ptq.quantize import quantize_frozen
from vai_q_tf.report.dumps.dump import dump


def _constant(*shape):
    return tf.constant(np.random.RandomState(sum(shape)).normal(0, .4, shape).astype(np.float32))


def _conv(x, name):
    return tf.nn.conv2d(x, _constant(3, 3, x.shape[-1].value, 3), 1, 'SAME', name=name)


def _loop(function, x):
    return tf.while_loop(lambda turn, _: turn < 3, lambda turn, y: (turn + 1, function(y)), [0, x])[1]


def _shaped_conv(x):
    y = tf.nn.relu(_conv(x, 'inner') + 0.1)
    y.set_shape(x.shape)
    return y


def _before(x):
    x = tf.map_fn(lambda image: image * 2.0 + 1.0, x)
    tf.nn.relu(_conv(tf.identity(x, name='start'), 'conv'), name='out')


def _after(x):
    x = tf.nn.relu(_conv(tf.identity(x, name='start'), 'conv'), name='out')
    tf.identity(tf.map_fn(lambda image: tf.reduce_max(image, [0, 1]), x), name='last')


def _within(x):
    x = _loop(lambda y: tf.nn.relu(y * 0.5 + 0.1), _conv(tf.identity(x, name='start'), 'conv'))
    _conv(x, 'out')


def _convolutions_within(x):
    tf.identity(_loop(_shaped_conv, _conv(tf.identity(x, name='start'), 'conv')), name='out')


def _concat_within(x):
    x = _loop(lambda y: tf.concat([y[..., 1:], y[..., :1]], -1), _conv(tf.identity(x, name='start'), 'conv'))
    _conv(x, 'out')


def _graph(build):
    with tf.Graph().as_default() as graph:
        build(tf.placeholder(tf.float32, [2, 6, 6, 3], name='input'))
        return graph.as_graph_def()


def _batch(step):
    return {'input': np.random.RandomState(step).normal(size=(2, 6, 6, 3))}


def _quantize(graph_def, tmp_path, start='start', options=None):
    config = QuantizeConfig([start], ['out'], weight_bit=16, activation_bit=16, method=0, calib_iter=2,
                            output_dir=str(tmp_path))
    path = quantize_frozen(graph_def, _batch, config, **(options or {}))
    return read_graph(path)


def _run(graph_def, fetch):
    ops.load_library()
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(graph_def, name='')
        return session.run(fetch + ':0', {'input:0': _batch(1)['input']})


@pytest.mark.parametrize('build, fetch', [
    (_before, 'out'), (_after, 'last'), (_within, 'out'), (_convolutions_within, 'out'), (_concat_within, 'out')])
def test_loops_stay_float_and_work(tmp_path, build, fetch):
    graph_def = _graph(build)
    model = _quantize(graph_def, tmp_path)
    expected = _run(graph_def, fetch)
    np.testing.assert_allclose(_run(model, fetch), expected, atol=1e-3 * np.abs(expected).max())
    names = [node.name for node in model.node if node.op == 'FixNeuron']
    assert 'start/aquant' in names and not any(name.startswith(('map/while', 'while')) and 'Exit' not in name for name in names)
    assert all(not operand.startswith('^') or node.name.startswith(('map/while', 'while'))
               for node in model.node for operand in node.input)


@pytest.mark.parametrize('options', [{}, {'include_fast_ft': 1}, {'skip_check': 1}])
@pytest.mark.parametrize('read', [True, False])
def test_an_unknown_op_in_the_post_processing_is_kept(tmp_path, options, read):
    graph_def = _graph(_before)
    graph_def.node.add(name='boxes', op='OpOfNobody', input=['out', 'start'])
    if read:
        graph_def.node.add(name='last', op='Identity', input=['boxes:1']).attr['T'].type = 1
    before = {node.name: list(node.input) for node in graph_def.node}
    model = _quantize(graph_def, tmp_path, options=options)
    after = {node.name: list(node.input) for node in model.node}
    assert after['boxes'] == ['out/aquant', 'start/aquant'] and after.get('last') == before.get('last')
    known = runnable(model)
    assert {node.name for node in model.node} - {node.name for node in known.node} == {'boxes', 'last'}.intersection(before)
    expected = _run(runnable(graph_def), 'out')
    np.testing.assert_allclose(_run(known, 'out'), expected, atol=1e-3 * np.abs(expected).max())


def test_a_model_with_an_unknown_op_can_be_dumped(tmp_path):
    graph_def = _graph(_before)
    graph_def.node.add(name='boxes', op='OpOfNobody', input=['out', 'start'])
    dump(_quantize(graph_def, tmp_path), _batch, str(tmp_path), dump_float=1)
    names = os.listdir(str(tmp_path / 'dump_results_0'))
    assert {'start_aquant.bin', 'out_aquant.bin', 'start_float.bin'} <= set(names), names


def _batch_norm(x):
    y = _conv(tf.nn.relu(_conv(tf.identity(x, name='start'), 'first')), 'conv')
    y, mean = tf.nn.fused_batch_norm(
        y, _constant(3), _constant(3), _constant(3), tf.abs(_constant(3)), is_training=False, name='norm')[:2]
    tf.add(y, mean, name='out')


def test_a_batch_norm_that_cannot_be_folded_stays_float(tmp_path, caplog):
    graph_def = _graph(_batch_norm)
    model = _quantize(graph_def, tmp_path)
    assert 'norm [no-batch-norm-op]' in caplog.text
    names = {node.name for node in model.node if node.op == 'FixNeuron'}
    assert names == {'start/aquant', 'Const/wquant', 'Relu/aquant', 'Const_1/wquant', 'conv/aquant', 'norm/aquant',
                     'norm/output_1/aquant', 'out/aquant'}
    expected = _run(graph_def, 'norm')  # its mean, which is read, is not defined at inference
    np.testing.assert_allclose(_run(model, 'norm'), expected, atol=1e-3 * np.abs(expected).max())


def _change(graph_def, change):
    if change == 'cycle':
        graph_def.node.add(name='a', op='Neg', input=['b']).attr['T'].type = 1
        graph_def.node.add(name='b', op='Neg', input=['a']).attr['T'].type = 1
    for node in graph_def.node:
        if node.name == 'conv' and change == 'no attr':
            del node.attr['strides']
        elif node.name == 'conv' and change == 'no input':
            del node.input[1]
        elif node.name == 'out' and change == 'no output':
            node.input[0] = 'conv:2'
    if change == 'newer':
        graph_def.versions.producer, graph_def.versions.min_consumer = 2000, 1000


@pytest.mark.parametrize('change', ['cycle', 'no attr', 'no input', 'no output', 'newer'])
@pytest.mark.parametrize('skip_check', [0, 1])
def test_a_graph_that_tensorflow_refuses(tmp_path, change, skip_check):
    graph_def = _graph(_after)
    _change(graph_def, change)
    with pytest.raises(errors.QuantizeError) as caught:
        _quantize(graph_def, tmp_path, options={'skip_check': skip_check})
    assert caught.value.code == errors.UNSUPPORTED_GRAPH and '\n' not in str(caught.value)


@pytest.mark.parametrize('name', ['out/aquant', 'start/aquant'])
def test_a_node_with_the_name_of_a_fix_neuron(tmp_path, name):
    def build(x):
        tf.nn.relu(_conv(tf.identity(x, name='start'), 'conv'), name='out')
        tf.abs(tf.get_default_graph().get_tensor_by_name('out:0'), name=name)
    with pytest.raises(errors.QuantizeError, match=name) as caught:
        _quantize(_graph(build), tmp_path)
    assert caught.value.code == errors.UNSUPPORTED_GRAPH


def _weights_with_another_reader(x):
    weights = _constant(3, 3, 3, 3)
    tf.nn.relu(tf.nn.conv2d(tf.identity(x, name='start'), weights, 1, 'SAME'), name='out')
    tf.abs(weights, name='last')


@pytest.mark.parametrize('build', [_after, _weights_with_another_reader])
@pytest.mark.parametrize('effort', ['fast', 'standard'])
@pytest.mark.parametrize('bad', [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path, bad, effort, build):
    graph_def = _graph(build)
    weights = next(node for node in graph_def.node if node.name == 'Const')
    value = tf.make_ndarray(weights.attr['value'].tensor)
    value[0, 0, 0, 0] = bad
    weights.attr['value'].tensor.CopyFrom(tf.make_tensor_proto(value))
    message = "weights 'Const' have NaN or infinity in 1 of {} elements".format(value.size)
    with pytest.raises(errors.QuantizeError, match=message) as caught:
        _quantize(graph_def, tmp_path, options={'effort': effort})
    assert caught.value.code == errors.NOT_FINITE and not list(tmp_path.iterdir())


def test_a_batch_norm_of_negative_variance_is_refused(tmp_path):
    def build(x):
        y = tf.nn.fused_batch_norm(_conv(tf.identity(x, name='start'), 'conv'), tf.ones([3]), tf.zeros([3]), tf.zeros([3]),
                                   tf.constant([1., -1., 1.]), is_training=False)[0]
        tf.nn.relu(y, name='out')
    with pytest.raises(errors.QuantizeError, match="have NaN or infinity .* may have a negative variance") as caught:
        _quantize(_graph(build), tmp_path)
    assert caught.value.code == errors.NOT_FINITE


@pytest.mark.parametrize('weighted', [False, True])
def test_products_without_weights_are_named(tmp_path, caplog, weighted):
    def build(x):
        rows = tf.reshape(tf.identity(x, name='start'), [2, 108])
        y = tf.matmul(rows, _constant(108, 2)) if weighted else tf.matmul(_constant(3, 2), rows, name='product')
        tf.identity(y, name='out')
    _quantize(_graph(build), tmp_path)
    assert ("No weights are quantized: MatMul 'product'" in caplog.text) == (not weighted)


def test_a_branch_that_need_not_run(tmp_path):
    def build(x):
        y = _conv(tf.identity(x, name='start'), 'conv')
        y = tf.cond(tf.reduce_mean(y) > 1e9, lambda: tf.nn.relu(y) + 1.0, lambda: tf.nn.relu6(y) * 2.0)
        tf.nn.max_pool2d(y, 2, 2, 'SAME', name='out')
    graph_def = _graph(build)
    model = _quantize(graph_def, tmp_path)
    assert {node.name for node in model.node if node.op == 'FixNeuron'} == {
        'start/aquant', 'Const/wquant', 'conv/aquant', 'Mean/aquant', 'cond/Merge/aquant', 'out/aquant'}
    expected = _run(graph_def, 'out')
    np.testing.assert_allclose(_run(model, 'out/aquant'), expected, atol=1e-2 * np.abs(expected).max())
