"""Every instruction set that the library chooses from gives the same bits, also the one for the oldest machines."""
import ctypes
import subprocess

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.kernels import building
from tests.kernels.building import pointer
from tests.ops import samples
from vai_q_tf import fixed_point

_SETS = 'sse2', 'avx2', 'avx512f'
_SOURCE = __file__.replace('test_instruction_sets.py', 'cpu_loops.cc')


def _flags_of_this_machine():
    with open('/proc/cpuinfo') as file:
        return next((line.split() for line in file if line.startswith('flags')), [])


@pytest.fixture(scope='module')
def libraries(tmp_path_factory):
    """{instruction set of this machine: its loops}."""
    flags = _flags_of_this_machine()
    return {name: _library(name, tmp_path_factory) for name in _SETS if name in flags}


@pytest.mark.parametrize('name', _SETS)
def test_the_tests_below_have_its_loops(libraries, name):
    if name not in _flags_of_this_machine():
        pytest.skip('this machine has no ' + name)
    assert name in libraries


def _library(name, tmp_path_factory):
    path = str(tmp_path_factory.mktemp('loops') / (name + '.so'))
    _, output = building.run_make('-n', '-B', 'cpu', 'BUILD=' + path + '.build')
    command = next(line for line in output.splitlines() if line.endswith('fix_neuron_cpu.o'))
    flags = [word for word in command.split() if word.startswith(('-std', '-O', '-f'))]
    subprocess.check_call(['g++', *flags, '-m' + name, '-I' + building.KERNELS, _SOURCE, '-shared',
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
@example(x=samples.HOSTILE, position=0, bits=8, mode=0, narrow_range=False)  # with halves, of which random ones have few
@example(x=samples.HOSTILE, position=0, bits=8, mode=1, narrow_range=False)
def test_forward_and_gradient(libraries, x, position, bits, mode, narrow_range):
    quantized = fixed_point.quantize(x, position, bits, fixed_point.rounding_of(mode), narrow_range)
    gradient = fixed_point.gradient(x, x, position, bits, narrow_range)
    for name, loops in libraries.items():
        y = np.empty_like(x)
        loops.TestQuantize(pointer(x), pointer(y), x.size, position, bits, narrow_range, mode == 1)
        assert samples.same_numbers(y, quantized), name
        loops.TestGradient(pointer(x), pointer(x), pointer(y), x.size, position, bits, narrow_range)
        assert samples.same_bits(y, gradient), name


@_many
@given(x=samples.tensors(), position=samples.positions, bits=samples.bit_widths, mode=st.sampled_from([0, 1]),
       narrow_range=st.booleans())
def test_threshold_gradient(libraries, x, position, bits, mode, narrow_range):
    dy = np.random.RandomState(x.size).standard_normal(x.size).astype(np.float32)
    expected = fixed_point.threshold_gradient(dy, x, position, bits, fixed_point.rounding_of(mode), narrow_range)
    for name, loops in libraries.items():
        found = loops.TestThresholdGradient(pointer(dy), pointer(x), x.size, position, bits, narrow_range, mode == 1)
        np.testing.assert_array_equal(found, expected, name)


@_many
@given(case=samples.scaled_tensors(), position=samples.positions, bits=samples.bit_widths,
       mode=st.sampled_from([0, 1]), narrow_range=st.booleans())
def test_scaled_forward_and_gradient(libraries, case, position, bits, mode, narrow_range):
    x, scale, rescale, inner = case
    rounding = fixed_point.rounding_of(mode)
    quantized = fixed_point.scaled_quantize(x, scale, rescale, position, bits, rounding, inner, narrow_range)
    gradient = fixed_point.scaled_gradient(x, x, scale, rescale, position, bits, inner, narrow_range)
    for name, loops in libraries.items():
        y, dx = np.empty_like(x), np.empty_like(x)
        if x.size:
            loops.TestScaled(*map(pointer, (x, scale, rescale, y, dx)), x.size, scale.size, inner, position, bits,
                             narrow_range, mode == 1)
        assert samples.same_numbers(y, quantized) and samples.same_numbers(dx, gradient), name


@_many
@given(case=samples.scaled_tensors())
def test_scale(libraries, case):
    x, scale, _, inner = case
    expected = fixed_point.scaled(x, scale, inner)
    for name, loops in libraries.items():
        y = np.empty_like(x)
        if x.size:
            loops.TestScale(pointer(x), pointer(scale), pointer(y), x.size, scale.size, inner)
        assert samples.same_numbers(y, expected), name


@_many
@given(x=samples.tensors(), bits=samples.bit_widths, settings=st.sampled_from([(0, 0), (1, 1), (2, 2)]),
       narrow_range=st.booleans(), tie=samples.ties)
def test_search(libraries, x, bits, settings, narrow_range, tie):
    method, mode = settings
    expected = fixed_point.search_position(x, bits, method, mode, narrow_range, tie)
    for name, loops in libraries.items():
        assert loops.TestSearch(pointer(x), x.size, bits, method, mode == 2, narrow_range, tie) == expected, name


@_many
@given(x=samples.tensors(), bits=samples.bit_widths, window=samples.windows, narrow_range=st.booleans())
def test_position_errors(libraries, x, bits, window, narrow_range):
    first, expected = fixed_point.position_errors(x, bits, 1, *window, narrow_range)
    if first != fixed_point.POSITION_ZERO:
        for name, loops in libraries.items():
            errors = np.empty_like(expected)
            assert loops.TestPositionErrors(pointer(x), x.size, bits, narrow_range, *window, pointer(errors)) == first, name
            assert samples.same_bits(errors, expected), name
