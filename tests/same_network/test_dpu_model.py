"""The model of the DPU rounds as the hardware does, and refuses shifts that no register can do."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import vai_q_tensorflow
from tests.same_network import dpu_model, dpu_ops


def _fix(x, position, name=None, mode=1):
    return vai_q_tensorflow.fix_neuron(x, mode=mode, phase=1, quantize_pos=position, name=name)


def _image(position=4, name='x', size=4):
    return _fix(tf.placeholder(tf.float32, [1, size, size, 1], name), position)


def _parameter(integers, position, mode=0):
    return _fix(tf.constant(np.array(integers) * 2.**-position, tf.float32), position, mode=mode)


def _conv(weight, bias=None, x=4):
    """A convolution 1x1 of an image at position x by one weight, and its bias, each an (integer, position)."""
    y = tf.nn.conv2d(_image(x), _parameter([[[[weight[0]]]]], weight[1]), 1, 'SAME')
    return y if bias is None else tf.nn.bias_add(y, _parameter([bias[0]], bias[1]))


def _feed(**integers):
    """{placeholder: an image of one value}, from {placeholder: (integer, position)}."""
    return {name: np.full([1, 4, 4, 1], integer * 2.**-position, np.float32)
            for name, (integer, position) in integers.items()}


def _integer(result, position, **fed):
    """The DPU's integer of a result at a position."""
    _fix(result, position, 'out')
    q = dpu_model.run(tf.get_default_graph().as_graph_def(), _feed(**fed))['out'].q
    assert len(np.unique(q)) == 1
    return q.ravel()[0]


@pytest.mark.parametrize('x, expected', [(4, 1), (3, 1), (2, 1), (1, 0), (-1, 0), (-2, 0), (-3, -1), (-127, -32)])
def test_a_convolution_rounds_half_up(x, expected):
    """x * 4 / 2^4"""
    assert _integer(_conv((4, 4)), 4, x=(x, 4)) == expected


@pytest.mark.parametrize('x, expected', [(127, 127), (-128, -128)])
def test_a_convolution_saturates(x, expected):
    assert _integer(_conv((127, 4)), 4, x=(x, 4)) == expected


@pytest.mark.parametrize('bias, expected', [
    ((3, 4), 12), ((1, 0), 64), ((1, 7), 1), ((-1, 7), 0), ((3, 9), 0), ((4, 9), 1), ((-4, 9), 0), ((-5, 9), -1)])
def test_a_bias_is_shifted_to_half_a_step_of_the_products(bias, expected):
    """The products, all 0, and the result are at position 6."""
    assert _integer(_conv((0, 2), bias), 6, x=(1, 4)) == expected


@pytest.mark.parametrize('x, expected', [(-109, -6), (-89, -5), (100, 50)])
def test_leaky_relu_comes_before_the_rounding(x, expected):
    """x / 2 * 26 / 256 is -5.54 and -4.52; from the rounded x / 2, -54 and -44, it would be -5.48 and -4.47."""
    assert _integer(tf.nn.leaky_relu(_conv((1, 1)), 26 / 256), 4, x=(x, 4)) == expected


def test_a_sum_keeps_two_bits_more_than_the_coarsest_input():
    """63 / 2^8 is cut from 3.9 / 2^4 to 3 / 2^4, 12 in steps of 2^-6; the other one is 16."""
    result = tf.add(_image(8), _image(2, 'y'))
    assert _integer(result, 6, x=(63, 8), y=(1, 2)) == 16 + 12
    found = dpu_model.differences(tf.get_default_graph().as_graph_def(), _feed(x=(63, 8), y=(1, 2)))
    assert found == ['out: 16 of 16 values differ']


@pytest.mark.parametrize('activation', [tf.identity, tf.nn.relu])
@pytest.mark.parametrize('first, result', [(8, 3), (9, 2), (5, -1), (4, 4)])
def test_the_bits_that_a_sum_drops_do_not_change_it_at_these_positions(activation, first, result):
    """Half a step of the result is a multiple of what it keeps."""
    x, y = np.meshgrid(np.arange(-128, 128), np.arange(-128, 128))
    _fix(activation(tf.add(_image(first, size=256), _image(2, 'y', 256))), result, 'out')
    feed = {'x': x.reshape(1, 256, 256, 1) / 2.**first, 'y': y.reshape(1, 256, 256, 1) / 2.**2}
    assert not dpu_model.differences(tf.get_default_graph().as_graph_def(), feed)


@pytest.mark.parametrize('x, expected', [(127, 96), (96, 96), (95, 95), (-5, 0)])
def test_relu6_clips_at_96_steps_of_position_4(x, expected):
    assert _integer(tf.nn.relu6(_conv((1, 0))), 4, x=(x, 4)) == expected


