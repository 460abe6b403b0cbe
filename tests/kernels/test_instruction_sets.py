"""Every instruction set that the library chooses from gives the same bits, also the one for the oldest machines."""
import ctypes
import subprocess

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.kernels import building
from tests.kernels.building import pointer
from tests.ops import samples
from vai_q_tf import fixed_point

_SOURCE = __file__.replace('test_instruction_sets.py', 'cpu_loops.cc')


def _flags_of_this_machine():
    with open('/proc/cpuinfo') as file:
        return next((line.split() for line in file if line.startswith('flags')), [])


@pytest.fixture(scope='module', params=['sse2', 'avx2', 'avx512f'])
def loops(request, tmp_path_factory):
    if request.param not in _flags_of_this_machine():
        pytest.skip('this machine has no ' + request.param)
    path = str(tmp_path_factory.mktemp('loops') / (request.param + '.so'))
    _, output = building.run_make('-n', '-B', 'cpu', 'BUILD=' + path + '.build')
    command = next(line for line in output.splitlines() if line.endswith('fix_neuron_cpu.o'))
    flags = [word for word in command.split() if word.startswith(('-std', '-O', '-f'))]
    subprocess.check_call(['g++', *flags, '-m' + request.param, '-I' + building.KERNELS, _SOURCE, '-shared',
                           '-fvisibility=default', '-o', path])
    library = ctypes.CDLL(path)
    size = ctypes.c_int64
    integer, array = ctypes.c_int, ctypes.c_void_p
    library.TestQuantize.argtypes = [array, array, size, integer, integer, integer, integer]
    library.TestGradient.argtypes = [array, array, array, size, integer, integer, integer]
    library.TestThresholdGradient.argtypes = library.TestGradient.argtypes[1:] + [integer]
    library.TestThresholdGradient.restype = ctypes.c_double
    library.TestScaled.argtypes = [array] * 5 + [size] * 3 + [integer] * 4
    library.TestScale.argtypes = [array] * 3 + [size] * 3
    library.TestSearch.argtypes = [array, size, integer, integer, integer, integer, ctypes.c_float]
    library.TestPositionErrors.argtypes = [array, size] + [integer] * 4 + [array]
    return library


_many = settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])


@_many
@given(x=samples.tensors(), position=samples.positions, bits=samples.bit_widths, mode=st.sampled_from([0, 1]),
       narrow_range=st.booleans())
def test_forward_and_gradient(loops, x, position, bits, mode, narrow_range):
    y = np.empty_like(x)
    loops.TestQuantize(pointer(x), pointer(y), x.size, position, bits, narrow_range, mode == 1)
    assert samples.same_numbers(y, fixed_point.quantize(x, position, bits, fixed_point.rounding_of(mode), narrow_range))
    loops.TestGradient(pointer(x), pointer(x), pointer(y), x.size, position, bits, narrow_range)
    assert samples.same_bits(y, fixed_point.gradient(x, x, position, bits, narrow_range))


@_many
@given(x=samples.tensors(), position=samples.positions, bits=samples.bit_widths, mode=st.sampled_from([0, 1]),
       narrow_range=st.booleans())
def test_threshold_gradient(loops, x, position, bits, mode, narrow_range):
    dy = np.random.RandomState(x.size).standard_normal(x.size).astype(np.float32)
    expected = fixed_point.threshold_gradient(dy, x, position, bits, fixed_point.rounding_of(mode), narrow_range)
    found = loops.TestThresholdGradient(pointer(dy), pointer(x), x.size, position, bits, narrow_range, mode == 1)
    np.testing.assert_array_equal(found, expected)


@_many
@given(case=samples.scaled_tensors(), position=samples.positions, bits=samples.bit_widths,
       mode=st.sampled_from([0, 1]), narrow_range=st.booleans())
def test_scaled_forward_and_gradient(loops, case, position, bits, mode, narrow_range):
    x, scale, rescale, inner = case
    y, dx = np.empty_like(x), np.empty_like(x)
    if x.size:
        loops.TestScaled(*map(pointer, (x, scale, rescale, y, dx)), x.size, scale.size, inner, position, bits,
                         narrow_range, mode == 1)
    rounding = fixed_point.rounding_of(mode)
    expected = fixed_point.scaled_quantize(x, scale, rescale, position, bits, rounding, inner, narrow_range)
    assert samples.same_numbers(y, expected)
    expected = fixed_point.scaled_gradient(x, x, scale, rescale, position, bits, inner, narrow_range)
    assert samples.same_numbers(dx, expected)


@_many
@given(case=samples.scaled_tensors())
def test_scale(loops, case):
    x, scale, _, inner = case
    y = np.empty_like(x)
    if x.size:
        loops.TestScale(pointer(x), pointer(scale), pointer(y), x.size, scale.size, inner)
    assert samples.same_numbers(y, fixed_point.scaled(x, scale, inner))


@_many
@given(x=samples.tensors(), bits=samples.bit_widths, settings=st.sampled_from([(0, 0), (1, 1), (2, 2)]),
       narrow_range=st.booleans(), tie=samples.ties)
def test_search(loops, x, bits, settings, narrow_range, tie):
    method, mode = settings
    expected = fixed_point.search_position(x, bits, method, mode, narrow_range, tie)
    assert loops.TestSearch(pointer(x), x.size, bits, method, mode == 2, narrow_range, tie) == expected


@_many
@given(x=samples.tensors(), bits=samples.bit_widths, window=samples.windows, narrow_range=st.booleans())
def test_position_errors(loops, x, bits, window, narrow_range):
    first, expected = fixed_point.position_errors(x, bits, 1, *window, narrow_range)
    if first != fixed_point.POSITION_ZERO:
        errors = np.empty_like(expected)
        assert loops.TestPositionErrors(pointer(x), x.size, bits, narrow_range, *window, pointer(errors)) == first
        assert samples.same_bits(errors, expected)
