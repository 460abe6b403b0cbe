"""The term that distillation adds to the loss of a quantized training."""
import os
import weakref
from typing import AbstractSet, Dict, MutableMapping, NamedTuple, Optional, Union

import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.config import QuantizeConfig, require_config
from vai_q_tf.configuration.config_checks import config_error
from vai_q_tf.distillation.settings import Distillation
from vai_q_tf.distillation.teacher import Teacher
from vai_q_tf.graph import live_editor
from vai_q_tf.graph.traits import PASS_THROUGH_OPS
from vai_q_tf.graph.view import node_name
from vai_q_tf.qat import checkpoints, distribution

_SCOPE = 'vai_q_tf/distillation'
_PROBABILITIES = ('Softmax', 'LogSoftmax', 'Sigmoid')


class _Key(NamedTuple):
    """Everything that makes two terms of a graph differ."""
    checkpoint: str
    temperature: float
    weight: float
    output: str


# {graph: {key of a term: its name}}. A second call for the same term adds no second teacher.
_TERMS: MutableMapping[tf.Graph, Dict[_Key, str]] = weakref.WeakKeyDictionary()


def distillation_loss(config: QuantizeConfig, float_checkpoint: Union[str, 'os.PathLike[str]'], temperature: float = 2.0,
                      weight: float = 0.5, output_node: Optional[str] = None, graph: Optional[tf.Graph] = None) -> tf.Tensor:
    """The term by which the float network teaches the quantized one; add it to the loss.

        loss += vai_q_tensorflow.distillation_loss(config, 'float/model.ckpt-2000')

    Call it after the float network is built and before the optimizer. CreateQuantizeTrainingGraph may come
    before or after; with towers it comes after.

    Args:
      config: the QuantizeConfig of the training.
      float_checkpoint: same as in `Distillation`.
      temperature: same as in `Distillation`.
      weight: same as in `Distillation`.
      output_node: same as in `Distillation`.
      graph: the tf.Graph of the training; None: the default graph.

    Returns:
      A scalar float32 tf.Tensor: `weight * temperature**2 * KL(teacher || student)`, averaged over the batch.

    Raises:
      QuantizeError: INVALID_INPUT for a checkpoint that does not exist or lacks variables (named), NOT_FINITE for one with NaN
        or infinity, INVALID_CONFIG for a wrong value, UNSUPPORTED_GRAPH for an output that is not [batch, classes].
      TypeError: an argument of a wrong type.
    """
    require_config(config)
    settings = Distillation(float_checkpoint, temperature, weight, output_node).with_checkpoint()
    return add_term(graph or tf.get_default_graph(), config, settings)


def add_term(graph: tf.Graph, config: QuantizeConfig, distillation: Distillation,
             excluded: AbstractSet[str] = frozenset()) -> tf.Tensor:
    """The term of a Distillation with a checkpoint, which is added to the live `graph` unless that has it.

    excluded: names of ops that are not part of the network, same as in `rewrite.plan_rewrite`.

    Raises:
      QuantizeError: same as `distillation_loss`; the graph stays as it is.
    """
    live_editor.check_not_finalized(graph)
    output = _output_node(config, distillation.output_node)
    prefix = distribution.prefix_of_replica()
    checkpoint = checkpoints.find_checkpoint(distillation.float_checkpoint)
    key = _Key(checkpoint, distillation.temperature, distillation.weight, prefix + output)
    terms = _TERMS.setdefault(graph, {})
    if key not in terms:
        teacher = Teacher(graph, config, checkpoint, output, prefix, excluded)
        student = _logits(graph, prefix + output)
        terms[key] = _term(graph, teacher.logits(student), student, distillation).name
    return graph.get_tensor_by_name(terms[key])


def _output_node(config: QuantizeConfig, name: Optional[str]) -> str:
    """The output node to compare: `name`, or the first one of the config."""
    outputs = [node_name(output) for output in config.output_nodes]
    if name is not None and node_name(name) not in outputs:
        raise config_error('output_node', name, 'one of the output_nodes, {}'.format(', '.join(outputs)))
    return outputs[0] if name is None else node_name(name)


def _logits(graph: tf.Graph, name: str) -> tf.Tensor:
    """The tf.Tensor of the node `name`; raises a QuantizeError if it is not logits [batch, classes]."""
    logits = live_editor.tensor(graph, name)
    shape = logits.shape
    if shape.ndims != 2 or shape[1].value in (None, 1):
        raise errors.QuantizeError(
            errors.UNSUPPORTED_GRAPH, 'No logits',
            'Distillation compares logits [batch, classes], and the output node {!r} has the shape {}. Choose an output node '
            'of that shape, such as a Squeeze after it; output_node names one of several.'.format(name, shape))
    source = logits.op
    while source.type in PASS_THROUGH_OPS or source.type == 'Reshape':
        source = source.inputs[0].op
    if source.type in _PROBABILITIES:
        raise errors.QuantizeError(
            errors.UNSUPPORTED_GRAPH, 'No logits',
            'Distillation compares logits, and the output node {!r} is the result of {!r} ({}). Choose the input of that '
            'as the output node.'.format(name, source.name, source.type))
    return logits


def _term(graph: tf.Graph, teacher: tf.Tensor, student: tf.Tensor, distillation: Distillation) -> tf.Tensor:
    temperature, weight = distillation.temperature, distillation.weight
    with live_editor.with_placement_of(graph, student), tf.name_scope(_SCOPE):
        target, own = (tf.nn.log_softmax(tf.cast(logits, tf.float32) / temperature)
                       for logits in (tf.stop_gradient(teacher), student))
        divergence = tf.reduce_sum(tf.exp(target) * (target - own), axis=-1)
        examples = tf.cast(tf.size(divergence), tf.float32)
        mean = tf.math.divide_no_nan(tf.reduce_sum(divergence), examples)  # a replica may get an empty batch
        return tf.multiply(mean, weight * temperature ** 2, name='loss')
