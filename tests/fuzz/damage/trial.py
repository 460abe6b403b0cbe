"""Runs one command on one or more damaged files, and checks its outcome and its files."""
import contextlib
import io
import logging
import os
import random
import shutil
import sys
import types

import numpy as np
import tensorflow.compat.v1 as tf

import vai_q_tf
from tests.fuzz import findings
from tests.fuzz.damage import models, specimens
from tests.fuzz.damage.graph_mutations import damage_graph
from tests.fuzz.damage.mutations import damage_bytes, damage_message, damage_text
from tests.fuzz.findings import Outcome
from vai_q_tf import cli
from vai_q_tf.frozen.load import unknown_ops

_MODULE = 'fuzz_input'  # directory of the input function
_LEAST_DB = 20.  # of a 16-bit model
# The message for values that no model of its kind can represent together with the others.
_TOLD = 'are infinite in', 'Odd positions, of values that are very large or very small'
_EXACT = ('--weight_bit', '16', '--activation_bit', '16', '--simulate_dpu', '0', '--adjust_shift_bias', '0',
          '--adjust_shift_cut', '0', '--align_concat', '2', '--align_pool', '2')
_OPTIONS = (
    '--fold_constant 0', '--fold_reshape 1', '--do_cle 1', '--replace_sigmoid 1', '--replace_softmax 1',
    '--keep_float_weight 0', '--fix_input_shape 1', '--method 0', '--method 2', '--weight_bit 4', '--activation_bit 16',
    '--bias_bit 12', '--positions_by mse', '--positions_by entropy', '--arch_type DPUCADF8H', '--target_type DPUCZDX8G',
    '--skip_check 1', '--strict', '--scale_all_avgpool 0', '--simulate_dpu 0', '--add_shapes 0', '--align_rule output',
    '--include_fast_ft 1', '--effort standard', '--effort high', '--calib_iter 3')
# Frequencies of the attacks on frozen and on trained networks.
_FROZEN = ('exact',) * 8 + ('quantize',) * 6 + ('convert',) * 4 + ('inspect',) * 4 + ('dump',) * 4 + ('update',) * 2 + (
    'onnx',) * 2 + ('sensitivity', 'quantize again', 'other file')
_TRAINED = ('deploy meta',) * 3 + ('deploy checkpoint',) * 4 + ('train',) * 3 + ('eval',) * 2 + ('history',) * 2 + ('inspect',)


