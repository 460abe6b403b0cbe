"""Import this first: a process computes on one thread, errors are shown, the many notes of TensorFlow are not.

It makes the files of examples/estimator importable, too.
"""
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

os.environ.update(TF_NUM_INTRAOP_THREADS='1', TF_NUM_INTEROP_THREADS='1', OMP_NUM_THREADS='1')
sys.path.append(os.path.join(ROOT, 'examples', 'estimator'))

import quiet  # noqa: E402, F401  (lies in examples/estimator)
