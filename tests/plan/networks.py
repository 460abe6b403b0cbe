"""Small networks built with the layer libraries, and shorthands to annotate them and read their plans."""
import tensorflow as tf
from tensorflow import keras
from tensorflow.contrib import slim

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph.view import GraphView
from vai_q_tf.passes import optimise
from vai_q_tf.plan.annotate import annotate
from vai_q_tf.qat.network.decision import decide
from vai_q_tf.qat.network.inference_form import inference_form

LIBRARIES = ('tf.layers', 'slim', 'keras')


def image(channels=3, name='x', size=8):
    return tf.compat.v1.placeholder(tf.float32, [None, size, size, channels], name=name)


def batch_of(*shape):
    return tf.compat.v1.placeholder(tf.float32, [None, *shape], name='x')


def plan_of(outputs, inputs=('x',), **fields):
    """The QuantPlan of the inference form of the default graph, by default without the simulation of the DPU."""
    return decision_of(outputs, inputs, **fields).plan


def plan_as_written(outputs, inputs=('x',), **fields):
    """As `plan_of`, but the passes leave activation functions as they are written."""
    return plan_of(outputs, inputs, fold_bn_only=1, **fields)


def decision_of(outputs, inputs=('x',), **fields):
    """The Decision with that plan."""
    graph_def = tf.compat.v1.get_default_graph().as_graph_def(add_shapes=True)
    outputs = [outputs] if isinstance(outputs, str) else list(outputs)
    config = QuantizeConfig(list(inputs), outputs, **dict({'simulate_dpu': 0}, **fields))
    return decide(inference_form(graph_def, GraphView(graph_def), config).graph_def, config)


def plan_of_frozen(outputs, inputs=('x',), **fields):
    """The QuantPlan of the default graph, frozen with the initial values of its variables and optimised."""
    outputs = [outputs] if isinstance(outputs, str) else list(outputs)
    with tf.compat.v1.Session() as session:
        session.run(tf.compat.v1.global_variables_initializer())
        frozen = tf.compat.v1.graph_util.convert_variables_to_constants(
            session, tf.compat.v1.get_default_graph().as_graph_def(), outputs)
    config = QuantizeConfig(list(inputs), outputs, **fields)
    return annotate(GraphView(optimise(frozen, config)), config)


def rows(plan):
    """(name, role, mode, consumers) of every tensor."""
    return [(tensor.name, tensor.role, tensor.mode, tensor.consumers) for tensor in plan.tensors]


def tensor_names(plan):
    return [tensor.name for tensor in plan.tensors]


def activations(plan):
    """The names of the tensors in mode 1."""
    return [tensor.name for tensor in plan.tensors if tensor.mode == 1]


def by_name(plan):
    return {tensor.name: tensor for tensor in plan.tensors}


def decisions(plan):
    """A plan without its order, which is that of nodes: this is equal in training, at inference and in a frozen graph."""
    tensors = [tensor._replace(consumers=tuple(sorted(tensor.consumers))) for tensor in plan.tensors]
    return [sorted(records) for records in (tensors, plan.groups, plan.skipped, plan.alignments, plan.operand_groups)]


def skipped(plan):
    return {record.node: record.reason for record in plan.skipped}


def batch_norm(library, x, training, fused, **options):
    """The batch norm of a layer library."""
    if library == 'tf.layers':
        return tf.compat.v1.layers.batch_normalization(x, training=training, fused=fused, **options)
    if library == 'slim':
        return slim.batch_norm(x, is_training=training, fused=fused, **options)
    keras.backend.set_learning_phase(int(training))
    return keras.layers.BatchNormalization(fused=fused, **options)(x)


def convolution(library, x, filters=4, bias=True):
    if library == 'tf.layers':
        return tf.compat.v1.layers.conv2d(x, filters, 3, use_bias=bias)
    if library == 'slim':
        options = {} if bias else {'biases_initializer': None}
        return slim.conv2d(x, filters, 3, activation_fn=None, **options)
    return keras.layers.Conv2D(filters, 3, use_bias=bias)(x)


def dense(library, x, units=4, bias=True):
    if library == 'tf.layers':
        return tf.compat.v1.layers.dense(x, units, use_bias=bias)
    if library == 'slim':
        options = {} if bias else {'biases_initializer': None}
        return slim.fully_connected(x, units, activation_fn=None, **options)
    return keras.layers.Dense(units, use_bias=bias)(x)
