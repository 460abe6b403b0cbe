"""vai_q_tf: quantization for TensorFlow 1.15 models that run on a DPU. Import it as `vai_q_tensorflow`."""
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.errors import QuantizeError
from vai_q_tf.version import __version__

__all__ = ['QuantizeConfig', 'QuantizeError', '__version__']
