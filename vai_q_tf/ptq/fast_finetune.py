"""finetune: trains the weights of a quantized network, block by block, to give what the float network gives.

All blocks train side by side, each with its own loss and optimizer, in the same run of both networks: an epoch costs one pass
over the batches to train and one or a few to measure, however many blocks there are. Positions and everything else stay.

What is kept is measured, not hoped for: after an epoch, with weights that stand still, over all batches. A block whose own
loss did not fall gets its former weights back; then, if the outputs of the whole network are farther from the float outputs
than before, the worse half of the others does too, and so on until they are not.
"""
import math
import numbers

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import sessions
from vai_q_tf.graph.view import GraphView
from vai_q_tf.ptq.finetune_blocks import find_blocks
from vai_q_tf.ptq.finetune_network import FinetuneNetwork, total

LEAST_RATE, GREATEST_RATE = 1e-10, 0.1
# Blocks that start with a loss above this learn at lr * lrcoef.
HIGH_LOSS = 3.0
# The learning rate of a block, as a share of the step of its weights, where none is given.
STEP_SHARE = 0.01
# What a block's learning rate is multiplied by after an epoch that did not improve it.
SLOWDOWN = 0.25


def finetune(float_graph, eval_graph, plan, feeds, *, steps=None, mode=1, epochs=1, lr=None, lrcoef=1.0, session_config=None,
             progress=None, unseen_error=None, report=None):
    """`eval_graph` with weights and biases that make it differ less from `float_graph` on the batches.

    Nothing but the values of their Consts changes, and the result is never worse: the mean squared difference of the
    network's outputs to the float outputs over all batches is at most what it was. Of several outputs each counts in
    proportion to the mean square of its float values.

    Args:
      float_graph: the GraphDef for which `plan` was made.
      eval_graph: the same with FixNeurons of phase 1; it is read only.
      plan: the QuantPlan.
      feeds: the batches, as a list of {tensor name: array} or a function (step) -> {tensor name: array}, which is
        called again for each pass and must give the same for the same step. A batch in which the networks have NaN or
        infinity is left out, with a warning.
      steps: how many batches the function gives.
      mode: what the blocks read while training: 0 the float network, 1 the quantized one.
      epochs: how often the batches are trained on, at least 1. A block that an epoch did not improve starts the next one
        from its former weights, with a new optimizer at a quarter of the learning rate.
      lr: learning rate of Adam; None: STEP_SHARE of the step of each block's weights. lrcoef: its factor for blocks whose
        initial loss is above 3. Together they are kept within 1e-10 and 0.1.
      session_config: tf.ConfigProto; sessions.session_config() where it is not given.
      progress: function (iterable of batches, its length, what is done in words) -> iterable, for a progress bar.
      unseen_error: function ({Const: array}) -> error of the outputs with these values on data that nothing is trained on; what
        raises it is not kept either.
      report: function (error before, error after, how many blocks have other weights now, how many there are) that is told how
        it went. The errors are those of the outputs, relative to their mean square.

    Raises:
      QuantizeError: INVALID_CONFIG for a setting out of range.
    """
    check_settings(mode, epochs, lr, lrcoef)
    blocks, skipped = find_blocks(float_graph, eval_graph, plan)
    for name, reason in skipped:
        _leave(name, reason)
    if not blocks:
        tf.logging.warning('Fast finetune changes nothing: there are no weights or biases that it can train.')
        return eval_graph
    view = GraphView(eval_graph)

    def rate(block, loss):
        own = STEP_SHARE * _step(view, plan, block) if lr is None else lr
        return min(GREATEST_RATE, max(LEAST_RATE, own * (lrcoef if loss > HIGH_LOSS else 1.0)))

    batches = _Batches(feeds, len(feeds) if steps is None else steps, progress)
    with FinetuneNetwork(float_graph, eval_graph, plan, blocks, mode, session_config or sessions.session_config()) as network:
        finetuning = _Finetuning(network, blocks, batches, rate, unseen_error or (lambda values: 0.0))
        for epoch in range(epochs):
            finetuning.run_epoch('Fast finetune, epoch {} of {}'.format(epoch + 1, epochs))
        if report:
            report(*finetuning.outcome())
        return editor.with_values(eval_graph, finetuning.changed())


def _leave(name, reason):
    tf.logging.warning('Fast finetune leaves %r as it is: %s.', name, reason)


def _step(view, plan, block):
    """The step of a block's weights in the quantized graph; that of its bias, where they are not trained."""
    group = next(group for group in plan.groups if group.node == block.name)
    fix_neuron = next(name for name in (group.weight, group.bias)
                      if name in view and view.skip_identity(view.inputs(name)[0]) in block.constants)
    return 2.0 ** -view.attr(fix_neuron, 'quantize_pos').i


class _Batches:
    """The batches, asked for anew in each pass."""

    def __init__(self, feeds, steps, progress):
        self._feeds = feeds if callable(feeds) else feeds.__getitem__
        self._steps = list(range(steps))
        self._progress = progress or (lambda batches, count, text: batches)

    def __call__(self, text):
        return self._progress(map(self._feeds, self._steps), len(self._steps), text)

    def leave_out(self, steps):
        """Passes over batches from now on."""
        self._steps = [step for step in self._steps if step not in steps]


