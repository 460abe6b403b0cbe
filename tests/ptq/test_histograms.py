"""Positions by percentile and by entropy against their definitions, written out element by element."""
import collections
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vai_q_tf.fixed_point import POSITION_MAX, POSITION_ZERO, limits, quantize, search_position
from vai_q_tf.ptq.calibration.histograms import (
    MAGNITUDES,
    SUBBITS,
    divergence,
    entropy_position,
    magnitudes,
    percentile_position,
)

RANDOM = np.random.RandomState(5)
DATA = {
    'normal': RANDOM.normal(0, 3, 3000), 'positive': np.maximum(RANDOM.normal(0, 0.01, 3000), 0),
    'heavy': RANDOM.standard_t(2, 3000), 'uniform': RANDOM.uniform(-1, 1, 3000), 'negative': -RANDOM.exponential(200, 1000),
    'integers': RANDOM.randint(-100, 101, 2000), 'wide': RANDOM.lognormal(0, 6, 2000), 'few': np.array([0.7, -0.3, 5.0]),
    'clipped': np.clip(RANDOM.normal(0, 4, 2000), 0, 6)}
DATA = {name: np.asarray(values, np.float32) for name, values in DATA.items()}
WIDTHS = (2, 4, 8, 9, 16)


def count_positions(x, bits):
    counts = np.zeros(256, np.int64)
    for value in x:
        counts[search_position(value, bits, method=0) + 128] += 1
    return counts


def bin_of(magnitude):
    """(exponent, number of the part of its octave) of a positive number."""
    fraction, exponent = math.frexp(magnitude)
    return exponent, int((2 * fraction - 1) * 2**SUBBITS)


def count_magnitudes(x):
    counts = np.zeros(MAGNITUDES, np.int64)
    for value in np.abs(x[x != 0]):
        exponent, part = bin_of(float(value))
        counts[((exponent + 126) << SUBBITS) + part] += 1
    return counts


def leaving(x, position, bits):
    """How many elements are more than half a step outside."""
    low, high = limits(position, bits)
    half = 0.5 * 2.0**-position
    return int(((x > high + half) | (x < low - half)).sum())


def percentile_by_definition(x, percentile, bits):
    x = x[x != 0].astype(np.float64)
    most = (100 - Fraction(str(percentile))) / 100 * len(x)
    return max(position for position in range(-60, 60) if leaving(x, position, bits) <= most)


def divergences_by_definition(x, bits):
    """{candidate: divergence}"""
    bins = collections.Counter(bin_of(abs(float(value))) for value in x if value)
    lower = {key: math.ldexp(1 + key[1] / 2**SUBBITS, key[0] - 1) for key in bins}
    total = sum(bins.values())
    clipped = {position: sum(count for key, count in bins.items() if lower[key] >= (2**(bits - 1) - 0.5) * 2.0**-position)
               for position in range(-60, 60)}
    first = max(position for position in clipped if clipped[position] == 0)
    found = {}
    for position in range(first, 60):
        if 2 * clipped[position] > total:
            break
        limit, step = (2**(bits - 1) - 0.5) * 2.0**-position, 2.0**-position
        inside = [key for key in bins if lower[key] < limit]
        width = {key: math.ldexp(2.0**-SUBBITS, key[0] - 1) for key in inside}
        level = {key: math.floor(lower[key] / step + 0.5) for key in inside}
        before, after = {key: float(bins[key]) for key in inside}, {}
        for key in inside:
            peers = [other for other in inside if level[other] == level[key]]
            after[key] = sum(bins[other] for other in peers) * width[key] / sum(width[other] for other in peers)
        last = bin_of(np.nextafter(limit, 0))
        if clipped[position]:
            after.setdefault(last, 1.0)
            before[last] = before.get(last, 0.0) + clipped[position]
        found[position] = sum(
            before[key] / total * math.log((before[key] / total) / (after[key] / sum(after.values()))) for key in before)
    return found


@pytest.mark.parametrize('bits', WIDTHS)
@pytest.mark.parametrize('name', sorted(DATA))
def test_percentiles_by_definition(name, bits):
    counts = count_positions(DATA[name], bits)
    for percentile in (50.001, 75.0, 90.0, 99.0, 99.9, 99.99, 100.0):
        expected = percentile_by_definition(DATA[name], percentile, bits)
        assert percentile_position(counts, percentile) == expected, percentile
    assert percentile_position(counts, 100.0) == search_position(DATA[name], bits, method=0)


@pytest.mark.parametrize('bits', WIDTHS)
@pytest.mark.parametrize('name', sorted(DATA))
def test_entropy_by_definition(name, bits):
    expected = divergences_by_definition(DATA[name], bits)
    counts = count_magnitudes(DATA[name])
    occupied = np.flatnonzero(counts)
    for position, value in expected.items():
        found = divergence(counts[occupied].astype(float), *magnitudes(occupied), position, bits)
        assert found == pytest.approx(value, rel=1e-9, abs=1e-12), position
    chosen = entropy_position(counts, bits)
    assert chosen in expected and expected[chosen] <= min(expected.values()) + 1e-12


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=20), st.sampled_from(WIDTHS),
       st.sampled_from([60.0, 87.5, 95.0, 100.0]))
