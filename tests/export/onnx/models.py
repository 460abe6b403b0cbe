"""Evaluation models with FixNeurons of the test's choice, and their results by TensorFlow and by onnxruntime."""
import numpy as np
import onnx
import onnxruntime
import tensorflow.compat.v1 as tf

from vai_q_tf import ops
from vai_q_tf.export.onnx.convert import to_onnx


def fix(x, name, position, mode=1, bits=8, narrow_range=False):
    y = ops.fix_neuron(x, mode, 1, bits, quantize_pos=position, name=name)
    if narrow_range:
        y.op._set_attr('_symmetric', tf.AttrValue(b=True))
    return y


def weights(name, position, shape, scale=0.3, mode=0):
    value = np.random.RandomState(len(name)).standard_normal(shape).astype(np.float32) * np.float32(scale)
    return fix(tf.constant(value, name=name), name + '/wquant', position, mode)


def convolutions():
    with tf.Graph().as_default() as graph:
        x = fix(tf.placeholder(tf.float32, [None, 12, 12, 3], 'input'), 'input/aquant', 6)
        y = tf.nn.bias_add(tf.nn.conv2d(x, weights('w1', 7, [3, 3, 3, 8]), 2, 'SAME'), weights('b1', 7, [8]))
        y = fix(tf.nn.relu6(y, name='relu1'), 'relu1/aquant', 4)
        z = tf.nn.depthwise_conv2d_native(y, weights('d', 6, [3, 3, 8, 1], mode=2), [1, 1, 1, 1], 'SAME')
        z = fix(tf.nn.leaky_relu(z, 26 / 256, name='leaky'), 'leaky/aquant', 4)
        pooled = fix(tf.nn.max_pool2d(z, 2, 1, 'SAME', name='pool'), 'pool/aquant', 4)
        both = fix(tf.concat([y, z + pooled], 3, name='concat'), 'concat/aquant', 3)
        mean = fix(tf.reduce_mean(both, [1, 2], name='mean'), 'mean/aquant', 5)
        logits = tf.nn.bias_add(tf.matmul(mean, weights('w2', 6, [16, 5])), weights('b2', 6, [5]), name='logits')
        logits = fix(logits, 'logits/aquant', 4)
        tf.nn.softmax(logits, name='softmax')
        fix(tf.image.resize_nearest_neighbor(both, [12, 12], name='resized'), 'resized/aquant', 3)
        return graph.as_graph_def()


def both(graph_def, inputs, outputs, feed, opset=13):
    """(results of TensorFlow, of onnxruntime, the ModelProto); `outputs` are the nodes that TensorFlow fetches."""
    data = to_onnx(graph_def, inputs, [name.split('/aquant')[0] for name in outputs], opset)
    model = onnx.load_from_string(data)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(data, providers=['CPUExecutionProvider'])
    feed = {name + ':0': value for name, value in feed.items()}
    found = session.run([name + ':0' for name in outputs], feed)
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name='')
    with tf.Session(graph=graph) as session:
        return session.run([name + ':0' for name in outputs], feed), found, model