class _Finetuning:
    """The course of a finetuning: the weights accepted so far, and what they give."""

    def __init__(self, network, blocks, batches, rate, unseen_error):
        """rate: function (Block, initial loss) -> learning rate."""
        self._network, self._blocks, self._batches = network, blocks, batches
        self._accepted = dict(network.values)
        self._losses, self._error = self._initial = total(self._measured_first())
        self._unseen_error = unseen_error
        self._unseen = unseen_error(self._accepted)
        self._rates = np.array([rate(*pair) for pair in zip(blocks, self._losses)])
        # A loss that is not finite gives no gradient, and weights of NaN would reach all later blocks.
        self._active = [number for number, loss in enumerate(self._losses) if 0 < loss < np.inf]
        self._leave_out(network.untrainable)

    def _measured_first(self):
        """What each batch gives before; one with NaN or infinity where others have none is left out of all passes, and told."""
        measured = list(self._network.measure_each(self._batches('Fast finetune, before')))
        finite = np.isfinite([np.append(loss, error) for loss, error in measured])
        spoilt = ~finite & finite.any(axis=0)
        steps = set(np.flatnonzero(spoilt.any(axis=1)))
        if not steps or len(steps) == len(measured):
            return measured
        column = np.flatnonzero(spoilt.any(axis=0))[0]
        tf.logging.warning(
            'Fast finetune leaves out %d of %d batches, the first of them in step %d: %s NaN or infinite there. Look at the '
            'data of that step, or keep the network from dividing by zero or overflowing.', len(steps), len(measured),
            min(steps), repr(self._blocks[column].name) + ' is' if column < len(self._blocks) else 'the outputs are')
        self._batches.leave_out(steps)
        return [values for step, values in enumerate(measured) if step not in steps]

    def _leave_out(self, reasons):
        """Trains the blocks {number: why} no more."""
        for number, reason in reasons.items():
            _leave(self._blocks[number].name, reason)
        self._active = [number for number in self._active if number not in reasons]

    def run_epoch(self, text):
        """Trains once on every batch and takes over what is better; the other blocks go on at a lower rate."""
        failures = self._network.train(self._batches(text), self._active, self._rates)
        while failures:
            self._leave_out(failures)
            self._network.load(self._accepted)
            self._network.restart(self._active)
            failures = self._network.train(self._batches(text), self._active, self._rates)
        trained = self._network.read([name for number in self._active for name in self._blocks[number].constants])
        failed = sorted(set(self._active) - set(self._accept(trained, text + ', check')))
        self._network.restart(failed)
        self._rates[failed] *= SLOWDOWN

    def _accept(self, trained, text):
        """Takes over the weights of as many active blocks as improve, themselves and the network; returns these."""
        chosen, halve = self._active, False
        while chosen:
            names = [name for number in chosen for name in self._blocks[number].constants]
            values = dict(self._accepted, **{name: trained[name] for name in names})
            self._network.load(values)
            losses, error = self._network.measure(self._batches(text))
            # NaN is no improvement.
            better = [number for number in chosen if losses[number] < self._losses[number]]
            if len(better) == len(chosen) and error <= self._error:
                unseen = self._unseen_error(values)
                if unseen <= self._unseen:
                    self._accepted, self._losses, self._error, self._unseen = values, losses, error, unseen
                    return chosen
            if halve or len(better) == len(chosen):
                better = sorted(better, key=lambda number: losses[number] / self._losses[number])[:len(chosen) // 2]
            # Weights put back change what later blocks read; from the second round on half go, so that the rounds end.
            chosen, halve = sorted(better), True
        self._network.load(self._accepted)
        return []

    def changed(self):
        """{Const: ndarray}, the accepted values that are not the initial ones."""
        return {name: value for name, value in self._accepted.items()
                if not np.array_equal(value, self._network.values[name])}

    def outcome(self):
        """(error of the outputs before, after, number of changed blocks, number of blocks); logs the losses of each."""
        losses, error = self._initial
        changed = self.changed()
        for block, before, after in zip(self._blocks, losses, self._losses):
            tf.logging.info('Fast finetune: %s: loss %.6g, before %.6g%s', block.name, after, before,
                            '' if set(block.constants) & set(changed) else ' (weights unchanged)')
        return error, self._error, sum(bool(set(block.constants) & set(changed)) for block in self._blocks), len(self._blocks)


def check_settings(mode, epochs, lr, lrcoef):
    """Raises QuantizeError INVALID_CONFIG for a setting out of range, by its name as an option."""
    expected = (('fast_ft_mode', mode, mode in (0, 1), '0 or 1'),
                ('fast_ft_epochs', epochs, isinstance(epochs, numbers.Integral) and epochs >= 1, 'an integer of at least 1'),
                ('fast_ft_lr', lr, lr is None or _is_positive(lr), 'a positive number, or None'),
                ('fast_ft_lrcoef', lrcoef, _is_positive(lrcoef), 'a positive number'))
    for name, value, valid, what in expected:
        if not valid:
            raise errors.QuantizeError(errors.INVALID_CONFIG, 'Invalid parameter',
                                       '{} is {!r}; expected {}.'.format(name, value, what))


def _is_positive(value):
    return isinstance(value, numbers.Real) and value > 0 and math.isfinite(value)
