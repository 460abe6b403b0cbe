"""Import this before anything that imports TensorFlow: it hides the many notes of TensorFlow 1.15, but not errors.

Ctrl-C ends the program with one line.
"""
import os
import signal
import sys
import warnings


def _show(kind, error, trace):
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    sys.stdout.flush()
    print('\n{}: interrupted'.format(os.path.basename(sys.argv[0])), file=sys.stderr, flush=True)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # so that the parent sees the signal
    os.kill(os.getpid(), signal.SIGINT)


sys.excepthook = _show

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
warnings.filterwarnings('ignore', category=FutureWarning)  # NumPy warns about TensorFlow's dtypes

import tensorflow as tf  # noqa: E402  (the log level is read on import)

tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)
