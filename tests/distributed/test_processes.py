"""Separate trainings that average gradients, with hooks in the order of Horovod; threads replace processes."""
import shutil
import threading

import numpy as np
import pytest
import tensorflow as tf

from tests import quick_tensorflow
from tests.distributed import training
from vai_q_tf import CreateQuantizeTrainingGraph
from vai_q_tf.hooks.synchronize_hook import SynchronizePositionsHook
from vai_q_tf.qat.positions import position_saveable

_RANKS = 2
_STEPS = 6


class _Exchange:
    """Broadcast and mean of arrays between threads, each of which makes the same calls in the same order."""

    def __init__(self):
        self._barrier = threading.Barrier(_RANKS, timeout=100)
        self._arrays = [None] * _RANKS

    def _gather(self, rank, array):
        self._arrays[rank] = array
        self._barrier.wait()
        gathered = list(self._arrays)
        self._barrier.wait()
        return gathered

    def average(self, rank):
        return self._function(lambda array: np.mean(self._gather(rank, array), 0).astype(array.dtype))

    def broadcast(self, rank):
        return self._function(lambda array: self._gather(rank, array)[0])

    @staticmethod
    def _function(compute):
        def apply(value):
            result = tf.numpy_function(compute, [value], value.dtype)
            result.set_shape(value.shape)
            return result
        return apply


class _BroadcastVariables(tf.estimator.SessionRunHook):
    """Same as hvd.BroadcastGlobalVariablesHook(0)."""

    def __init__(self, broadcast):
        self._broadcast = broadcast

    def begin(self):
        with tf.control_dependencies(None):
            assigned = []
            for variable in tf.compat.v1.global_variables():
                with tf.control_dependencies(assigned):  # one after the other: threads exchange one array at a time
                    assigned.append(tf.compat.v1.assign(variable, self._broadcast(variable.value())).op)
            self._assign = tf.group(*assigned)

    def after_create_session(self, session, coord):
        session.run(self._assign)


class _Votes(tf.estimator.SessionRunHook):
    """Keeps the votes at the start and after each step, as a last hook sees them."""

    def __init__(self):
        self.values = []

    def after_create_session(self, session, coord):
        self.values.append(session.run(position_saveable.VOTES_KEY + ':0'))

    def after_run(self, run_context, run_values):
        self.values.append(run_context.session.run(position_saveable.VOTES_KEY + ':0'))


def _train(directory, rank, exchange, synchronize, found):
    """A rank: its own half of the data, gradients averaged; only rank 0 has the checkpoint."""
    with tf.Graph().as_default():
        tf.compat.v1.set_random_seed(rank)
        images, labels = training.data()
        step = tf.compat.v1.train.get_or_create_global_step()
        rows = tf.math.floormod(tf.range(8, dtype=tf.int64) + 8 * (_RANKS * step + rank), 64)
        scale = 1.0 + 0.3 * rank  # the ranks do not see the same range of values
        logits = training.network(tf.gather(tf.constant(images * scale), rows), True, norm=False)
        loss = tf.compat.v1.losses.sparse_softmax_cross_entropy(tf.gather(tf.constant(labels), rows), logits)
        config = training.config(directory / str(rank))
        CreateQuantizeTrainingGraph(config)
        optimizer = tf.compat.v1.train.MomentumOptimizer(0.05, 0.9)
        averaged = []
        for gradient, variable in optimizer.compute_gradients(loss):
            with tf.control_dependencies([pair[0] for pair in averaged]):
                averaged.append((exchange.average(rank)(gradient), variable))
        train = optimizer.apply_gradients(averaged, step)
        votes = _Votes()
        hooks = [_BroadcastVariables(exchange.broadcast(rank))]
        if synchronize:
            functions = (exchange.broadcast(rank), exchange.average(rank))
            # Each rank takes one of the two call forms.
            hooks.append(SynchronizePositionsHook(config, *functions) if rank else SynchronizePositionsHook(*functions))
        session_config = quick_tensorflow.one_thread()
        # The first session of a process decides how many threads those without their own have: ranks wait in them.
        session_config.use_per_session_threads = True
        with tf.compat.v1.train.MonitoredTrainingSession(
                checkpoint_dir=str(directory / 'model') if rank == 0 else None, hooks=hooks + [votes],
                save_checkpoint_steps=100, save_summaries_steps=None, save_summaries_secs=None, log_step_count_steps=None,
                config=session_config) as session:
            for _ in range(_STEPS):
                session.run(train)
            found[rank] = votes.values, session.run(tf.compat.v1.trainable_variables())


def _train_all(directory, synchronize):
    exchange, found = _Exchange(), [None] * _RANKS
    for rank in range(_RANKS):
        (directory / str(rank)).mkdir(exist_ok=True)
    threads = [threading.Thread(target=_train, args=(directory, rank, exchange, synchronize, found)) for rank in range(_RANKS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """The votes and weights of the ranks in a training and in one that resumes it, with the votes and directory in between."""
    directory = tmp_path_factory.mktemp('ranks')
    first = _train_all(directory, True)
    shutil.copytree(str(directory / 'model'), str(directory / 'first' / 'model'))
    saved = tf.train.load_checkpoint(str(directory / 'model')).get_tensor(position_saveable.VOTES_KEY)
    return first, saved, directory / 'first', _train_all(directory, True)


def test_votes_and_weights_are_equal_on_all_ranks_after_each_step(runs):
    for (first, weights), (second, others) in (runs[0], runs[-1]):
        assert len(first) > _STEPS
        for mine, its in zip(first, second):
            np.testing.assert_array_equal(mine, its)
        for mine, its in zip(weights, others):
            np.testing.assert_array_equal(mine, its)


def test_a_restored_checkpoint_reaches_all_ranks(runs):
    first, saved, _, second = runs
    for rank in range(_RANKS):
        assert not first[rank][0][0].any()
        np.testing.assert_array_equal(second[rank][0][0], saved)


def test_variables_alone_do_not_bring_the_positions(runs):
    (first, _), (second, _) = _train_all(runs[2], False)
    assert first[0].any() and not second[0].any()
    assert (first[-1] != second[-1]).any()
