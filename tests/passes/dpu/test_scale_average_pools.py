"""The factor between the DPU's average pooling and the exact one."""
import os
import re
from fractions import Fraction

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.passes.checking import apply, config, frozen, nodes, ops, values
from tests.support import run
from vai_q_tf.passes.dpu.scale_average_pools import factor, scale_average_pools


def _pool(kernel, data_format='NHWC'):
    def build():
        shape = [None, 3, 300, 300] if data_format == 'NCHW' else [None, 300, 300, 3]
        x = tf.placeholder(tf.float32, shape, name='x')
        tf.identity(tf.nn.avg_pool2d(x, kernel, kernel, 'VALID', data_format, name='p'), name='out')
    return frozen(build)


# Measured in models of the Vitis AI quantizer.
@pytest.mark.parametrize('height,width,expected', [
    (3, 3, 0.984375), (5, 5, 0.9765625), (6, 6, 0.984375), (7, 7, 1.0048828125), (14, 14, 1.0048828125),
    (9, 9, 0.99865723), (10, 10, 1.0009766), (11, 11, 1.0043945), (12, 12, 1.0019531), (13, 13, 1.0005493),
    (15, 15, 1.0025024), (17, 17, 0.99661255), (18, 18, 0.99865723), (19, 19, 1.002533), (20, 20, 1.0009766),
    (2, 3, 0.99609375), (3, 5, 0.99609375), (7, 5, 0.99975586), (8, 7, 0.9980469), (1, 7, 0.9980469),
    (1, 1, 1), (2, 2, 1), (4, 4, 1), (8, 8, 1), (16, 16, 1), (2, 4, 1), (256, 256, 1)])
def test_factors(height, width, expected):
    assert factor(height, width) == np.float32(expected) and factor(height, width).dtype == np.float32
    assert factor(width, height) == factor(height, width)


