"""Which of the losses that a program differentiates is the one that trains the network, so that a term can be added to it."""
import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.graph.dependence import reach
from vai_q_tf.graph.traits import PASS_THROUGH_OPS

_ALTERNATIVE = 'Add vai_q_tensorflow.distillation_loss to the loss in the model function in place of it.'


class RangeLoss:
    """Is told of each call of tf.gradients, and finds the loss that trains the network. There has to be one and no other.

    Args:
      variables: names of the variables of the network.

    Attributes:
      found: whether it was found.
    """

    def __init__(self, variables):
        self._variables = frozenset(variables)
        self._losses = None
        self._trained = set()

    @property
    def found(self):
        return self._losses is not None

    def trains(self, losses, seeds, variables):
        """Whether a call of tf.gradients trains the network; then the term belongs to what it differentiates.

        Several calls may do so where each trains other variables by the same loss, as several optimizers do.

        Args:
          losses: the tf.Tensors that it differentiates, one loss or the parts of a sum.
          seeds: the tf.Tensors of their gradients that it starts from; None for ones.
          variables: names of what it differentiates by.

        Raises:
          QuantizeError: UNSUPPORTED_GRAPH where another loss trains the network as well, or one that is multiplied by a factor.
        """
        trained = self._variables.intersection(variables)
        if not trained:
            return False
        names = frozenset(loss.name for loss in losses)
        if self.found and (names != self._losses or trained & self._trained):
            raise _not_evident('{} and {} are differentiated by variables of the network, such as {!r}, so it is not evident '
                               'which is the loss'.format(_shown(self._losses), _shown(names), min(trained)))
        self._losses = names
        self._trained.update(trained)
        if not all(loss.shape.ndims == 0 for loss in losses):
            raise _not_evident('{} is differentiated, which is no scalar'.format(_shown(names)))
        if any(seed is not None and not _is_one(seed) for seed in seeds) or len(losses) == 1 and self._is_scaled(losses[0]):
            raise _not_evident('{} is differentiated, which is multiplied by a factor; whether that belongs to the loss, or '
                               'scales it for gradients of few bits, cannot be told'.format(_shown(names)))
        return True

    def require_found(self):
        """Raises a QuantizeError where no call trained the network."""
        if not self.found:
            raise _not_evident('no gradient trains a variable of the network')

    def _is_scaled(self, loss):
        op = loss.op
        while op.type in PASS_THROUGH_OPS:
            op = op.inputs[0].op
        return op.type == 'Mul' and not all(self._depends(factor) for factor in op.inputs)

    def _depends(self, tensor):
        upstream = reach([tensor.op], lambda op: [operand.op for operand in op.inputs])
        return any(op.name in self._variables for op in upstream)


def _is_one(seed):
    return seed.op.type == 'Fill' and tf.get_static_value(seed.op.inputs[1]) == 1


def _shown(names):
    return ' + '.join(repr(name) for name in sorted(names))


def _not_evident(what):
    return errors.QuantizeError(
        errors.UNSUPPORTED_GRAPH, 'Distillation', 'Distillation adds a term to the loss, and {}. {}'.format(what, _ALTERNATIVE))
