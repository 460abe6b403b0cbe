"""Runs kernels/Makefile with the Python of the tests and separate build directories."""
import ctypes
import os
import subprocess
import sys

import tensorflow as tf

KERNELS = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), 'kernels')
# The reply that the Makefile gets from Python, after an import of TensorFlow that takes seconds.
_REPLY = '|'.join([tf.__version__, ' '.join(tf.sysconfig.get_compile_flags()),
                   ' '.join(tf.sysconfig.get_link_flags())]).replace(' ', '?')


def run_make(*arguments, check=True, asks=False):
    """(exit status, output) of make. Variables of a make that runs the tests do not reach it.

    asks: whether make asks Python about TensorFlow, instead of getting the reply from here.
    """
    environment = {k: v for k, v in os.environ.items() if k not in ('MAKEFLAGS', 'MFLAGS', 'MAKELEVEL', 'VAI_Q_TF_CPU')}
    reply = [] if asks else ['reply=' + _REPLY]
    command = ['make', '-C', KERNELS, 'PYTHON=' + sys.executable] + reply + list(arguments)
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = done.stdout.decode()
    assert done.returncode == 0 or not check, output
    return done.returncode, output


def pointer(array):
    return array.ctypes.data_as(ctypes.c_void_p)
