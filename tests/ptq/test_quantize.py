"""Post-training quantization as a whole: the written model, its options, and bad arguments."""
import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.ptq import checking, networks
from tests.same_network import dpu_model
from tests.support import read_graph
from vai_q_tf import errors, fixed_point
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.export.fix_neuron_nodes import CHANNEL_SCALES
from vai_q_tf.graph.view import GraphView
from vai_q_tf.lint.lint import lint
from vai_q_tf.plan.annotate import annotate
from vai_q_tf.ptq import quantize as quantize_file
from vai_q_tf.ptq.effort.improve import Improved, Network
from vai_q_tf.ptq.quantize import quantize_frozen

_GOLDEN = os.path.join(os.path.dirname(os.path.dirname(__file__)), 'golden', 'ptq')


def _config(tmp_path, output, **fields):
    return QuantizeConfig(['input'], [output], [[-1, networks.SIZE, networks.SIZE, 3]], calib_iter=3,
                          output_dir=str(tmp_path / 'out'), **fields)


@checking.unmeasured()
def _quantize(tmp_path, graph_def=None, output=None, input_fn=networks.batches, options=None, **fields):
    if graph_def is None:
        graph_def, output = networks.branches()
    options = dict({'effort': 'fast'}, **(options or {}))
    return read_graph(quantize_frozen(graph_def, input_fn, _config(tmp_path, output, **fields), **options))


def _nodes(model):
    return {node.name: node for node in model.node}


def _fix_neurons(model):
    return {node.name: node for node in model.node if node.op == 'FixNeuron'}


@pytest.mark.parametrize('fields', [
    {}, {'weight_bit': 4, 'activation_bit': 6}, {'method': 0}, {'align_rule': 'output', 'align_pool': 2}])
def test_the_model_is_an_integer_model(tmp_path, fields):
    model = _quantize(tmp_path, options={'effort': 'standard'}, **fields)
    feed = networks.batches(77)
    assert not dpu_model.differences(model, feed)
    assert len(np.unique(networks.value(model, 'logits/BiasAdd/aquant', feed))) > 5


@pytest.mark.parametrize('model', ['plain', 'resnet_small'])
def test_measured_networks_are_integer_models(tmp_path, model):
    graph_def = read_graph(os.path.join(_GOLDEN, model + '.pb'))
    output = {'plain': 'fc2/BiasAdd', 'resnet_small': 'logits/BiasAdd'}[model]
    config = QuantizeConfig(['input'], [output], [[-1, 32, 32, 3]], calib_iter=2, output_dir=str(tmp_path))

    def calibrate(step):
        return {'input': np.random.RandomState(step).uniform(-1, 1, (4, 32, 32, 3))}

    quantized = read_graph(quantize_frozen(graph_def, calibrate, config))
    feed = {'input': calibrate(5)['input'].astype(np.float32)}
    assert not dpu_model.differences(quantized, feed)
    assert len(np.unique(networks.value(quantized, output + '/aquant', feed))) > 5


def test_the_model_obeys_the_compiler_and_is_close_to_the_float_network(tmp_path):
    graph_def, output = networks.branches()
    model = _quantize(tmp_path)
    assert lint(model) == []
    feed = networks.batches(9)
    quantized, exact = (networks.value(graph, name, feed) for graph, name in ((model, output + '/aquant'), (graph_def, output)))
    assert np.abs(quantized - exact).max() < 0.05 * np.abs(exact).max()


def test_groups_have_one_position(tmp_path):
    positions = {name: node.attr['quantize_pos'].i for name, node in _fix_neurons(_quantize(tmp_path)).items()}
    group = ['concat/aquant', 'max_pool/aquant', 'average_pool/mul/aquant', 'conv4/Relu/aquant', 'residual/Relu/aquant',
             'conv3/Relu/aquant', 'global_average/mul/aquant']
    assert len({positions[name] for name in group}) == 1


