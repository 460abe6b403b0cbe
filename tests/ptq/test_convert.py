"""convert_datatype: converted graphs give the same outputs in another type; a graph that cannot run is not written."""
import json
import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.export.converted import run, types
from tests.support import read_graph
from vai_q_tf import errors
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.configuration.write_file import CONFIG_FILE
from vai_q_tf.errors import QuantizeError
from vai_q_tf.ptq.convert import TARGETS, convert_datatype, target_number

_FOLDER = os.path.join(os.path.dirname(os.path.dirname(__file__)), 'golden', 'ptq')
# Largest difference, relative to the largest output; float16 has 11 significant bits.
_TOLERANCE = {'fp16': 1e-2, 'double': 1e-5, 'fp32': 1e-5}


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
    converted = read_graph(written)
    assert not [node for node in converted.node if 'FusedBatchNorm' in node.op]
    assert dtype.name in types(converted) and types(converted) <= {dtype.name, 'int32', 'int64', 'bool'}
    for expected, got in zip(run(read_graph(path), config.output_nodes, feeds), run(converted, config.output_nodes, feeds)):
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
    converted = read_graph(convert_datatype(graph.as_graph_def(), config, 'bfloat16'))
    feeds = {'x': np.random.RandomState(1).normal(0, 1, [3, 6]).astype(np.float32)}
    expected, got = run(graph.as_graph_def(), ['y'], feeds)[0], run(converted, ['y'], feeds)[0]
    assert sorted(os.listdir(str(tmp_path))) == ['converted_model_bfloat16.pb', CONFIG_FILE]
    assert types(converted) == {'bfloat16'}
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


def _small():
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 8, 8, 3], name='x')
        y = tf.nn.relu(tf.nn.conv2d(x, tf.ones([3, 3, 3, 4]), 1, 'SAME', name='conv'), name='relu')
        tf.matmul(tf.reduce_mean(y, [1, 2], name='mean'), tf.ones([4, 2]), name='out')
        return graph.as_graph_def()


def _set(key, **value):
    return lambda node: node.attr[key].CopyFrom(tf.AttrValue(**value))


@pytest.mark.parametrize('target', [1, 2, 3, 4])
@pytest.mark.parametrize('name, damage', [
    ('relu', _set('T', type=tf.int64.as_datatype_enum)), ('conv', lambda node: node.attr.pop('strides')),
    ('conv', lambda node: node.attr['strides'].list.i.__setitem__(1, 0)),
    ('conv', lambda node: node.attr['strides'].list.i.pop()),
    ('conv', _set('padding', s=b'FOO')), ('conv', _set('padding', i=1)), ('mean', _set('keep_dims', i=1)),
    ('mean', lambda node: node.input.__setitem__(0, 'relu:1')), ('mean', lambda node: node.input.pop()),
    ('x', _set('dtype', type=tf.resource.as_datatype_enum)), ('x', _set('dtype', type=tf.int32.as_datatype_enum)),
    ('relu', lambda node: setattr(node, 'op', 'MatMul')), ('mean/reduction_indices', _set('dtype', type=1))])
def test_damaged_graphs_are_refused(tmp_path, name, damage, target):
    graph_def = _small()
    damage(next(node for node in graph_def.node if node.name == name))
    (tmp_path / 'converted_model_fp16.pb').write_bytes(b'old')
    with pytest.raises(QuantizeError) as caught:
        convert_datatype(graph_def, QuantizeConfig(['x'], ['out'], output_dir=str(tmp_path)), target)
    assert name in caught.value.detail
    assert os.listdir(str(tmp_path)) == ['converted_model_fp16.pb']
    assert (tmp_path / 'converted_model_fp16.pb').read_bytes() == b'old'
