"""Running kernels/Makefile with the Python of the tests, into directories of their own."""
import ctypes
import os
import subprocess
import sys

KERNELS = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), 'kernels')


def run_make(*arguments, check=True):
    """(exit status, output) of make. Variables of a make around the tests do not reach it."""
    environment = {k: v for k, v in os.environ.items() if k not in ('MAKEFLAGS', 'MFLAGS', 'MAKELEVEL', 'VAI_Q_TF_CPU')}
    command = ['make', '-C', KERNELS, 'PYTHON=' + sys.executable] + list(arguments)
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = done.stdout.decode()
    assert done.returncode == 0 or not check, output
    return done.returncode, output


def pointer(array):
    return array.ctypes.data_as(ctypes.c_void_p)
