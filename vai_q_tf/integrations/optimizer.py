"""QuantizeOptimizer: the training rewrite as a wrapper of an optimizer."""
import tensorflow.compat.v1 as tf

from vai_q_tf import errors, tf_internal
from vai_q_tf.config import require_config
from vai_q_tf.distillation.loss import add_term
from vai_q_tf.distillation.settings import require_distillation
from vai_q_tf.integrations import gradient_interception, warm_start
from vai_q_tf.qat import replaced_tensors
from vai_q_tf.qat.gradients.range_loss import RangeLoss


class QuantizeOptimizer(tf.train.Optimizer):
    """An optimizer that makes the graph of the loss quantization-aware when gradients are first computed.

    The rewrite is that of `CreateQuantizeTrainingGraph`. A graph that is rewritten already stays as it is, so one for each
    of several optimizers is right. It can wrap, and be wrapped by, others that hand `compute_gradients` and
    `apply_gradients` on, such as Horovod's and those for mixed precision.

    Args:
      optimizer: the tf.train.Optimizer that does the work; attributes that this class has not are taken from it.
      config: a QuantizeConfig.
      distillation: a `Distillation` with a checkpoint, whose term joins the loss. A loss that is multiplied by a factor is
        refused, as a wrapper for mixed precision hands it in: let that wrapper be inside.

    Raises:
      TypeError: an argument of a wrong type.
    """

    def __init__(self, optimizer, config, distillation=None):
        if not isinstance(optimizer, tf.train.Optimizer):
            raise TypeError('optimizer must be a tf.train.Optimizer, got {}: {!r}'.format(type(optimizer).__name__, optimizer))
        super().__init__(tf_internal.uses_locking(optimizer), optimizer.get_name())
        self._config = require_config(config)
        self._distillation = require_distillation(distillation)
        if self._distillation is not None:
            self._distillation = self._distillation.with_checkpoint()
        self._optimizer = optimizer
        tf_internal.track(self, optimizer, 'base_optimizer')

    def minimize(self, loss, *args, **kwargs):
        """As of the wrapped optimizer, on the quantized graph."""
        return self._optimizer.minimize(self._quantized(loss), *args, **kwargs)

    def compute_gradients(self, loss, *args, **kwargs):
        """As of the wrapped optimizer, on the quantized graph.

        Raises:
          QuantizeError: the graph cannot be rewritten (code, node, what to do); it is as it was then.
        """
        return self._optimizer.compute_gradients(self._quantized(loss), *args, **kwargs)

    def apply_gradients(self, *args, **kwargs):
        """As of the wrapped optimizer."""
        return self._optimizer.apply_gradients(*args, **kwargs)

    def get_slot(self, *args, **kwargs):
        """As of the wrapped optimizer."""
        return self._optimizer.get_slot(*args, **kwargs)

    def get_slot_names(self, *args, **kwargs):
        """As of the wrapped optimizer."""
        return self._optimizer.get_slot_names(*args, **kwargs)

    def variables(self):
        """As of the wrapped optimizer."""
        return self._optimizer.variables()

    def __getattr__(self, name):
        # What begins with an underscore is TensorFlow's own state of each object.
        if name.startswith('_'):
            raise AttributeError('{!r} object has no attribute {!r}'.format(type(self).__name__, name))
        return getattr(self._optimizer, name)

    def _quantized(self, loss):
        if callable(loss) or not isinstance(loss, tf.Tensor):
            raise errors.QuantizeError(
                errors.UNSUPPORTED_GRAPH, 'No graph',
                'The loss must be a tf.Tensor of a graph, got {}: a function is differentiated while it runs, too late for a '
                'rewrite. Build the loss first.'.format(type(loss).__name__))
        if loss.graph.building_function:
            raise errors.QuantizeError(
                errors.UNSUPPORTED_GRAPH, 'No graph',
                'The loss {!r} is built inside a tf.function. Build the network and its loss in a tf.Graph.'.format(loss.name))
        term = None if self._distillation is None else self._term(loss)
        gradient_interception.rewrite_for_training(loss.graph, self._config)
        if term is not None:
            variables = warm_start.network_variables(loss.graph)
            RangeLoss(variables).trains([loss], [None], variables)
        loss = replaced_tensors.in_place_of(loss)
        return loss if term is None else loss + tf.cast(term, loss.dtype)

    def _term(self, loss):
        with gradient_interception.outside_of_contexts(loss.graph):
            return add_term(loss.graph, self._config, self._distillation)
