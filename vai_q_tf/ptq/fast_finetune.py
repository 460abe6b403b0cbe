"""finetune: trains the weights of a quantized network, block by block, so that it gives the results of the float network.

All blocks train side by side, each with its own loss and optimizer, in the same run of both networks: an epoch costs one pass
over the batches to train and one or a few to measure, however many blocks there are. Only weights and biases change.

Weights are accepted only on measured improvement, after an epoch and over all batches. A block whose loss did not fall gets its
former weights back; then, while the outputs of the whole network are farther from the float outputs than before, so does the
worse half of the remaining blocks.
"""
import functools
import math
import numbers
from typing import Any, Callable, Collection, Container, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import sessions
from vai_q_tf.graph.view import GraphView
from vai_q_tf.plan.quant_plan import QuantPlan
from vai_q_tf.ptq.finetune_blocks import Block, find_blocks
from vai_q_tf.ptq.finetune_network import FinetuneNetwork, total
from vai_q_tf.terminal.progress import progress
from vai_q_tf.types import Feed, InputFn, Values

LEAST_RATE, GREATEST_RATE = 1e-10, 0.1
# Blocks with an initial loss above this learn at lr * lrcoef.
HIGH_LOSS = 3.0
# The default learning rate of a block, as a share of the step of its weights.
STEP_SHARE = 0.01
# The factor on a block's learning rate after an epoch that did not improve it.
SLOWDOWN = 0.25


class FinetuneSettings(NamedTuple):
    """How `finetune` trains.

    mode: the inputs of the blocks during training: those of 0 the float network, 1 the quantized one.
    epochs: passes over the batches, at least 1. A block that an epoch did not improve starts the next one from its former
      weights, with a new optimizer at a quarter of the learning rate.
    lr: the learning rate of Adam; None: STEP_SHARE of the step of each block's weights.
    lrcoef: factor on the learning rate of blocks with an initial loss above 3. The product is kept within 1e-10 and 0.1.
    """
    mode: int = 1
    epochs: int = 1
    lr: Optional[float] = None
    lrcoef: float = 1.0

    def check(self) -> None:
        """Raises QuantizeError INVALID_CONFIG for a setting out of range, by its name as an option."""
        expected = (('fast_ft_mode', self.mode, self.mode in (0, 1), '0 or 1'),
                    ('fast_ft_epochs', self.epochs, _is_count(self.epochs), 'an integer of at least 1'),
                    ('fast_ft_lr', self.lr, self.lr is None or _is_positive(self.lr), 'a positive number, or None'),
                    ('fast_ft_lrcoef', self.lrcoef, _is_positive(self.lrcoef), 'a positive number'))
        for name, value, is_valid, valid in expected:
            if not is_valid:
                raise errors.QuantizeError(errors.INVALID_CONFIG, 'Invalid parameter',
                                           '{} is {!r}; expected {}.'.format(name, value, valid))


class Finetuned(NamedTuple):
    """The result of `finetune`.

    graph: the quantized GraphDef. before, after: the errors of the outputs, relative to their mean square.
    changed: the number of blocks with new weights. blocks: the number of blocks; 0 if nothing can be trained.
    """
    graph: tf.GraphDef
    before: float
    after: float
    changed: int
    blocks: int


def finetune(float_graph: tf.GraphDef, eval_graph: tf.GraphDef, plan: QuantPlan, feed: InputFn, steps: int,
             settings: FinetuneSettings, *, gpu_memory_fraction: Optional[float] = None,
             unseen_error: Callable[[Values], float] = lambda values: 0.0) -> Finetuned:
    """Changes weights and biases of `eval_graph` so that it differs less from `float_graph` on the batches.

    The result is never worse: the mean squared difference of the network's outputs to the float outputs over all batches does
    not rise. Several outputs count in proportion to the mean square of their float values.

    Args:
      float_graph: the GraphDef for which `plan` was made.
      eval_graph: the same with FixNeurons of phase 1; it does not change.
      feed: gives the batch of a step, the same in each pass. Batches in which the networks have NaN or infinity are left out,
        with a warning.
      steps: the number of batches.
      gpu_memory_fraction: see `session_config`.
      unseen_error: the error of the outputs with {Const: array} on unseen data; weights that raise it are not accepted.

    Raises:
      QuantizeError: INVALID_CONFIG for a setting out of range.
    """
    settings.check()
    blocks, skipped = find_blocks(float_graph, eval_graph, plan)
    for name, reason in skipped:
        _leave(name, reason)
    if not blocks:
        tf.logging.warning('Fast finetune changes nothing: there are no weights or biases that it can train.')
        return Finetuned(eval_graph, 0.0, 0.0, 0, 0)
    batches = _Batches(feed, steps)
    rate = functools.partial(_rate, settings, GraphView(eval_graph), plan)
    session_config = sessions.session_config(gpu_memory_fraction)
    with FinetuneNetwork(float_graph, eval_graph, plan, blocks, settings.mode, session_config) as network:
        finetuning = _Finetuning(network, blocks, batches, rate, unseen_error)
        for epoch in range(settings.epochs):
            finetuning.run_epoch('Fast finetune, epoch {} of {}'.format(epoch + 1, settings.epochs))
        return finetuning.result(eval_graph)


