"""Whether a written model loads, and how near it is to a float graph."""
import numpy as np
import onnxruntime
import tensorflow.compat.v1 as tf

from vai_q_tf import ops
from vai_q_tf.graph.sessions import exact


def _read(path):
    with open(path, 'rb') as stream:
        return stream.read()


def read_graph(path):
    """The GraphDef in a file."""
    return tf.GraphDef.FromString(_read(path))


def _onnx_session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])


def loading_error(path):
    """The error of TensorFlow or onnxruntime for a file; '' if it loads."""
    try:
        if path.endswith('.onnx'):
            _onnx_session(path)
        else:
            ops.load_library()
            with tf.Graph().as_default():
                tf.import_graph_def(read_graph(path), name='')
    except Exception as error:
        return '{}: {}'.format(type(error).__name__, error)
    return ''


def run(graph_def, outputs, batch):
    """The values of output nodes of a GraphDef, after their quantization if they are quantized."""
    graph_def = tf.GraphDef.FromString(graph_def.SerializeToString())  # importing writes attrs into it
    nodes = {node.name: node for node in graph_def.node}
    names = [(name + '/aquant' if name + '/aquant' in nodes else name) + ':0' for name in outputs]
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name='')
        feed = {name + ':0': value.astype(graph.get_tensor_by_name(name + ':0').dtype.as_numpy_dtype)
                for name, value in batch.items() if name in nodes}
        with tf.Session(graph=graph, config=exact(tf.ConfigProto(intra_op_parallelism_threads=1))) as session:
            return session.run(names, feed)


def run_file(path, outputs, batch):
    """The same for the model in a file; for ONNX the batch is not converted to the types of its inputs."""
    if not path.endswith('.onnx'):
        return run(read_graph(path), outputs, batch)
    session = _onnx_session(path)
    known = {value.name for value in session.get_outputs()}
    names = [name + ('/aquant:0' if name + '/aquant:0' in known else ':0') for name in outputs]
    return session.run(names, {value.name: batch[value.name[:-2]] for value in session.get_inputs()})


_LEAST = 1e-36  # some programs take subnormals for zeros


def decibels(expected, results):
    """The least signal-to-noise ratio of the arrays in dB; inf without noise, and for expected values that are not finite or
    subnormal."""
    return min((_ratio(exact, result) for exact, result in zip(expected, results)), default=np.inf)


def _ratio(expected, result):
    expected, result = (np.asarray(value).astype(np.float64) for value in (expected, result))
    if not np.isfinite(expected).all() or np.abs(expected).max(initial=0) < _LEAST:
        return np.inf
    if expected.shape != result.shape or not np.isfinite(result).all():
        return -np.inf
    noise = np.sum((expected - result) ** 2)
    with np.errstate(all='ignore'):
        return 10 * np.log10(np.sum(expected ** 2) / noise) if noise else np.inf
