"""Running kernels/Makefile with the Python of the tests, into directories of their own."""
import ctypes
import os
import subprocess
import sys

import tensorflow as tf

KERNELS = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), 'kernels')
# What the Makefile asks Python for, whose import of TensorFlow takes seconds.
_REPLY = '|'.join([tf.__version__, ' '.join(tf.sysconfig.get_compile_flags()),
                   ' '.join(tf.sysconfig.get_link_flags())]).replace(' ', '?')


def run_make(*arguments, check=True, asks=False):
    """(exit status, output) of make. Variables of a make around the tests do not reach it.

    asks: whether make asks Python about TensorFlow, or is told.
    """
    environment = {k: v for k, v in os.environ.items() if k not in ('MAKEFLAGS', 'MFLAGS', 'MAKELEVEL', 'VAI_Q_TF_CPU')}
    told = [] if asks else ['reply=' + _REPLY]
    command = ['make', '-C', KERNELS, 'PYTHON=' + sys.executable] + told + list(arguments)
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = done.stdout.decode()
    assert done.returncode == 0 or not check, output
    return done.returncode, output


def pointer(array):
    return array.ctypes.data_as(ctypes.c_void_p)
