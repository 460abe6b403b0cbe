"""The tensors that the original chose on float models.

On what the passes give for these models, all variants are compared: names, modes, bits, methods and readers.
On the models as they are, which have batch norms as a training graph has them, those variants are compared for which the
original changed nothing but batch norms.

Explained differences of the latter: a folded batch norm has the name of the training graph here, while the original kept the
name of the batch norm for the result and made one up for the bias; weights and biases are compared by what they feed, because
the original renamed constants.
"""
import json
import os
import re

import pytest
import tensorflow as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph.view import GraphView
from vai_q_tf.passes import optimise
from vai_q_tf.plan.annotate import annotate

_FOLDER = os.path.join(os.path.dirname(os.path.dirname(__file__)), 'golden', 'ptq')
_CASES = {}
for _model in ('plain', 'concat', 'resnet_small'):
    with open(os.path.join(_FOLDER, _model + '.json')) as _file:
        _CASES[_model] = json.load(_file)

# simulate_dpu inserts ops and changes averages; without it the graph is the float graph. `plain` has no average.
_VARIANTS = [('concat', 'sim0'), ('resnet_small', 'sim0')] + [
    ('plain', variant) for variant in _CASES['plain']['variants']
    # Options about other stages (alignment, shifts, file checks) choose the same tensors; these are about the choice.
    if variant.split('_')[0] in ('m0', 'm1', 'm2', 'w4', 'w4a4', 'w16', 'w16a16', 'a4', 'a16', 'sim0', 'fc0', 'ig',
                                 'nb', 'nm')]

# In these the original did not know the constant by its name, because its constant folding had renamed it.
_RENAMED = {'ig_w': 'ignore_nodes', 'nb_w4': 'nodes_bit', 'nb_wread': 'nodes_bit'}


# Of the flags of a variant, those that are fields of the config; the others are about other stages.
_LISTS = ('input_nodes', 'output_nodes', 'ignore_nodes', 'nodes_bit', 'nodes_method')
_NUMBERS = ('weight_bit', 'activation_bit', 'method', 'simulate_dpu', 'scale_all_avgpool', 'do_cle', 'replace_relu6',
            'replace_sigmoid', 'replace_softmax', 'fold_reshape', 'align_concat', 'align_pool')


def _graph_def(model):
    graph_def = tf.compat.v1.GraphDef()
    with open(os.path.join(_FOLDER, model + '.pb'), 'rb') as file:
        graph_def.ParseFromString(file.read())
    return graph_def


def _config(flags):
    fields = {key: flags['--' + key] for key in _NUMBERS if '--' + key in flags}
    fields.update({key: flags['--' + key].split(',') for key in _LISTS if '--' + key in flags})
    return QuantizeConfig(input_shapes=[flags['--input_shapes'].split(',')], **fields)


def _plan(model, flags):
    return annotate(GraphView(_graph_def(model)), _config(flags))


def _ours(plan):
    """{tensor or what it feeds: (mode, bits, method, readers)}"""
    norms = {norm.scope: norm for norm in plan.batch_norms}
    chosen = {}
    for tensor in plan.tensors:
        readers = tuple(sorted('{}:{}'.format(*reader) for reader in tensor.consumers))
        if tensor.fold and tensor.role == 'bias':
            readers = (norms[tensor.fold].output + ':1',)
        key = tensor.tensor if tensor.mode == 1 else readers
        chosen[key] = (tensor.mode, tensor.bits, tensor.method, readers)
    return chosen


def _originals(records):
    chosen = {}
    for record in records:
        readers = tuple(sorted(record['consumers']))
        key = record['producer'] if record['mode'] == 1 else readers
        chosen[key] = (record['mode'], record['bits'], record['method'], readers)
    return chosen


@pytest.mark.parametrize('model, variant', _VARIANTS)
def test_chooses_what_the_original_chose(model, variant):
    case = _CASES[model]['variants'][variant]
    flags = {key: value for key, value in case['flags'].items() if key != '--' + _RENAMED.get(variant, '')}
    assert _ours(_plan(model, flags)) == _originals(case['fix'])


@pytest.mark.parametrize('variant', ['ig_add', 'ig_conv', 'nb_add', 'nb_bn', 'nb_conv'])
def test_options_on_a_residual_net(variant):
    case = _CASES['resnet_small']['variants'][variant]
    ours, originals = _ours(_plan('resnet_small', case['flags'])), _originals(case['fix'])
    # The original made the mean an average pool, scaled it, and squeezed the result.
    ours.pop('gap')
    originals.pop('gap/mul')
    originals.pop('gap/squeeze')
    ours = {key: value[:3] for key, value in ours.items()}
    originals = {key: value[:3] for key, value in originals.items()}
    if variant == 'ig_add':
        # It searches the relu behind the ignored addition for a pattern of its own, and quantizes it though what it
        # reads is float; here it is quantized because the next convolution reads it.
        assert originals.pop('b1_relu') == ours.pop('b1_relu')
    assert ours == originals


# What the original chose otherwise, and why: {(model, variant): (only here, only in the original)}.
_FIRST = {('conv1/Relu/aquant', 1, 8, 1, ('pool1/MaxPool:0',)), ('conv1/bias/wquant', 0, 8, 1, ('conv1/BiasAdd:1',)),
          ('conv1/kernel/wquant', 0, 8, 1, ('conv1/Conv2D:1',))}
_FOUR_BITS = ({('conv1/kernel/wquant', 0, 4, 1, ('conv1/Conv2D:1',))}, {('conv1/kernel/wquant', 0, 8, 1, ('conv1/Conv2D:1',))})
_DIFFERENCES = {
    # Its constant folding had given the weights another name, so it did not find the node that the entry names.
    ('plain', 'ig_w'): (set(), _FIRST), ('plain', 'nb_w4'): _FOUR_BITS, ('plain', 'nb_wread'): _FOUR_BITS}


def _name(record):
    """Name of a FixNeuron of the original, without what its constant folding adds to the names of constants."""
    producer = re.sub(r'(/read)?/_[0-9]+__cf__[0-9]+', '', record['producer'])
    return producer + ('/aquant' if record['mode'] == 1 else '/wquant')


@pytest.mark.parametrize('model, variant', [(model, variant) for model in _CASES for variant in _CASES[model]['variants']])
def test_chooses_what_the_original_chose_behind_the_passes(model, variant):
    case = _CASES[model]['variants'][variant]
    config = _config(case['flags'])
    graph_def = optimise(_graph_def(model), config, fold_constant=case['flags'].get('--fold_constant') != '0')
    ours = {(tensor.name, tensor.mode, tensor.bits, tensor.method, tuple(sorted('{}:{}'.format(*reader)
                                                                                for reader in tensor.consumers)))
            for tensor in annotate(GraphView(graph_def), config).tensors}
    originals = {(_name(record), record['mode'], record['bits'], record['method'], tuple(sorted(record['consumers'])))
                 for record in case['fix']}
    assert (ours - originals, originals - ours) == _DIFFERENCES.get((model, variant), (set(), set()))
