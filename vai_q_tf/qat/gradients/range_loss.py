"""Finds the loss that trains a network among those that a program differentiates, so that a term can be added to it."""
from typing import Collection, FrozenSet, Iterable, Optional, Sequence, Set

import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.graph.dependence import reach
from vai_q_tf.graph.traits import PASS_THROUGH_OPS

_ALTERNATIVE = 'Add vai_q_tensorflow.distillation_loss to the loss in the model function instead.'


class RangeLoss:
    """Finds the one loss that trains the network, given each call of tf.gradients.

    Args:
      variables: names of the variables of the network.
    """

    def __init__(self, variables: Iterable[str]) -> None:
        self._variables = frozenset(variables)
        self._losses: FrozenSet[str] = frozenset()
        self._trained: Set[str] = set()

    @property
    def found(self) -> bool:
        """Whether a call trained the network."""
        return bool(self._losses)

    def trains(self, losses: Sequence[tf.Tensor], seeds: Sequence[Optional[tf.Tensor]], variables: Iterable[str]) -> bool:
        """Whether a call of tf.gradients trains the network, so that the term has to be added to its losses.

        Several calls may train it if each trains other variables by the same loss, as several optimizers do.

        Args:
          losses: the tf.Tensors that it differentiates, one loss or the parts of a sum.
          seeds: the gradients of the losses that it starts from; None for ones.
          variables: names of the variables that it differentiates with respect to.

        Raises:
          QuantizeError: UNSUPPORTED_GRAPH if another loss trains the network as well, or a factor scales the loss.
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
            raise _not_evident('{} is differentiated, which is not a scalar'.format(_shown(names)))
        if any(seed is not None and not _is_one(seed) for seed in seeds) or len(losses) == 1 and self._is_scaled(losses[0]):
            raise _not_evident('{} is differentiated, which is multiplied by a factor; that may belong to the loss or '
                               'scale it for gradients of few bits'.format(_shown(names)))
        return True

    def require_found(self) -> None:
        """Raises a QuantizeError if no call trained the network."""
        if not self.found:
            raise _not_evident('no gradient trains a variable of the network')

    def _is_scaled(self, loss: tf.Tensor) -> bool:
        op = loss.op
        if op.type in PASS_THROUGH_OPS:
            return self._is_scaled(op.inputs[0])
        if op.type == 'RealDiv':  # that of a sum by the size of the batch is a mean
            return tf.get_static_value(op.inputs[1]) not in (None, 1) and op.inputs[0].op.type != 'Sum'
        if op.type != 'Mul':
            return False
        factors = [factor for factor in op.inputs if tf.get_static_value(factor) != 1]  # Keras multiplies by a weight of 1
        return self._is_scaled(factors[0]) if len(factors) == 1 else not all(map(self._depends, factors))

    def _depends(self, tensor: tf.Tensor) -> bool:
        """Whether a tensor depends on a variable of the network."""
        upstream = reach([tensor.op], lambda op: [operand.op for operand in op.inputs])
        return any(op.name in self._variables for op in upstream)


def _is_one(seed: tf.Tensor) -> bool:
    return seed.op.type == 'Fill' and tf.get_static_value(seed.op.inputs[1]) == 1


def _shown(names: Collection[str]) -> str:
    return ' + '.join(repr(name) for name in sorted(names))


def _not_evident(what: str) -> errors.QuantizeError:
    return errors.QuantizeError(
        errors.UNSUPPORTED_GRAPH, 'Distillation', 'Distillation adds a term to the loss, and {}. {}'.format(what, _ALTERNATIVE))
