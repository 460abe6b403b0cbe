"""Positions by percentile and by entropy against their definitions, element by element."""
import collections
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vai_q_tf.fixed_point import POSITION_MAX, POSITION_MIN, POSITION_ZERO, quantize, search_position
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
    own = np.full(x.shape, POSITION_MIN)
    for position in range(POSITION_MIN, POSITION_MAX + 1):
        own[~outside(x, position, bits)] = position
    own[x == 0] = POSITION_ZERO
    return np.bincount(own + 128, minlength=256)


def bin_of(magnitude):
    """(exponent, index within the octave) of a positive number."""
    fraction, exponent = math.frexp(magnitude)
    return exponent, int((2 * fraction - 1) * 2**SUBBITS)


def count_magnitudes(x):
    counts = np.zeros(MAGNITUDES, np.int64)
    for value in np.abs(x[x != 0]):
        exponent, part = bin_of(float(value))
        counts[((exponent + 126) << SUBBITS) + part] += 1
    return counts


def outside(x, position, bits):
    """Which elements are more than half a step out of range."""
    levels = x.astype(np.float64) * 2.0**position
    return (levels > 2**(bits - 1) - 1 + 0.5) | (levels < -2**(bits - 1) - 0.5)


def percentile_by_definition(x, percentile, bits):
    x = x[x != 0].astype(np.float64)
    most = (100 - Fraction(str(percentile))) / 100 * len(x)
    return max(position for position in range(-60, 60) if outside(x, position, bits).sum() <= most)


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
        before, count_of, width_of = {key: float(bins[key]) for key in inside}, collections.Counter(), collections.Counter()
        for key in inside:
            count_of[level[key]] += bins[key]
            width_of[level[key]] += width[key]
        after = {key: count_of[level[key]] * width[key] / width_of[level[key]] for key in inside}
        last = bin_of(np.nextafter(limit, 0))
        if clipped[position]:
            after.setdefault(last, 1.0)
            before[last] = before.get(last, 0.0) + clipped[position]
        whole = sum(after.values())
        found[position] = sum(
            count / total * math.log((count / total) / (after[key] / whole)) for key, count in before.items())
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
    """Percentiles are exact decimals: in binary, 100 - 99.9 is less than 0.1."""
    counts = np.zeros(256, np.int64)
    counts[[128 + 2, 128 + 5]] = outside, count - outside
    assert percentile_position(counts, percentile) == 5
    counts[[128 + 2, 128 + 5]] = outside + 1, count - outside - 1
    assert percentile_position(counts, percentile) == 2


@pytest.mark.parametrize('bits', [8] + [pytest.param(bits, marks=pytest.mark.slow) for bits in (4, 16)])
def test_an_outlier_in_a_million_does_not_decide(bits):
    bulk = np.random.RandomState(3).normal(0, 0.18, 10**6).astype(np.float32)
    x = np.append(bulk, np.float32(3000))
    fits, with_outlier = (search_position(values, bits, method=0) for values in (bulk, x))
    assert fits - with_outlier >= 11
    counts = count_positions(x, bits)
    assert (percentile_position(counts, 99.99), percentile_position(counts, 100.0)) == (fits, with_outlier)
    bins = (np.abs(x[x != 0]).view(np.int32) >> (23 - SUBBITS))
    assert entropy_position(np.bincount(bins, minlength=MAGNITUDES), bits) == fits


def test_percentile_clips_a_heavy_tail():
    tail = np.append(DATA['normal'], [5e4, -7e4]).astype(np.float32)
    chosen = percentile_position(count_positions(tail, 8), 99.9)
    assert chosen == percentile_position(count_positions(DATA['normal'], 8), 100.0)
    assert outside(tail, chosen, 8).sum() == 2 and chosen - search_position(tail, 8, method=0) >= 11


@pytest.mark.parametrize('bits', [4, 8, 16])
def test_whole_ranges_are_kept(bits):
    """Clipping gains nothing on a tensor that fills its range evenly; integers are exact."""
    most = 2**(bits - 1) - 1
    x = RANDOM.randint(-most, most + 1, 20000).astype(np.float32)
    x[0] = most
    assert entropy_position(count_magnitudes(x), bits) == 0 == percentile_position(count_positions(x, bits), 100.0)
    if bits <= SUBBITS + 1:  # each integer has its own bin
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
