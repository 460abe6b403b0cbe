"""Work that crashes, is killed, is interrupted or ends its process, as reported by the parent."""
import argparse
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import tensorflow.compat.v1 as tf

from tests.command_line.conftest import small_network
from vai_q_tf import errors
from vai_q_tf.command_line import supervision

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# Each function is work without TensorFlow. Work that a signal to the parent interrupts sends it first.
WORK = '''
import argparse, atexit, contextlib, os, signal, subprocess, sys, threading, time
from vai_q_tf.command_line import supervision
from vai_q_tf.terminal import streams
def succeed():
    print('printed 0')
    atexit.register(print, 'at_exit 0')
    return 0
def fail(): return 1
def crash(): os.kill(os.getpid(), signal.SIGFPE)
def killed(): os.kill(os.getpid(), signal.SIGKILL)
def leave(): os._exit(0)
def give_up(): sys.exit('because')
def unfinished():
    for name in ('.' + 32 * 'a', '.hidden', 'whole'):
        open(os.path.join('made', name), 'w').close()
    os.makedirs('made/deeper/model.ckpt_temp_' + 32 * 'b')
    crash()
def interrupted_by_the_terminal():  # which signals all its processes; programs that one starts end by it
    os.kill(os.getpid(), signal.SIGINT)
    return 0 if subprocess.call(['sh', '-c', 'kill -INT $$; exit 7']) == -signal.SIGINT else 1
def ending_a_process_of_its_own():
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            time.sleep(20)
        os._exit(0)
    time.sleep(.1)
    os.kill(child, signal.SIGTERM)
    return 0 if os.WEXITSTATUS(os.waitpid(child, 0)[1]) == 128 + signal.SIGTERM else 1
def sleep():  # in naps: a signal just before the system call would go unnoticed until it ends
    for _ in range(400):
        time.sleep(.05)
def wait(number=signal.SIGINT):
    os.kill(os.getppid(), number)
    sleep()
def terminated(): wait(signal.SIGTERM)
def hung_up(): wait(signal.SIGHUP)
def cleaned():
    open('made/mine', 'w').close()
    print('begun', end='', file=sys.stderr, flush=True)
    try:
        wait()
    finally:
        os.kill(os.getpid(), signal.SIGTERM)  # as a signal to a process group
        time.sleep(.1)
        os.unlink('made/mine')
        print('noise of the end', file=sys.stderr, flush=True)
def failed_then():
    with contextlib.suppress(BaseException):
        wait()
    return 1
def deaf():
    print('half a line', end='', file=sys.stderr, flush=True)
    with contextlib.suppress(BaseException):
        wait()
    sleep()
def twice():
    with contextlib.suppress(BaseException):
        wait()
    os.kill(os.getppid(), signal.SIGINT)
    sleep()
def done_all_the_same():
    with contextlib.suppress(BaseException):
        wait()
    return 0
def in_an_import():
    with contextlib.suppress(BaseException):
        wait()
    sleep()
    return succeed
def in_the_background():  # signals that the shell ignores stay ignored
    os.kill(os.getppid(), signal.SIGHUP)
    os.kill(os.getpid(), signal.SIGHUP)
    return 0
def at_the_fork(): sleep()
def at_the_end(): return 0
def answer():  # signals, which are ignored after a process was stopped
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
fork, waitpid = os.fork, os.waitpid
def fork_and_interrupt():
    child = fork()
    if child:
        os.kill(os.getpid(), signal.SIGINT)
    return child
def wait_and_interrupt(*arguments):
    ended = waitpid(*arguments)
    if ended[0]:
        os.kill(os.getpid(), signal.SIGINT)
    return ended
streams.be_patient()
os.makedirs('made')
options = argparse.Namespace(command='test', debug_mode=0, input_frozen_graph='', input_meta_graph='', custom_op_so='',
                             config=argparse.Namespace(output_dir='made'))
assert supervision.is_possible()
enough = threading.Event()
thread = threading.Thread(target=enough.wait)
thread.start()
assert not supervision.is_possible()
enough.set()
thread.join()
sys.modules['tensorflow'] = None
assert not supervision.is_possible()
del sys.modules['tensorflow']
for work in (succeed, fail, crash, killed, leave, give_up, unfinished, interrupted_by_the_terminal,
             ending_a_process_of_its_own, wait, terminated, hung_up, cleaned, failed_then, done_all_the_same, in_an_import,
             in_the_background, at_the_fork, at_the_end, deaf, twice):
    answer()
    if work is in_the_background:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.fork = fork_and_interrupt if work is at_the_fork else fork
    os.waitpid = wait_and_interrupt if work is at_the_end else waitpid
    supervision._GRACE = .3 if work is deaf else 15
    begun = time.time()
    status = supervision.supervise(work if work is in_an_import else lambda: work, options)
    assert time.time() - begun < 10, work  # the sleep and the grace are longer
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set() == signal.sigpending()
    stopped = status > 128 or work in (done_all_the_same, at_the_end)
    assert signal.getsignal(signal.SIGINT) is (signal.SIG_IGN if stopped else signal.default_int_handler), work
    print(work.__name__, status, flush=True)
'''


