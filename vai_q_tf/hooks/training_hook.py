"""QuantizeTrainingHook: makes the training of a float model function quantization-aware from a list of hooks.

Lifecycle. `begin()` runs when the model function has built network, gradients and train op, before the saver is made and the
graph finalized. It rewrites the network and re-points what reads the gradients, see `qat.regradient`; the saver made
afterwards carries the positions. At run time the hook does nothing.
"""
import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.config import require_config
from vai_q_tf.distillation.loss import add_term
from vai_q_tf.distillation.settings import require_distillation
from vai_q_tf.graph import live_editor
from vai_q_tf.graph.view import node_name
from vai_q_tf.qat import graph_record, training
from vai_q_tf.qat.gradients import regradient
from vai_q_tf.qat.positions import savers


class QuantizeTrainingHook(tf.estimator.SessionRunHook):
    """Rewrites the default graph for quantization-aware training, with its gradients, when a session is about to be made.

    Clipping, scaling, weight decay, accumulation, several optimizers and averages of weights go on with the gradients of
    the quantized network. In a graph that is a quantize training graph of the same nodes already the hook has nothing to do.

    Args:
      config: a QuantizeConfig.
      towers: as of `CreateQuantizeTrainingGraph`.
      distillation: a `Distillation` with a checkpoint, whose term joins the loss that the gradients are made of; what the
        program shows as its loss stays what it is.
    """

    def __init__(self, config, towers=None, distillation=None):
        self._config = require_config(config)
        self._towers = towers
        self._distillation = require_distillation(distillation)
        if self._distillation is not None:
            self._distillation = self._distillation.with_checkpoint()

    def begin(self):
        """Raises QuantizeError where the graph cannot be rewritten, or a gradient cannot be found (the variable is named)."""
        graph, config = tf.get_default_graph(), self._config
        if graph_record.is_training(graph):
            graph_record.check_same_range(graph_record.training_plan(graph), config)
            if self._distillation is not None:
                raise _cannot_distil('the graph was rewritten before')
            return
        live_editor.check_not_finalized(graph)
        savers.warn_of_earlier_savers(graph)
        gradients = regradient.Gradients(graph)
        waiting = [name for name in config.input_nodes + config.output_nodes if node_name(name) in gradients.excluded]
        if waiting:
            raise errors.QuantizeError(
                errors.UNSUPPORTED_GRAPH, 'After gradients',
                'Node {!r} waits for a gradient or a training step. {}'.format(waiting[0], regradient.ALTERNATIVES))
        if self._distillation is not None:
            if self._towers is not None:
                raise _cannot_distil('each tower has a loss')
            gradients.add(add_term(graph, config, self._distillation, gradients.excluded))
        training.create_training_graph(graph, config, gradients, self._towers)


def _cannot_distil(why):
    return errors.QuantizeError(
        errors.UNSUPPORTED_GRAPH, 'Distillation',
        'QuantizeTrainingHook cannot add the term of the distillation: {}. Add vai_q_tensorflow.distillation_loss to the loss '
        'in the model function.'.format(why))
