"""Quantized networks to finetune."""
import numpy as np
import tensorflow.compat.v1 as tf

from tests.support import run
from vai_q_tf import fixed_point, ops
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph.view import GraphView
from vai_q_tf.plan.annotate import annotate
from vai_q_tf.ptq.fast_finetune import FinetuneSettings, finetune

SIZE = 12


class Net:
    """Layers with random constants, in the default graph."""

    def __init__(self, seed=0):
        self._random = np.random.RandomState(seed)
        self.x = tf.placeholder(tf.float32, [None, SIZE, SIZE, 3], name='x')

    def constant(self, name, shape, fan_in):
        value = self._random.normal(0, np.sqrt(2.0 / fan_in) if fan_in else 0.1, shape)
        return tf.constant(value, tf.float32, name=name)

    def conv(self, x, channels, name, size=3, relu=tf.nn.relu, bias=True):
        depth = x.shape[-1].value
        y = tf.nn.conv2d(x, self.constant(name + '/w', [size, size, depth, channels], size * size * depth), padding='SAME',
                         name=name)
        if bias:
            y = tf.nn.bias_add(y, self.constant(name + '/b', [channels], 0), name=name + '/add')
        return relu(y, name=name + '/relu') if relu else y

    def depthwise(self, x, name):
        y = tf.nn.depthwise_conv2d_native(x, self.constant(name + '/w', [3, 3, x.shape[-1].value, 1], 9), [1, 1, 1, 1],
                                          'SAME', name=name)
        return tf.nn.relu6(tf.nn.bias_add(y, self.constant(name + '/b', [x.shape[-1].value], 0), name=name + '/add'),
                           name=name + '/relu')

    def dense(self, x, units, name):
        x = tf.reshape(x, [-1, int(np.prod(x.shape.as_list()[1:]))], name=name + '/flat')
        y = tf.matmul(x, self.constant(name + '/w', [x.shape[-1].value, units], x.shape[-1].value), name=name)
        return tf.nn.bias_add(y, self.constant(name + '/b', [units], 0), name=name + '/add')


def plain():
    net = Net()
    y = net.conv(net.conv(net.x, 8, 'c1'), 8, 'c2')
    y = net.conv(tf.nn.max_pool(y, [1, 2, 2, 1], [1, 2, 2, 1], 'SAME', name='pool'), 16, 'c3', relu=tf.nn.leaky_relu)
    return net.dense(y, 10, 'fc')


def mobile():
    """Depthwise and pointwise convolutions, and a residual addition."""
    net = Net(1)
    y = net.conv(net.x, 8, 'stem')
    short = y = net.conv(net.depthwise(y, 'd0'), 8, 'p0', size=1)
    y = net.conv(net.depthwise(y, 'd1'), 8, 'p1', size=1, relu=None)
    y = tf.add(y, short, name='sum')
    return net.dense(tf.nn.avg_pool(y, [1, 4, 4, 1], [1, 4, 4, 1], 'VALID', name='mean'), 10, 'fc')


def batch(seed, count=8):
    """Smooth images: neighbouring values are similar, as in photographs."""
    noise = np.random.RandomState(seed).normal(0, 1, [count, SIZE + 4, SIZE + 4, 3])
    smooth = sum(noise[:, i:i + SIZE, j:j + SIZE] for i in range(5) for j in range(5)) / 5
    return {'x:0': smooth.astype(np.float32)}


def quantize(graph_def, plan, feeds):
    """The graph with FixNeurons of phase 1 at positions for the float values."""
    values = dict(zip([tensor.tensor for tensor in plan.tensors],
                      run(graph_def, [tensor.tensor for tensor in plan.tensors], feeds)))
    result = tf.GraphDef()
    result.CopyFrom(graph_def)
    nodes = {node.name: node for node in result.node}
    for tensor in plan.tensors:
        node = result.node.add(name=tensor.name, op='FixNeuron', input=[tensor.tensor])
        position = fixed_point.search_position(values[tensor.tensor], tensor.bits, tensor.method, tensor.mode)
        for key, number in (('phase', 1), ('mode', tensor.mode), ('bit_width', tensor.bits), ('quantize_pos', position)):
            node.attr[key].i = number
        for reader, index in tensor.consumers:
            nodes[reader].input[index] = tensor.name
    return result


class Case:
    """A network, quantized on the first batch."""

    def __init__(self, build, weight_bit=4, outputs=None):
        ops.load_library()
        graph = tf.Graph()
        with graph.as_default():
            last = build()
        outputs = outputs or [last.op.name]
        view = GraphView(graph.as_graph_def(add_shapes=True))
        self.plan = annotate(view, QuantizeConfig(['x'], outputs, weight_bit=weight_bit))
        self.float_graph = graph.as_graph_def()
        self.batches = [batch(seed) for seed in range(4)]
        self.eval_graph = quantize(self.float_graph, self.plan, self.batches[0])
        self.outputs = outputs

    def finetune(self, feeds=None, steps=None, **settings):
        """The finetuned graph. feeds: a list, or with `steps` a function."""
        feeds = feeds or self.batches
        feed, count = (feeds, steps) if steps else (feeds.__getitem__, len(feeds))
        return finetune(self.float_graph, self.eval_graph, self.plan, feed, count, FinetuneSettings(**settings)).graph

    def changed(self, tuned):
        """The Consts whose values differ from those before."""
        before = constants(self.eval_graph)
        return {name for name, value in constants(tuned).items() if not np.array_equal(value, before[name])}

    def error(self, graph_def, batches):
        """Mean squared difference of the outputs to the float outputs."""
        names = {tensor.tensor: tensor.name for tensor in self.plan.tensors}
        quantized = [names.get(name, name) for name in self.outputs]
        return np.mean([np.mean(np.square(a - b)) for feeds in batches
                        for a, b in zip(run(self.float_graph, self.outputs, feeds), run(graph_def, quantized, feeds))])


def constants(graph_def):
    """{Const: value}"""
    return {node.name: tf.make_ndarray(node.attr['value'].tensor) for node in graph_def.node if node.op == 'Const'}
