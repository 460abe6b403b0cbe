"""Checks of a random network, frozen and trained."""
import os
import random

import numpy as np
import tensorflow.compat.v1 as tf

import vai_q_tf
from tests.fuzz import told
from tests.fuzz.damage import models
from tests.fuzz.findings import Outcome
from tests.fuzz.networks import SeededNetwork
from tests.ptq import test_random_networks as frozen
from tests.random_networks import SIZE
from tests.same_network import dpu_model
from tests.same_network import test_random_networks as trained
from vai_q_tf.export.onnx.convert import to_onnx

# Other programs differ in the last bits of these, so that results downstream may round differently.
_INEXACT = frozenset((
    'Elu', 'Exp', 'LRN', 'Mean', 'ResizeBilinear', 'Sigmoid', 'Softmax', 'Softplus', 'Sqrt', 'Tanh', 'RealDiv'))
_LEAST_DB = 40.


def run(group, seed, begin):
    """The Outcome for the network of a seed, or of 'SEED/PLACES' with these of its layers only; raises if a check fails."""
    number, _, places = seed.partition('/')
    kept = [int(place) for place in places.split(',')] if places else None
    network = SeededNetwork(int(number), group == 'trained', kept=kept)
    (_check_trained if group == 'trained' else _check_frozen)(network, random.Random(number), begin)
    return Outcome('done')


def _check_frozen(network, choices, begin):
    begin('the file route')
    case, model = frozen.check(network)
    feed = case.feed(7)
    begin('the DPU')
    found = dpu_model.differences(model, feed, but_for_unlike=True)
    assert not found, '\n'.join(found)
    begin('onnx')
    with open('model.onnx', 'wb') as stream:
        stream.write(to_onnx(model, sorted(feed), case.outputs))
    expected, results = models.run(model, case.outputs, feed), models.run_file('model.onnx', case.outputs, feed)
    if _INEXACT.intersection(node.op for node in model.node):
        decibels = models.decibels(expected, results)
        assert decibels > _LEAST_DB, 'ONNX has {:.1f} dB'.format(decibels)
    else:
        assert all(map(np.array_equal, expected, results)), 'ONNX computes something else'
    told.check(case, choices, os.path.abspath('told'), begin)


def _check_trained(network, choices, begin):
    begin('both ways')
    changed = choices.sample(sorted(trained.SETTINGS), choices.randrange(5))
    fields = {name: choices.choice(trained.SETTINGS[name][1:]) for name in changed}
    trained.check_random(network, choices.choice(sorted(trained.STATISTICS)), choices.choice((0., .01)), fields)
    begin('restart')
    _check_restart(network)


def _check_restart(network):
    """Losses are finite, and a training continued from a checkpoint equals one without interruption, to the bit."""
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(1)
        outputs = network.build(training=True)
        inputs = sorted(op.name for op in graph.get_operations() if op.type == 'Placeholder')
        loss = tf.add_n([tf.reduce_mean(tf.square(tf.clip_by_value(output, -10., 10.))) for output in outputs])
        step = tf.train.get_or_create_global_step()
        vai_q_tf.CreateQuantizeTrainingGraph(vai_q_tf.QuantizeConfig(inputs, [output.op.name for output in outputs]))
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            train = tf.train.MomentumOptimizer(1e-3, .9).minimize(loss, step)
        saver, whole, restarted = tf.train.Saver(max_to_keep=None), {}, {}
        for first, checkpoints in ((0, whole), (2, restarted)):
            with tf.Session(config=tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)) as session:
                session.run(tf.global_variables_initializer())
                if first:
                    saver.restore(session, whole[first])
                for number in range(first, 3):
                    feed = {name + ':0': np.random.RandomState(number).normal(size=(4, SIZE, SIZE, 3)) for name in inputs}
                    _, value = session.run([train, loss], feed)
                    assert np.isfinite(value) or not network.is_ordinary, 'the loss is {}'.format(value)
                    checkpoints[number + 1] = saver.save(
                        session, os.path.abspath('from{}'.format(first)), number + 1, write_meta_graph=False)
    expected, results = _tensors(whole[3]), _tensors(restarted[3])
    assert set(expected) == set(results)
    unlike = [name for name, value in expected.items() if value != results[name]]
    assert not unlike, 'not as without a restart: ' + ', '.join(unlike[:5])


def _tensors(prefix):
    """{name: the bytes of its value, or a list of strings} of a checkpoint."""
    reader = tf.train.load_checkpoint(prefix)
    values = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    return {name: value.tolist() if value.dtype == object else value.tobytes() for name, value in values.items()}