def run(words, directory, python=sys.executable):
    environment = {key: value for key, value in os.environ.items() if not key.startswith('TF_')}
    return subprocess.run([python] + words, cwd=str(directory), env=dict(environment, PYTHONPATH=ROOT),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)


def test_how_work_ends(tmp_path):
    done = run(['-c', WORK], tmp_path)
    found = dict(line.split() for line in done.stdout.splitlines())
    assert found == {
        'succeed': '0', 'printed': '0', 'at_exit': '0', 'fail': '1', 'crash': '1', 'killed': '1', 'leave': '1', 'give_up': '1',
        'unfinished': '1', 'interrupted_by_the_terminal': '0', 'ending_a_process_of_its_own': '0', 'wait': '130',
        'terminated': '143', 'hung_up': '129', 'cleaned': '130', 'failed_then': '130', 'done_all_the_same': '0',
        'in_an_import': '130', 'in_the_background': '0', 'at_the_fork': '130', 'at_the_end': '0', 'deaf': '130',
        'twice': '130'}, done.stderr
    kinds = re.findall(
        r'^vai_q_tensorflow test: (?:error: \[(\w+)\].*?(SIG\w+|status \d)|([\w ]+)$)', done.stderr, re.MULTILINE)
    assert [' '.join(filter(None, kind)) for kind in kinds] == [
        errors.INVALID_CONFIG + ' SIGFPE', errors.OUT_OF_MEMORY + ' SIGKILL', errors.INVALID_INPUT_FN + ' status 0',
        errors.INVALID_INPUT_FN + ' status 1', errors.INVALID_CONFIG + ' SIGFPE', 'interrupted', 'terminated',
        'terminated with the terminal'] + 6 * ['interrupted']
    assert len(done.stderr.splitlines()) == len(kinds) + 2, done.stderr
    assert 'begun\n' in done.stderr and 'half a line\n' in done.stderr, done.stderr
    assert sorted(os.listdir(str(tmp_path / 'made'))) == ['.hidden', 'deeper', 'whole']
    assert os.listdir(str(tmp_path / 'made' / 'deeper')) == []


ALONE = '''
import os, time
from vai_q_tf.command_line import supervision
def work():
    print(os.getpid(), flush=True)
    time.sleep(20)
supervision.supervise(lambda: work, None)
'''


def test_work_ends_with_its_parent(tmp_path):
    environment = dict(os.environ, PYTHONPATH=ROOT)
    with subprocess.Popen([sys.executable, '-c', ALONE], env=environment, stdout=subprocess.PIPE) as parent:
        child, begun = int(parent.stdout.readline()), time.time()
        parent.kill()
        parent.stdout.read()  # the child keeps it open while it runs
    assert time.time() - begun < 10
    assert not os.path.exists('/proc/{}/cwd'.format(child))


def _options(tmp_path, **options):
    return argparse.Namespace(**dict(dict(
        command='test', debug_mode=0, input_frozen_graph='', input_meta_graph='', custom_op_so='',
        config=argparse.Namespace(output_dir=str(tmp_path / 'out'))), **options))


