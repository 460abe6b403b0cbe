import os

import pytest

from tests.kernels.building import KERNELS, run_make


@pytest.fixture(scope='module')
def built(build):
    """Arguments of a finished CPU build."""
    arguments = ['cpu', '-j2', 'BUILD=' + build, 'OUT=' + build + '/cpu']
    _, output = run_make(*arguments)
    assert 'warning' not in output
    assert os.path.exists(build + '/cpu/libvai_q_tf_ops.so')
    return arguments


def test_nothing_is_done_when_up_to_date(built):
    assert 'Nothing to be done' in run_make(*built)[1]


def test_changed_header_builds_what_includes_it(built):
    output = run_make('-n', '-W', os.path.join(KERNELS, 'fix_neuron_cpu.h'), *built)[1]
    assert '/cpu_ops.cc' in output and '/fix_neuron_cpu.cc' in output and '/checkpoint_op.cc' not in output


def test_python_without_tensorflow_is_a_clear_error(tmp_path):
    status, output = run_make('cpu', 'PYTHON=false', 'BUILD={}'.format(tmp_path), check=False)
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
    output = run_make('info', *arguments)[1]
    assert 'all builds:    {} ('.format(kind) in output
    assert '1.15.' in output


def test_other_flags_build_everything_again(built):
    output = run_make('-n', 'CXXFLAGS=-g', *built)[1]
    assert '/cpu_ops.cc' in output and '/checkpoint_op.cc' in output
