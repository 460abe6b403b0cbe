"""The tensors that the original chose on float models, compared where no transform of the original is in between.

Explained differences: a folded batch norm has the name of the training graph here, while the original kept the name of
the batch norm for the result and made one up for the bias; weights and biases are compared by what they feed, because
the original renamed constants.
"""
import json
import os

import pytest
import tensorflow as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph.view import GraphView
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


def _plan(model, flags):
    graph_def = tf.compat.v1.GraphDef()
    with open(os.path.join(_FOLDER, model + '.pb'), 'rb') as file:
        graph_def.ParseFromString(file.read())
    fields = {key: flags['--' + key] for key in ('weight_bit', 'activation_bit', 'method') if '--' + key in flags}
    fields.update({key: flags['--' + key].split(',') for key in ('ignore_nodes', 'nodes_bit', 'nodes_method')
                   if '--' + key in flags})
    return annotate(GraphView(graph_def), QuantizeConfig(
        flags['--input_nodes'].split(','), flags['--output_nodes'].split(','), **fields))


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