@pytest.mark.parametrize('position', range(7))
def test_a_hard_sigmoid_is_a_multiplication_and_a_shift(position):
    x = np.arange(-128, 128)
    product = x * 2731 + 3 * 2731 * 2**position
    expected = np.clip(np.floor(np.maximum(product, 0) / 2.**(7 + position) + 0.5), 0, 127)
    y = tf.nn.relu6(_image(position, size=16) + 3.) * tf.constant(1 / 6.) * tf.constant([6 * 2731 / 2.**14])
    _fix(y, 7, 'out')
    model, feed = tf.get_default_graph().as_graph_def(), {'x': (x * 2.**-position).reshape([1, 16, 16, 1]).astype(np.float32)}
    np.testing.assert_array_equal(dpu_model.run(model, feed)['out'].q.ravel(), expected)
    assert not dpu_model.differences(model, feed)


@pytest.mark.parametrize('position, expected', [(4, 5), (7, 39)])
def test_an_average_is_a_sum_a_multiplication_and_a_shift(position, expected):
    """9 * 5 * 7 / 2^6 = 4.92, and 8 times that is 39.4; the rounded average would be 5, and 8 times that 40."""
    assert _integer(tf.nn.avg_pool(_image(), 3, 1, 'VALID') * tf.constant([63 / 64]), position, x=(5, 4)) == expected


def test_an_average_divides_by_the_whole_window_at_the_border():
    _fix(tf.nn.avg_pool(_image(), 3, 1, 'SAME') * tf.constant([63 / 64]), 4, 'out')
    model, feed = tf.get_default_graph().as_graph_def(), _feed(x=(64, 4))
    q = dpu_model.run(model, feed)['out'].q[0, :, :, 0]
    np.testing.assert_array_equal(q, [[28, 42, 42, 28], [42, 63, 63, 42], [42, 63, 63, 42], [28, 42, 42, 28]])
    assert dpu_model.differences(model, feed) == ['out: 12 of 16 values differ']


@pytest.mark.parametrize('size, expected', [(3, (7, 6)), (5, (10, 8)), (6, (7, 8)), (7, (21, 10)), (14, (21, 12)), (2, (1, 2)),
                                            (9, (101, 13)), (10, (41, 12)), (20, (41, 14)), (32, (1, 10))])
def test_reciprocals_of_windows(size, expected):
    assert dpu_ops.reciprocal(size, size) == expected


@pytest.mark.parametrize('padding', ['SAME', 'VALID'])
@pytest.mark.parametrize('build', [
    lambda x, padding: tf.nn.conv2d(x, _weights([3, 2, 3, 4]), [1, 2, 1, 1], padding),
    lambda x, padding: tf.nn.conv2d(x, _weights([3, 2, 3, 4]), 1, padding, dilations=[1, 2, 1, 1]),
    lambda x, padding: tf.nn.depthwise_conv2d(x, _weights([3, 2, 3, 2]), [1, 2, 2, 1], padding),
    lambda x, padding: tf.nn.max_pool(x, [3, 2], [2, 1], padding),
    lambda x, padding: tf.nn.conv2d_transpose(
        x, _weights([3, 2, 4, 3]), [2, 16 + (padding == 'VALID'), 16, 4], 2, padding),
    lambda x, padding: tf.nn.conv3d(tf.expand_dims(x, 4), _weights([3, 2, 2, 1, 2]), [1, 2, 1, 1, 1], padding)],
    ids=['strides', 'dilations', 'depthwise', 'max pool', 'transposed', 'three axes'])
def test_windows_are_where_tensorflow_has_them(build, padding):
    _fix(build(_fix(tf.placeholder(tf.float32, [2, 8, 8, 3], 'x'), 4), padding), 4, 'out')
    feed = {'x': np.random.RandomState(0).normal(size=[2, 8, 8, 3]).astype(np.float32)}
    assert not dpu_model.differences(tf.get_default_graph().as_graph_def(), feed)


def _weights(shape):
    return _parameter(np.random.RandomState(1).randint(-30, 30, shape), 6)


