"""Fingerprints of what the package emits, to show that a change leaves models and trainings as they are, to the byte.

    python -m tests.fingerprints > before.json      # in a checkout of the old commit
    python -m tests.fingerprints > after.json       # in one of the new commit, on the same machine
    diff before.json after.json

An artifact is a model, a graph of a training, a checkpoint or its losses; networks are random, but the same for a seed.
"""
import argparse
import contextlib
import glob
import hashlib
import json
import os
import re
import sys
import tempfile

from tests import quick_tensorflow
from tests.support import read_graph

import numpy as np  # isort: skip
import onnx  # isort: skip
import tensorflow.compat.v1 as tf  # isort: skip  (after its settings)

import vai_q_tf  # noqa: E402
from tests.fuzz.networks import SeededNetwork  # noqa: E402
from tests.integrations import ways  # noqa: E402
from tests.random_networks import SIZE  # noqa: E402

# What networks of the file route are quantized with, by turns: fields of the QuantizeConfig, and arguments.
_FILE_SETTINGS = (
    ({}, {}),
    ({'method': 2}, {'effort': 'fast'}),
    ({'simulate_dpu': 0, 'arch_type': 'DPUCADF8H'}, {'effort': 'fast', 'keep_float_weight': 0}),
    ({'do_cle': 1, 'replace_sigmoid': 1}, {'effort': 'fast', 'output_format': 'onnx'}),
    ({'weight_bit': 4}, {'effort': 'high'}),
    ({'method': 0, 'align_concat': 2}, {'effort': 'fast', 'include_fast_ft': 1, 'fast_ft_epochs': 1}),
)
# What networks are trained with, by turns.
_TRAINING_SETTINGS = (
    {}, {'recipe': 'manual'}, {'recipe': 'manual', 'bn_fold': 'moving', 'gradient': 'straight_through'},
    {'recipe': 'manual', 'position_update': 'learned'}, {'recipe': 'manual', 'freeze_bn_step': 2, 'weight_bit': 6},
    {'recipe': 'manual', 'position_update': 'current', 'simulate_dpu': 0},
)
_STEPS = 3


def _digest(data):
    return hashlib.sha256(data).hexdigest()[:16]


def _of_graph(graph_def):
    """Without the path of the directory and the messages to users that training graphs contain."""
    copy = tf.GraphDef.FromString(graph_def.SerializeToString())
    for node in copy.node:
        if node.op == 'VaiSay':
            node.attr.pop('lines')
    return _digest(copy.SerializeToString(deterministic=True).replace(os.getcwd().encode(), b''))


def _of_file(path):
    """Of a GraphDef; of the ops and constants of an ONNX model, because tf2onnx names and merges constants in any order."""
    if path.endswith('.pb'):
        return _of_graph(read_graph(path))
    graph = onnx.load(path).graph
    constants = {onnx.numpy_helper.to_array(constant).tobytes() for constant in graph.initializer}
    return _digest(repr((sorted({node.op_type for node in graph.node}), sorted(constants))).encode())


def _of_checkpoint(prefix):
    reader = tf.train.load_checkpoint(prefix)
    digest = hashlib.sha256()
    for name in sorted(reader.get_variable_to_shape_map()):
        value = reader.get_tensor(name)
        digest.update(name.encode() + (repr(value.tolist()).encode() if value.dtype == object else value.tobytes()))
    return digest.hexdigest()[:16]


def _of_models(directory):
    """{name without its time: fingerprint} of the models and graphs below a directory."""
    return {re.sub(r'_\d{14}', '', os.path.basename(path)): _of_file(path)
            for kind in ('pb', 'onnx') for path in glob.glob(os.path.join(directory, '**', '*.' + kind), recursive=True)}


def _batch(names, seed):
    random = np.random.RandomState(seed)
    return {name: random.uniform(-1, 1, (3, SIZE, SIZE, 3)).astype(np.float32) for name in names}