def test_least_error_is_at_most_the_error_of_the_rule_of_vai_q_tensorflow(tmp_path):
    """Summed over the group and the calibration data, on the float tensors of the members."""
    group = ['concat', 'max_pool', 'average_pool', 'conv4/Relu', 'residual/Relu', 'conv3/Relu']
    graph_def, _ = networks.branches()

    def error(rule):
        model = _nodes(_quantize(tmp_path / rule, align_rule=rule))
        total = 0
        for step in range(3):
            for name in group:
                node = model.get(name + '/aquant') or model[name + '/mul/aquant']
                value = networks.value(graph_def, name, networks.batches(step))
                quantized = fixed_point.quantize(value, node.attr['quantize_pos'].i)
                total += ((quantized.astype(np.float64) - value) ** 2).sum()
        return total

    assert error('least_error') <= error('output')


def test_options_of_the_written_model(tmp_path):
    plain = _nodes(_quantize(tmp_path))
    assert '_output_shapes' in plain['conv1/Conv2D'].attr and plain['input'].attr['shape'].shape.dim[0].size == -1
    bare = _nodes(_quantize(tmp_path, options={'add_shapes': 0}))
    assert not any('_output_shapes' in node.attr for node in bare.values())
    fixed = _nodes(_quantize(tmp_path, options={'fix_input_shape': 1}))
    assert [dim.size for dim in fixed['input'].attr['shape'].shape.dim] == [-1, 16, 16, 3]
    assert not any(attr.startswith('_') and attr != '_output_shapes' for node in plain.values() for attr in node.attr)


@pytest.mark.parametrize('own, given, narrowed, fixed', [
    ([None, None, None, 3], [1, 16, 16, -1], [-1, 16, 16, 3], [1, 16, 16, -1]),
    ([4, 16, None, 3], [-1, -1, 16, 3], [4, 16, 16, 3], [-1, -1, 16, 3]),
    (None, [2, 16, 16, 3], [-1, 16, 16, 3], [2, 16, 16, 3])])
def test_sizes_from_input_shapes_are_in_the_model(tmp_path, own, given, narrowed, fixed):
    graph = tf.Graph()
    with graph.as_default():
        x = tf.placeholder(tf.float32, own, name='input')
        tf.nn.conv2d(x, tf.constant(np.ones((3, 3, 3, 4), np.float32)), 1, 'SAME', name='out')
    for fix, expected in enumerate((narrowed, fixed)):
        config = QuantizeConfig(['input:0'], ['out'], [given], calib_iter=1, output_dir=str(tmp_path))
        model = _nodes(read_graph(quantize_frozen(graph.as_graph_def(), networks.batches, config, fix_input_shape=fix)))
        for shape in (model['input'].attr['shape'].shape, model['input'].attr['_output_shapes'].list.shape[0]):
            assert [dim.size for dim in shape.dim] == expected
        assert [dim.size for dim in model['out'].attr['_output_shapes'].list.shape[0].dim] == expected[:3] + [4]


def test_float_and_quantized_weights_give_the_same_results(tmp_path):
    floats, quantized = _quantize(tmp_path), _quantize(tmp_path, options={'keep_float_weight': 0})
    name = 'conv1/weights'
    weights, rounded = (tf.make_ndarray(_nodes(model)[name].attr['value'].tensor) for model in (floats, quantized))
    fix = _nodes(floats)[name + '/wquant'].attr
    np.testing.assert_array_equal(rounded, fixed_point.quantize(weights, fix['quantize_pos'].i, 8, 'half_away'))
    assert not np.array_equal(weights, rounded)
    feed = networks.batches(3)
    np.testing.assert_array_equal(*[networks.value(model, 'logits/BiasAdd/aquant', feed) for model in (floats, quantized)])


def test_dpucadf8h_has_symmetric_constants_of_activations(tmp_path):
    values = np.float32([[[[-128, 1, 2, 3]]]])
    net = networks.Network()
    net.apply(tf.add, net.conv(net.input, 4, 'conv'), net.apply(tf.constant, values, name='offset'), name='add')
    found = {}
    for arch_type in ('DEFAULT', 'DPUCADF8H'):
        model = _quantize(tmp_path / arch_type, net.graph_def(), 'add', options={'keep_float_weight': 0}, arch_type=arch_type,
                          nodes_method=['offset:1'])
        found[arch_type] = model_position(model, 'offset/aquant'), tf.make_ndarray(_nodes(model)['offset'].attr['value'].tensor)
    assert found['DEFAULT'][0] == found['DPUCADF8H'][0] == 0
    np.testing.assert_array_equal(found['DEFAULT'][1], values)
    np.testing.assert_array_equal(found['DPUCADF8H'][1], np.maximum(values, -127))


