"""Roles, layers and formats of the tensors of a model."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.analysis import small_model
from vai_q_tf import ops
from vai_q_tf.analysis.model_tensors import ModelTensor, model_tensors, scaled_weights
from vai_q_tf.graph.view import GraphView


def _tensor(mode, position=2, bits=4, narrow_range=False):
    return ModelTensor('name', 'layer', 'activation', bits, position, mode, narrow_range, 'source', (), False)


@pytest.mark.parametrize('mode', [0, 1, 2])
@pytest.mark.parametrize('narrow_range', [False, True])
@pytest.mark.parametrize('position', [2, -3])
def test_edges_agree_with_rounding(mode, narrow_range, position):
    """Halves of a step, and their neighbours, on either side."""
    halves = np.arange(-40, 41, dtype=np.float32) / 2 * np.float32(2.0**-position)
    values = np.concatenate([halves, np.nextafter(halves, np.float32(np.inf)), np.nextafter(halves, np.float32(-np.inf))])
    values = values[np.abs(values) > 1e-30]
    lo, hi, below, above = _tensor(mode, position, narrow_range=narrow_range).edges
    steps = small_model.rounded(values, position, mode)
    np.testing.assert_array_equal((values < lo) | (values > hi), (steps < -8 + narrow_range) | (steps > 7))
    np.testing.assert_array_equal((below < values) & (values < above), steps == 0)


def test_edges_of_a_tensor_of_zeros():
    lo, hi, below, above = _tensor(1, position=127).edges
    assert lo < -1e38 and hi > 1e38 and below < -1e38 and above > 1e38


def test_the_tensors_of_a_model():
    ops.load_library()
    found = model_tensors(GraphView(small_model.graph(True)))
    assert list(found) != sorted(found) and set(found) == set(small_model.FORMS)
    for name, tensor in found.items():
        assert (tensor.role, tensor.layer) == (small_model.ROLES[name], small_model.LAYERS[name])
        assert (tensor.position, tensor.bits, tensor.mode) == small_model.FORMS[name]
        assert tensor.is_static == name.endswith('wquant')


def test_a_reshape_to_a_computed_shape_has_its_own_name():
    """Its layer is not the Shape, which also reads a quantized tensor."""
    with tf.Graph().as_default() as graph:
        x = ops.fix_neuron(tf.placeholder(tf.float32, [None, 2, 3], name='x'), 1, 1, 8, quantize_pos=3, name='x/aquant')
        shape = tf.stack([tf.shape(x, name='flatten/Shape')[0], -1], name='flatten/shape')
        y = tf.reshape(x, shape, name='flatten/Reshape')
        ops.fix_neuron(y, 1, 1, 8, quantize_pos=3, name='flatten/Reshape/aquant')
    found = model_tensors(GraphView(graph.as_graph_def()))
    assert [found[name].layer for name in ('x/aquant', 'flatten/Reshape/aquant')] == ['x', 'flatten/Reshape']


@pytest.mark.parametrize('op, shape, inputs, outputs', [
    ('Conv2D', (2, 2, 3, 4), 3, 4), ('DepthwiseConv2dNative', (2, 2, 3, 2), 3, 6), ('MatMul', (6, 4), 3, 4),
    ('MatMul of a transpose', (4, 6), 3, 4),
    ('Conv2DBackpropInput', (2, 2, 4, 3), 3, 4)])
def test_weights_of_scaled_channels(op, shape, inputs, outputs):
    """With these weights a layer maps scaled channels to scaled channels."""
    random = np.random.RandomState(0)
    weights = random.normal(size=shape).astype(np.float32)
    read, given = 2.0**random.randint(-2, 3, inputs), 2.0**random.randint(-2, 3, outputs)
    with tf.Graph().as_default() as graph, tf.Session() as session:
        x = tf.placeholder(tf.float32, [2, 6] if 'MatMul' in op else [2, 3, 3, inputs], name='x')
        kernel = tf.placeholder_with_default(weights, shape)
        result = {'Conv2D': lambda: tf.nn.conv2d(x, kernel, 1, 'SAME', name='op'),
                  'DepthwiseConv2dNative': lambda: tf.nn.depthwise_conv2d_native(x, kernel, [1] * 4, 'SAME', name='op'),
                  'MatMul': lambda: tf.matmul(x, kernel, name='op'),
                  'MatMul of a transpose': lambda: tf.matmul(x, kernel, transpose_b=True, name='op'),
                  'Conv2DBackpropInput': lambda: tf.nn.conv2d_transpose(x, kernel, [2, 3, 3, outputs], 1, name='op')}[op]()
        view = GraphView(graph.as_graph_def())
        value = random.normal(size=x.shape.as_list()).astype(np.float32)
        name = result.op.name
        scaled = scaled_weights(view, name, weights, read, given)
        changed = session.run(result, {x: value * np.tile(read, value.shape[-1] // inputs), kernel: scaled})
        np.testing.assert_allclose(changed, session.run(result, {x: value}) * given, rtol=1e-4, atol=1e-4)
