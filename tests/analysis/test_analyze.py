"""analyze: pairs of files, models of other quantizers, results of training, and refusals."""
import gzip
import json
import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.analysis import small_model
from tests.analysis.spoiling import Quantized, quantized
from tests.ptq import networks
from tests.support import read_graph
from vai_q_tf import errors, ops
from vai_q_tf.analysis.analyze import analyze
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.ptq.quantize import quantize_frozen

GOLDEN = os.path.join(os.path.dirname(os.path.dirname(__file__)), 'golden')


def by_name(analysis):
    return {error.name: error for error in analysis.tensors}


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """(directory of float.pb, path of its model)"""
    directory = tmp_path_factory.mktemp('analyze')
    graph_def, output = networks.branches()
    (directory / 'float.pb').write_bytes(graph_def.SerializeToString())
    config = QuantizeConfig(['input'], [output], calib_iter=2, output_dir=str(directory), do_cle=1)
    return directory, quantize_frozen(graph_def, networks.batches, config, effort='fast')


def test_a_pair_of_files(files):
    directory, path = files
    config = QuantizeConfig(output_dir=str(directory / 'report'))
    found = analyze(path, networks.batches, str(directory / 'float.pb'), config, analyze_iter=2)
    assert not found.unpaired and len(found.tensors) == 25 and found.batches == 2
    assert (found.model, found.reference) == (path, str(directory / 'float.pb'))
    # It was equalized, which nobody said here, and a rescaled weight would have lost.
    assert min(error.db for error in found.tensors if error.role == 'weight') > 30
    assert max(error.loss_db for error in found.tensors) < 7
    report = json.loads((directory / 'report' / 'analyze.json').read_text())
    assert [error['name'] for error in report['tensors']] == [error.name for error in found.tensors]
    assert report['depth'] == list(found.depth) and report['batches'] == 2


def test_a_layer_that_was_spoiled_in_the_file(files):
    directory, path = files
    model = read_graph(path)
    name = 'conv2/weights'
    value = tf.make_ndarray(next(node for node in model.node if node.name == name).attr['value'].tensor)
    found = analyze(editor.with_values(model, {name: value * 1.25}), networks.batches, str(directory / 'float.pb'),
                    analyze_iter=1)
    assert found.tensors[0].layer == 'conv2/Conv2D' and found.tensors[0].name == 'conv2/weights/wquant'
    assert found.tensors[0].db == pytest.approx(12, abs=0.5)


def test_the_model_alone(files):
    found = analyze(files[1], analyze_iter=1)
    assert found.reference == 'the model without its FixNeurons' and found.batches == 0
    assert {error.role for error in found.tensors} == {'weight', 'bias'}
    found = analyze(files[1], networks.batches, analyze_iter=1)
    assert not found.unpaired and found.depth[0] == 'input/aquant' and found.depth[-1] == 'logits/BiasAdd/aquant'


def _as_the_original(case, variant):
    """(float graph, model) with the names and positions that vai_q_tensorflow gave, built from its records."""
    source = read_graph(os.path.join(GOLDEN, 'ptq', case + '.pb'))
    with open(os.path.join(GOLDEN, 'ptq', case + '.json')) as stream:
        records = json.load(stream)['variants'][variant]['fix']
    nodes = {node.name: editor.copy(node) for node in source.node}
    for record in records:
        producer = record['producer']
        if record['op'] == 'Const':
            reader, index = record['consumers'][0].split(':')
            constant = nodes[reader].input[int(index)]
            while nodes[constant].op != 'Const':
                constant = nodes[constant].input[0]
            nodes[producer] = editor.copy(nodes[constant], producer)
        name = '{}/{}'.format(producer, record['suffix'])
        fix = tf.NodeDef(name=name, op='FixNeuron', input=[producer])
        for key, value in (('bit_width', record['bits']), ('method', record['method']), ('mode', record['mode']), ('phase', 1),
                           ('quantize_pos', record['pos'])):
            fix.attr[key].i = value
        fix.attr['T'].type = tf.float32.as_datatype_enum
        fix.attr['output_dir'].s = b''
        nodes[name] = fix
        for consumer in record['consumers']:
            reader, index = consumer.split(':')
            nodes[reader].input[int(index)] = name
    return source, editor.subgraph(source, list(nodes.values()))


