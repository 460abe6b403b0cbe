"""A progress line: rewritten in place on a terminal, a new line every ten seconds elsewhere."""
import sys
import time

import tensorflow as tf


class Progress:
    """Shows how much of `total` is done.

    Args:
      label: name of the task.
      total: number of its steps.
    """

    def __init__(self, label, total):
        self._label = label
        self._total = total
        self._started = time.time()
        self._terminal = sys.stdout.isatty()
        self._shown = 0.0

    def __call__(self, done, note=''):
        """`done` steps have been taken; `note` is added to the line."""
        now = time.time()
        if done < self._total and now - self._shown < (0.2 if self._terminal else 10):
            return
        self._shown = now
        elapsed = now - self._started
        left = elapsed / done * (self._total - done) if done else 0
        line = '{:<44} {:5d}/{}  {:3.0f} s, {:3.0f} s left  {}'.format(
            self._label, done, self._total, elapsed, left, note)
        last = done >= self._total
        print(('\r' + line.ljust(100)) if self._terminal else line, end='\n' if last or not self._terminal else '',
              flush=True)


class ProgressHook(tf.estimator.SessionRunHook):
    """The progress of a training, with its loss.

    Args:
      label, total: as in Progress.
    """

    def __init__(self, label, total):
        self._label = label
        self._total = total

    def begin(self):
        self._loss = tf.compat.v1.get_collection(tf.compat.v1.GraphKeys.LOSSES)[-1]
        self._done = 0
        self._progress = Progress(self._label, self._total)
        self._progress(0)

    def before_run(self, run_context):
        return tf.estimator.SessionRunArgs(self._loss)

    def after_run(self, run_context, run_values):
        self._done += 1
        self._progress(self._done, 'loss {:.3f}'.format(run_values.results))