def frozen(seed, directory):
    """Of the models of a random network that is frozen."""
    with tf.Graph().as_default() as graph:
        outputs = [output.op.name for output in SeededNetwork(seed).build()]
        graph_def = graph.as_graph_def()
    inputs = sorted(node.name for node in graph_def.node if node.op == 'Placeholder')
    fields, arguments = _FILE_SETTINGS[seed % len(_FILE_SETTINGS)]
    config = vai_q_tf.QuantizeConfig(inputs, outputs, [[-1, SIZE, SIZE, 3]] * len(inputs), calib_iter=2, output_dir=directory,
                                     **fields)
    vai_q_tf.quantize_frozen(graph_def, lambda step: _batch(inputs, step), config, **arguments)
    return _of_models(directory)


def trained(seed, directory):
    """Of the graphs, the losses, the checkpoint and the models of a random network that is trained for some steps."""
    network, found = SeededNetwork(seed, trainable=True), {}
    fields = dict(_TRAINING_SETTINGS[seed % len(_TRAINING_SETTINGS)], output_dir=directory)
    with tf.Graph().as_default() as graph, tf.Session(config=quick_tensorflow.one_thread()) as session:
        tf.set_random_seed(1)
        outputs = network.build(training=True)
        names = [output.op.name for output in outputs]
        inputs = sorted(op.name for op in graph.get_operations() if op.type == 'Placeholder')
        config = vai_q_tf.QuantizeConfig(inputs, names, [[-1, SIZE, SIZE, 3]] * len(inputs), **fields)
        loss = tf.add_n([tf.reduce_mean(tf.square(tf.clip_by_value(output, -10., 10.))) for output in outputs])
        step = tf.train.get_or_create_global_step()
        vai_q_tf.CreateQuantizeTrainingGraph(config)
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            train = tf.train.MomentumOptimizer(1e-3, .9).minimize(loss, step)
        saver = tf.train.Saver()
        found['training graph'] = _of_graph(graph.as_graph_def())
        session.run(tf.global_variables_initializer())
        losses = [session.run([loss, train], {name + ':0': value for name, value in _batch(inputs, number).items()})[0]
                  for number in range(_STEPS)]
        found['losses'] = [value.item().hex() for value in losses]
        checkpoint = saver.save(session, os.path.join(directory, 'trained.ckpt'))
        found['checkpoint'] = _of_checkpoint(checkpoint)
    with tf.Graph().as_default() as graph:
        network.build()
        vai_q_tf.CreateQuantizeEvaluationGraph(config)
        found['evaluation graph'] = _of_graph(graph.as_graph_def())
        vai_q_tf.CreateQuantizeDeployGraph(checkpoint, config)
    return dict(found, **_of_models(directory))


def way(name, directory):
    """Of what one of the ways to train leaves."""
    start = ways.float_checkpoint(_Folder(directory))
    place = os.path.join(directory, 'manual')
    os.makedirs(place)
    course = ways.WAYS[name](place, start, 0, _STEPS)
    return dict(_of_models(directory), losses=[float(value).hex() for value in course.losses],
                checkpoint=_of_checkpoint(course.checkpoint))


class _Folder(str):
    """A directory whose files are named by /, as those of a pathlib path."""

    def __truediv__(self, name):
        return os.path.join(self, name)


def fingerprints(networks):
    """{name: {artifact: fingerprint}, or the code of an error}, made in the current directory."""
    tasks = [(kind, seed) for seed in range(networks) for kind in (frozen, trained)]
    tasks += [(way, name) for name in sorted(ways.WAYS)]
    result = {}
    for make, argument in tasks:
        name = '{} {}'.format(make.__name__, argument)
        directory = name.replace(' ', '_')
        os.mkdir(directory)
        with contextlib.redirect_stdout(sys.stderr):
            tf.reset_default_graph()
            try:
                result[name] = make(argument, directory)
            except vai_q_tf.QuantizeError as error:
                result[name] = 'refused: ' + error.code
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--networks', type=int, default=36, help='random networks, frozen and trained')
    options = parser.parse_args()
    quick_tensorflow.turn_optimizers_off()
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        result = fingerprints(options.networks)
        os.chdir(os.path.dirname(directory))
    json.dump(result, sys.stdout, indent=1, sort_keys=True)


if __name__ == '__main__':
    main()