def test_a_model_of_vai_q_tensorflow():
    source, model = _as_the_original('plain', _plain_variant())
    shape = [dim.size for dim in next(node for node in source.node if node.op == 'Placeholder').attr['shape'].shape.dim]
    name = next(node.name for node in source.node if node.op == 'Placeholder')
    found = analyze(model, lambda step: {name: np.random.RandomState(step).uniform(-1, 1, [2] + shape[1:])}, source,
                    analyze_iter=1)
    assert not found.unpaired
    assert {error.layer for error in found.tensors if error.role == 'weight'} == {
        'conv1/Conv2D', 'conv2/Conv2D', 'fc1/MatMul', 'fc2/MatMul'}
    assert {error.name for error in found.tensors} >= {'conv1/kernel/read/_1__cf__1/wquant'}
    assert min(error.db for error in found.tensors if error.role == 'weight') > 25


def _plain_variant():
    with open(os.path.join(GOLDEN, 'ptq', 'plain.json')) as stream:
        variants = json.load(stream)['variants']
    return next(name for name, case in sorted(variants.items()) if not any(
        flag in case['flags'] for flag in ('--weight_bit', '--activation_bit', '--do_cle', '--ignore_nodes', '--nodes_bit')))


def _packed(name):
    with gzip.open(os.path.join(GOLDEN, 'release_0_1_0', name + '.pb.gz')) as stream:
        return tf.GraphDef.FromString(stream.read())


def test_the_result_of_a_training():
    def images(step):
        return {'net_in': np.random.RandomState(step).uniform(-1, 1, (4, 8, 8, 2))}
    alone = analyze(_packed('mixed_model'), images, analyze_iter=1)
    assert not alone.unpaired and len(alone.tensors) == 21
    # The float file is older than the training, and begins with a preprocessing that the model has not.
    pair = analyze(_packed('mixed_model'), images, _packed('float'), analyze_iter=1)
    assert set(pair.unpaired) == {'conv1/BatchNorm_Fold/add_1/wquant', 'depthwise/BatchNorm_Fold/sub/wquant'}
    assert all(reason.startswith('the float network has no ') for reason in pair.unpaired.values())
    assert set(by_name(pair)) == set(by_name(alone)).difference(pair.unpaired)
    assert all(pair.db < by_name(alone)[name].db for name, pair in by_name(pair).items() if pair.role == 'weight')


def test_settings_of_the_model_are_found(tmp_path):
    net = networks.Network()
    x = net.apply(tf.sigmoid, net.conv(net.input, 4, 'conv', relu=False), name='gate')
    x = net.conv(net.apply(tf.nn.avg_pool, x, 3, 3, 'SAME', name='pool'), 4, 'next')
    net.dense(x, 3, 'logits')
    source = net.graph_def()
    for fields in ({'simulate_dpu': 0}, {'replace_sigmoid': 1}, {'do_cle': 1}, {}):
        model = quantized(source, QuantizeConfig(['input'], ['logits/BiasAdd'], **fields), networks.batches, tmp_path)
        found = analyze(model, networks.batches, source, analyze_iter=1)
        assert not found.unpaired, fields
        assert min(error.alone_db for error in found.tensors) > 20, fields


def _refused(code, *arguments, words=(), **options):
    with pytest.raises(errors.QuantizeError) as caught:
        analyze(*arguments, **options)
    assert caught.value.code == code, caught.value
    assert all(word in str(caught.value) for word in words), caught.value


def _fails(step):
    raise ZeroDivisionError('no image')


def test_refusals(files, tmp_path):
    directory, path = files
    source = str(directory / 'float.pb')
    config = QuantizeConfig(output_dir=str(tmp_path))
    _refused(errors.NOT_QUANTIZED, source, networks.batches, config=config)
    _refused(errors.NOT_QUANTIZED, small_model.graph(False), words=['FixNeuron'])
    _refused(errors.ALREADY_QUANTIZED, path, networks.batches, path, config)
    _refused(errors.INVALID_INPUT, str(tmp_path / 'no.pb'), words=['no.pb'])
    _refused(errors.INVALID_INPUT, path, networks.batches, str(tmp_path / 'no.pb'), words=['no.pb', '--float_graph'])
    _refused(errors.INVALID_INPUT, path, networks.batches, small_model.graph(False), config, words=['float graph'])
    _refused(errors.INVALID_INPUT_FN, path, _fails, source, config, words=['step 0', 'ZeroDivisionError'])
    _refused(errors.INVALID_INPUT_FN, path, lambda step: {'input': np.zeros((1, 3, 3, 3))}, None, config, words=['shape'])
    _refused(errors.INVALID_INPUT_FN, path, lambda step: {'other': 1}, None, config, words=['other'])
    _refused(errors.INVALID_INPUT_FN, path, 'no_module.function')
    _refused(errors.INVALID_CONFIG, path, analyze_iter=0, words=['analyze_iter'])
    _refused(errors.INVALID_CONFIG, path, config=QuantizeConfig(output_dir=source))
    _refused(errors.UNKNOWN_NODE, path, None, source, QuantizeConfig(['input'], ['nothing']), words=['nothing'])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('damage, code', [
    (lambda node: node.attr['quantize_pos'].CopyFrom(tf.AttrValue(i=300)), errors.INVALID_INPUT),
    (lambda node: node.attr['phase'].CopyFrom(tf.AttrValue(i=0)), errors.NOT_QUANTIZED),
    (lambda node: node.input.extend(['x']), errors.INVALID_INPUT),
    (lambda node: node.input.__delitem__(0), errors.UNSUPPORTED_GRAPH)])