def test_only_unfinished_files_are_removed(tmp_path, monkeypatch):
    name, saver = '.' + 16 * '0f', 'model.ckpt_temp_' + 16 * 'a1'
    others = ['.' + 31 * '0', '.' + 33 * '0', 32 * '0', '_temp_' + 32 * '0', 'model.ckpt_temp_' + 31 * '0']
    for folder in ('out/deep', 'graphs/deep', 'elsewhere'):
        (tmp_path / folder).mkdir(parents=True)
    for folder in ('out', 'out/deep', 'graphs', 'graphs/deep', 'elsewhere', '.'):
        for each in others + [name]:
            (tmp_path / folder / each).write_bytes(b'')
    (tmp_path / 'out' / saver / 'part').mkdir(parents=True)
    (tmp_path / 'out' / ('.' + 32 * 'e')).symlink_to('../elsewhere')
    (tmp_path / 'out' / 'link').symlink_to('../elsewhere')
    (tmp_path / 'graph.pb').symlink_to('graphs/float.pb')
    monkeypatch.chdir(tmp_path / 'graphs')
    before = set(tmp_path.rglob('*'))
    supervision._remove_unfinished(_options(tmp_path, config=argparse.Namespace(output_dir=str(tmp_path / 'no/where'))))
    assert set(tmp_path.rglob('*')) == before
    supervision._remove_unfinished(_options(tmp_path, input_frozen_graph=str(tmp_path / 'graph.pb')))
    assert before - set(tmp_path.rglob('*')) == {tmp_path / path for path in (
        'out/' + name, 'out/deep/' + name, 'out/' + saver, 'out/' + saver + '/part', 'out/.' + 32 * 'e', 'graphs/' + name)}


def _trace(*frames):
    return 'Fatal Python error: Segmentation fault\n\nCurrent thread 0x1 (most recent call first):\n' + ''.join(
        '  File "{}", line {} in f\n'.format(*frame) for frame in frames)


PACKAGE = os.path.dirname(os.path.dirname(supervision.__file__))
SITE = '/usr/lib/python3/site-packages/tensorflow/python/client/session.py', 9
STDLIB, MINE, YOURS = (os.path.join(os.path.dirname(os.__file__), 'json.py'), 5), ('/home/mine.py', 7), ('/home/yours.py', 8)
READER, JUDGE = (os.path.join(PACKAGE, 'frozen/input_fn.py'), 50), (os.path.join(PACKAGE, 'ptq/effort/judge.py'), 66)


@pytest.mark.parametrize('frames, node, options, code, words', [
    ([SITE, STDLIB, MINE, YOURS, READER, JUDGE], '', {}, errors.INVALID_INPUT_FN, '(SIGSEGV) in /home/mine.py, line 7.'),
    ([SITE, STDLIB, READER, MINE], '', {}, errors.INVALID_INPUT_FN, 'crashes (SIGSEGV) in {}, line 9.'.format(SITE[0])),
    ([READER, JUDGE, MINE], '', {'input_frozen_graph': 'a.pb'}, errors.UNSUPPORTED_GRAPH,
     "graph in 'a.pb', while it computes, at vai_q_tf/frozen/input_fn.py, line 50;"),
    ([SITE, READER], '', {'input_frozen_graph': 'a.pb'}, errors.INVALID_INPUT_FN, 'in {}, line 9.'.format(SITE[0])),
    ([SITE, STDLIB, JUDGE, MINE], '', {'input_meta_graph': 'b.meta'}, errors.UNSUPPORTED_GRAPH,
     "graph in 'b.meta', while it computes, at vai_q_tf/ptq/effort/judge.py, line 66;"),
    ([SITE], '', {'input_frozen_graph': 'a.pb'}, errors.UNSUPPORTED_GRAPH, 'at an unknown file, line ?;'),
    ([SITE, JUDGE], "'conv' (Conv2D)", {'input_frozen_graph': 'a.pb'}, errors.UNSUPPORTED_GRAPH,
     "graph in 'a.pb', at the node 'conv' (Conv2D); correct its attributes and inputs."),
    ([SITE], '', {'custom_op_so': 'my.so'}, errors.INVALID_CONFIG, "crashes (SIGSEGV); --custom_op_so names 'my.so'."),
    ([('/load_op_library.py', 1)], '', {'input_frozen_graph': 'a.pb'}, errors.INVALID_CONFIG, 'crashes (SIGSEGV).')])
