"""The counting ops against the quantizer's rule for each element, and against the bits of float32."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf.fixed_point import search_position
from vai_q_tf.ptq.calibration.counting import count_magnitudes, count_positions
from vai_q_tf.ptq.calibration.histograms import MAGNITUDES, SUBBITS, magnitudes

RANDOM = np.random.RandomState(1)


def run(count, x, *settings):
    with tf.Graph().as_default(), tf.Session() as session:
        source = tf.placeholder(tf.float32)
        return session.run(count(source, *settings), {source: x})


def edges(bits):
    """Numbers on both sides of the ends of ranges, NaN, infinities, zeros and subnormals."""
    ends = [sign * (2.0**(bits - 1) + offset) * 2.0**-position
            for position in (-100, -3, 0, 4, 90) for offset in (-1, -0.5, 0, 0.5, 1) for sign in (1, -1)]
    ends = np.float32(ends + [3.4e38, -3.4e38, np.finfo(np.float32).tiny, -np.finfo(np.float32).tiny])
    return np.concatenate([ends, np.nextafter(ends, np.float32(np.inf)), np.nextafter(ends, np.float32(-np.inf)),
                           np.float32([0, -0.0, 1e-45, -1e-40, np.inf, -np.inf, np.nan, -np.nan])])


@pytest.mark.parametrize('bits', [1, 2, 4, 8, 9, 16, 23, 24])
def test_counts_of_positions(bits):
    x = np.concatenate([edges(bits), (RANDOM.normal(size=300) * 10.0**RANDOM.randint(-38, 38, 300)).astype(np.float32)])
    expected = np.zeros(256, int)
    for value in x:
        expected[search_position(value, bits, method=0) + 128] += 1
    assert run(count_positions, x, bits).tolist() == expected.tolist()


def test_counts_of_magnitudes():
    x = np.concatenate([edges(8), (RANDOM.normal(size=500) * 10.0**RANDOM.randint(-30, 30, 500)).astype(np.float32)])
    found = run(count_magnitudes, x)
    assert found.shape == (MAGNITUDES,) and found.sum() == x.size
    finite = np.abs(x[np.isfinite(x)]).astype(np.float64)
    normal = range(1 << SUBBITS, 255 << SUBBITS)
    lower, upper = magnitudes(np.array(normal))
    assert (lower[1:] == upper[:-1]).all() and np.allclose((upper - lower) * 2**SUBBITS, 2.0**np.floor(np.log2(lower)), rtol=0)
    for index in np.flatnonzero(found):
        if index in normal:
            low, high = magnitudes(np.array([index]))
            assert found[index] == ((finite >= low) & (finite < high)).sum(), index
    assert found[:1 << SUBBITS].sum() == (finite < np.finfo(np.float32).tiny).sum()
    assert found[255 << SUBBITS:].sum() == 4


@pytest.mark.parametrize('count, settings', [(count_positions, (8,)), (count_magnitudes, ())])
def test_batches_add_up_to_a_large_one(count, settings):
    x = RANDOM.standard_t(2, [4, 3, 5, 7]).astype(np.float32)
    assert (sum(run(count, part, *settings) for part in (x[:1], x[1:], x[:0])) == run(count, x, *settings)).all()
    assert run(count, np.float32(2.5), *settings).sum() == 1
