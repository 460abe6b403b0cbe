"""QuantizeOptimizer: the training rewrite as a wrapper of an optimizer."""
from typing import Any, List, Optional, Tuple, Union

import tensorflow.compat.v1 as tf

from vai_q_tf import errors, tf_internal
from vai_q_tf.config import QuantizeConfig, require_config
from vai_q_tf.distillation.loss import add_term
from vai_q_tf.distillation.settings import Distillation, require_distillation
from vai_q_tf.integrations import gradient_interception, warm_start
from vai_q_tf.qat import replaced_tensors
from vai_q_tf.qat.gradients.range_loss import RangeLoss


class QuantizeOptimizer(tf.train.Optimizer):
    """An optimizer that makes the graph of the loss quantization-aware when gradients are first computed.

    The rewrite is that of `CreateQuantizeTrainingGraph`. A graph that is rewritten already stays as it is, so each of several
    optimizers can be wrapped. It can wrap, and be wrapped by, optimizers that forward `compute_gradients` and
    `apply_gradients`, such as Horovod's and those for mixed precision.

    Args:
      optimizer: the tf.train.Optimizer that does the work; attributes missing here are looked up on it.
      config: a QuantizeConfig.
      distillation: a `Distillation` with a checkpoint, whose term is added to the loss. A loss that is multiplied by a factor,
        as by a wrapper for mixed precision, is refused: put that wrapper inside.

    Raises:
      TypeError: an argument of a wrong type.
    """

    def __init__(self, optimizer: tf.train.Optimizer, config: QuantizeConfig,
                 distillation: Union[Distillation, bool, None] = None) -> None:
        if not isinstance(optimizer, tf.train.Optimizer):
            raise TypeError('optimizer must be a tf.train.Optimizer, got {}: {!r}'.format(type(optimizer).__name__, optimizer))
        super().__init__(tf_internal.uses_locking(optimizer), optimizer.get_name())
        self._config = require_config(config)
        self._distillation = require_distillation(distillation)
        if self._distillation is not None:
            self._distillation = self._distillation.with_checkpoint()
        self._optimizer = optimizer
        tf_internal.track(self, optimizer, 'base_optimizer')

    def minimize(self, loss: tf.Tensor, *args: Any, **kwargs: Any) -> tf.Operation:
        """The train op of the wrapped optimizer, after the rewrite; raises the same as `compute_gradients`."""
        return self._optimizer.minimize(self._quantized(loss), *args, **kwargs)

    def compute_gradients(self, loss: tf.Tensor, *args: Any,
                          **kwargs: Any) -> List[Tuple[Optional[tf.Tensor], tf.Variable]]:
        """The gradients of the wrapped optimizer, after the rewrite.

        Raises:
          QuantizeError: the graph cannot be rewritten (code, node, what to do); it stays as it is.
        """
        return self._optimizer.compute_gradients(self._quantized(loss), *args, **kwargs)

    def apply_gradients(self, *args: Any, **kwargs: Any) -> tf.Operation:
        """The train op of the wrapped optimizer for given gradients; rewrites nothing."""
        return self._optimizer.apply_gradients(*args, **kwargs)

    def get_slot(self, *args: Any, **kwargs: Any) -> Optional[tf.Variable]:
        """A slot of the wrapped optimizer; this one has none."""
        return self._optimizer.get_slot(*args, **kwargs)

    def get_slot_names(self, *args: Any, **kwargs: Any) -> List[str]:
        """The names of the slots of the wrapped optimizer."""
        return self._optimizer.get_slot_names(*args, **kwargs)

    def variables(self) -> List[tf.Variable]:
        """The variables of the wrapped optimizer."""
        return self._optimizer.variables()

    def __getattr__(self, name: str) -> Any:
        # Each optimizer has its own private state, in attributes that TensorFlow names with an underscore.
        if name.startswith('_'):
            raise AttributeError('{!r} object has no attribute {!r}'.format(type(self).__name__, name))
        return getattr(self._optimizer, name)

    def _quantized(self, loss: tf.Tensor) -> tf.Tensor:
        """The loss in the rewritten graph, plus the term of the distillation."""
        _check_loss(loss)
        term = self._term(loss)
        gradient_interception.rewrite_for_training(loss.graph, self._config)
        if term is not None:
            variables = warm_start.network_variables(loss.graph)
            RangeLoss(variables).trains([loss], [None], variables)
        loss = replaced_tensors.in_place_of(loss)
        return loss if term is None else loss + tf.cast(term, loss.dtype)

    def _term(self, loss: tf.Tensor) -> Optional[tf.Tensor]:
        if self._distillation is None:
            return None
        with gradient_interception.outside_of_contexts(loss.graph):
            return add_term(loss.graph, self._config, self._distillation)


def _check_loss(loss: Any) -> None:
    """Raises a QuantizeError for a loss without a graph that can be rewritten."""
    if callable(loss) or not isinstance(loss, tf.Tensor):
        raise errors.QuantizeError(
            errors.UNSUPPORTED_GRAPH, 'No graph',
            'The loss must be a tf.Tensor of a graph, got {}: a function is differentiated while it runs, too late for a '
            'rewrite. Build the loss first.'.format(type(loss).__name__))
    if loss.graph.building_function:
        raise errors.QuantizeError(
            errors.UNSUPPORTED_GRAPH, 'No graph',
            'The loss {!r} is built inside a tf.function. Build the network and its loss in a tf.Graph.'.format(loss.name))
