"""Results do not depend on the number of threads, which belongs to the first session of a process: each has its own."""
import subprocess

_PROGRAM = '''
import hashlib, sys
import numpy as np, tensorflow as tf
from vai_q_tf import ops

threads = int(sys.argv[1])
config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=threads)
x, dy, position = [tf.compat.v1.placeholder(t) for t in (tf.float32, tf.float32, tf.int32)]
y = ops.vai_fix_neuron(x, position)
scale = tf.compat.v1.placeholder(tf.float32)
scaled = ops.scaled_fix_neuron(x, scale, scale, position)
outputs = [y, tf.gradients(y, x, dy)[0], scaled, tf.gradients(scaled, x, dy)[0]]
searches = [ops.scaled_search_position(x, scale, mode=2, method=method) for method in (0, 1, 2)]
searches += [ops.search_position(x, True, bits, mode, method)
            for bits in (4, 8) for mode in (0, 1, 2) for method in (0, 1, 2)]
searches += [ops.search_position(x, mode=2, method=method, tie=1.3) for method in (1, 2)]
kept = ops.scaled_fix_neuron(x, scale, scale, -2**31)
outputs += [kept, tf.gradients(kept, x, dy)[0]]
outputs += ops.position_errors(x, 5, 10)
outputs += [ops.threshold_gradient(dy, x, position), ops.scaled_threshold_gradient(dy, x, scale, scale, position)]
digest = hashlib.md5()
with tf.compat.v1.Session(config=config) as session:
    for seed, size in enumerate((1, 2047, 100000, 262145, 1000003)):
        random = np.random.RandomState(seed)
        data = random.standard_t(2, size).astype(np.float32)
        channels = max(n for n in range(1, 65) if size % n == 0)
        near_tie = np.where(random.uniform(size=size) < 0.5, np.float32(1.0), np.float32(0.71))
        for values in (data, near_tie.astype(np.float32), data * np.float32(1e-30)):
            feed = {x: values, dy: data, position: 3, scale: random.uniform(0.5, 2, channels)}
            for array in session.run(outputs, feed):
                digest.update(array.tobytes())
            digest.update(str(session.run(searches, feed)).encode())
print('digest', digest.hexdigest())
'''


def _digest(python, threads):
    output = subprocess.check_output([python, '-c', _PROGRAM, str(threads)], stderr=subprocess.DEVNULL).decode()
    return [line for line in output.splitlines() if line.startswith('digest')]


def test_one_and_more_threads_agree_bit_for_bit(forked_python):
    one = _digest(forked_python, 1)
    assert one and one == _digest(forked_python, 2) == _digest(forked_python, 7)