@pytest.mark.parametrize('build, message', [
    (lambda: _fix(_conv((1, 0)), 5), 'shift_cut -1'),
    (lambda: _fix(_conv((1, 13)), 0), 'shift_cut 17'),
    (lambda: _fix(_conv((1, 2), (1, -11)), 4), 'shift_bias 17, at least -14'),
    (lambda: _fix(_conv((1, 2), (1, 21)), 4), 'shift_bias -15, at least -14'),
    (lambda: _fix(tf.nn.relu(_conv((1, 0))), 5), 'shift_cut -1'),
    (lambda: _fix(_image(20) + _image(4, 'y'), 4), 'shift_read 16'),
    (lambda: _fix(_image(4) + _image(4, 'y'), -12), 'shift_write 16'),
    (lambda: _fix(_image(4) * _image(4, 'y'), 9), 'shift_write -1'),
    (lambda: _fix(tf.nn.max_pool(_image(4), 2, 2, 'SAME'), 12), 'shift of a pool -8'),
    (lambda: _fix(tf.nn.avg_pool(_image(4), 2, 2, 'SAME') * tf.constant([1.]), -4), 'shift of a pool 8'),
    (lambda: _fix(tf.nn.avg_pool(_image(4), 3, 1, 'VALID') * tf.constant([1.]), 4), 'multiplies by'),
    (lambda: _fix(tf.nn.relu6(_conv((1, 0))), 3), 'relu6 3'),
    (lambda: _fix(tf.nn.leaky_relu(_conv((1, 0)), 0.1), 4), 'slope 0.1'),
    (lambda: _fix(tf.nn.relu6(_image(4) + 3.) * (1 / 6.), 6), 'hard sigmoid 6'),
    (lambda: _fix(tf.nn.relu6(_image(4) + 3.) * 0.2, 7), 'not 1/6'),
    (lambda: tf.concat([_image(4), _image(5, 'y')], 3), 'positions [4, 5]'),
    (lambda: _fix(tf.reshape(_image(4), [1, 16]), 5), 'position 4 to position 5'),
    (lambda: _fix(tf.split(_image(4), 2, 1)[1], 5), 'position 4 to position 5'),
    (lambda: _parameter([0.], 127), 'position 127'),
    (lambda: tf.exp(_image(4)), 'no arithmetic'),
    (lambda: _image(4) * 2., 'not quantized'),
    (lambda: _conv((1, 0)) + _image(4, 'y'), 'not quantized')])
def test_refused_ops(build, message):
    build()
    found = dpu_model.differences(tf.get_default_graph().as_graph_def(), _feed(x=(1, 4), y=(1, 4)))
    assert len(found) == 1 and message in found[0]


def test_a_float_op_reads_and_returns_values():
    x = tf.nn.softmax(_image(4, size=2))
    _fix(tf.nn.conv2d(_fix(x, 7, 'soft'), _parameter([[[[64]]]], 6), 1, 'SAME'), 7, 'out')
    values = dpu_model.run(tf.get_default_graph().as_graph_def(), {'x': np.zeros([1, 2, 2, 1], np.float32)})
    assert isinstance(values['Softmax'], dpu_model.Float) and set(values['out'].q.ravel()) == {127}


_UNLIKE = [
    (lambda: tf.nn.avg_pool(_image(), 3, 1, 'SAME') * tf.constant([63 / 64]), 4, (64, 4)),
    (lambda: tf.add(_image(8), _image(2, 'y')), 6, (63, 8)),
    (lambda: tf.add(_image(8), _image(2, 'y')), 4, (31, 8)),
    (lambda: tf.nn.leaky_relu(tf.add(_image(6), _image(2, 'y')), 26 / 256), 3, (-55, 6)),
    (lambda: tf.nn.relu6(_conv((1, 0))), 3, (126, 4)),
    (lambda: tf.nn.leaky_relu(_conv((1, 0), (1, 6)), 26 / 256), 4, (-5, 4)),
    (lambda: tf.image.resize_bilinear(_image(), [8, 8]), 4, (5, 4)),
    (lambda: tf.reduce_mean(_image(), [1, 2]), 4, (5, 4))]


def _fed(x):
    """`_feed` of the placeholders of the graph."""
    names = [op.name for op in tf.get_default_graph().get_operations() if op.type == 'Placeholder']
    return _feed(**{name: x if name == 'x' else (1, 2) for name in names})


@pytest.mark.parametrize('build, position, x', _UNLIKE)
def test_known_differences_from_tensorflow(build, position, x):
    """A known difference may be ignored, but not its effect downstream."""
    _fix(build(), position, 'first')
    model = tf.get_default_graph().as_graph_def()
    assert dpu_model.differences(model, _fed(x))
    assert not dpu_model.differences(model, _fed(x), but_for_unlike=True)
    _fix(tf.get_default_graph().get_tensor_by_name('first:0') * 2., position, 'behind')
    found = dpu_model.differences(tf.get_default_graph().as_graph_def(), _fed(x), but_for_unlike=True)
    assert len(found) == 1 and 'not quantized' in found[0]


@pytest.mark.parametrize('build, position, message', [
    (lambda: tf.nn.avg_pool(_image(), 3, 1, 'SAME') * tf.constant([63 / 64]), -4, 'shift of a pool 8'),
    (lambda: tf.add(_image(18), _image(2, 'y')), 6, 'shift_read 16'),
    (lambda: tf.nn.relu6(_conv((1, 20))), 3, 'shift_cut 21'),
    (lambda: tf.image.resize_bilinear(_image(), [8, 8]), 127, 'position 127')])
def test_ignored_differences_need_legal_shifts_and_positions(build, position, message):
    _fix(build(), position, 'out')
    found = dpu_model.differences(tf.get_default_graph().as_graph_def(), _fed((5, 4)), but_for_unlike=True)
    assert len(found) == 1 and message in found[0]
