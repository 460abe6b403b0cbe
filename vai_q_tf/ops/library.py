"""The compiled op library: found, checked and loaded once per process."""
import os
import re
from types import ModuleType
from typing import Any, Callable, Dict, List, Optional

import tensorflow as tf

from vai_q_tf import errors

_PATH = os.path.join(os.path.dirname(os.path.realpath(__file__)), 'libvai_q_tf_ops.so')
_INTERFACE = 10  # incremented when an op changes; that of the library is in kernels/build_info.cc
_BUILD = 'Build it with `make -C kernels` (`make -C kernels cpu` without CUDA).'

_loaded: Optional[ModuleType] = None


def load() -> ModuleType:
    """The module of generated op functions.

    Needed before a graph with FixNeurons is imported. Later calls return the same module.

    Raises:
      QuantizeError: MISSING_LIBRARY if the library was not built, was built for another TensorFlow, or belongs to a
        different version of this package.
    """
    global _loaded
    if _loaded is None:
        _loaded = _load(_PATH)
    return _loaded


def given(value: Any, default: Any = None) -> List[Any]:
    """An optional input of an op as a list: empty if it is the default, else of the one value."""
    return [] if value is default or isinstance(value, float) and value == default else [value]


def register_gradient(op_type: str, gradient: Optional[Callable[..., Any]]) -> None:
    """Registers the gradient function of `op_type`; None: it has no gradient. The first registration in a process stays."""
    try:
        tf.RegisterGradient(op_type)(gradient)
    except KeyError:  # imported a second time
        pass


def _load(path: str) -> ModuleType:
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


def _build_info(path: str) -> Dict[str, str]:
    """The versions that the library was built for, read from the file, so that a wrong library is never loaded."""
    with open(path, 'rb') as library:
        found = re.search(rb'vai_q_tf_ops\{([^}]*)\}', library.read())
    return dict(field.split('=') for field in found.group(1).decode().split(';')) if found else {}


def _missing(summary: str, detail: str) -> errors.QuantizeError:
    return errors.QuantizeError(errors.MISSING_LIBRARY, summary, detail)
