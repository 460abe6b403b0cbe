"""Import this first: one thread per process, errors of TensorFlow but not its notes, and examples/estimator importable.
"""
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

os.environ.update(TF_NUM_INTRAOP_THREADS='1', TF_NUM_INTEROP_THREADS='1', OMP_NUM_THREADS='1')
sys.path.append(os.path.join(ROOT, 'examples', 'estimator'))

import quiet  # noqa: E402, F401  (lies in examples/estimator)
