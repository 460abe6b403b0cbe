"""Converted graphs compute the same in another type, and nothing that cannot run is written."""
import json
import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from tensorflow.python.framework import op_def_registry

from vai_q_tf import errors
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.errors import QuantizeError
from vai_q_tf.export import kernel_registry
from vai_q_tf.export.datatype import convert_graph
from vai_q_tf.ptq.convert import TARGETS, convert_datatype, target_number

_FOLDER = os.path.join(os.path.dirname(os.path.dirname(__file__)), 'golden', 'ptq')
# Largest difference, relative to the largest output; float16 has 11 significant bits.
_TOLERANCE = {'fp16': 1e-2, 'double': 1e-5, 'fp32': 1e-5}


def load(path):
    graph_def = tf.GraphDef()
    with open(path, 'rb') as file:
        graph_def.ParseFromString(file.read())
    return graph_def


def run(graph_def, fetches, feeds):
    """The fetched values; what is fed is cast to the type of its placeholder."""
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(graph_def, name='')
    feeds = {graph.get_tensor_by_name(name + ':0'): value for name, value in feeds.items()}
    with tf.Session(graph=graph) as session:
        return session.run([name + ':0' for name in fetches],
                           {tensor: value.astype(tensor.dtype.as_numpy_dtype) for tensor, value in feeds.items()})


def types(graph_def):
    """All types that the attrs of the nodes name, defaults included."""
    found = set()
    for node in graph_def.node:
        for attr in op_def_registry.get_registered_ops()[node.op].attr:
            value = node.attr[attr.name] if attr.name in node.attr else attr.default_value
            found.update({'type': [value.type], 'list': value.list.type, 'tensor': [value.tensor.dtype]}.get(
                value.WhichOneof('value'), []))
    return {tf.as_dtype(number).name for number in found if number}


def golden(model, output_dir):
    """(path, config, inputs) of a golden model."""
    with open(os.path.join(_FOLDER, model + '.json')) as file:
        case = json.load(file)
    config = QuantizeConfig(list(case['inputs']), case['outputs'], list(case['inputs'].values()), output_dir=str(output_dir))
    random = np.random.RandomState(0)
    return (os.path.join(_FOLDER, model + '.pb'), config,
            {name: random.uniform(-1, 1, [4] + shape[1:]).astype(np.float32) for name, shape in case['inputs'].items()})


@pytest.mark.parametrize('model', ['plain', 'concat', 'resnet_small'])
@pytest.mark.parametrize('number', [1, 2, 4])
def test_golden_models_compute_the_same(model, number, tmp_path):
    dtype, name = TARGETS[number]
    path, config, feeds = golden(model, tmp_path / 'not' / 'there')
    written = convert_datatype(path, config, number)
    assert written == str(tmp_path / 'not' / 'there' / 'converted_model_{}.pb'.format(name))
    converted = load(written)
    assert not [node for node in converted.node if 'FusedBatchNorm' in node.op]
    assert dtype.name in types(converted) and types(converted) <= {dtype.name, 'int32', 'int64', 'bool'}
    for expected, got in zip(run(load(path), config.output_nodes, feeds), run(converted, config.output_nodes, feeds)):
        assert got.dtype == dtype.as_numpy_dtype
        np.testing.assert_allclose(got.astype(np.float64), expected, atol=_TOLERANCE[name] * np.abs(expected).max())
    assert config.fold_bn_only == 0


def test_bfloat16(tmp_path):
    graph = tf.Graph()
    with graph.as_default():
        x = tf.placeholder(tf.float32, [None, 6], name='x')
        y = tf.nn.relu(tf.nn.bias_add(tf.matmul(x, tf.constant(np.random.RandomState(0).normal(0, 1, [6, 4]), tf.float32)),
                                      tf.constant([0.5, -0.5, 1.0, 0.0])), name='y')
        tf.identity(y, name='out')
    config = QuantizeConfig(['x'], ['y'], [[-1, 6]], output_dir=str(tmp_path))
    converted = load(convert_datatype(graph.as_graph_def(), config, 'bfloat16'))
    feeds = {'x': np.random.RandomState(1).normal(0, 1, [3, 6]).astype(np.float32)}
    expected, got = run(graph.as_graph_def(), ['y'], feeds)[0], run(converted, ['y'], feeds)[0]
    assert os.listdir(str(tmp_path)) == ['converted_model_bfloat16.pb'] and types(converted) == {'bfloat16'}
    np.testing.assert_allclose(got.astype(np.float32), expected, rtol=0.03)