def test_where_it_crashed(tmp_path, monkeypatch, capsys, frames, node, options, code, words):
    monkeypatch.setattr(supervision, '_crashing_node', lambda options: node)
    for debug_mode in (0, 1):
        ending = supervision._Ending(False, 0, signal.SIGSEGV, 0, _trace(*frames))
        error = supervision._explain(ending, _options(tmp_path, debug_mode=debug_mode, **options))
        assert error.code == code and words in error.detail
        assert capsys.readouterr().err == debug_mode * (ending.trace + '\n')


def test_a_signal_without_a_name(tmp_path):
    assert 'crashes (signal 40)' in supervision._explain(supervision._Ending(False, 0, 40, 0, ''), _options(tmp_path)).detail


def _crashing_graph():
    """A GraphDef on which TensorFlow crashes, in the shape function of the node 'op'."""
    with tf.Graph().as_default() as graph:
        tf.nn.relu(tf.transpose(tf.placeholder(tf.float32, [1, 8, 8, 4], name='input'), [0, 2, 1, 3], name='op'), name='relu')
    graph_def = graph.as_graph_def()
    perm = next(node for node in graph_def.node if node.name == 'op/perm')
    perm.attr['value'].tensor.CopyFrom(tf.make_tensor_proto([0, 2, -2**31, 3]))
    return graph_def


NODES = '''
import os
from vai_q_tf.command_line import parse, run
for name in {!r}:
    print(name, run.crashing_node(parse.parse(['inspect', '--input_frozen_graph', name])), flush=True)
'''


def test_a_graph_that_crashes_tensorflow(tmp_path, forked_python):
    (tmp_path / 'transpose.pb').write_bytes(_crashing_graph().SerializeToString())
    (tmp_path / 'good.pb').write_bytes(small_network().SerializeToString())
    done = run(['-m', 'vai_q_tf', 'inspect', '--input_frozen_graph', 'transpose.pb'], tmp_path)
    assert done.returncode == 1 and done.stdout == '' and done.stderr.count('\n') == 1, done.stderr
    for words in ('[' + errors.UNSUPPORTED_GRAPH + ']', 'SIGSEGV', "'transpose.pb'", "'op' (Transpose)"):
        assert words in done.stderr
    done = run(['-c', NODES.format(['transpose.pb', 'good.pb'])], tmp_path, forked_python)
    assert done.stdout.splitlines() == ["transpose.pb 'op' (Transpose)", 'good.pb '], done.stderr


INPUT_FN = '''
import os, signal, sys
import numpy as np
def calib(iter):
    if iter == 2:
        os.kill(os.getppid(), signal.SIGINT)
    return {'input': np.zeros([2, 8, 8, 3])}
def crash(iter):
    os.kill(os.getpid(), signal.SIGSEGV)
'''


@pytest.mark.parametrize('name, status, words', [
    ('calib', 130, ['vai_q_tensorflow quantize: interrupted']),
    ('crash', 1, [errors.INVALID_INPUT_FN, 'SIGSEGV', 'mine.py, line 9'])])
def test_in_the_middle_of_a_calibration(tmp_path, name, status, words):
    (tmp_path / 'float.pb').write_bytes(small_network().SerializeToString())
    (tmp_path / 'mine.py').write_text(INPUT_FN)
    done = run(['-m', 'vai_q_tensorflow', 'quantize', '--input_frozen_graph=float.pb', '--input_nodes=input', '--gpu=-1',
                '--output_nodes=relu', '--calib_iter=50', '--input_fn=mine.' + name], tmp_path)
    assert done.returncode == status and done.stdout == '', done.stderr
    last = done.stderr.splitlines()[-1]
    assert all(word in last for word in words) and 'Traceback' not in done.stderr, done.stderr
    assert os.listdir(str(tmp_path / 'quantize_results')) == []