def test_percentiles_of_few_numbers(values, bits, percentile):
    x = np.array(values, np.float32)
    x = x[np.abs(x) > 1e-9]
    if x.size:
        assert percentile_position(count_positions(x, bits), percentile) == percentile_by_definition(x, percentile, bits)


@pytest.mark.parametrize('percentile, count, outside', [(99.9, 1000, 1), (99.99, 10000, 1), (99.0, 700, 7), (99.93, 10000, 7)])
def test_the_share_is_exact(percentile, count, outside):
    """Decimals as they are written: 100 - 99.9 is less than 0.1 in binary."""
    counts = np.zeros(256, np.int64)
    counts[[128 + 2, 128 + 5]] = outside, count - outside
    assert percentile_position(counts, percentile) == 5
    counts[[128 + 2, 128 + 5]] = outside + 1, count - outside - 1
    assert percentile_position(counts, percentile) == 2


@pytest.mark.parametrize('bits', [4, 8, 16])
def test_an_outlier_in_a_million_does_not_decide(bits):
    bulk = np.clip(np.random.RandomState(3).normal(0, 0.25, 1000001), -0.9, 0.9).astype(np.float32)
    octaves = np.append(bulk, np.float32(3000))
    own = np.array([search_position(value, bits, method=0) for value in (0.9, 3000)])
    assert own[0] - own[1] >= 11
    counts = np.zeros(256, np.int64)
    counts[own + 128] = 1000001, 1
    assert percentile_position(counts, 99.99) == own[0] and percentile_position(counts, 100.0) == own[1]
    indices = octaves[octaves != 0].view(np.int32) & 0x7fffffff
    assert entropy_position(np.bincount(indices >> (23 - SUBBITS), minlength=MAGNITUDES), bits) == own[0]
    assert search_position(octaves, bits, method=0) == own[1]


def test_percentile_clips_a_heavy_tail():
    tail = np.append(DATA['normal'], [5e4, -7e4]).astype(np.float32)
    chosen = percentile_position(count_positions(tail, 8), 99.9)
    assert chosen == percentile_position(count_positions(DATA['normal'], 8), 100.0)
    assert leaving(tail, chosen, 8) == 2 and chosen - search_position(tail, 8, method=0) >= 11


@pytest.mark.parametrize('bits', [4, 8, 16])
def test_whole_ranges_are_kept(bits):
    """A tensor that fills its range evenly has nothing to gain from clipping; integers are exact."""
    most = 2**(bits - 1) - 1
    x = RANDOM.randint(-most, most + 1, 20000).astype(np.float32)
    x[0] = most
    assert entropy_position(count_magnitudes(x), bits) == 0 == percentile_position(count_positions(x, bits), 100.0)
    if bits <= SUBBITS + 1:  # each integer has a bin of its own
        occupied = np.flatnonzero(count_magnitudes(x))
        assert divergence(count_magnitudes(x)[occupied].astype(float), *magnitudes(occupied), 0, bits) == pytest.approx(0)
    assert (quantize(x, 0, bits) == x).all()


def test_nothing_but_zeros():
    positions, octaves = np.zeros(256, np.int64), np.zeros(MAGNITUDES, np.int64)
    for _ in range(2):
        assert percentile_position(positions, 99.99) == POSITION_ZERO and entropy_position(octaves, 8) == POSITION_ZERO
        positions[255] = octaves[0] = octaves[(1 << SUBBITS) - 1] = octaves[255 << SUBBITS] = octaves[-1] = 9


def test_zeros_do_not_outnumber_the_others():
    counts = np.zeros(256, np.int64)
    counts[[128 + 3, 255]] = 40, 10**6
    assert percentile_position(counts, 99.99) == 3
    x = np.append(np.zeros(5000, np.float32), DATA['normal'])
    assert entropy_position(count_magnitudes(x), 8) == entropy_position(count_magnitudes(DATA['normal']), 8)


def test_the_ends_of_the_positions():
    for value, expected in ((1.2e-38, POSITION_MAX), (3e38, 8 - 1 - 128)):
        x = np.array([value], np.float32)
        assert entropy_position(count_magnitudes(x), 8) == expected == percentile_position(count_positions(x, 8), 99.99)


def test_of_equal_ones_entropy_takes_the_smallest():
    x = np.full(100, 1.0, np.float32)
    assert divergences_by_definition(x, 8) == {6: 0}
    x = np.array([4.0, 1.0, 1.0, 1.0], np.float32)
    found = divergences_by_definition(x, 8)
    assert entropy_position(count_magnitudes(x), 8) == min(found, key=lambda position: (found[position], position)) == 4