def test_ops_without_a_kernel_are_named_and_nothing_is_written(tmp_path):
    path, config, _ = golden('plain', tmp_path / 'out')
    with pytest.raises(QuantizeError, match=r'bfloat16: conv1/Conv2D \(Conv2D\), conv2/Conv2D \(Conv2D\)\.') as caught:
        convert_datatype(path, config, 3)
    assert caught.value.code == errors.UNSUPPORTED_OP == 'Quantize_TF1_Unsupported_Op'
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('datatype, number', [
    (0, 0), (3, 3), ('2', 2), (' 4 ', 4), (np.int64(1), 1), ('fp16', 1), ('FLOAT16', 1), ('half', 1), ('double', 2),
    ('float64', 2), ('bfloat16', 3), ('fp32', 4), ('float32', 4), ('float', 4), (tf.float16, 1), (tf.float64, 2),
    (tf.bfloat16, 3), (tf.float32, 4)])
def test_names_of_types(datatype, number):
    assert target_number(datatype) == number


@pytest.mark.parametrize('datatype', [5, -1, '5', '', 'int8', True, 1.0, None, tf.int8, [1]])
def test_other_types_are_an_error(datatype, tmp_path):
    path, config, _ = golden('plain', tmp_path / 'out')
    with pytest.raises(QuantizeError, match='0 .no conversion') as caught:
        convert_datatype(path, config, datatype)
    assert caught.value.code == errors.INVALID_TARGET_DTYPE == 'Quantize_TF1_Invalid_Target_Dtype'
    assert not (tmp_path / 'out').exists()


def test_zero_converts_nothing(tmp_path):
    path, config, _ = golden('plain', tmp_path / 'out')
    assert convert_datatype(path, config, 0) is None and not (tmp_path / 'out').exists()


def test_lists_of_types_defaults_and_values_inside_ops():
    graph = tf.Graph()
    with graph.as_default():
        x = tf.placeholder(tf.float32, [2, 3], name='x')
        a, _ = tf.identity_n([x, tf.constant([1, 2])])
        array = tf.TensorArray(tf.float32, 2, element_shape=[3]).unstack(a)
        y = tf.nn.leaky_relu(array.stack())
        noise = tf.random.uniform([2, 3], 0, 1e-3)
        tf.add(tf.cast(tf.cast(y, tf.int32), tf.float32), noise, name='y')
    graph_def = graph.as_graph_def()
    for node in graph_def.node:
        if node.op == 'LeakyRelu':
            del node.attr['T']  # its default is float32
    converted = convert_graph(graph_def, tf.float64)
    assert types(converted) & {'float32', 'float64'} == {'float64'} and 'int32' in types(converted)
    value = np.array([[1, -6, 3], [2.5, -10, 0]], np.float32)
    np.testing.assert_allclose(run(converted, ['y'], {'x': value})[0], [[1, -1, 3], [2, -2, 0]], atol=2e-3)


