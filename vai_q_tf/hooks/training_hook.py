"""QuantizeTrainingHook: makes the training of a float model function quantization-aware from a list of hooks.

Lifecycle. `begin()` runs once the model function has built the network, gradients and train op, before the Saver is created
and the graph finalized. It rewrites the network and reroutes the readers of the gradients, see `qat.regradient`; the Saver
then saves the positions as well. During the steps the hook does nothing.
"""
from typing import Optional, Sequence, Union

import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.config import QuantizeConfig, require_config
from vai_q_tf.distillation.loss import add_term
from vai_q_tf.distillation.settings import Distillation, require_distillation
from vai_q_tf.graph import live_editor
from vai_q_tf.graph.view import node_name
from vai_q_tf.qat import graph_record, training
from vai_q_tf.qat.gradients import regradient
from vai_q_tf.qat.positions import savers


class QuantizeTrainingHook(tf.estimator.SessionRunHook):
    """Rewrites the default graph and its gradients for quantization-aware training before the session is created.

    Clipping, scaling, weight decay, accumulation, several optimizers and averages of weights then work on the gradients of
    the quantized network. If the graph is a quantize training graph of the same nodes already, the hook does nothing.

    Args:
      config: a QuantizeConfig.
      towers: same as in `CreateQuantizeTrainingGraph`.
      distillation: a `Distillation` with a checkpoint. Its term is added to the loss that is differentiated; the loss that the
        program displays does not change.
    """

    def __init__(self, config: QuantizeConfig, towers: Optional[Sequence[str]] = None,
                 distillation: Union[Distillation, bool, None] = None) -> None:
        self._config = require_config(config)
        self._towers = towers
        self._distillation = require_distillation(distillation)
        if self._distillation is not None:
            self._distillation = self._distillation.with_checkpoint()

    def begin(self) -> None:
        """Rewrites the graph; raises QuantizeError if that fails or if a gradient is not found (the variable is named)."""
        graph = tf.get_default_graph()
        if graph_record.is_training(graph):
            self._check_rewritten(graph)
        else:
            self._rewrite(graph)

    def _check_rewritten(self, graph: tf.Graph) -> None:
        """Raises QuantizeError if a graph that is rewritten already is not the one that this hook would create."""
        graph_record.check_same_range(graph_record.training_plan(graph), self._config)
        if self._distillation is not None:
            raise _cannot_distil('the graph was rewritten before')

    def _rewrite(self, graph: tf.Graph) -> None:
        live_editor.check_not_finalized(graph)
        savers.warn_of_earlier_savers(graph)
        gradients = regradient.Gradients(graph)
        self._check_nodes_precede(gradients)
        if self._distillation is not None:
            if self._towers is not None:
                raise _cannot_distil('each tower has a loss')
            gradients.add(add_term(graph, self._config, self._distillation, gradients.excluded))
        training.create_training_graph(graph, self._config, gradients, self._towers)

    def _check_nodes_precede(self, gradients: regradient.Gradients) -> None:
        """Raises QuantizeError if a node of the config depends on a gradient or a training step."""
        for name in self._config.input_nodes + self._config.output_nodes:
            if node_name(name) in gradients.excluded:
                raise errors.QuantizeError(
                    errors.UNSUPPORTED_GRAPH, 'After gradients',
                    'Node {!r} waits for a gradient or a training step. {}'.format(name, regradient.ALTERNATIVES))


def _cannot_distil(why: str) -> errors.QuantizeError:
    return errors.QuantizeError(
        errors.UNSUPPORTED_GRAPH, 'Distillation',
        'QuantizeTrainingHook cannot add the term of the distillation: {}. Add vai_q_tensorflow.distillation_loss to the loss '
        'in the model function.'.format(why))
