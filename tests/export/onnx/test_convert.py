"""Quantized models as ONNX: onnxruntime computes the same bits as TensorFlow."""
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow.compat.v1 as tf
import tf2onnx
from tensorflow.python.framework import function

from tests.export.onnx.models import both, convolutions, fix
from tests.support import read_graph
from vai_q_tf import errors
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.errors import QuantizeError
from vai_q_tf.export.onnx import fix_neuron
from vai_q_tf.export.onnx.convert import require_onnx, to_onnx
from vai_q_tf.ptq.quantize import quantize_frozen


@pytest.mark.parametrize('opset', [11, 13, 14])
def test_a_network(opset):
    feed = {'input': np.random.RandomState(0).uniform(-2, 2, [3, 12, 12, 3]).astype(np.float32)}
    expected, found, model = both(convolutions(), ['input'], ['logits/aquant', 'concat/aquant', 'resized/aquant'], feed, opset)
    for ours, theirs in zip(expected, found):  # sums of 8-bit products are exact in float32, so their order does not matter
        assert np.array_equal(ours, theirs) and np.unique(ours).size > 4
    assert model.opset_import[0].version == opset
    assert [value.name for value in model.graph.input] == ['input:0']
    dims = model.graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_value for dim in dims] == [0, 12, 12, 3]


def test_an_output_that_is_not_quantized():
    feed = {'input': np.random.RandomState(1).uniform(-2, 2, [2, 12, 12, 3]).astype(np.float32)}
    expected, found, _ = both(convolutions(), ['input'], ['softmax'], feed)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)


def test_weights_are_constants_of_their_quantized_values():
    model = onnx.load_from_string(to_onnx(convolutions(), ['input'], ['logits']))
    values = [onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    bias = next(value for value in values if value.shape == (5,))
    assert np.array_equal(bias * 64, np.round(bias * 64)) and bias.any()
    assert len([node for node in model.graph.node if node.op_type == 'Round']) == 7  # activations on the way to the output
    assert len([node for node in model.graph.node if node.op_type == 'Transpose']) <= 3


def test_inputs_within_the_graph_and_more_placeholders():
    with tf.Graph().as_default() as graph:
        files = tf.placeholder(tf.string, [None], 'files')
        image = tf.reshape(tf.decode_raw(files, tf.float32), [-1, 4, 4, 3], name='image')
        keep = tf.placeholder(tf.float32, [], 'keep')
        y = fix(tf.multiply(fix(image, 'image/aquant', 5), keep, name='y'), 'y/aquant', 4)
        tf.string_join([files, 'x'], name='unused')
        del y
        graph_def = graph.as_graph_def()
    image = np.random.RandomState(0).uniform(-1, 1, [2, 4, 4, 3]).astype(np.float32)
    expected, found, model = both(graph_def, ['image'], ['y/aquant'], {'keep': np.array(0.5, np.float32), 'image': image})
    assert np.array_equal(expected[0], found[0]) and expected[0].any()
    assert [value.name for value in model.graph.input] == ['image:0', 'keep:0']


def test_weights_that_are_computed_are_folded():
    with tf.Graph().as_default() as graph:
        x = fix(tf.placeholder(tf.float32, [None, 4], 'x'), 'x/aquant', 5)
        folded = tf.constant(np.arange(8, dtype=np.float32).reshape(4, 2)) * tf.constant([0.11, 0.2])
        fix(tf.matmul(x, fix(folded, 'mul/wquant', 6, mode=0), name='y'), 'y/aquant', 3)
        graph_def = graph.as_graph_def()
    feed = {'x': np.random.RandomState(0).uniform(-2, 2, [5, 4]).astype(np.float32)}
    expected, found, model = both(graph_def, ['x'], ['y/aquant'], feed)
    assert np.array_equal(expected[0], found[0]) and expected[0].any()
    assert 'wquant' not in ' '.join(node.name for node in model.graph.node)


def test_the_converter_gets_no_functions(monkeypatch):
    @function.Defun(tf.float32)
    def twice(x):
        return 2 * x

    with tf.Graph().as_default() as graph:
        y = fix(tf.placeholder(tf.float32, [None, 4], 'x'), 'x/aquant', 5)
        twice(tf.nn.relu(y, name='y'), name='after')
        graph_def = graph.as_graph_def()
    given, convert = [], tf2onnx.convert.from_graph_def
    monkeypatch.setattr(tf2onnx.convert, 'from_graph_def',
                        lambda graph_def, **options: given.append(graph_def) or convert(graph_def, **options))
    to_onnx(graph_def, ['x'], ['y'])
    assert graph_def.library.function and not given[0].library.function and 'y' in [node.name for node in given[0].node]


def test_ops_that_onnx_does_not_have():
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 8], 'x')
        fix(tf.raw_ops.Digamma(x=x, name='digamma'), 'digamma/aquant', 3)
        graph_def = graph.as_graph_def()
    with pytest.raises(QuantizeError, match='Digamma') as caught:
        to_onnx(graph_def, ['x'], ['digamma'])
    assert caught.value.code == errors.UNSUPPORTED_OP