def test_dpucadf8h_has_symmetric_activations(tmp_path):
    model = _quantize(tmp_path, arch_type='DPUCADF8H')
    marked = {name for name, node in _fix_neurons(model).items() if '_symmetric' in node.attr}
    assert marked == {name for name, node in _fix_neurons(model).items() if node.attr['mode'].i == 1}
    low = networks.value(model, 'input/aquant', {'input': np.full((1, 16, 16, 3), -1e3, np.float32)})
    assert np.unique(low) == -127 * 2.0 ** -model_position(model, 'input/aquant')


def model_position(model, name):
    return _nodes(model)[name].attr['quantize_pos'].i


def test_a_restart_gives_the_same_file(tmp_path):
    assert _quantize(tmp_path / 'a').SerializeToString(deterministic=True).replace(b'/a/out', b'/b/out') == \
        _quantize(tmp_path / 'b').SerializeToString(deterministic=True)


def test_strict_refuses_a_model_that_the_compiler_refuses_and_writes_nothing(tmp_path):
    net = networks.Network()
    x = net.conv(net.input, 4, 'conv')
    net.apply(tf.nn.elu, x, name='elu')  # the compiler can read it only with its shape
    options = {'add_shapes': 0}
    model = _quantize(tmp_path, net.graph_def(), 'elu', options=options)
    assert {finding.rule for finding in lint(model)} == {'shape-of-unknown-op'}
    with pytest.raises(errors.QuantizeError, match='Quantize_TF1_Compiler_Rules.*elu') as caught:
        _quantize(tmp_path / 'strict', net.graph_def(), 'elu', options=dict(options, strict=True))
    assert caught.value.code == errors.COMPILER_RULES
    assert os.listdir(str(tmp_path / 'strict' / 'out')) == []


def test_a_tensor_that_never_runs_is_named(tmp_path):
    graph = tf.Graph()
    with graph.as_default():
        x = tf.placeholder(tf.float32, [None, 4], name='input')
        never, always = tf.raw_ops.Switch(data=x, pred=tf.reduce_sum(x) > 0, name='switch')
        weights = tf.constant(np.ones((4, 2), np.float32), name='weights')
        dead = tf.matmul(never, weights, name='dead')
        alive = tf.matmul(always, weights, name='alive')
        tf.raw_ops.Merge(inputs=[dead, alive], name='merge')
    config = QuantizeConfig(['input'], ['merge'], [[-1, 4]], calib_iter=2, output_dir=str(tmp_path / 'out'))
    with pytest.raises(errors.QuantizeError, match='did not run.*dead') as caught:
        quantize_frozen(graph.as_graph_def(), lambda step: {'input': np.ones((1, 4))}, config)
    assert caught.value.code == errors.MISSING_QUANTIZE_INFO and os.listdir(str(tmp_path / 'out')) == []


@pytest.mark.parametrize('options', [
    {'fast_ft_mode': 2}, {'fast_ft_epochs': 0}, {'fast_ft_epochs': 1.5}, {'fast_ft_lr': float('nan')}, {'fast_ft_lr': '1e-6'},
    {'fast_ft_lrcoef': -1.0}, {'gpu_memory_fraction': 0}, {'gpu_memory_fraction': 1.5}, {'gpu_memory_fraction': '0.5'}],
    ids=str)
def test_a_setting_out_of_range_is_refused_before_anything_is_read(tmp_path, options):
    (name, value), = options.items()
    with pytest.raises(errors.QuantizeError, match='{} is {!r}; expected'.format(name, value)) as raised:
        _quantize(tmp_path, 'no_such_file.pb', 'x', 'no_such_module.function', dict(options, include_fast_ft=1))
    assert raised.value.code == errors.INVALID_CONFIG


def test_the_batch_of_the_summary_is_the_first_one():
    feed = quantize_file._FirstBatch(lambda step: {'x:0': step})
    assert [feed(step) for step in range(3)] == [{'x:0': 0}, {'x:0': 1}, {'x:0': 2}] and feed.first == {'x:0': 0}


