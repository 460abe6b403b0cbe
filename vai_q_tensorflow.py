"""The documented import name of the quantizer: `import vai_q_tensorflow`.

Importing it loads the op library, so that a script which only evaluates a quantized graph needs nothing else.
"""
from vai_q_tf import (CreateQuantizeDeployGraph, CreateQuantizeEvaluationGraph, CreateQuantizeTrainingGraph,
                      QuantizeCallback, QuantizeCheckpointListener, QuantizeConfig, QuantizeError, QuantizePositionHook,
                      QuantizeTrainingHook, __version__, convert_datatype, dump, fix_neuron, inspect, quantize_frozen,
                      quantize_keras_model)
from vai_q_tf.ops import load_library

__all__ = [
    'CreateQuantizeDeployGraph', 'CreateQuantizeEvaluationGraph', 'CreateQuantizeTrainingGraph',
    'QuantizeCallback', 'QuantizeCheckpointListener', 'QuantizeConfig', 'QuantizeError', 'QuantizePositionHook',
    'QuantizeTrainingHook', '__version__', 'convert_datatype', 'dump', 'fix_neuron', 'inspect', 'quantize_frozen',
    'quantize_keras_model',
]

load_library()