def test_a_graph_without_positions():
    graph_def = convolutions()
    next(node for node in graph_def.node if node.name == 'mean/aquant').attr['phase'].i = 0
    with pytest.raises(QuantizeError, match="'mean/aquant' is in phase 0") as caught:
        to_onnx(graph_def, ['input'], ['logits'])
    assert caught.value.code == errors.NOT_QUANTIZED


def test_unknown_output_node():
    with pytest.raises(QuantizeError, match='nowhere') as caught:
        to_onnx(convolutions(), ['input'], ['nowhere'])
    assert caught.value.code == errors.UNKNOWN_NODE


@pytest.mark.parametrize('opset', [10, 99])
def test_unsupported_opsets(opset):
    with pytest.raises(QuantizeError, match='onnx_opset is {}; expected 11 to'.format(opset)) as caught:
        require_onnx(opset)
    assert caught.value.code == errors.INVALID_CONFIG


@pytest.mark.parametrize('missing', ['tf2onnx', 'onnx'])
def test_a_missing_package_is_an_error_with_the_command_that_installs_it(monkeypatch, missing):
    for name in list(sys.modules):
        if name.split('.')[0] == missing:
            monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(QuantizeError, match=r'pip install .*vai_q_tf\[onnx\]') as caught:
        to_onnx(convolutions(), ['input'], ['logits'])
    assert caught.value.code == errors.MISSING_LIBRARY


def _quantize(output_dir, input_fn):
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 8, 8, 3], 'x')
        kernel = tf.constant(np.random.RandomState(0).standard_normal([3, 3, 3, 4]).astype(np.float32), name='kernel')
        tf.nn.relu(tf.nn.conv2d(x, kernel, 1, 'SAME', name='conv'), name='relu')
        graph_def = graph.as_graph_def()
    config = QuantizeConfig(['x'], ['relu'], [[-1, 8, 8, 3]], calib_iter=1, output_dir=str(output_dir))
    return quantize_frozen(graph_def, input_fn, config, output_format='onnx')


def test_quantize_writes_onnx(tmp_path):
    x = np.random.RandomState(0).uniform(-1, 1, [2, 8, 8, 3]).astype(np.float32)
    path = _quantize(tmp_path, lambda step: {'x': x})
    assert path == str(tmp_path / 'quantize_eval_model.onnx')
    found = onnxruntime.InferenceSession(path).run(['relu/aquant:0'], {'x:0': x})[0]
    assert np.unique(found).size > 50 and np.array_equal(found * 2**10, np.round(found * 2**10))


def test_a_dilated_convolution_without_bias_as_the_output(tmp_path):
    """The compiler needs a bias after it, so its FixNeuron reads the sum with zeros."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 8, 8, 3], 'x')
        kernel = tf.constant(np.random.RandomState(0).standard_normal([3, 3, 3, 4]).astype(np.float32), name='kernel')
        output = tf.nn.convolution(x, kernel, 'SAME', dilation_rate=[2, 2]).op.name
        graph_def = graph.as_graph_def()
    feed = {'x': np.random.RandomState(0).uniform(-1, 1, [2, 8, 8, 3]).astype(np.float32)}
    config = QuantizeConfig(['x'], [output], [[-1, 8, 8, 3]], calib_iter=1, output_dir=str(tmp_path))
    model = read_graph(quantize_frozen(graph_def, lambda step: feed, config))
    expected, found, _ = both(model, ['x'], [output + '/aquant'], feed)
    assert 'BatchToSpaceND' in output and np.array_equal(expected, found)


def test_quantize_refuses_missing_packages_before_calibration(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'tf2onnx.constants', None)
    with pytest.raises(QuantizeError, match='pip install'):
        _quantize(tmp_path / 'out', lambda step: pytest.fail('calibration began'))
    assert not (tmp_path / 'out').exists()


def test_the_node_at_which_tf2onnx_fails_is_named(monkeypatch, caplog):
    def fail(ctx, node, name, args):
        raise KeyError('no such thing')

    monkeypatch.setattr(fix_neuron, 'convert_marker', fail)
    with pytest.raises(QuantizeError, match=r"tf2onnx failed at node '\w+/aquant': KeyError: 'no such thing'") as caught:
        to_onnx(convolutions(), ['input'], ['logits'])
    assert caught.value.code == errors.UNSUPPORTED_OP and 'Traceback' not in caplog.text
