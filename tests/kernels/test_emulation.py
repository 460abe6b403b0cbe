"""The CUDA source, compiled for the CPU, against the CPU kernels or their definition, bit for bit."""
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.kernels import building, folding
from tests.kernels.cuda_library import CudaLibrary
from tests.ops import running, samples
from vai_q_tf import fixed_point, position_histogram

few = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
modes = st.sampled_from([0, 1, 2])


@pytest.fixture(scope='module')
def emulation(tmp_path_factory):
    build = str(tmp_path_factory.mktemp('emulation'))
    building.run_make('emulation', 'BUILD=' + build, 'NVCC=', 'CXXFLAGS=-O1')
    return CudaLibrary(build + '/libvai_q_tf_emulation.so')


@few
@given(x=samples.tensors(), position=samples.positions, bits=samples.bit_widths, mode=modes, narrow_range=st.booleans(),
       keep_non_finite=st.booleans())
def test_forward(emulation, x, position, bits, mode, narrow_range, keep_non_finite):
    error, y = emulation.quantize(x, position, bits, mode, narrow_range, keep_non_finite)
    assert error == 0
    expected = fixed_point.quantize(x, position, bits, fixed_point.rounding_of(mode), narrow_range, keep_non_finite)
    assert samples.same_numbers(y, expected)


@few
@given(x=samples.tensors(), position=samples.positions, bits=samples.bit_widths, narrow_range=st.booleans())
def test_gradient(emulation, x, position, bits, narrow_range):
    dy = np.random.RandomState(x.size).standard_normal(x.size).astype(np.float32)
    error, dx = emulation.gradient(dy, x, position, bits, narrow_range)
    assert error == 0
    assert samples.same_bits(dx, running.gradient(bits, narrow_range)(dy, x, position))


@few
@given(x=samples.tensors(), bits=samples.bit_widths, method=st.sampled_from([0, 1, 2]), mode=modes,
       narrow_range=st.booleans(), tie=samples.ties)
def test_search(emulation, x, bits, method, mode, narrow_range, tie):
    expected = running.search_position(bits, method, mode, narrow_range, tie)(x)
    assert emulation.search(x, bits, method, mode, narrow_range, tie) == (0, expected)


@few
@given(case=samples.scaled_tensors(), position=samples.positions, bits=samples.bit_widths, mode=modes,
       narrow_range=st.booleans())
def test_scaled_forward_and_gradient(emulation, case, position, bits, mode, narrow_range):
    x, scale, rescale, inner = case
    rounding = fixed_point.rounding_of(mode)
    error, y = emulation.scaled_quantize(x, scale, rescale, inner, position, bits, mode, narrow_range)
    expected = fixed_point.scaled_quantize(x, scale, rescale, position, bits, rounding, inner, narrow_range)
    assert error == 0 and samples.same_numbers(y, expected)
    error, dx = emulation.scaled_gradient(x, x, scale, rescale, inner, position, bits, narrow_range)
    expected = fixed_point.scaled_gradient(x, x, scale, rescale, position, bits, inner, narrow_range)
    assert error == 0 and samples.same_numbers(dx, expected)


@few
@given(case=samples.scaled_tensors(), bits=samples.bit_widths, method=st.sampled_from([0, 1, 2]), mode=modes,
       narrow_range=st.booleans(), tie=samples.ties)
def test_scaled_search(emulation, case, bits, method, mode, narrow_range, tie):
    x, scale, _, inner = case
    expected = fixed_point.search_position(fixed_point.scaled(x, scale, inner), bits, method, mode, narrow_range, tie)
    assert emulation.scaled_search(x, scale, inner, bits, method, mode, narrow_range, tie) == (0, expected)


@few
@given(x=samples.tensors(), position=samples.positions, bits=samples.bit_widths, mode=modes, narrow_range=st.booleans())
def test_threshold_gradient(emulation, x, position, bits, mode, narrow_range):
    dy = np.random.RandomState(x.size).standard_normal(x.size).astype(np.float32)
    expected = fixed_point.threshold_gradient(dy, x, position, bits, fixed_point.rounding_of(mode), narrow_range)
    np.testing.assert_array_equal(emulation.threshold_gradient(dy, x, position, bits, mode, narrow_range), (0, expected))


@few
@given(case=samples.scaled_tensors(), position=samples.positions, bits=samples.bit_widths, mode=modes,
       narrow_range=st.booleans())
def test_scaled_threshold_gradient(emulation, case, position, bits, mode, narrow_range):
    x, scale, factor, inner = case
    dy = np.random.RandomState(x.size).standard_normal(x.shape).astype(np.float32)
    expected = fixed_point.threshold_gradient(
        fixed_point.scaled(dy, factor, inner), fixed_point.scaled(x, scale, inner), position, bits,
        fixed_point.rounding_of(mode), narrow_range)
    error, found = emulation.scaled_threshold_gradient(dy, x, scale, factor, inner, position, bits, mode, narrow_range)
    assert error == 0
    np.testing.assert_array_equal(found, expected)