@pytest.mark.parametrize('size', [(2, 3), (9, 9), (21, 21), (30, 31), (97, 89), (251, 256)])
def test_no_other_reciprocal_of_so_many_bits_is_nearer(size):
    elements = size[0] * size[1]
    chosen = Fraction(float(factor(*size))) / elements
    limit = 128 * elements
    candidates = [Fraction(k, 2 ** n) for n in range(limit.bit_length()) if 2 ** n < limit
                  for k in {2 ** n // elements, 2 ** n // elements + 1}]
    nearest = min(abs(candidate - Fraction(1, elements)) for candidate in candidates)
    assert abs(abs(chosen - Fraction(1, elements)) - nearest) < Fraction(1, 10 ** 6 * elements)


def test_the_documented_table():
    root = os.path.abspath(os.path.join(os.path.dirname(__file__), '..', '..', '..'))
    with open(os.path.join(root, 'docs', 'background', 'dpu.md')) as file:
        rows = re.findall(r'^\| (\d+)x(\d+) \| (\d+)/(\d+) \| ([\d.]+) \|$', file.read(), re.MULTILINE)
    assert len(rows) > 20
    for height, width, rounded, power, documented in rows:
        size = int(height) * int(width)
        assert str(factor(int(height), int(width))) == documented
        assert np.float32(int(rounded) / int(power)) * np.float32(size) == factor(int(height), int(width))


@pytest.mark.parametrize('data_format', ['NHWC', 'NCHW'])
def test_the_result_is_scaled(data_format):
    result = apply(scale_average_pools, _pool([7, 5], data_format), ['x', 'out'])
    assert ops(result) == ['AvgPool', 'Identity', 'Mul']
    by_name = nodes(result)
    assert by_name['p'].op == 'AvgPool' and list(by_name['p/mul'].input) == ['p', 'p/scale_value']
    assert list(by_name['out'].input) == ['p/mul']
    scale = tf.make_ndarray(by_name['p/scale_value'].attr['value'].tensor)
    assert scale.shape == (1,) and scale == np.float32(0.99975586)
    if data_format == 'NHWC':  # TensorFlow pools no NCHW on a CPU
        x = values(1, 300, 300, 3)
        pooled, out = run(result, ['p', 'out'], {'x': x})
        np.testing.assert_array_equal(out, pooled * np.float32(0.99975586))


def test_a_protected_pool_has_the_scaled_result():
    graph_def = _pool([3, 3])
    result = apply(scale_average_pools, graph_def, ['x', 'p'])
    assert nodes(result)['p'].op == 'Mul' and nodes(result)['p/avgpool'].op == 'AvgPool'
    x = {'x': values(1, 300, 300, 3)}
    np.testing.assert_array_equal(run(result, ['p'], x)[0], run(graph_def, ['p'], x)[0] * np.float32(0.984375))


def test_a_factor_of_one_is_inserted_as_well():
    assert ops(apply(scale_average_pools, _pool([4, 4]), ['x', 'out'])) == ['AvgPool', 'Identity', 'Mul']


@pytest.mark.parametrize('kernel,every,scaled', [
    ([3, 3], 0, True), ([14, 14], 0, True), ([9, 9], 0, False), ([3, 5], 0, False), ([2, 2], 0, False),
    ([256, 256], 1, True), ([257, 1], 1, False), ([1, 257], 1, False)])
def test_which_sizes(kernel, every, scaled):
    result = apply(scale_average_pools, _pool(kernel), ['x', 'out'], config(scale_all_avgpool=every))
    assert ('Mul' in ops(result)) == scaled


@pytest.mark.parametrize('swapped', [False, True])
def test_a_multiplication_in_the_network_is_not_the_factor(swapped):
    def build():
        pool = tf.nn.avg_pool2d(tf.placeholder(tf.float32, [None, 6, 6, 3], name='x'), 3, 3, 'VALID', name='p')
        half = tf.constant(0.5)
        tf.multiply(*((half, pool) if swapped else (pool, half)), name='out')
    assert ops(apply(scale_average_pools, frozen(build), ['x', 'out'])) == ['AvgPool', 'Mul', 'Mul']


@pytest.mark.parametrize('data_format', ['NHWC', 'NCHW'])
@pytest.mark.parametrize('padding', ['SAME', 'VALID'])
@pytest.mark.parametrize('size', [(6, 6), (7, 6), (6, 9)])
@pytest.mark.parametrize('kernel, stride', [((1, 1), 2), ((2, 2), 2), ((3, 3), 1), ((3, 3), 3), ((1, 3), 3), ((2, 3), 4)])
def test_a_warning_about_windows_beyond_the_border(caplog, kernel, stride, size, padding, data_format):
    """There a window of ones sums up to less than its size."""
    def pool(x, name=None):
        window, strides = list(kernel), [stride, stride]
        window, strides = [([1, 1] + two if data_format == 'NCHW' else [1] + two + [1]) for two in (window, strides)]
        return tf.nn.avg_pool2d(x, window, strides, padding, data_format, name=name)

    def build():
        shape = [None, 3, *size] if data_format == 'NCHW' else [None, *size, 3]
        tf.identity(pool(tf.placeholder(tf.float32, shape, name='x'), 'p'), name='out')

    apply(scale_average_pools, frozen(build), ['x', 'out'])
    with tf.Graph().as_default(), tf.Session() as session:
        ones = tf.ones([1, *size, 1])
        sums = session.run(tf.nn.conv2d(ones, tf.ones([*kernel, 1, 1]), stride, padding))
    assert ('cells inside: p.' in caplog.text) == (sums.min() < np.prod(kernel))


def test_a_warning_about_overlapping_windows_of_an_unknown_size(caplog):
    def build():
        x = tf.placeholder(tf.float32, [None, None, None, 3], name='x')
        x = tf.nn.avg_pool2d(x, 3, 1, 'SAME', name='overlapping')
        tf.identity(tf.nn.avg_pool2d(x, 2, 2, 'SAME', name='side_by_side'), name='out')
    apply(scale_average_pools, frozen(build), ['x', 'out'])
    assert 'cells inside: overlapping.' in caplog.text
