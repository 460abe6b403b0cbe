"""Work that crashes, is killed, is interrupted or leaves, as the process that waits for it tells."""
import os
import re
import subprocess
import sys

import pytest
import tensorflow.compat.v1 as tf

from tests.cli.conftest import small_network
from vai_q_tf import errors

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# Each function is work; TensorFlow is not needed for it. What a signal to the parent may interrupt begins with one.
WORK = '''
import argparse, contextlib, os, signal, sys, time
from vai_q_tf import streams, supervision
def succeed(): return 0
def fail(): return 1
def crash(): os.kill(os.getpid(), signal.SIGFPE)
def killed(): os.kill(os.getpid(), signal.SIGKILL)
def leave(): os._exit(0)
def unfinished():
    for name in ('.' + 32 * 'a', '.hidden', 'whole'):
        open(os.path.join('made', name), 'w').close()
    os.makedirs('made/deeper/model.ckpt_temp_' + 32 * 'b')
    crash()
def wait(number=signal.SIGINT):
    os.kill(os.getppid(), number)
    time.sleep(20)
def terminated(): wait(signal.SIGTERM)
def cleaned():
    open('made/mine', 'w').close()
    try:
        wait()
    finally:
        os.unlink('made/mine')
        print('noise of the end', file=sys.stderr)
def deaf():
    print('half a line', end='', file=sys.stderr, flush=True)
    with contextlib.suppress(BaseException):
        wait()
    time.sleep(20)
def twice():
    with contextlib.suppress(BaseException):
        wait()
    os.kill(os.getppid(), signal.SIGINT)
    time.sleep(20)
def done_all_the_same():
    with contextlib.suppress(BaseException):
        wait()
    return 0
def in_an_import():
    with contextlib.suppress(BaseException):
        wait()
    time.sleep(20)
    return succeed
def answer():  # signals, which the end of a process that was told to end ignores
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
streams.be_patient()
os.makedirs('made')
options = argparse.Namespace(command='test', debug_mode=0, input_frozen_graph='', input_meta_graph='', custom_op_so='',
                             config=argparse.Namespace(output_dir='made'))
assert supervision.is_possible()
supervision._GRACE = 15
for work in (succeed, fail, crash, killed, leave, unfinished, wait, terminated, cleaned, done_all_the_same, in_an_import):
    answer()
    begun = time.time()
    status = supervision.supervise(work if work is in_an_import else lambda: work, options)
    assert time.time() - begun < 10, work  # neither the sleep nor the grace, which are longer
    print(work.__name__, status, flush=True)
for supervision._GRACE, work in ((0.3, deaf), (15, twice)):
    answer()
    print(work.__name__, supervision.supervise(lambda: work, options), flush=True)
'''


def run(words, directory):
    environment = {key: value for key, value in os.environ.items() if not key.startswith('TF_')}
    return subprocess.run([sys.executable] + words, cwd=str(directory), env=dict(environment, PYTHONPATH=ROOT),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)


def test_how_work_ends(tmp_path):
    done = run(['-c', WORK], tmp_path)
    found = dict(line.split() for line in done.stdout.splitlines())
    assert found == {'succeed': '0', 'fail': '1', 'crash': '1', 'killed': '1', 'leave': '1', 'unfinished': '1', 'wait': '130',
                     'terminated': '143', 'cleaned': '130', 'done_all_the_same': '0', 'in_an_import': '130', 'deaf': '130',
                     'twice': '130'}, done.stderr
    kinds = re.findall(r'^vai_q_tensorflow test: (?:error: \[(\w+)\].*?(SIG\w+|status 0)|(\w+)$)', done.stderr, re.MULTILINE)
    assert [' '.join(filter(None, kind)) for kind in kinds] == [
        errors.INVALID_CONFIG + ' SIGFPE', errors.OUT_OF_MEMORY + ' SIGKILL', errors.INVALID_INPUT_FN + ' status 0',
        errors.INVALID_CONFIG + ' SIGFPE', 'interrupted', 'terminated', 'interrupted', 'interrupted', 'interrupted',
        'interrupted']
    assert len(done.stderr.splitlines()) == len(kinds) + 1 and 'half a line\n' in done.stderr, done.stderr
    assert sorted(os.listdir(str(tmp_path / 'made'))) == ['.hidden', 'deeper', 'whole']
    assert os.listdir(str(tmp_path / 'made' / 'deeper')) == []


def _crashing_graph():
    """A GraphDef that ends TensorFlow in the shape function of its node 'op'."""
    with tf.Graph().as_default() as graph:
        tf.nn.relu(tf.transpose(tf.placeholder(tf.float32, [1, 8, 8, 4], name='input'), [0, 2, 1, 3], name='op'), name='relu')
    graph_def = graph.as_graph_def()
    perm = next(node for node in graph_def.node if node.name == 'op/perm')
    perm.attr['value'].tensor.CopyFrom(tf.make_tensor_proto([0, 2, -2**31, 3]))
    return graph_def


NODES = '''
import os
from vai_q_tf import cli_options, commands
for name in {!r}:
    print(name, commands.crashing_node(cli_options.parse(['inspect', '--input_frozen_graph', name])), flush=True)
'''


def test_a_graph_that_crashes_tensorflow(tmp_path):
    (tmp_path / 'transpose.pb').write_bytes(_crashing_graph().SerializeToString())
    (tmp_path / 'good.pb').write_bytes(small_network().SerializeToString())
    done = run(['-m', 'vai_q_tf', 'inspect', '--input_frozen_graph', 'transpose.pb'], tmp_path)
    assert done.returncode == 1 and done.stdout == '' and done.stderr.count('\n') == 1, done.stderr
    for words in ('[' + errors.UNSUPPORTED_GRAPH + ']', 'SIGSEGV', "'transpose.pb'", "'op' (Transpose)"):
        assert words in done.stderr
    done = run(['-c', NODES.format(['transpose.pb', 'good.pb'])], tmp_path)
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