@few
@given(case=samples.scaled_tensors())
def test_scale(emulation, case):
    x, scale, _, inner = case
    error, y = emulation.scale(x, scale, inner)
    assert error == 0 and samples.same_numbers(y, fixed_point.scaled(x, scale, inner))


@pytest.mark.parametrize('size', [0, 1, 31, 33, 1000])
@pytest.mark.parametrize('share_of_zeros', [0, 0.5, 1])
def test_folding_scales(emulation, size, share_of_zeros):
    scale, typical = folding.sample(size, share_of_zeros)
    error, nonzero, rescale = emulation.folding_scales(scale, typical, True)
    expected = folding.nonzero(scale, typical)
    assert error == 0 and samples.same_bits(nonzero, expected) and samples.same_bits(rescale, 1 / expected)
    error, untouched, rescale = emulation.folding_scales(scale, typical, False)
    assert error == 0 and (untouched == 7).all() and (rescale == 1).all()


@pytest.mark.parametrize('tie, position', [(1.5, 0), (1.5625, 2), (1.73, 3), (100.0, 4)])
def test_ties(emulation, tie, position):
    """test_fixed_point has the errors of these values by hand."""
    x = np.array([3.0] + [0.25] * 64, np.float32).repeat(100)
    assert emulation.search(x, 3, 1, 1, False, tie) == (0, position)
    assert emulation.scaled_search(x * 2, np.float32([0.5]), 1, 3, 1, 1, False, tie) == (0, position)


@pytest.mark.parametrize('channels, inner', [(300, 1), (1, 300), (7, 1000), (300001, 1)])
def test_channels_of_more_elements_than_one_launch_has_threads(emulation, channels, inner):
    random = np.random.RandomState(0)
    x = random.standard_t(3, max(1, 300000 // (channels * inner)) * channels * inner).astype(np.float32)
    scale = random.uniform(-1, 2, channels).astype(np.float32)
    expected = fixed_point.scaled_quantize(x, scale, scale, 5, inner=inner)
    assert samples.same_bits(emulation.scaled_quantize(x, scale, scale, inner, 5, 8, 0, False)[1], expected)
    product = fixed_point.scaled(x, scale, inner)
    assert samples.same_bits(emulation.scale(x, scale, inner)[1], product)
    for tie in (1.0, 1.3):
        expected = fixed_point.search_position(product, tie=tie)
        assert emulation.scaled_search(x, scale, inner, 8, 1, 1, False, tie) == (0, expected)


@few
@given(x=samples.tensors(), bits=samples.bit_widths, window=samples.windows, narrow_range=st.booleans())
def test_position_errors(emulation, x, bits, window, narrow_range):
    first, errors = fixed_point.position_errors(x, bits, 1, *window, narrow_range)
    found = emulation.position_errors(x, bits, narrow_range, *window)
    assert found[:2] == (0, first) and samples.same_bits(found[2], errors)


def test_more_elements_than_one_launch_has_threads(emulation):
    x = np.random.RandomState(0).standard_t(2, 300001).astype(np.float32)
    assert samples.same_bits(emulation.quantize(x, 4, 8, 1, False)[1], fixed_point.quantize(x, 4))
    assert emulation.search(x, 8, 1, 1, False) == (0, fixed_point.search_position(x))
    assert emulation.threshold_gradient(x[::-1], x, 4, 8, 1, False) == (0, fixed_point.threshold_gradient(x[::-1], x, 4, 8))
    found, expected = emulation.position_errors(x, 8, False, 5, 10), fixed_point.position_errors(x, below=5, above=10)
    assert found[:2] == (0, expected[0]) and samples.same_bits(found[2], expected[1])


def test_measured_calibrations(emulation):
    inputs, kinds = samples.golden_inputs(), ('normal', 'outlier', 'tiny', 'zeros', 'neg')
    for data, bits, method, mode, phase, positions, _ in samples.search_cases():
        # Each pair of data, method and mode; the definition has all of them in tests/test_fixed_point.
        if bits == 8 and phase == 0 and data in kinds and (kinds.index(data) + method + mode) % 3 == 0:
            histogram = np.zeros(256, np.float32)
            for i in range(5):
                error, position = emulation.search(inputs['{}_{}'.format(data, i)], bits, method, mode, False)
                histogram = position_histogram.vote(histogram, position, 1.0)
                assert (error, position_histogram.mode_position(histogram)) == (0, positions[i])