def _leave(name: str, reason: str) -> None:
    tf.logging.warning('Fast finetune leaves %r as it is: %s.', name, reason)


def _rate(settings: FinetuneSettings, view: GraphView, plan: QuantPlan, block: Block, loss: float) -> float:
    """The learning rate of a Block with this initial loss."""
    rate = STEP_SHARE * _step(view, plan, block) if settings.lr is None else settings.lr
    return min(GREATEST_RATE, max(LEAST_RATE, rate * (settings.lrcoef if loss > HIGH_LOSS else 1.0)))


def _step(view: GraphView, plan: QuantPlan, block: Block) -> float:
    """The step of a block's weights in the quantized graph; that of its bias if the weights are not trained."""
    group = next(group for group in plan.groups if group.node == block.name)
    fix_neuron = next(name for name in (group.weight, group.bias)
                      if name in view and view.skip_identity(view.inputs(name)[0]) in block.constants)
    return 2.0 ** -view.attr(fix_neuron, 'quantize_pos').i


class _Batches:
    """The batches; each call is a new pass over them."""

    def __init__(self, feed: InputFn, steps: int) -> None:
        self._feed, self._steps = feed, list(range(steps))

    def __call__(self, text: str) -> Iterable[Feed]:
        return progress(map(self._feed, self._steps), len(self._steps), text)

    def leave_out(self, steps: Container[int]) -> None:
        """Omits steps from later passes."""
        self._steps = [step for step in self._steps if step not in steps]


class _Weights(NamedTuple):
    """Weights as measured over all batches: {Const: array}, the loss of each block, the error of the outputs."""
    values: Dict[str, np.ndarray]
    losses: np.ndarray
    error: float


