"""The compiled op library: found, checked and loaded once per process."""
import os
import re

import tensorflow as tf

from vai_q_tf import errors

_PATH = os.path.join(os.path.dirname(os.path.realpath(__file__)), 'libvai_q_tf_ops.so')
_INTERFACE = 8  # goes up when an op changes; kernels/build_info.cc holds the library's
_BUILD = 'Build it with `make -C kernels` (`make -C kernels cpu` where there is no CUDA).'

_loaded = None


def load():
    """The module of generated op functions.

    Importing a graph that holds FixNeuron needs this first. A second call returns the same module.

    Raises:
      QuantizeError: MISSING_LIBRARY if the library was not built, was built for another TensorFlow, or belongs to
        another version of this package.
    """
    global _loaded
    if _loaded is None:
        _loaded = _load(_PATH)
    return _loaded


def given(value, default=None):
    """The value of an optional input of an op: a list, empty where it is the default."""
    return [] if value is default or isinstance(value, float) and value == default else [value]


def register_gradient(op_type, gradient):
    """Makes `gradient` that of `op_type`; None: it has none. The first registration of a process stays."""
    try:
        tf.RegisterGradient(op_type)(gradient)
    except KeyError:  # a second import in one process
        pass


def _load(path):
    if not os.path.exists(path):
        raise _missing('Not built', '{} does not exist. {}'.format(path, _BUILD))
    build = _build_info(path)
    if build.get('interface') != str(_INTERFACE):
        raise _missing('Wrong version', '{} has the op interface {}, this package needs {}. {}'.format(
            path, build.get('interface', 'of no release'), _INTERFACE, _BUILD))
    try:
        return tf.load_op_library(path)
    except (tf.errors.OpError, RuntimeError) as error:
        raise _missing('Cannot load', '{} was built for TensorFlow {} and does not load into TensorFlow {}: {}. '
                       '{}'.format(path, build['tensorflow'], tf.__version__, error, _BUILD)) from None


def _build_info(path):
    """What the library says it was built for; read from the file, so that a wrong one is never loaded."""
    with open(path, 'rb') as library:
        found = re.search(rb'vai_q_tf_ops\{([^}]*)\}', library.read())
    return dict(field.split('=') for field in found.group(1).decode().split(';')) if found else {}


def _missing(summary, detail):
    return errors.QuantizeError(errors.MISSING_LIBRARY, summary, detail)
