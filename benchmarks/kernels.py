"""Speed of the kernels next to a plain copy of the same tensor, in nanoseconds per element.

"Folded" is the weights of a convolution times the scale of a batch norm for each channel, quantized, and scaled back:
as one op, and as the ops it replaces.

    python benchmarks/kernels.py

The best of many runs is the kernel's speed; the median shows how noisy the machine is. The first session of a process fixes the
number of threads, so each number has its own process. Graph optimizations are off, so nothing is pruned.
"""
import argparse
import json
import os
import subprocess
import sys
import time

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

SIZES = (1 << 20, 1 << 24)
THREADS = (1, 2)
COPY = 'copy'
CHANNELS = 512  # of the weights of a folded batch norm
_RUNS_OF_ONE_STEP = 8  # so that the session's own overhead does not count


def _kernels(tf, ops, x):
    position = tf.constant(5)
    output = ops.vai_fix_neuron(x, position)
    scale = tf.linspace(0.5, 2.0, CHANNELS)
    rescale = 1 / scale
    rows = tf.reshape(x, [-1, CHANNELS])
    scaled = ops.scaled_fix_neuron(x, scale, rescale, position)
    mask = ops.load_library().vai_fix_neuron_grad
    return {
        COPY: lambda: tf.raw_ops.DeepCopy(x=x),
        'forward, activation': lambda: ops.vai_fix_neuron(x, position),
        'forward, weight': lambda: ops.vai_fix_neuron(x, position, mode=0),
        'gradient': lambda: tf.gradients(output, x, grad_ys=x)[0],
        'search, method 0': lambda: ops.search_position(x, method=0),
        'search, method 1': lambda: ops.search_position(x, method=1),
        'search, method 2, mode 2': lambda: ops.search_position(x, method=2, mode=2),
        '16 errors': lambda: ops.position_errors(x, 5, 10)[0],
        'folded forward': lambda: ops.scaled_fix_neuron(x, scale, rescale, position),
        'folded forward, 3 ops': lambda: ops.vai_fix_neuron(rows * scale, position, mode=0) * rescale,
        'folded gradient': lambda: tf.gradients(scaled, x, grad_ys=x)[0],
        'folded gradient, 3 ops': lambda: mask(rows * rescale, rows, position) * scale,
        'folded search': lambda: ops.scaled_search_position(x, scale),
        'folded search, 2 ops': lambda: ops.search_position(rows * scale, mode=0),
    }


def _measure(threads, seconds):
    """{kernel: {size: (best, median)}} of this process, in nanoseconds per element."""
    import numpy as np
    import tensorflow as tf

    from vai_q_tf import ops
    from vai_q_tf.graph.sessions import exact

    config = exact(tf.compat.v1.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=1))
    results = {}
    for size in SIZES:
        with tf.Graph().as_default(), tf.compat.v1.Session(config=config) as session:
            start = tf.compat.v1.placeholder(tf.float32, [size])
            x = tf.compat.v1.Variable(start, use_resource=False)
            session.run(x.initializer, {start: np.random.RandomState(0).standard_normal(size).astype(np.float32)})
            for name, kernel in _kernels(tf, ops, x).items():
                step = _one_after_another(tf, kernel)
                session.run(step)
                times = _times(session, step, seconds)
                scale = 1e9 / size / _RUNS_OF_ONE_STEP
                results.setdefault(name, {})[size] = (times[0] * scale, times[len(times) // 2] * scale)
    return results


def _one_after_another(tf, kernel):
    last = tf.no_op()
    for _ in range(_RUNS_OF_ONE_STEP):
        with tf.control_dependencies([last]):
            last = kernel().op
    return last


def _times(session, step, seconds):
    times, end = [], time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        begin = time.perf_counter()
        session.run(step)
        times.append(time.perf_counter() - begin)
    return sorted(times)


def _print_table(threads, results):
    print('\n{} thread{}: best/median ns per element, and the best over that of the copy'.format(
        threads, 's' if threads > 1 else ''))
    print('{:26}'.format('') + ''.join('{:>28}'.format('{}M floats'.format(size >> 20)) for size in SIZES))
    for name, by_size in results.items():
        cells = ['{:.3f} / {:.3f}  {:5.2f}x'.format(*by_size[size], by_size[size][0] / results[COPY][size][0])
                 for size in map(str, SIZES)]
        print('{:26}'.format(name) + ''.join('{:>28}'.format(cell) for cell in cells))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seconds', type=float, default=1.0, help='to measure each kernel at each size')
    parser.add_argument('--threads', type=int, help='measure in this process and print JSON')
    args = parser.parse_args()
    if args.threads:
        print(json.dumps(_measure(args.threads, args.seconds)))
        return
    for threads in THREADS:
        command = [sys.executable, '-W', 'ignore', __file__, '--threads', str(threads), '--seconds', str(args.seconds)]
        output = subprocess.check_output(command, stderr=subprocess.DEVNULL)
        _print_table(threads, json.loads(output.decode().splitlines()[-1]))


if __name__ == '__main__':
    main()
