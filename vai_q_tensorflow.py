# PYTHON_ARGCOMPLETE_OK
"""The documented import name of the quantizer: `import vai_q_tensorflow`; `python -m vai_q_tensorflow` is the command.

Importing it loads the op library, so that a script which only evaluates a quantized graph needs nothing else.
"""
import sys
import types

if __name__ == '__main__':
    from vai_q_tf.cli import main
    sys.exit(main())

import vai_q_tf
from vai_q_tf import *  # noqa: F403

__all__ = vai_q_tf.__all__

# Scripts also write `from vai_q_tensorflow.python import decent_q`, as if this were a package.
python = types.ModuleType(__name__ + '.python')
python.decent_q = sys.modules[__name__]
sys.modules[__name__ + '.python'] = python
sys.modules[__name__ + '.python.decent_q'] = sys.modules[__name__]

load_library()  # noqa: F405

del sys, types, vai_q_tf
