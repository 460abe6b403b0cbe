"""Tensors for tests: the cases measured on vai_q_tensorflow, and random values mixed with hostile ones."""
import hashlib
import json
import os

import numpy as np
from hypothesis import strategies as st

_GOLDEN = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'golden', 'op')

# Around the vectors of every instruction set, the 32 lanes and the 2048 elements of a block.
SIZES = (0, 1, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 2047, 2048, 2049, 2079, 2080, 4096, 5000, 6145)

HOSTILE = np.array([
    0.0, -0.0, 0.5, -0.5, 1.5, -1.5, 2.5, -2.5, 0.49999997, -0.49999997, 0.50000006, -0.50000006, 8388607.5, -8388607.5,
    8388608.0, 127.5, -128.5, 1e30, -1e30, 3.4028235e38, -3.4028235e38, 1.1754944e-38, -1.1754944e-38, 1e-40, -1e-40,
    1e-45, 5.877472e-39, 1e-30, np.inf, -np.inf, np.nan, -np.nan
], np.float32)


def golden_inputs():
    with np.load(os.path.join(_GOLDEN, 'inputs.npz')) as inputs:
        return {name: inputs[name] for name in inputs.files}


def _golden_cases():
    with open(os.path.join(_GOLDEN, 'cases.json')) as file:
        return json.load(file)


def evaluation_cases():
    """[(name, x, position, mode, rounding override, narrow_range, expected)] at 8 bits."""
    cases = []
    for name, case in sorted(_golden_cases().items()):
        if not name.startswith('eval_'):
            continue
        _, mode, setting = name.split('_')
        mode = int(mode[len('mode'):])
        position = int(setting[len('pos'):]) if setting.startswith('pos') else 0
        cases.append((name, np.array(case['x'], np.float32), position, mode,
                      'half_away' if setting == 'noacc' else None, setting == 'adf8h' and mode == 1,
                      np.array(case['y'], np.float32)))
    return cases


def search_cases():
    """[(data, bits, method, mode, phase, positions, md5 of the outputs)]; inputs are <data>_0 to <data>_4."""
    cases = []
    for name, case in sorted(_golden_cases().items()):
        if not name.startswith('eval_'):
            data, bits, method, mode, phase = name.rsplit('_', 4)
            attrs = [int(bits[1:]), int(method[2:]), int(mode[2:]), int(phase[2:])]
            cases.append((data, *attrs, case['pos'], case['ymd5']))
    return cases


def md5(array):
    return hashlib.md5(array.tobytes()).hexdigest()


def same_bits(a, b):
    """Equal with the signs of zeros and the bits of NaN."""
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def same_numbers(a, b):
    """Equal with the signs of zeros; any NaN equals any other."""
    return same_bits(np.where(np.isnan(a), np.float32(np.nan), a), np.where(np.isnan(b), np.float32(np.nan), b))


@st.composite
def tensors(draw, sizes=SIZES):
    """Random float32 vectors: a distribution at a random scale, many exact halves of steps, some hostile values."""
    size = draw(st.sampled_from(sizes))
    random = np.random.RandomState(draw(st.integers(0, 2**32 - 1)))
    scale = 2.0**draw(st.integers(-130, 120))
    spread = draw(st.sampled_from(['normal', 'heavy', 'halves', 'positive', 'constant']))
    values = {
        'normal': lambda: random.standard_normal(size),
        'heavy': lambda: random.standard_t(2, size),
        'halves': lambda: random.randint(-600, 600, size) / 2.0,
        'positive': lambda: random.uniform(0, 6, size),
        'constant': lambda: np.full(size, random.standard_normal()),
    }[spread]()
    with np.errstate(over='ignore'):
        x = (values * scale).astype(np.float32)
    if draw(st.booleans()):
        where = random.uniform(size=size) < draw(st.sampled_from([0.02, 0.3, 1.0]))
        x[where] = random.choice(HOSTILE, where.sum())
    return x


def any_bits(size):
    """float32 [size] of random bits, many of them NaN, after some hostile values."""
    x = np.random.RandomState(size).randint(0, 2**32, size, dtype=np.uint32)
    x[::7] |= 0x7f800000
    x = x.view(np.float32)
    x[:HOSTILE.size] = HOSTILE[:size]
    return x


@st.composite
def scaled_tensors(draw, sizes=SIZES):
    """(x, scale, rescale, inner): a tensor as above with two factors per channel, some of them hostile."""
    x = draw(tensors(sizes))
    channels = draw(st.sampled_from([n for n in (1, 2, 3, 5, 16, 17, 64, 2048) if x.size % n == 0]))
    inner = draw(st.sampled_from([n for n in (1, 2, 7, 64, 2048, x.size) if n and x.size // channels % n == 0]))
    random = np.random.RandomState(draw(st.integers(0, 2**32 - 1)))
    factors = random.standard_normal([2, channels]).astype(np.float32)
    if draw(st.booleans()):
        where = random.uniform(size=factors.shape) < draw(st.sampled_from([0.1, 0.6]))
        factors[where] = random.choice(HOSTILE, where.sum())
    return (x, *factors, inner)


# (below, above)
windows = st.sampled_from([(0, 4), (0, 0), (5, 10), (18, 18), (0, 36), (36, 0)])
positions = st.one_of(st.integers(-126, 127), st.integers(-4, 12), st.sampled_from([-126, -125, -122, 125, 126, 127]))
ties = st.sampled_from([1.0, 1.3, 100.0])
bit_widths = st.one_of(st.integers(1, 24), st.just(8))
