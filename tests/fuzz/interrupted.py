"""Interrupts work at random moments: python -m tests.fuzz.interrupted WORK SIGNAL TIMES [SEED].

After each interruption no file is half written, and at the end the work is done again. After SIGINT the command leaves no
hidden file and exits with 130. Prints a line for each fault, and exits with 1 if there is one.
"""
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import types

os.environ['CUDA_VISIBLE_DEVICES'] = ''
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import tensorflow.compat.v1 as tf  # noqa: E402  (the log level is read on import)

import vai_q_tf  # noqa: E402
from tests.fuzz.damage import models, specimens  # noqa: E402
from vai_q_tf import cli  # noqa: E402

_SPECIMEN = 'classifier'


def _command(*words):
    def run(files):
        module = types.ModuleType('fuzz_input')
        module.batch = lambda step: specimens.batch(files['inputs'], step, 32)
        sys.modules['fuzz_input'] = module
        graph = files['quantized' if words[0] == 'dump' else 'float']
        return cli.main(list(words) + ['--input_frozen_graph', graph, '--input_fn', 'fuzz_input.batch', '--input_nodes', 'x',
                                       '--output_nodes', files['outputs'][0], '--output_dir', 'out'])
    return run


def _train(files):
    with specimens.training_graph() as (train, _, _):
        step = tf.train.get_global_step()
        with tf.train.MonitoredTrainingSession(
                checkpoint_dir='out', save_checkpoint_steps=3, save_checkpoint_secs=None, log_step_count_steps=None,
                hooks=[vai_q_tf.QuantizePositionHook('out')]) as session:
            begin = session.run_step_fn(lambda step_context: step_context.session.run(step))
            for number in range(begin, begin + 30):
                session.run(train, {'x:0': specimens.batch(files['inputs'], number)['x']})
    return 0


WORKS = {'calibration': _command('quantize', '--effort', 'fast', '--calib_iter', '300'),
         'fitting': _command('quantize', '--effort', 'high', '--calib_iter', '8'),
         'finetuning': _command('quantize', '--include_fast_ft', '1', '--calib_iter', '8'),
         'dump': _command('dump', '--max_dump_batches', '60'), 'training': _train,
         'export': _command('quantize', '--effort', 'fast', '--calib_iter', '1', '--output_format', 'onnx')}


def _start(work, files):
    pid = os.fork()
    if not pid:
        status = 1
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.dup2(os.open('words', os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
            os.dup2(2, 1)
            status = WORKS[work](files)
        except KeyboardInterrupt:
            status = 130
        except Exception:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)
    return pid


def _end(pid):
    _, status = os.waitpid(pid, 0)
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _faults(number, status, work):
    if number == signal.SIGINT and status not in (0, 130):
        yield 'ended with {}'.format(status)
    for folder, _, names in os.walk('out'):
        for name in names:
            path = os.path.join(folder, name)
            if name.startswith('.') and number == signal.SIGINT:
                yield 'left the hidden file {}'.format(path)
            elif name.endswith(('.pb', '.onnx')) and not name.startswith('.') and models.loading_error(path):
                yield '{} does not load'.format(path)
            elif name.endswith('.jsonl') and work != 'training':
                with open(path) as stream:
                    list(map(json.loads, stream))


def main(work, signal_name, times, seed='0'):
    number, moments, found = getattr(signal, signal_name), random.Random(seed), []
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        pid = os.fork()  # a session in this process would spoil the forks
        if not pid:
            specimens.make(_SPECIMEN, directory)
            os._exit(0)
        _end(pid)
        files, begin = specimens.load(_SPECIMEN, directory), time.time()
        if _end(_start(work, files)):
            sys.exit('{} fails uninterrupted: {}'.format(work, open('words').read()[-500:]))
        length = time.time() - begin
        for _ in range(int(times)):
            moment = moments.uniform(0, length)
            pid = _start(work, files)
            time.sleep(moment)
            os.kill(pid, number)
            status = _end(pid)
            found += ['{} after {:.2f} of {:.2f} s: {}'.format(signal_name, moment, length, fault)
                      for fault in _faults(number, status, work)]
            if work != 'training':  # which continues from its checkpoint
                shutil.rmtree('out', ignore_errors=True)
        if _end(_start(work, files)):
            found.append('{} fails afterwards: {}'.format(work, open('words').read()[-500:]))
    print('\n'.join(found))
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