class _Finetuning:
    """The course of a finetuning. rate: the learning rate from a Block and its initial loss."""

    def __init__(self, network: FinetuneNetwork, blocks: Sequence[Block], batches: _Batches,
                 rate: Callable[[Block, float], float], unseen_error: Callable[[Values], float]) -> None:
        self._network, self._blocks, self._batches = network, blocks, batches
        self._initial = self._accepted = _Weights(network.values, *total(self._first_measures()))
        self._unseen_error = unseen_error
        self._unseen = unseen_error(network.values)
        self._rates = np.array([rate(*pair) for pair in zip(blocks, self._initial.losses)])
        # A loss that is not finite has no gradient, and weights of NaN would reach all later blocks.
        self._active = [number for number, loss in enumerate(self._initial.losses) if 0 < loss < np.inf]
        self._deactivate(network.untrainable)

    def _first_measures(self) -> List[Tuple[np.ndarray, np.ndarray]]:
        """The measures of each batch. Batches with NaN or infinity where others have none are left out of all passes."""
        measured = list(self._network.measure_each(self._batches('Fast finetune, before')))
        finite = np.isfinite([np.append(loss, error) for loss, error in measured])
        spoilt = ~finite & finite.any(axis=0)
        steps = set(np.flatnonzero(spoilt.any(axis=1)))
        if not steps or len(steps) == len(measured):
            return measured
        self._warn_of_spoilt(steps, len(measured), np.flatnonzero(spoilt.any(axis=0))[0])
        self._batches.leave_out(steps)
        return [values for step, values in enumerate(measured) if step not in steps]

    def _warn_of_spoilt(self, steps: Collection[int], count: int, column: int) -> None:
        """column: of a batch's measures: the number of a block, or a later one for an output."""
        tf.logging.warning(
            'Fast finetune leaves out %d of %d batches, the first of them in step %d: %s NaN or infinite there. Look at the '
            'data of that step, or keep the network from dividing by zero or overflowing.', len(steps), count, min(steps),
            repr(self._blocks[column].name) + ' is' if column < len(self._blocks) else 'the outputs are')

    def _deactivate(self, reasons: Mapping[int, str]) -> None:
        """Stops training the blocks {number: reason}."""
        for number, reason in reasons.items():
            _leave(self._blocks[number].name, reason)
        self._active = [number for number in self._active if number not in reasons]

    def run_epoch(self, text: str) -> None:
        """Trains once on every batch and accepts improved blocks; the others continue at a lower rate."""
        failures = self._network.train(self._batches(text), self._active, self._rates)
        while failures:
            self._deactivate(failures)
            self._network.load(self._accepted.values)
            self._network.restart(self._active)
            failures = self._network.train(self._batches(text), self._active, self._rates)
        trained = self._network.read(self._constants(self._active))
        failed = sorted(set(self._active) - set(self._accept(trained, text + ', check')))
        self._network.restart(failed)
        self._rates[failed] *= SLOWDOWN

    def _constants(self, numbers: Iterable[int]) -> List[str]:
        return [name for number in numbers for name in self._blocks[number].constants]

    def _accept(self, trained: Values, text: str) -> List[int]:
        """Accepts the trained weights of as many active blocks as improve, themselves and the outputs; returns these blocks."""
        chosen, is_first = self._active, True
        while chosen:
            weights = self._measured(chosen, trained, text)
            # NaN is no improvement.
            better = [number for number in chosen if weights.losses[number] < self._accepted.losses[number]]
            if better == chosen and self._replace_accepted(weights):
                return chosen
            # Restored weights change the inputs of later blocks; from the second round on half of the blocks go, so the rounds
            # come to an end.
            chosen = self._best_half(chosen, better, weights) if better == chosen or not is_first else better
            is_first = False
        self._network.load(self._accepted.values)
        return []

    def _measured(self, chosen: Iterable[int], trained: Values, text: str) -> _Weights:
        """The _Weights with the trained values of the blocks `chosen` and the accepted ones of the others."""
        values = dict(self._accepted.values, **{name: trained[name] for name in self._constants(chosen)})
        self._network.load(values)
        return _Weights(values, *self._network.measure(self._batches(text)))

    def _replace_accepted(self, weights: _Weights) -> bool:
        """Accepts weights unless the error of the outputs rises, on the batches or on unseen data; whether it did."""
        if not weights.error <= self._accepted.error:
            return False
        unseen = self._unseen_error(weights.values)
        if not unseen <= self._unseen:
            return False
        self._accepted, self._unseen = weights, unseen
        return True

    def _best_half(self, chosen: Sequence[int], better: Iterable[int], weights: _Weights) -> List[int]:
        """The blocks of `better` whose losses fell most, at most half as many as `chosen`."""
        best = sorted(better, key=lambda number: weights.losses[number] / self._accepted.losses[number])
        return sorted(best[:len(chosen) // 2])

    def changed(self) -> Dict[str, np.ndarray]:
        """{Const: array}, the accepted values that differ from the initial ones."""
        return {name: value for name, value in self._accepted.values.items()
                if not np.array_equal(value, self._initial.values[name])}

    def result(self, eval_graph: tf.GraphDef) -> Finetuned:
        """The Finetuned; logs the losses of each block."""
        changed = self.changed()
        blocks = [block for block in self._blocks if not changed.keys().isdisjoint(block.constants)]
        for block, before, after in zip(self._blocks, self._initial.losses, self._accepted.losses):
            tf.logging.info('Fast finetune: %s: loss %.6g, before %.6g%s', block.name, after, before,
                            '' if block in blocks else ' (weights unchanged)')
        return Finetuned(editor.with_values(eval_graph, changed), self._initial.error, self._accepted.error, len(blocks),
                         len(self._blocks))


def _is_count(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and int(value) >= 1


def _is_positive(value: Any) -> bool:
    return isinstance(value, numbers.Real) and float(value) > 0 and math.isfinite(value)
