"""The hard softmax, compared with its formulas in NumPy and with the exact softmax."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.combinations import each_value_once
from tests.passes.checking import apply, frozen, nodes, ops, values
from tests.support import run
from vai_q_tf.passes.dpu.replace_softmax import replace_softmax


def _graph(*shape):
    def build():
        x = tf.placeholder(tf.float32, shape, name='x')
        tf.identity(tf.nn.softmax(x, name='s'), name='out')
    return frozen(build)


def _bf(x):
    """float32 rounded to bfloat16, to nearest with ties to even, as float32."""
    bits = np.asarray(x, np.float32).view(np.uint32).astype(np.int64)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return bits.astype(np.uint32).view(np.float32)


def _bits(x):
    return (x.view(np.uint32) >> 16).astype(np.uint16)


def _from_bits(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _hard_softmax(x):
    f = np.float32
    xb = _bf(x - x.max(-1, keepdims=True))
    r = np.floor(_bf(xb * _bf(f(1.4426950408889634))))
    m = _bf(xb - _bf(r * _bf(f(0.6931471805599453))))
    p = _bf(m * f(0.21875) + f(0.486328125))
    p = _bf(m * p + f(1))
    p = _bf(m * p + f(1))
    e = _bf(_bf(np.exp2(r)) * p)
    lanes = np.zeros(x.shape[:-1] + (16,), np.float32)
    for i in range(x.shape[-1]):
        lanes[..., i % 16] += e[..., i]
    total = _bf(_bf(lanes).sum(-1, keepdims=True, dtype=np.float64).astype(np.float32))
    y = _from_bits((0x7EB5 - _bits(total).astype(np.int32)).astype(np.uint16))
    y = _bf(_bf(y * _bf(f(1.9395974))) * _bf(_bf(f(1.436142)) - y * total))
    t = _bf(f(1) - y * total)
    result = _bf(e * _bf(t * y + y))
    return np.where(np.abs(result) < np.finfo(f).tiny, f(0), result)  # TensorFlow flushes subnormal numbers


def _softmax(x):
    e = np.exp(x.astype(np.float64) - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


_SHAPES = [(50, 10), (1, 1), (7, 1000), (20, 16), (20, 17), (20, 33), (3, 4, 5, 21), (2, 8, 6), (12,)]


@pytest.mark.parametrize('shape, scale', each_value_once(_SHAPES, [0.1, 3, 30, 1000]))
def test_the_formulas(shape, scale):
    result = apply(replace_softmax, _graph(*((None,) + shape[1:] if len(shape) > 1 else shape)), ['x', 'out'])
    assert 'Softmax' not in ops(result) and list(nodes(result)['out'].input) == ['s/output_cast']
    x = values(*shape, low=-scale, high=scale)
    out = run(result, ['out'], {'x': x})[0]
    np.testing.assert_array_equal(out, _hard_softmax(x))
    assert np.abs(out - _softmax(x)).max() < 0.01


@pytest.mark.parametrize('x', [[[1e30, 0, -1e30]], [[-1e4, -1e4, -1e4]], [[200, 100, 0]], [[0, 0, 0]], [[88.8, 89, 90]]])
def test_large_logits_do_not_overflow(x):
    out = run(apply(replace_softmax, _graph(None, 3), ['x', 'out']), ['out'], {'x': np.float32(x)})[0]
    assert np.abs(out - _softmax(np.float32(x))).max() < 0.01


def test_a_protected_softmax_keeps_its_name():
    result = apply(replace_softmax, _graph(None, 10), ['x', 's'])
    x = values(4, 10)
    np.testing.assert_array_equal(run(result, ['s'], {'x': x})[0], _hard_softmax(x))


def test_two_softmaxes():
    def build():
        x = tf.placeholder(tf.float32, [None, 10], name='x')
        tf.add(tf.nn.softmax(x, name='s'), tf.nn.softmax(-x, name='s2'), name='out')
    x = values(4, 10)
    out = run(apply(replace_softmax, frozen(build), ['x', 'out']), ['out'], {'x': x})[0]
    np.testing.assert_array_equal(out, _hard_softmax(x) + _hard_softmax(-x))


@pytest.mark.parametrize('shape', [(None, None), (5, None), None])
def test_an_unknown_number_of_classes_stays(shape):
    def build():
        tf.nn.softmax(tf.placeholder(tf.float32, shape, name='x'), name='s')
    graph_def = frozen(build)
    assert apply(replace_softmax, graph_def, ['x', 's']) is graph_def


def test_the_casts_by_which_the_compiler_recognises_it():
    found = nodes(apply(replace_softmax, _graph(None, 10), ['x', 'out']))
    for name in ['exp_poly/poly_approx/alpha_{}'.format(number) for number in range(4)] + ['reciprocal/add/ones']:
        casts = [node for node in found.values() if 's/' + name in node.input]
        assert found['s/' + name].attr['dtype'].type == tf.bfloat16.as_datatype_enum
        assert [node.op for node in casts] == ['Cast']