def test_the_scales_of_an_equalization_are_noted_for_analyses(tmp_path):
    net = networks.Network()
    net.conv(net.conv(net.input, 2, 'first'), 4, 'second')
    config = _config(tmp_path, 'second/Relu')
    network = Network(net.graph_def(), annotate(GraphView(net.graph_def()), config))
    positions = {record.name: 6 for record in network.plan.tensors}
    improved = Improved(0, {}, {}, positions, {}, [], {}, scales={'first/Conv2D': np.array([0.5, 2])})
    form = quantize_file._Form('pb', 13, 0, 1, 0)
    model = form.exported(form.finalized(network, improved), improved, config)
    assert {name: list(node.attr[CHANNEL_SCALES].list.f) for name, node in _fix_neurons(model).items()
            if CHANNEL_SCALES in node.attr} == {'first/Relu/aquant': [0.5, 2]}


def test_settings_of_finetuning_are_ignored_without_it(tmp_path):
    assert _quantize(tmp_path, options={'include_fast_ft': 0, 'fast_ft_epochs': 0}) == _quantize(tmp_path)


def test_a_full_disk_leaves_the_old_model(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, 'No space left on device')

    (tmp_path / 'out').mkdir()
    model = tmp_path / 'out' / 'quantize_eval_model.pb'
    model.write_text('the last one')
    monkeypatch.setattr(os, 'replace', fail)
    with pytest.raises(errors.QuantizeError, match='No space left') as caught:
        _quantize(tmp_path)
    assert caught.value.code == errors.INVALID_CONFIG
    assert os.listdir(str(tmp_path / 'out')) == [model.name] and model.read_text() == 'the last one'


def test_a_tensor_of_zeros_is_named_and_has_a_position(tmp_path, caplog):
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, networks.SIZE, networks.SIZE, 3], name='input')
        kernel = tf.constant(np.random.RandomState(0).normal(size=[3, 3, 3, 4]).astype(np.float32))
        dead = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, 'SAME'), tf.fill([4], -1e4)), name='dead')
        tf.add(dead, tf.nn.conv2d(x, kernel, 1, 'SAME'), name='out')
    positions = {name: node.attr['quantize_pos'].i
                 for name, node in _fix_neurons(_quantize(tmp_path, graph.as_graph_def(), 'out')).items()}
    assert 'dead/aquant had nothing but zeros in calibration' in caplog.text
    assert fixed_point.POSITION_ZERO not in positions.values() and positions['dead/aquant'] == positions['input/aquant']


def _fixed(tmp_path, build, shapes, batch, add_shapes=1):
    """(shape of the output, model) with fix_input_shape; build() makes a network from the placeholders in `shapes` to 'out'."""
    with tf.Graph().as_default() as graph:
        build()
        graph_def = graph.as_graph_def()
    names = sorted(shapes)
    config = QuantizeConfig(names, ['out'], [shapes[name] for name in names], calib_iter=1, output_dir=str(tmp_path))
    feed = {name: np.random.RandomState(0).randn(batch, *[abs(dim) for dim in shapes[name][1:]]) for name in names}
    model = read_graph(quantize_frozen(graph_def, lambda step: feed, config, effort='fast', fix_input_shape=1,
                                  add_shapes=add_shapes))
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(model, name='')
        return graph.get_tensor_by_name('out/aquant:0').shape.as_list(), model


def _convolution(batch, make=lambda y: y):
    x = tf.placeholder(tf.float32, [batch, 8, 8, 3], name='a')
    tf.nn.relu(make(tf.nn.conv2d(x, tf.ones([3, 3, 3, 4]), 1, 'SAME')), name='out')


@pytest.mark.parametrize('add_shapes', [0, 1])
@pytest.mark.parametrize('own, given', [(3, 2), (3, 1), (3, -1), (None, 2), (3, 3)])
def test_another_batch_size_reaches_all_shapes(tmp_path, own, given, add_shapes):
    shape, model = _fixed(tmp_path, lambda: _convolution(own), {'a': [given, 8, 8, 3]}, 3, add_shapes)
    assert shape == [None if given == -1 else given, 8, 8, 4]
    noted = [node for node in model.node if '_output_shapes' in node.attr]
    assert bool(noted) == bool(add_shapes)
    assert all(node.attr['_output_shapes'].list.shape[0].dim[0].size == given for node in noted if node.op != 'Const'
               and not node.name.endswith('/wquant'))


