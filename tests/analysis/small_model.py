"""A network of two layers as a GraphDef and in NumPy, float and quantized, defined independently of the package."""
import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import ops

_RANDOM = np.random.RandomState(3)
VALUES = {'w1': _RANDOM.normal(0, .6, (4, 5)).astype(np.float32), 'b1': _RANDOM.normal(0, .4, 5).astype(np.float32),
          'w2': _RANDOM.normal(0, .5, (5, 3)).astype(np.float32), 'b2': _RANDOM.normal(0, .2, 3).astype(np.float32)}
# {FixNeuron: (position, bits, mode)}; some values are out of range, some become 0.
FORMS = {'x/aquant': (5, 6, 1), 'w1/wquant': (4, 5, 0), 'b1/wquant': (6, 6, 0), 'relu/aquant': (5, 7, 1),
         'w2/wquant': (6, 6, 0), 'b2/wquant': (5, 4, 0), 'out/aquant': (4, 6, 1)}
LAYERS = {'x/aquant': 'x', 'w1/wquant': 'mul1', 'b1/wquant': 'mul1', 'relu/aquant': 'mul1', 'w2/wquant': 'mul2',
          'b2/wquant': 'mul2', 'out/aquant': 'mul2'}
ROLES = {'x/aquant': 'input', 'w1/wquant': 'weight', 'b1/wquant': 'bias', 'relu/aquant': 'activation',
         'w2/wquant': 'weight', 'b2/wquant': 'bias', 'out/aquant': 'activation'}


def batch(step):
    """{placeholder: array} of a step."""
    return {'x': np.random.RandomState(step).uniform(-1.2, 1.2, (16, 4)).astype(np.float32)}


def graph(quantized, values=None, forms=None):
    """The GraphDef of the network; values, forms: replace those above."""
    values, forms = dict(VALUES, **(values or {})), dict(FORMS, **(forms or {}))

    def fix(tensor, name):
        if not quantized:
            return tensor
        position, bits, mode = forms[name]
        return ops.fix_neuron(tensor, mode, 1, bits, quantize_pos=position, name=name)

    def parameter(name):
        return fix(tf.constant(values[name], name=name), name + '/wquant')
    with tf.Graph().as_default() as result:
        y = fix(tf.placeholder(tf.float32, [None, 4], name='x'), 'x/aquant')
        y = tf.nn.bias_add(tf.matmul(y, parameter('w1'), name='mul1'), parameter('b1'), name='add1')
        y = fix(tf.nn.relu(y, name='relu'), 'relu/aquant')
        fix(tf.nn.bias_add(tf.matmul(y, parameter('w2'), name='mul2'), parameter('b2'), name='out'), 'out/aquant')
        return result.as_graph_def()


def quantize(value, name, forms=None):
    """The array as its FixNeuron gives it, float64."""
    position, bits, mode = dict(FORMS, **(forms or {}))[name]
    return np.clip(rounded(value, position, mode), -2**(bits - 1), 2**(bits - 1) - 1) / 2.0**position


def rounded(value, position, mode):
    """The array in steps: halves round up for activations, away from 0 for others."""
    steps = np.asarray(value, np.float64) * 2.0**position
    return np.floor(steps + .5) if mode == 1 else np.copysign(np.floor(np.abs(steps) + .5), steps)


def tensors(x, values=None, stored=None, forms=None):
    """{FixNeuron: (float array, quantized one, quantized one of its layer alone)} for an input.

    values: parameters of the float network. stored: those of the model.
    """
    values, stored = dict(VALUES, **(values or {})), dict(VALUES, **(stored or {}))
    found = {}

    def add(name, value, changed, alone):
        found[name] = tuple(np.asarray(array, np.float64) for array in (value, changed, alone))
    for name in values:
        own = quantize(stored[name], name + '/wquant', forms)
        add(name + '/wquant', values[name], own, own)
    x = np.asarray(x, np.float64)
    add('x/aquant', x, quantize(x, 'x/aquant', forms), quantize(x, 'x/aquant', forms))
    for source, result, number, function in (('x', 'relu', '1', lambda y: np.maximum(y, 0)), ('relu', 'out', '2', lambda y: y)):
        value, changed, _ = found[source + '/aquant']
        w, own_w, _ = found['w{}/wquant'.format(number)]
        b, own_b, _ = found['b{}/wquant'.format(number)]
        name = result + '/aquant'
        add(name, function(value @ w + b), quantize(function(changed @ own_w + own_b), name, forms),
            quantize(function(value @ own_w + own_b), name, forms))
    return found