def test_damaged_models(damage, code):
    model = small_model.graph(True)
    damage(next(node for node in model.node if node.name == 'relu/aquant'))
    with pytest.raises(errors.QuantizeError) as caught:
        analyze(model)
    assert caught.value.code in (code, errors.INVALID_INPUT)


def test_several_inputs_and_outputs():
    network = Quantized(5)
    assert len(network.config.output_nodes) == 2
    found = analyze(network.model, lambda step: {'x': network.feeds[step]['x:0']}, network.source, analyze_iter=2)
    assert not found.unpaired and len(found.tensors) == len(network.plan.tensors)


def test_a_phase_that_input_fn_feeds_the_float_graph(tmp_path):
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 4], name='x')
        phase = tf.placeholder(tf.bool, [], name='phase')
        y = tf.nn.relu(tf.matmul(x, small_model.VALUES['w1'], name='mul1'), name='relu')
        y = tf.cond(phase, lambda: y * 0.0, lambda: tf.identity(y))
        tf.nn.bias_add(tf.matmul(y, small_model.VALUES['w2'], name='mul2'), small_model.VALUES['b2'], name='out')

    def batch(step):
        return dict(small_model.batch(step), phase=False)
    source = graph.as_graph_def()
    model = quantized(source, QuantizeConfig(['x'], ['out']), batch, tmp_path)
    found = analyze(model, batch, source, analyze_iter=1)
    assert not found.unpaired and min(error.alone_db for error in found.tensors) > 30


def test_a_float_graph_of_unknown_image_size(tmp_path):
    """The model has the sizes given to quantize; the input is the same."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, None, None, 3], name='x')
        weights = np.random.RandomState(1).normal(size=(3, 3, 3, 2)).astype(np.float32)
        tf.nn.relu(tf.nn.conv2d(x, weights, 1, 'SAME', name='conv'), name='out')

    def batch(step):
        return {'x': np.random.RandomState(step).normal(size=(2, 4, 4, 3)).astype(np.float32)}
    source = graph.as_graph_def()
    model = quantized(source, QuantizeConfig(['x'], ['out'], [[-1, 4, 4, 3]]), batch, tmp_path)
    found = analyze(model, batch, source, analyze_iter=1)
    assert not found.unpaired and len(found.tensors) == 3


def test_a_tensor_without_elements_is_not_compared():
    """In the second batch the first activation has no elements; its numbers are those of the first batch."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 4], name='x')
        kept = tf.boolean_mask(x, tf.reduce_sum(x, 1) > 0.)
        ops.fix_neuron(kept, 1, 1, 8, quantize_pos=6, name='kept/aquant')
        ops.fix_neuron(tf.boolean_mask(x, tf.reduce_sum(x, 1) > 1e9), 1, 1, 8, quantize_pos=6, name='none/aquant')
    first = np.float32([[.3, .2, .1, 0.], [-1., 0., 0., 0.]])
    found = analyze(graph.as_graph_def(), lambda step: {'x': -abs(first) if step else first}, analyze_iter=2)
    assert found.unpaired == {'none/aquant': 'it has no elements'}
    only, = found.tensors
    assert (only.name, only.high, sum(only.histogram.float_counts)) == ('kept/aquant', np.float32(.3), 4)
    exact, rounded = first[0].astype(float), np.round(first[0] * 64) / 64
    assert abs(only.db - 10 * np.log10(np.sum(exact**2) / np.sum((exact - rounded)**2))) < .01


def test_a_network_of_which_data_leave_nothing(tmp_path):
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 4], name='x')
        y = tf.matmul(x, small_model.VALUES['w1'], name='mul1')
        tf.nn.relu(tf.boolean_mask(y, tf.reduce_sum(x, 1) > 100.), name='out')
    model = quantized(graph.as_graph_def(), QuantizeConfig(['x'], ['out']), small_model.batch, tmp_path)
    for batch in small_model.batch, None:
        found = analyze(model, batch, graph.as_graph_def(), analyze_iter=1)
        assert 'out/aquant' in found.unpaired and 'out/aquant' not in found.depth
        assert set(found.depth) <= set(by_name(found))