def test_inputs_and_outputs_of_fixed_type_are_cast():
    graph = tf.Graph()
    with graph.as_default():
        x = tf.placeholder(tf.float32, [1, 4, 4, 2], name='x')
        resized = tf.image.resize_bilinear(tf.nn.relu(x), [8, 8], name='resized')  # its result is always float32
        tf.nn.relu(resized, name='y')
        # Boxes are float32 always.
        tf.image.crop_and_resize(x, tf.reshape(x, [8, 4])[:1], [0], [2, 2], name='crop')
        tf.image.crop_and_resize(x, tf.constant([[0.1, 0.1, 0.9, 0.9]], name='boxes'), [0], [2, 2], name='crop_same')
    converted = convert_graph(graph.as_graph_def(), tf.float64)
    nodes = {node.name: node for node in converted.node}
    assert nodes['boxes'].attr['dtype'].type == tf.float32 and 'boxes' in nodes['crop_same'].input
    feeds = {'x': np.random.RandomState(0).uniform(0, 1, [1, 4, 4, 2]).astype(np.float32)}
    fetches = ['y', 'crop', 'crop_same', 'resized']
    before, after = run(graph.as_graph_def(), fetches, feeds), run(converted, fetches, feeds)
    assert [value.dtype.name for value in after] == ['float64', 'float32', 'float32', 'float32']
    for expected, got in zip(before, after):
        np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_bytes_keep_their_layout():
    graph = tf.Graph()
    with graph.as_default():
        x = tf.placeholder(tf.float32, [3], name='x')
        tf.bitcast(x * 2, tf.int32, name='bits')
        tf.multiply(tf.decode_raw(tf.constant(np.array([1, 2.5], np.float32).tobytes()), tf.float32), 2, name='decoded')
    converted = convert_graph(graph.as_graph_def(), tf.float16)
    bits, decoded = run(converted, ['bits', 'decoded'], {'x': np.array([1, 2, -3], np.float32)})
    np.testing.assert_array_equal(bits.view(np.float32), [2, 4, -6])
    np.testing.assert_array_equal(decoded, [2, 5])
    assert decoded.dtype == np.float16


def test_batch_norms_that_are_left_are_named():
    graph = tf.Graph()
    with graph.as_default():
        x = tf.placeholder(tf.float32, [None, 4, 4, 3], name='x')
        tf.nn.fused_batch_norm(x, *(tf.ones(3) for _ in range(4)), is_training=False, name='bn')
    with pytest.raises(QuantizeError, match=r'bn \(FusedBatchNorm') as caught:
        convert_graph(graph.as_graph_def(), tf.float16)
    assert caught.value.code == errors.UNSUPPORTED_OP


def test_functions_are_named():
    graph = tf.Graph()
    with graph.as_default():
        @tf.function
        def twice(x):
            return x + x
        twice(tf.placeholder(tf.float32, [2], name='x'))
    with pytest.raises(QuantizeError, match='PartitionedCall'):
        convert_graph(graph.as_graph_def(), tf.float64)


def test_values_that_become_infinite_are_told(caplog):
    graph = tf.Graph()
    with graph.as_default():
        tf.add(tf.placeholder(tf.float32, [2], name='x'), tf.constant([1e9, -2.0], name='mask'), name='y')
    tf.get_logger().propagate = True
    with caplog.at_level('WARNING'):
        converted = convert_graph(graph.as_graph_def(), tf.float16)
    assert 'mask: 1 values, up to 1e+09' in caplog.text
    assert np.isinf(run(converted, ['y'], {'x': np.zeros(2)})[0][0])


def test_private_attrs_are_not_written():
    graph = tf.Graph()
    with graph.as_default():
        tf.nn.relu(tf.placeholder(tf.float32, [2], name='x'), name='y')
    for dtype in (tf.float16, tf.float32):
        converted = convert_graph(graph.as_graph_def(add_shapes=True), dtype)
        assert not any(key.startswith('_') for node in converted.node for key in node.attr)


@pytest.mark.parametrize('op, attrs, supported', [
    ('Conv2D', {'T': tf.float16}, True), ('Conv2D', {'T': tf.bfloat16}, False), ('Conv2D', {'T': tf.int8}, False),
    ('Reshape', {'T': tf.bfloat16, 'Tshape': tf.int32}, True), ('LeakyRelu', {}, True), ('FakeQuantWithMinMaxArgs', {}, True),
    ('Softmax', {'T': tf.bfloat16}, False), ('ParseTensor', {'out_type': tf.float16}, True)])
def test_kernels_of_tensorflow(op, attrs, supported):
    node = tf.NodeDef(name='n', op=op)
    for key, dtype in attrs.items():
        node.attr[key].type = dtype.as_datatype_enum
    assert kernel_registry.has_kernel(node) == supported