@pytest.mark.parametrize('make, shape', [
    (lambda y: tf.reshape(y, [4, 256]), [2, 256]), (lambda y: tf.reshape(y, [4, -1]), [2, 256]),
    (lambda y: tf.matmul(tf.reshape(y, [4, -1]), tf.ones([256, 2])), [2, 2]),
    (lambda y: tf.nn.conv2d_transpose(y, tf.ones([2, 2, 4, 4]), [4, 16, 16, 4], 2), [2, 16, 16, 4]),
    (lambda y: tf.reduce_sum(tf.nn.conv2d_transpose(y, tf.ones([2, 2, 4, 4]), [4, 16, 16, 4], 2), 0), [16, 16, 4])])
def test_a_batch_size_other_than_that_of_the_graph(tmp_path, make, shape):
    assert _fixed(tmp_path, lambda: _convolution(4, make), {'a': [2, 8, 8, 3]}, 4)[0] == shape


@pytest.mark.parametrize('make, node', [
    (lambda y: tf.reshape(y, [2, 2, 256]), 'Reshape'), (lambda y: tf.concat(tf.split(y, 4), 0), 'split_2'),
    (lambda y: tf.add_n(tf.split(y, 4)), 'split_2'), (lambda y: tf.add(y, tf.ones([4, 8, 8, 4])), 'Add')])
def test_a_network_for_one_batch_size(tmp_path, make, node):
    with pytest.raises(errors.QuantizeError) as caught:
        _fixed(tmp_path, lambda: _convolution(4, make), {'a': [2, 8, 8, 3]}, 4)
    assert caught.value.code in (errors.LENGTH_MISMATCH, errors.UNSUPPORTED_GRAPH) and repr(node) in caught.value.detail
    assert not os.listdir(str(tmp_path))
    assert _fixed(tmp_path, lambda: _convolution(4, make), {'a': [4, 8, 8, 3]}, 4)[0]


@pytest.mark.parametrize('second, shape', [(2, [2, 8, 8, 4]), (-1, [2, 8, 8, 4]), (4, None)])
def test_batch_sizes_of_several_inputs(tmp_path, second, shape):
    def build():
        x, y = (tf.nn.conv2d(tf.placeholder(tf.float32, [3, 8, 8, 3], name=name), tf.ones([3, 3, 3, 4]), 1, 'SAME')
                for name in 'ab')
        tf.add(x, y, name='out')
    shapes = {'a': [2, 8, 8, 3], 'b': [second, 8, 8, 3]}
    if shape:
        assert _fixed(tmp_path, build, shapes, 3)[0] == shape
    else:
        with pytest.raises(errors.QuantizeError, match="'out' does not take the shapes") as caught:
            _fixed(tmp_path, build, shapes, 3)
        assert caught.value.code == errors.LENGTH_MISMATCH and not os.listdir(str(tmp_path))


def test_a_split_is_written_as_slices(tmp_path):
    """The values and the position of the split tensor stay."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 16, 16, 3], 'input')
        weights = tf.constant(np.random.RandomState(0).randn(1, 1, 3, 4).astype(np.float32))
        first, second = tf.split(tf.nn.relu(tf.nn.conv2d(x, weights, 1, 'SAME'), name='relu'), 2, 3)
        tf.concat([second, tf.nn.max_pool2d(first, 3, 1, 'SAME')], 3, name='out')
    model = _quantize(tmp_path, graph.as_graph_def(), 'out')
    assert sum(node.op == 'StridedSlice' for node in model.node) == 2 and not any(node.op == 'Split' for node in model.node)
    feed = networks.batches(5)
    relu = networks.value(model, 'relu/aquant', feed)
    parts = networks.value(model, 'out/aquant', feed)
    np.testing.assert_array_equal(parts[..., :2], relu[..., 2:])


def test_bytes_do_not_depend_on_the_process_or_the_directory(tmp_path):
    graph_def, output = networks.branches()
    data = []
    for name in 'ab':
        config = QuantizeConfig(['input'], [output], calib_iter=1, output_dir=str(tmp_path / name))
        with open(quantize_frozen(graph_def, networks.batches, config, effort='fast'), 'rb') as file:
            data.append(file.read())
    assert data[0] == data[1] == tf.GraphDef.FromString(data[0]).SerializeToString(deterministic=True)