def specimen(seed):
    """The specimen that the trial of a seed damages: every sixth is a trained network."""
    names = specimens.TRAINED if seed % 6 == 5 else specimens.FROZEN
    return names[seed // 6 % len(names)] if seed % 6 == 5 else names[(seed - seed // 6) % len(names)]


def run(seed, directory, begin):
    """The Outcome of a trial.

    Args:
      directory: where the specimens are.
      begin: function to call with the name of each part.
    """
    return _Trial(seed, directory, begin).run()


class _Trial:
    """A trial in the empty working directory, driven by `random`."""

    def __init__(self, seed, directory, begin):
        self._name, self._begin, self._directory = specimen(seed), begin, directory
        self._random, self._files = random.Random(seed), specimens.load(self._name, directory)
        self._images = 2
        self._damaged = None

    def run(self):
        attack = self._random.choice(_FROZEN if self._name in specimens.FROZEN else _TRAINED)
        if attack in ('dump', 'update', 'quantize again') and 'quantized' not in self._files:
            attack = 'quantize'
        self.attack = attack
        if attack == 'history':
            return self._resume()
        arguments = getattr(self, '_' + attack.replace(' ', '_'))()
        before = self._listing()
        self._begin(attack)
        status, text = self._command(arguments)
        left = sorted(self._listing() - before)
        if status not in (0, 1):
            return Outcome('uncoded', 'exit status {} of {}'.format(status, attack), text[-800:])
        hidden = [path for path in left if os.path.basename(path).startswith('.') or 'tmp' in path]
        if hidden or (status and left):
            return Outcome('files left', '{} of {}'.format(_extensions(hidden or left), attack),
                           '{}\n{}'.format(left[:5], text[-800:]))
        if status:
            return self._judged(arguments, text)
        return self._check(attack, arguments, text)

    def _judged(self, arguments, text):
        """The Outcome of a command that failed; one without a code runs again for its traceback."""
        lines = [line for line in text.splitlines() if ': error: ' in line]
        if len(lines) == 1 and '[Quantize_TF1_' in lines[0]:
            return Outcome('refused')
        _, again = self._command(arguments + ['--debug_mode', '1'])
        return findings.of_traceback('uncoded', again if 'Traceback' in again else text)

    def _command(self, arguments):
        module = types.ModuleType(_MODULE)
        module.batch = lambda step: specimens.batch(self._files['inputs'], step, self._images)
        sys.modules[_MODULE] = module
        stream = io.StringIO()
        warnings = logging.StreamHandler(stream)  # TensorFlow's handler keeps the original stderr
        tf.get_logger().addHandler(warnings)
        with contextlib.redirect_stderr(stream), contextlib.redirect_stdout(io.StringIO()):
            try:
                status = cli.main(arguments)
            except BaseException as error:
                status = 'exception {}'.format(type(error).__name__)
                stream.write(findings.text_of(error))
        tf.get_logger().removeHandler(warnings)
        tf.reset_default_graph()
        return status, stream.getvalue()

    # Inputs of the command

    def _write(self, name, data):
        with open(name, 'wb') as stream:
            stream.write(data)
        return name

    def _read(self, kind):
        with open(self._files[kind], 'rb') as stream:
            return stream.read()

    def _graph(self, kind):
        """The name of a file with a damaged GraphDef, which is kept as `_damaged` if it can be parsed."""
        graph_def, how = tf.GraphDef.FromString(self._read(kind)), self._random.random()
        if how < .8:
            damage_graph(graph_def, self._random)
            self._damaged = graph_def
            return self._write('graph.pb', graph_def.SerializeToString(deterministic=True))
        if how < .9:
            return self._write('graph.pb', damage_bytes(graph_def.SerializeToString(deterministic=True), self._random))
        return self._write('graph.pbtxt', damage_text(graph_def, self._random))

    def _meta(self, kind):
        meta, how = tf.MetaGraphDef.FromString(self._read(kind)), self._random.random()
        if how < .3:
            damage_graph(meta.graph_def, self._random)
        elif how < .8:
            damage_message(meta, self._random)
            if self._random.random() < .5 and meta.collection_def:
                damage_message(meta.collection_def[self._random.choice(sorted(meta.collection_def))], self._random)
        data = meta.SerializeToString(deterministic=True)
        return self._write('graph.meta', data if how < .8 else damage_bytes(data, self._random))

    def _checkpoint(self, kind, damage):
        """The prefix of a copy of a checkpoint with one damaged file, or with damaged tensors."""
        prefix = self._files[kind]
        if damage and self._random.random() < .5:
            return _other_tensors(prefix, self._random)
        for extension in ('.index', '.data-00000-of-00001'):
            shutil.copyfile(prefix + extension, 'model' + extension)
        if damage:
            path = 'model' + self._random.choice(('.index', '.data-00000-of-00001'))
            with open(path, 'rb') as stream:
                data = stream.read()
            self._write(path, damage_bytes(data, self._random))
            if self._random.random() < .1:
                os.remove(path)
        return 'model'

    def _range(self, *more):
        return ['--input_nodes', ','.join(sorted(self._files['inputs'])), '--output_nodes', ','.join(self._files['outputs']),
                '--output_dir', 'out'] + list(more)

    def _frozen(self, kind, *more):
        files = ['--input_frozen_graph', self._graph(kind), '--input_fn', _MODULE + '.batch', '--calib_iter', '1']
        return files + self._range(*more)

    def _chosen_options(self):
        words, changed = [], self._random.sample(_OPTIONS, self._random.randrange(4))
        for option in changed:
            words += option.split()
        if not any(option.startswith('--effort') for option in changed):
            words += ['--effort', 'fast']
        else:
            self._images = 8 * self._random.choice((1, 3))
        for option in ('--ignore_nodes', '--nodes_bit'):
            if self._random.random() < .1:
                name = self._random.choice(list(tf.GraphDef.FromString(self._read('float')).node)).name
                words += [option, name + (':{}'.format(self._random.choice((1, 8, 16))) if option == '--nodes_bit' else '')]
        return words

    def _exact(self):
        return ['quantize'] + self._frozen('float', '--effort', 'fast', *_EXACT)

    def _quantize(self):
        return ['quantize'] + self._frozen('float', *self._chosen_options())

    def _quantize_again(self):
        return ['quantize'] + self._frozen('quantized', '--effort', 'fast')

    def _onnx(self):
        return ['quantize'] + self._frozen('float', '--effort', 'fast', '--output_format', 'onnx', *_EXACT)

    def _convert(self):
        return ['quantize'] + self._frozen('float', '--convert_datatype', str(self._random.choice((1, 1, 2, 3, 4))))

    def _inspect(self):
        kind = 'float' if self._random.random() < .7 else 'quantized'
        if self._name in specimens.TRAINED:
            return ['inspect', '--input_frozen_graph', self._meta('train')]
        words = ['inspect', '--input_frozen_graph', self._graph(kind if kind in self._files else 'float')]
        return words + (self._range() if self._random.random() < .6 else [])

    def _sensitivity(self):
        options = self._random.choice(((), ('--target_bits', '6'), ('--target_db', '30')))
        return ['sensitivity'] + self._frozen('float', *options)

    def _dump(self):
        return ['dump'] + self._frozen('quantized', '--dump_float', str(self._random.randrange(2)))

    def _update(self):
        return ['update', '--input_frozen_graph', self._graph('quantized')]

    def _other_file(self):
        """An arbitrary file given to a command."""
        data = self._random.choice((b'', bytes(100), b'hello\n', b'node {', self._read('float')))
        self._write('any', damage_bytes(data, self._random))
        command = self._random.choice(('quantize', 'inspect', 'dump', 'update', 'deploy'))
        meta = ['--input_meta_graph', 'any', '--input_checkpoint', 'any']
        files = meta if command == 'deploy' else ['--input_frozen_graph', 'any', '--input_fn', _MODULE + '.batch']
        return [command] + files + self._range()

    def _deploy(self, meta, checkpoint):
        return ['deploy', '--input_meta_graph', meta, '--input_checkpoint', checkpoint] + self._range()

    def _deploy_meta(self):
        kind = self._random.choice(('eval', 'quantize_train', 'quantize_eval'))
        return self._deploy(self._meta(kind), self._checkpoint('checkpoint', False))

    def _deploy_checkpoint(self):
        shutil.copyfile(self._files[self._random.choice(('eval', 'quantize_train', 'quantize_eval'))], 'graph.meta')
        return self._deploy('graph.meta', self._checkpoint('checkpoint', True))

    def _train(self, mode='train'):
        damage = self._random.random() < .3
        words = ['quantize', '--mode', mode, '--input_meta_graph', self._files[mode] if damage else self._meta(mode)]
        if damage or self._random.random() < .3:
            words += ['--input_checkpoint', self._checkpoint(self._random.choice(('checkpoint', 'float_checkpoint')), damage)]
        return words + self._range()

    def _eval(self):
        return self._train('eval')

    def _resume(self):
        """A training whose history of positions is damaged."""
        name = os.path.basename(self._files['history'])
        self._write(name, damage_bytes(self._read('history'), self._random))
        self._begin('history')
        with specimens.training_graph() as (train, _, _), io.StringIO() as stream, contextlib.redirect_stderr(stream):
            try:
                with tf.train.SingularMonitoredSession([vai_q_tf.QuantizePositionHook('.')]) as session:
                    session.run(train, {'x:0': specimens.batch(self._files['inputs'])['x']})
            except vai_q_tf.errors.QuantizeError:
                return Outcome('refused')
            except Exception as error:
                return findings.of_traceback('uncoded', findings.text_of(error))
        return Outcome('done')

    # Results of the command

    def _listing(self):
        return {os.path.join(folder, name) for folder, _, names in os.walk('.') for name in names}

    def _check(self, attack, arguments, text):
        written = [path for path in self._listing() if path.startswith('./out') and path.endswith(('.pb', '.onnx'))]
        if not written and attack in ('exact', 'quantize', 'onnx', 'convert', 'deploy meta', 'deploy checkpoint'):
            return Outcome('nothing written', attack)
        for path in written + [arguments[2]] * (attack == 'update' and self._damaged is not None):
            self._begin('loading what {} wrote'.format(attack))
            error = models.loading_error(path)
            if error and not (attack == 'update' and unknown_ops(self._damaged, self._damaged.node)):  # the user's
                return Outcome('does not load', '{}: {}'.format(attack, error.partition(':')[0]), error[:500])
            compares = attack in ('exact', 'onnx') or '--convert_datatype' in arguments
            if self._damaged is not None and compares and not any(words in text for words in _TOLD):
                return self._compare(attack, path)
        return Outcome('done')

    def _compare(self, attack, path):
        feed = specimens.batch(self._files['inputs'], 0)
        self._begin('running the float graph')
        try:
            expected = models.run(self._damaged, self._files['outputs'], feed)
        except Exception:  # only skip_check accepts such a graph
            return Outcome('done')
        self._begin('running what {} wrote'.format(attack))
        try:
            results = models.run_file(path, self._files['outputs'], feed)
        except Exception as error:
            return Outcome('does not run', '{}: {}'.format(attack, type(error).__name__), str(error)[:500])
        decibels = models.decibels(expected, results)
        return Outcome('wrong', attack, '{:.1f} dB'.format(decibels)) if decibels < _LEAST_DB else Outcome('done')


def _extensions(paths):
    return ', '.join(sorted({os.path.splitext(path)[1] or os.path.basename(path) for path in paths}))[:60]


def _other_tensors(prefix, random):
    """Writes a checkpoint with some tensors missing, or with other values, shapes or types."""
    reader = tf.train.load_checkpoint(prefix)
    tensors = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    for _ in range(random.choice((1, 1, 2))):
        name = random.choice(sorted(tensors))
        value = tensors[name]
        kind = random.choice(('drop', 'number', 'number', 'shape', 'type', 'rename', 'random'))
        if kind in ('drop', 'rename'):
            tensors[name + 'x'] = tensors.pop(name)
        elif value.dtype.kind not in 'fiu' or not value.size:
            continue
        elif kind == 'number':
            value = value.copy()
            value.flat[random.randrange(value.size)] = random.choice(
                (np.nan, np.inf, 1e38, -1e38, 0) if value.dtype.kind == 'f' else (-1, 0, 127, 2**31 - 1, -2**31))
            tensors[name] = value
        elif kind == 'shape':
            tensors[name] = random.choice((value[None], value.ravel(), value.ravel()[:1], value.ravel()[:0]))
        elif kind == 'type':
            tensors[name] = value.astype(random.choice((np.float64, np.int32, np.float16)))
        else:
            tensors[name] = np.random.RandomState(0).randint(-200, 200, value.shape).astype(value.dtype)
    names = sorted(tensors)
    with tf.Graph().as_default(), tf.Session() as session:
        session.run(tf.raw_ops.SaveV2(prefix='model', tensor_names=names, shape_and_slices=[''] * len(names),
                                      tensors=[tf.constant(tensors[name]) for name in names]))
    return 'model'
