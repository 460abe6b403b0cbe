"""A small network that trains from given weights, step by step, with access to the state of its training graph."""
import collections
import contextlib

import numpy as np
import tensorflow as tf

import vai_q_tf
from tests.loading import load
from vai_q_tf import position_histogram

v1 = tf.compat.v1
NODES = (['net_in'], ['logits/BiasAdd'])
WEIGHTS = {
    'conv/kernel': (3, 3, 2, 4), 'norm/gamma': (4,), 'norm/beta': (4,), 'norm/moving_mean': (4,), 'norm/moving_variance': (4,),
    'logits/kernel': (4, 3), 'logits/bias': (3,)}


def config(place, **fields):
    """A QuantizeConfig for 4 bits."""
    return vai_q_tf.QuantizeConfig(
        *NODES, output_dir=str(place / 'quantized'), **dict(dict(weight_bit=4, activation_bit=4), **fields))


def network(images, training=True):
    """[batch, 3] logits of images [batch, 6, 6, 2]."""
    net = tf.identity(images, name='net_in')
    net = v1.layers.conv2d(net, 4, 3, use_bias=False, name='conv')
    net = tf.nn.relu(v1.layers.batch_normalization(net, training=training, momentum=0.5, name='norm'), name='relu')
    return v1.layers.dense(tf.reduce_mean(net, [1, 2], name='pool'), 3, name='logits')


def float_weights(seed=0):
    """{variable: value} as after a float training: no vector has equal elements only."""
    random = np.random.RandomState(seed)
    positive = ('norm/moving_variance', 'norm/gamma')
    return {name: (random.rand(*shape) + 0.5 if name in positive else random.randn(*shape) * 0.4).astype(np.float32)
            for name, shape in WEIGHTS.items()}


def batch(number, size=64, scale=1.):
    """(images [size, 6, 6, 2], labels [size])."""
    random = np.random.RandomState(number)
    return (random.randn(size, 6, 6, 2) * scale).astype(np.float32), random.randint(0, 3, size)


class _Saver(v1.train.Saver):
    """Writes no MetaGraph by default, which would take most of the time."""

    def save(self, *arguments, write_meta_graph=False, **options):
        return super().save(*arguments, write_meta_graph=write_meta_graph, **options)


class _Graph:
    """A quantize training graph, and the tensors and ops to run in it."""

    def __init__(self, settings, build, rate):
        self.graph = tf.Graph()
        with self.graph.as_default():
            v1.set_random_seed(1)
            self.images, self.labels = v1.placeholder(tf.float32, [None, 6, 6, 2]), v1.placeholder(tf.int32, [None])
            self.loss = v1.losses.sparse_softmax_cross_entropy(self.labels, build(self.images))
            step = v1.train.get_or_create_global_step()
            vai_q_tf.CreateQuantizeTrainingGraph(settings)
            with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
                self.train = v1.train.GradientDescentOptimizer(rate).minimize(self.loss, step)
            self.saver = _Saver()
            self.initializer = v1.global_variables_initializer()
        self._ops = len(self.graph.get_operations())

    def is_new(self):
        """Whether nothing was added to the graph since."""
        return len(self.graph.get_operations()) == self._ops and not self.graph.finalized


_KEPT = 20
_graphs: collections.OrderedDict = collections.OrderedDict()  # {(config, network, rate): _Graph}, the most recently used last


def _graph(settings, build, rate):
    """A _Graph from the cache: building one takes a hundred times as long as a step."""
    key = repr(settings.replace(output_dir='anywhere')), build, rate
    found = _graphs.pop(key, None)
    if not (found and found.is_new()):
        found = _Graph(settings, build, rate)
    _graphs[key] = found
    if len(_graphs) > _KEPT:
        _graphs.popitem(last=False)
    found.saver.set_last_checkpoints_with_time([])
    return found


class Training:
    """A quantize training graph in a new session; trainings whose settings differ in the directory only share the graph.

    `weights` are assigned to the variables; None leaves the initial values.
    """

    def __init__(self, settings, weights=None, build=network, rate=0.05):
        made = _graph(settings, build, rate)
        self.graph, self.images, self.labels = made.graph, made.images, made.labels
        self.loss, self.train, self.saver = made.loss, made.train, made.saver
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.graph.as_default())
            self.session = stack.enter_context(v1.Session())
            self.session.run(made.initializer)
            self.assign(weights or {})
            self._stack = stack.pop_all()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._stack.close()

    def assign(self, weights):
        load({variable: weights[variable.op.name] for variable in v1.global_variables() if variable.op.name in weights},
             self.session)

    def step(self, number, size=64, scale=1.):
        """The loss of a step on the batch `number`."""
        return self.session.run([self.loss, self.train], self.feed(number, size, scale))[0]

    def feed(self, number, size=64, scale=1.):
        return dict(zip((self.images, self.labels), batch(number, size, scale)))

    def value(self, name, **feed):
        return self.session.run(name, feed or None)

    def positions(self):
        """{name of a quantized tensor: the position that its votes elect}."""
        names, votes = self.session.run(['vai_q_tf/positions/tensors:0', 'vai_q_tf/positions/votes:0'])
        return {name.decode(): position_histogram.mode_position(row) for name, row in zip(names, votes) if row.any()}

    def noted(self):
        """(number of the Begin, first global step) in the table."""
        return tuple(self.session.run('vai_q_tf/positions/start/noted:0')[0, :2])

    def variables(self):
        variables = v1.global_variables()
        return {variable.op.name: value for variable, value in zip(variables, self.session.run(variables))}


def float_tensors(weights, images, build=network):
    """{quantized tensor: its float value} of the network at inference, in NumPy but for the convolution."""
    with tf.Graph().as_default(), v1.Session() as session:
        placeholder = v1.placeholder(tf.float32, [None, 6, 6, 2])
        build(placeholder, training=False)
        session.run(v1.global_variables_initializer())
        load({variable: weights[variable.op.name] for variable in v1.global_variables()}, session)
        relu, pool, logits = session.run(['relu:0', 'pool:0', 'logits/BiasAdd:0'], {placeholder: images})
    scale = weights['norm/gamma'] / np.sqrt(weights['norm/moving_variance'] + np.float32(1e-3))
    return {
        'net_in/aquant': images, 'conv/kernel/wquant': weights['conv/kernel'] * scale,
        'norm/bias/wquant': weights['norm/beta'] - weights['norm/moving_mean'] * scale,
        'relu/aquant': relu, 'pool/aquant': pool, 'logits/kernel/wquant': weights['logits/kernel'],
        'logits/bias/wquant': weights['logits/bias'], 'logits/BiasAdd/aquant': logits}
