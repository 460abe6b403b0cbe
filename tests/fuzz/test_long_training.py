"""Memory, ops, open files and CPU time per step of a long quantized training stay constant after its first steps."""
import os
import resource
import time

import pytest
import tensorflow.compat.v1 as tf

import vai_q_tf
from tests.fuzz.damage.specimens import batch, training_graph


def _memory():
    """Resident bytes of this process."""
    with open('/proc/self/statm') as stream:
        return int(stream.read().split()[1]) * resource.getpagesize()


@pytest.mark.slow
def test_3000_steps_are_flat(tmp_path):
    seen = []
    with training_graph() as (train, _, graph):
        hooks = [vai_q_tf.QuantizePositionHook(str(tmp_path), every_n_steps=50)]
        with tf.train.MonitoredTrainingSession(
                checkpoint_dir=str(tmp_path), save_checkpoint_steps=100, save_checkpoint_secs=None, save_summaries_steps=100,
                hooks=hooks, log_step_count_steps=None) as session:
            for _ in range(6):
                times = []
                for step in range(500):
                    begin = time.process_time()
                    session.run(train, {'x:0': batch({'x': [None, 8, 8, 3]}, step)['x']})
                    times.append(time.process_time() - begin)
                seen.append((_memory(), len(graph.get_operations()), len(os.listdir('/proc/self/fd')),
                             sorted(times)[50]))
    memory, ops, handles, times = zip(*seen)
    print('\n'.join(map(str, seen)))
    assert memory[-1] - memory[1] < 20 * 2**20, memory
    assert len(set(ops)) == 1, ops
    assert handles[-1] <= handles[0] + 2, handles
    assert min(times[3:]) < 1.3 * min(times[:3]), times
