"""GraphDefs written node by node, as they are in a file, without the library that writes them."""
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2


def node(name, op, *inputs, **attrs):
    """A NodeDef. Numbers, strings, types, TensorProtos and lists of integers become attrs as they are; `shape` is a list of
    sizes, `_output_shapes` a list of these."""
    result = tf.compat.v1.NodeDef(name=name, op=op, input=inputs)
    for key, value in attrs.items():
        if key == '_output_shapes':
            result.attr[key].list.shape.extend(shape_proto(dims) for dims in value)
        elif key == 'shape':
            result.attr[key].shape.CopyFrom(shape_proto(value))
        elif isinstance(value, tensor_pb2.TensorProto):
            result.attr[key].tensor.CopyFrom(value)
        elif isinstance(value, tf.DType):
            result.attr[key].type = value.as_datatype_enum
        elif isinstance(value, list):
            result.attr[key].list.i.extend(value)
        elif isinstance(value, float):
            result.attr[key].f = value
        elif isinstance(value, str):
            result.attr[key].s = value.encode()
        elif isinstance(value, bool):
            result.attr[key].b = value
        else:
            result.attr[key].i = value
    return result


def shape_proto(dims):
    """A TensorShapeProto; None is an unknown rank."""
    return tf.TensorShape(dims).as_proto()


def graph(*nodes):
    """A GraphDef of nodes; lists of nodes among them are spread."""
    result = tf.compat.v1.GraphDef()
    for entry in nodes:
        result.node.extend(entry if isinstance(entry, list) else [entry])
    return result


def placeholder(name, *dims):
    return node(name, 'Placeholder', shape=(None,) + dims)


def const(name, *dims):
    """A constant of one float, or one of a shape."""
    value = tensor_pb2.TensorProto(dtype=tf.float32.as_datatype_enum, float_val=[0.5])
    value.tensor_shape.CopyFrom(shape_proto(dims))
    return node(name, 'Const', value=value)


def int_const(name, *values):
    """A constant of integers as TensorFlow writes it: one in the field int_val, several in tensor_content."""
    return node(name, 'Const', value=tf.make_tensor_proto(values if len(values) != 1 else values[0], tf.int32, [len(values)]))


def fix(name, source, mode=1, position=5, **attrs):
    """A FixNeuron in evaluation, with all attrs that vai_q_tensorflow writes."""
    attrs = dict(dict(bit_width=8, method=1, mode=mode, phase=1, output_dir='', quantize_pos=position), **attrs)
    result = node(name, 'FixNeuron', source, **attrs)
    result.attr['T'].type = tf.float32.as_datatype_enum
    return result


def quantized(name, *dims, **attrs):
    """A constant and its FixNeuron '<name>/wquant'."""
    return [const(name, *dims), fix(name + '/wquant', name, mode=0, **attrs)]


def conv(name, source, op='Conv2D', bias=True):
    """A convolution with quantized weights and bias; its result is '<name>/biasadd', or '<name>' without bias."""
    data = ('sizes', name + '/w/wquant', source) if op == 'Conv2DBackpropInput' else (source, name + '/w/wquant')
    nodes = quantized(name + '/w') + [node(name, op, *data)]
    if op == 'Conv2DBackpropInput':
        nodes.insert(0, int_const('sizes', 1, 4, 4, 2))
    if bias:
        nodes += quantized(name + '/b') + [node(name + '/biasadd', 'BiasAdd', name, name + '/b/wquant')]
    return nodes


def conv_relu(name, source):
    """A convolution with bias and relu; its quantized result is '<name>/relu/aquant'."""
    return conv(name, source) + [node(name + '/relu', 'Relu', name + '/biasadd'),
                                 fix(name + '/relu/aquant', name + '/relu')]
