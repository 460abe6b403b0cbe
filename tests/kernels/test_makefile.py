"""The targets of make: the CPU library, then the CUDA kernels, which compile for the architectures of the toolkit, link, load,
and report an error without a GPU. One file, so that one process builds the shared objects, once."""
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests.kernels.building import KERNELS, run_make
from tests.kernels.cuda_library import CudaLibrary

needs_nvcc = pytest.mark.skipif(shutil.which('nvcc') is None, reason='no nvcc on PATH: nothing can compile CUDA')

_LOAD = '''
import numpy as np, tensorflow as tf
from tensorflow.python.framework import kernels
from vai_q_tf import fixed_point
module = tf.load_op_library({path!r})
for op in ('FixNeuron', 'VaiFixNeuron', 'VaiFixNeuronGrad', 'VaiSearchPosition', 'VaiPositionErrors',
           'VaiScaledFixNeuron', 'VaiScaledFixNeuronGrad', 'VaiScaledSearchPosition', 'VaiThresholdGrad',
           'VaiScaledThresholdGrad', 'VaiSplitPhases', 'VaiJoinPhases', 'VaiSelectPhase', 'VaiFoldingScales'):
    devices = sorted(kernel.device_type for kernel in kernels.get_registered_kernels_for_op(op).kernel)
    assert devices == ['CPU', 'GPU'], devices
x = np.random.RandomState(0).standard_normal(5000).astype(np.float32)
with tf.device('/gpu:0'):
    y = module.fix_neuron(tf.constant(x), mode=1, phase=0)
with tf.compat.v1.Session(config=tf.compat.v1.ConfigProto(allow_soft_placement=True)) as session:
    expected = fixed_point.quantize(x, fixed_point.search_position(x))
    assert session.run(y).tobytes() == expected.tobytes()
print('passed')
'''


@pytest.fixture(scope='module')
def built(build):
    """Arguments of a finished CPU build."""
    arguments = ['cpu', '-j2', 'BUILD=' + build, 'OUT=' + build + '/cpu']
    run_make(*arguments, asks=True)
    assert os.path.exists(build + '/cpu/libvai_q_tf_ops.so')
    return arguments


def test_nothing_is_done_when_up_to_date(built):
    assert 'Nothing to be done' in run_make(*built)[1]


def test_changed_header_builds_what_includes_it(built):
    output = run_make('-n', '-W', os.path.join(KERNELS, 'fix_neuron_cpu.h'), *built)[1]
    assert '/cpu_ops.cc' in output and '/fix_neuron_cpu.cc' in output and '/checkpoint_op.cc' not in output


def test_python_without_tensorflow_is_a_clear_error(tmp_path):
    status, output = run_make('cpu', 'PYTHON=false', 'BUILD={}'.format(tmp_path), check=False, asks=True)
    assert status != 0 and 'false cannot import TensorFlow 1.15; set PYTHON' in output


def test_missing_nvcc_is_a_clear_error(tmp_path):
    for target in ('gpu', 'cuda-lib'):
        status, output = run_make(target, 'NVCC=', 'BUILD={}'.format(tmp_path), check=False)
        assert status != 0 and 'nvcc not found; set CUDA_HOME or NVCC' in output


@pytest.mark.parametrize('arguments, kind', [
    (['NVCC='], 'cpu'), (['NVCC=/opt/nvcc'], 'gpu'), (['NVCC=/opt/nvcc', 'VAI_Q_TF_CPU=1'], 'cpu'),
    (['NVCC=/opt/nvcc', 'VAI_Q_TF_CPU=0'], 'gpu'),
])
def test_info_says_what_all_builds(arguments, kind):
    output = run_make('info', *arguments, asks=kind == 'gpu' and len(arguments) == 1)[1]
    assert 'all builds:    {} ('.format(kind) in output
    assert '1.15.' in output


@pytest.fixture(scope='module')
def known():
    """The numbers of the architectures of the toolkit."""
    names = subprocess.check_output(['nvcc', '--list-gpu-arch']).decode().split()
    return sorted(int(name.split('_')[1]) for name in names)


@pytest.fixture(scope='module')
def few(known):
    """Variables of make for the oldest and the newest architecture: each one takes seconds to compile."""
    return 'ARCHS={} {}'.format(known[0], known[-1])


def _assert_all(output, known):
    assert known and set(re.findall(r'arch=compute_(\d+),code=sm_\d+', output)) == set(map(str, known))
    assert 'arch=compute_{0},code=compute_{0}'.format(known[-1]) in output, 'PTX for GPUs still to come'


@needs_nvcc
def test_every_architecture_of_the_toolkit_would_be_compiled(known, tmp_path):
    _assert_all(run_make('-n', 'cuda-lib', 'BUILD={}'.format(tmp_path))[1], known)


@needs_nvcc
@pytest.mark.slow
def test_every_architecture_of_the_toolkit_compiles(known, tmp_path):
    _, output = run_make('cuda-lib', 'BUILD={}'.format(tmp_path))
    _assert_all(output, known)
    assert 'warning' not in output


@needs_nvcc
def test_library_loads_and_fails_softly(build, few):
    _, output = run_make('cuda-lib', 'BUILD=' + build, few)
    assert 'warning' not in output

    library = CudaLibrary(build + '/libvai_q_tf_cuda.so')
    error, count = library.device_count()
    if count:
        pytest.skip('a GPU is here: test_gpu.py runs the launches')
    assert error != 0 and 'CUDA' in library.error_string(error)
    x = np.ones(10, np.float32)
    assert library.quantize(x, 0, 8, 1, False)[0] != 0
    assert library.gradient(x, x, 0, 8, False)[0] != 0
    assert library.threshold_gradient(x, x, 0, 8, 1, False)[0] != 0
    assert library.scaled_threshold_gradient(x, x, x, x, 1, 0, 8, 1, False)[0] != 0
    assert library.search(x, 8, 1, 1, False)[0] != 0
    assert library.position_errors(x, 8, False, 0, 4)[0] != 0
    assert library.scaled_quantize(x, x, x, 1, 0, 8, 1, False)[0] != 0
    assert library.scaled_gradient(x, x, x, x, 1, 0, 8, False)[0] != 0
    assert library.scaled_search(x, x, 1, 8, 1, 1, False)[0] != 0


@needs_nvcc
def test_op_library_with_cuda_loads_and_runs_without_a_gpu(build, few):
    run_make('gpu', '-j2', 'BUILD=' + build, 'OUT=' + build, few)
    program = _LOAD.format(path=build + '/libvai_q_tf_ops.so')
    output = subprocess.check_output([sys.executable, '-W', 'ignore', '-c', program], stderr=subprocess.STDOUT)
    assert output.decode().endswith('passed\n')


@needs_nvcc
def test_one_architecture_by_name(tmp_path):
    _, output = run_make('-n', 'cuda-lib', 'BUILD={}'.format(tmp_path), 'ARCHS=75 90')
    assert set(re.findall(r'code=(\w+)', output)) == {'sm_75', 'sm_90', 'compute_90'}


def test_other_flags_build_everything_again(built):
    """The last test: the directory notes the flags."""
    output = run_make('-n', 'CXXFLAGS=-g', *built)[1]
    assert '/cpu_ops.cc' in output and '/checkpoint_op.cc' in output
