"""Graphs converted to another type: their types, casts and constants, and the graphs that are refused."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.export.converted import run, types
from vai_q_tf import errors
from vai_q_tf.errors import QuantizeError
from vai_q_tf.export.datatype import convert_graph


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


def test_batch_norms_that_are_not_folded_are_named():
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


def test_values_that_become_infinite_are_warned_about(caplog, monkeypatch):
    graph = tf.Graph()
    with graph.as_default():
        tf.add(tf.placeholder(tf.float32, [2], name='x'), tf.constant([1e9, -2.0], name='mask'), name='y')
    monkeypatch.setattr(tf.get_logger(), 'propagate', True)
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
