"""Small optimised graphs with a plan and its layers."""
from typing import Dict, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from tests.support import run
from vai_q_tf import passes
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph.view import GraphView
from vai_q_tf.plan.annotate import annotate
from vai_q_tf.plan.quant_plan import QuantPlan
from vai_q_tf.ptq.fitting.layers import Layer, find_layers


class Planned(NamedTuple):
    """graph_def: the optimised graph. plan: its QuantPlan. layers: {short name: Layer}."""
    graph_def: tf.GraphDef
    plan: QuantPlan
    layers: Dict[str, Layer]

    def array(self, record):
        return GraphView(self.graph_def).value(record.tensor)

    @property
    def arrays(self):
        return {name: GraphView(self.graph_def).value(name) for layer in self.layers.values() for name in layer.constants}


def planned(graph_def, outputs, inputs=('x',), **fields):
    config = QuantizeConfig(list(inputs), list(outputs), **fields)
    optimised = passes.optimise(graph_def, config)
    plan = annotate(GraphView(optimised), config)
    return Planned(optimised, plan, {layer.node.split('/')[0]: layer for layer in find_layers(optimised, plan)})


class Builder:
    """Layers with random weights in the default graph, on a placeholder x."""

    def __init__(self, shape, seed=0):
        self.random = np.random.RandomState(seed)
        self.x = tf.placeholder(tf.float32, shape, name='x')

    def normal(self, *shape):
        return self.random.normal(0, np.prod(shape[:-1])**-0.5, shape).astype(np.float32)

    def conv(self, x, filters, name, kernel=3, weights=None, bias=True, padding='SAME', strides=1):
        shape = (kernel, kernel, int(x.shape[-1]), filters)
        return self._biased(tf.nn.conv2d(x, self._weights(weights, shape, name), strides, padding, name=name), name, bias)

    def depthwise(self, x, name, multiplier=1, weights=None, bias=True):
        shape = (3, 3, int(x.shape[-1]), multiplier)
        return self._biased(tf.nn.depthwise_conv2d_native(x, self._weights(weights, shape, name), [1] * 4, 'SAME', name=name),
                            name, bias)

    def dense(self, x, units, name, weights=None, bias=True, transposed=False):
        shape = (units, int(x.shape[-1])) if transposed else (int(x.shape[-1]), units)
        return self._biased(tf.matmul(x, self._weights(weights, shape, name), transpose_b=transposed, name=name), name, bias)

    def _weights(self, weights, shape, name):
        return tf.constant(self.normal(*shape) if weights is None else np.asarray(weights, np.float32), name=name + '/weights')

    def _biased(self, x, name, bias):
        if bias is False:
            return x
        values = 0.3 * self.random.normal(size=int(x.shape[-1])) if bias is True else bias
        return tf.nn.bias_add(x, tf.constant(np.asarray(values, np.float32), name=name + '/biases'), name=name + '/bias')


def run_on(graph_def, tensors, x):
    return run(graph_def, tensors, {'x': x})
