"""Parameter servers: one state for all workers, on a server; in real processes only the chief writes files."""
import json
import os
import signal
import socket
import subprocess
import time

import numpy as np
import pytest
import tensorflow as tf

from tests.distributed import training
from tests.support import read_graph
from vai_q_tf import CreateQuantizeTrainingGraph, QuantizeError, errors, ops, position_histogram
from vai_q_tf.hooks.position_hook import HISTORY_FILE
from vai_q_tf.qat import distribution
from vai_q_tf.qat.positions import position_saveable
from vai_q_tf.qat.training import TRAIN_GRAPH_FILE

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_STEPS = 60
_DEADLINE = 200


def _ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(('127.0.0.1', 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _start(python, directory, cluster, task):
    environment = dict(os.environ, PYTHONPATH=_ROOT, CUDA_VISIBLE_DEVICES='',
                       TF_CONFIG=json.dumps({'cluster': cluster, 'task': {'type': task, 'index': 0}}))
    with open(str(directory / (task + '.log')), 'w') as log:
        return subprocess.Popen([python, '-m', 'tests.distributed.train_cluster', str(directory), str(_STEPS)],
                                cwd=_ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)


@pytest.fixture(scope='module')
def cluster(tmp_path_factory, forked_python):
    """The directory of a training by two workers, one of them the chief, a parameter server and an evaluator."""
    directory = tmp_path_factory.mktemp('cluster')
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        training.network(tf.zeros([1, 8, 8, 2]), True)
        tf.compat.v1.train.get_or_create_global_step()
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver().save(session, str(directory / 'float' / 'model.ckpt'))
    addresses = {task: ['127.0.0.1:{}'.format(port)] for task, port in zip(('chief', 'worker', 'ps'), _ports(3))}
    processes = {}
    end = time.time() + _DEADLINE
    try:
        # The evaluator begins with the checkpoint of step 0, which is saved before the first step and has no positions.
        for task in ('ps', 'evaluator', 'chief', 'worker'):
            processes[task] = _start(forked_python, directory, addresses, task)
        for task in ('chief', 'worker', 'evaluator'):
            assert processes[task].wait(end - time.time()) == 0, (directory / (task + '.log')).read_text()[-3000:]
    finally:
        for task, process in processes.items():
            if process.poll() is None:
                os.kill(int((directory / (task + '.pid')).read_text()), signal.SIGKILL)
                process.wait()
    return directory


def test_the_checkpoint_has_the_positions_of_all_tensors(cluster):
    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(cluster / 'model')))
    assert reader.get_tensor('global_step') >= _STEPS
    votes = reader.get_tensor(position_saveable.VOTES_KEY)
    assert len(votes) == 9
    # Votes of both workers fade in the one table.
    np.testing.assert_allclose(votes.sum(1), (1 - 0.9 ** _STEPS) / (1 - 0.9), rtol=0.02)
    assert all(position_histogram.mode_position(row) < 20 for row in votes)


def test_only_the_chief_writes(cluster):
    written = [path for path in (cluster / 'quantized').iterdir() if path.name == TRAIN_GRAPH_FILE]
    assert len(written) == 1
    assert len(list((cluster / 'history').glob('events*'))) == 1
    lines = [json.loads(line) for line in (cluster / 'history' / HISTORY_FILE).read_text().splitlines()]
    assert [line['step'] for line in lines] == sorted(line['step'] for line in lines)
    steps = {path.name.split('_')[3] for path in (cluster / 'quantized').glob('quantize_eval_model_*')}
    assert len(steps) >= 3


def test_the_evaluator_agrees_with_the_frozen_model(cluster):
    images, classes = training.data()
    model = max((cluster / 'quantized').glob('quantize_eval_model_*'), key=lambda path: int(path.name.split('_')[3]))
    ops.load_library()
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.import_graph_def(read_graph(model), name='')
        frozen = session.run('logits/BiasAdd/aquant:0', {'images:0': images})
    found = [value.simple_value for path in (cluster / 'model' / 'eval').glob('events*')
             for event in tf.compat.v1.train.summary_iterator(str(path)) for value in event.summary.value
             if value.tag == 'accuracy']
    assert found[-1] == pytest.approx(np.mean(np.argmax(frozen, -1) == classes))
    assert found[-1] > 0.5


@pytest.mark.parametrize('inside', [True, False], ids=['in_the_scope', 'outside'])
def test_the_state_is_on_a_server_and_the_network_on_the_worker(tmp_path, inside):
    setter = tf.compat.v1.train.replica_device_setter(1, worker_device='/job:worker/task:1')
    with tf.device(setter):
        tf.compat.v1.train.get_or_create_global_step()
        training.network(tf.zeros([1, 8, 8, 2]), True)
        if inside:
            CreateQuantizeTrainingGraph(training.config(tmp_path))
    if not inside:
        CreateQuantizeTrainingGraph(training.config(tmp_path))
    for op in tf.compat.v1.get_default_graph().get_operations():
        if op.type in ('VaiMovingPosition', 'VaiReadPositions') or op.name == 'vai_q_tf/positions':
            assert op.device == '/job:ps/task:0/device:CPU:0', op.name
        elif op.type in ('VaiFixNeuron', 'VaiScaledFixNeuron', 'VaiSearchPosition', 'VaiScaledSearchPosition'):
            assert op.device == '/job:worker/task:1', op.name


@pytest.mark.parametrize('task, chief', [(None, True), (('chief', 0), True), (('worker', 0), False), (('worker', 1), False),
                                         (('master', 0), True)])
def test_which_process_is_the_chief(monkeypatch, task, chief):
    monkeypatch.delenv('TF_CONFIG', raising=False)
    if task:
        monkeypatch.setenv('TF_CONFIG', json.dumps({
            'cluster': {'chief': ['a:1'], 'worker': ['b:1', 'c:1'], 'ps': ['d:1']},
            'task': {'type': task[0], 'index': task[1]}}))
    assert distribution.is_chief() == chief


def test_without_a_chief_the_first_worker_writes(monkeypatch):
    for index in (0, 1):
        monkeypatch.setenv('TF_CONFIG', json.dumps({'cluster': {'worker': ['b:1', 'c:1']},
                                                    'task': {'type': 'worker', 'index': index}}))
        assert distribution.is_chief() == (index == 0)


def test_a_worker_other_than_the_chief_writes_no_files(monkeypatch, tmp_path):
    monkeypatch.setenv('TF_CONFIG', json.dumps({'cluster': {'chief': ['a:1'], 'worker': ['b:1']},
                                                'task': {'type': 'worker', 'index': 0}}))
    training.network(tf.zeros([1, 8, 8, 2]), True)
    CreateQuantizeTrainingGraph(training.config(tmp_path))
    assert not list(tmp_path.iterdir())


def test_variables_of_a_strategy_are_noticed_outside_its_scope(tmp_path):
    with tf.distribute.MirroredStrategy(['/cpu:0', '/cpu:1']).scope():
        training.network(tf.zeros([1, 8, 8, 2]), True)
    with pytest.raises(QuantizeError, match='2 replicas') as raised:
        CreateQuantizeTrainingGraph(training.config(tmp_path))
    assert raised.value.code == errors.UNSUPPORTED_GRAPH
