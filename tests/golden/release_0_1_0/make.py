"""The script that made the files of this folder with release 0.1.0: python -m tests.golden.release_0_1_0.make

It documents their origin. Do not run it again: see README.md.
"""
import glob
import gzip
import json
import os
import shutil
import tempfile

import tensorflow.compat.v1 as tf
from tensorflow import keras

import vai_q_tensorflow as vq
from tests.compatibility import release_0_1_0 as release

_MORE = release.STEPS, release.MORE


def _write(name, data):
    """Packed without dates, so that the folder stays small and repeatable."""
    with open(release.stored(name + '.gz'), 'wb') as raw, gzip.GzipFile('', 'wb', 9, raw, mtime=0) as stream:
        stream.write(data)


def _canonical(message):
    return message.SerializeToString(deterministic=True)


def _float_checkpoint():
    """A float checkpoint of `mixed` after two steps, and its frozen graph."""
    with tf.Graph().as_default(), tf.Session(config=release.SESSION) as session:
        tf.set_random_seed(1)
        saver = release.build_training('mixed', quantized=False)
        session.run(tf.global_variables_initializer())
        release.take_steps(session, 0, 2)
        session.run(tf.train.get_global_step().initializer)
        saver.save(session, release.stored(release.FLOAT), write_meta_graph=False, write_state=False)
    with tf.Graph().as_default(), tf.Session(config=release.SESSION) as session:
        release.mixed(tf.placeholder(tf.float32, [None, 8, 8, 2], name='images'), False)
        tf.train.Saver().restore(session, release.stored(release.FLOAT))
        _write('float.pb', _canonical(tf.graph_util.convert_variables_to_constants(
            session, session.graph.as_graph_def(), [release.OUTPUT])))


def _train(name):
    """Writes the checkpoint of a case with its MetaGraph; returns the expected results of continuing from it."""
    with tf.Graph().as_default(), tf.Session(config=release.SESSION) as session:
        tf.set_random_seed(2)
        float_saver = release.build_training(name)
        saver = tf.train.Saver()
        session.run(tf.global_variables_initializer())
        if name == 'mixed':
            float_saver.restore(session, release.stored(release.FLOAT))
        first = release.take_steps(session, 0, release.STEPS)
        saver.save(session, release.stored(name + '.ckpt'), release.STEPS, write_meta_graph=False, write_state=False)
        _write('{}.ckpt-{}.meta'.format(name, release.STEPS), _canonical(saver.export_meta_graph()))
        losses = release.take_steps(session, *_MORE)
        after = saver.save(session, os.path.abspath('after.ckpt'))
    model = tf.GraphDef.FromString(release.read(release.deploy(name, after).eval_model))
    return {'first_losses': first, 'losses': losses, 'positions_after': release.positions(model)}


def _evaluate(name):
    """Writes the MetaGraph of the evaluation and the deployed files; returns the expected results of both."""
    with tf.Graph().as_default(), tf.Session(config=release.SESSION) as session:
        release.build_evaluation(name)
        saver = tf.train.Saver()
        _write(name + '_evaluation.meta', _canonical(saver.export_meta_graph()))
        saver.restore(session, release.checkpoint(name))
        logits = session.run(release.RESULT, {'images:0': release.images_of_evaluation()})
    files = release.deploy(name, release.checkpoint(name))
    graph, model = (tf.GraphDef.FromString(release.read(path)) for path in files)
    _write(name + '_graph.pb', _canonical(graph))
    _write(name + '_model.pb', _canonical(model))
    return {'logits': logits.tolist(), 'positions': release.positions(model)}


def _quantize():
    """Writes the models of the frozen float graph; returns their expected results."""
    model = tf.GraphDef.FromString(release.read(release.quantize_float_graph()))
    _write('frozen_model.pb', _canonical(model))
    _write('frozen_model.onnx', release.read(release.quantize_float_graph(output_format='onnx')))
    logits = release.run_model(model, {'images:0': release.images_of_evaluation()})
    return {'logits': logits.tolist(), 'positions': release.positions(model)}


def _fit():
    """Writes the weights of a tf.keras model, with its positions; returns the expected results of continuing."""
    model = release.build_keras()
    release.fit_keras(model, 0, release.STEPS)
    model.save_weights(os.path.abspath(release.KERAS_WEIGHTS))
    _write(release.KERAS_WEIGHTS, release.read(release.KERAS_WEIGHTS))
    logits = model.predict(release.images_of_evaluation())
    losses = release.fit_keras(model, *_MORE)
    keras.backend.clear_session()
    return {'logits': logits.tolist(), 'losses': losses}


def main():
    assert vq.__version__ == '0.1.0' and not glob.glob(release.stored('*.ckpt*')), 'these files are never made again'
    directory = tempfile.mkdtemp()
    os.chdir(directory)
    _float_checkpoint()
    numbers = {}
    for name in release.CASES:
        numbers[name] = _train(name)
        numbers[name].update(_evaluate(name))
    numbers['frozen'] = _quantize()
    numbers['keras'] = _fit()
    with open(release.stored('expected.json'), 'w') as stream:
        json.dump(numbers, stream, indent=1, sort_keys=True)
        stream.write('\n')
    shutil.rmtree(directory)


if __name__ == '__main__':
    main()
