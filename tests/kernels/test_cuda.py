"""The CUDA kernels compile for every architecture of the toolkit, link, load, and fail softly without a GPU."""
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests.kernels import building
from tests.kernels.cuda_library import CudaLibrary

pytestmark = pytest.mark.skipif(shutil.which('nvcc') is None, reason='no nvcc on PATH: nothing can compile CUDA')

_LOAD = '''
import numpy as np, tensorflow as tf
from tensorflow.python.framework import kernels
from vai_q_tf import fixed_point
module = tf.load_op_library({path!r})
for op in ('FixNeuron', 'VaiFixNeuron', 'VaiFixNeuronGrad', 'VaiSearchPosition', 'VaiPositionErrors',
           'VaiScaledFixNeuron', 'VaiScaledFixNeuronGrad', 'VaiScaledSearchPosition', 'VaiThresholdGrad',
           'VaiScaledThresholdGrad', 'VaiSplitPhases', 'VaiJoinPhases'):
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


def test_library_has_every_architecture_of_the_toolkit_and_loads(build):
    _, output = building.run_make('cuda-lib', 'BUILD=' + build)
    known = subprocess.check_output(['nvcc', '--list-gpu-arch']).decode().split()
    compiled = set(re.findall(r'arch=(compute_\d+),code=sm_\d+', output))
    assert known and compiled == set(known)
    newest = max(known, key=lambda arch: int(arch.split('_')[1]))
    assert 'arch={0},code={0}'.format(newest) in output, 'PTX for GPUs still to come'
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


def test_op_library_with_cuda_loads_and_runs_without_a_gpu(build):
    building.run_make('gpu', '-j2', 'BUILD=' + build, 'OUT=' + build)
    program = _LOAD.format(path=build + '/libvai_q_tf_ops.so')
    output = subprocess.check_output([sys.executable, '-W', 'ignore', '-c', program], stderr=subprocess.STDOUT)
    assert output.decode().endswith('passed\n')


def test_one_architecture_by_name(build):
    _, output = building.run_make('-n', 'cuda-lib', 'BUILD=' + build, 'ARCHS=75 90')
    assert set(re.findall(r'code=(\w+)', output)) == {'sm_75', 'sm_90', 'compute_90'}
