"""Time of `vai_q_tensorflow quantize`, compared with importing TensorFlow and running the float graph on the same batches.

Two networks of keras.applications with random weights: MobileNet at 224 x 224, 5 batches of one image, and ResNet-50 at 96 x
96, 5 batches of two. The command runs in separate processes; its CPU time is compared with that of Xilinx's vai_q_tensorflow
(12.6 s and 33.5 s). Calibration is compared with the float graph in one process, without the first step, in which TensorFlow
prepares the session.

    python benchmarks/quantize.py
"""
import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, _ROOT)

NETWORKS = {'MobileNet': (224, 1, 12.6), 'ResNet50': (96, 2, 33.5)}  # size, batch, CPU seconds of Xilinx's vai_q_tensorflow
_STEPS = 5
_INPUT_FN = '''
import numpy as np


def calibrate(iter):
    return {{'input_1': np.random.RandomState(iter).uniform(-1, 1, ({batch}, {size}, {size}, 3)).astype(np.float32)}}
'''


def freeze(network, size, path):
    """Writes the frozen float graph; returns the name of its output node."""
    import tensorflow.compat.v1 as tf
    with tf.Graph().as_default(), tf.Session() as session:
        tf.keras.backend.set_session(session)
        tf.keras.backend.set_learning_phase(0)
        model = getattr(tf.keras.applications, network)(weights=None, input_shape=(size, size, 3))
        output = model.outputs[0].op.inputs[0].op.name if model.outputs[0].op.type == 'Softmax' else model.outputs[0].op.name
        session.run(tf.global_variables_initializer())
        frozen = tf.graph_util.convert_variables_to_constants(session, session.graph_def, [output])
    with open(path, 'wb') as file:
        file.write(frozen.SerializeToString())
    return output


def cpu_and_wall(command, cwd):
    """(CPU seconds, wall seconds) of a process that must succeed."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                   env=dict(os.environ, PYTHONPATH=_ROOT))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, time.perf_counter() - start


def median(command, cwd, runs):
    return [statistics.median(figures) for figures in zip(*[cpu_and_wall(command, cwd) for _ in range(runs)])]


def calibration_ratio(folder, options, steps):
    """(milliseconds of a float step, of a calibration step), medians of steps that are run in turn."""
    import tensorflow.compat.v1 as tf

    from vai_q_tf import passes
    from vai_q_tf.config import QuantizeConfig
    from vai_q_tf.frozen.load import load_float_graph
    from vai_q_tf.graph.sessions import session_config
    from vai_q_tf.graph.view import GraphView
    from vai_q_tf.plan.annotate import annotate
    from vai_q_tf.ptq.calibration.calibration_network import CalibrationNetwork
    size, batch, output = options
    config = QuantizeConfig(['input_1'], [output], [[-1, size, size, 3]])
    float_graph = load_float_graph(os.path.join(folder, 'frozen.pb'), [output])
    optimised = passes.optimise(float_graph, config)
    plan = annotate(GraphView(optimised), config)
    network = CalibrationNetwork(optimised, plan, config)
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(float_graph, name='')
    namespace = {}
    exec(_INPUT_FN.format(batch=batch, size=size), namespace)
    runs = [(tf.Session(graph=graph, config=session_config()), output + ':0'),
            (tf.Session(graph=network.graph, config=session_config()), network.fetches)]
    seconds = [[], []]
    for step in range(steps + 1):
        feed = {name + ':0': value for name, value in namespace['calibrate'](step).items()}
        for times, (session, fetches) in zip(seconds, runs):
            start = time.perf_counter()
            session.run(fetches, feed)
            times.append(time.perf_counter() - start)
    return [statistics.median(times[1:]) * 1e3 for times in seconds]


def benchmark(network, runs, steps):
    """Prints the lines of one network."""
    size, batch, original = NETWORKS[network]
    with tempfile.TemporaryDirectory() as folder:
        output = freeze(network, size, os.path.join(folder, 'frozen.pb'))
        with open(os.path.join(folder, 'calibration.py'), 'w') as file:
            file.write(_INPUT_FN.format(batch=batch, size=size))
        command = [sys.executable, '-m', 'vai_q_tf', 'quantize', '--input_frozen_graph', 'frozen.pb', '--input_nodes',
                   'input_1', '--input_shapes', '?,{0},{0},3'.format(size), '--output_nodes', output, '--input_fn',
                   'calibration.calibrate', '--calib_iter', str(_STEPS), '--output_dir', 'quantized']
        cpu, wall = median(command, folder, runs)
        print('{:10} command: {:.1f} s of CPU, {:.1f} s; {:.2f} of the {:.1f} s of CPU of vai_q_tensorflow'.format(
            network, cpu, wall, cpu / original, original), flush=True)
        plain, calibrated = calibration_ratio(folder, (size, batch, output), steps)
        print('{:10} a batch: float {:.1f} ms, calibration {:.1f} ms, ratio {:.2f}'.format(
            network, plain, calibrated, calibrated / plain), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--runs', type=int, default=3, help='runs of the command, of which the median counts')
    parser.add_argument('--steps', type=int, default=20, help='steps of the comparison with the float graph')
    options = parser.parse_args()
    importing = median([sys.executable, '-c', 'import tensorflow'], None, options.runs)
    starting = median([sys.executable, '-m', 'vai_q_tf', '--version'], None, options.runs)
    print('import tensorflow: {:.1f} s of CPU, {:.1f} s; vai_q_tensorflow --version: {:.1f} s of CPU, {:.1f} s'.format(
        *importing + starting), flush=True)
    for network in NETWORKS:
        benchmark(network, options.runs, options.steps)


if __name__ == '__main__':
    main()
