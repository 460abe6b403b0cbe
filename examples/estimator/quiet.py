"""Import this before anything that imports TensorFlow: errors are shown, the many notes of TensorFlow 1.15 are not."""
import os
import warnings

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
warnings.filterwarnings('ignore', category=FutureWarning)  # NumPy about TensorFlow's dtypes

import tensorflow as tf  # noqa: E402  (the log level is read on import)

tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)
