"""The tensors that vai_q_tensorflow quantizes in float models: names, modes, bits, methods and readers of measured variants.

annotate chooses the same ones after the passes, also if only the shapes of parameters are known.
"""
import json
import os
import re

import pytest
import tensorflow as tf

from tests.support import read_graph
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph.view import STANDS_FOR, GraphView
from vai_q_tf.passes import optimise
from vai_q_tf.plan.annotate import annotate
from vai_q_tf.qat.network.decision import decide

_FOLDER = os.path.join(os.path.dirname(os.path.dirname(__file__)), 'golden', 'ptq')
_CASES = {}
for _model in ('plain', 'concat', 'resnet_small'):
    with open(os.path.join(_FOLDER, _model + '.json')) as _file:
        _CASES[_model] = json.load(_file)

# The flags of a variant that are fields of the config; the others are about other stages.
_LISTS = ('input_nodes', 'output_nodes', 'ignore_nodes', 'nodes_bit', 'nodes_method')
_NUMBERS = ('weight_bit', 'activation_bit', 'method', 'simulate_dpu', 'scale_all_avgpool', 'do_cle', 'replace_relu6',
            'replace_sigmoid', 'replace_softmax', 'fold_reshape', 'align_concat', 'align_pool')


def _graph_def(model):
    return read_graph(os.path.join(_FOLDER, model + '.pb'))


def _config(flags):
    fields = {key: flags['--' + key] for key in _NUMBERS if '--' + key in flags}
    fields.update({key: flags['--' + key].split(',') for key in _LISTS if '--' + key in flags})
    return QuantizeConfig(input_shapes=[flags['--input_shapes'].split(',')], **fields)


# Differences and their reasons: {(model, variant): (only here, only in vai_q_tensorflow)}.
_FIRST = {('conv1/Relu/aquant', 1, 8, 1, ('pool1/MaxPool:0',)), ('conv1/bias/wquant', 0, 8, 1, ('conv1/BiasAdd:1',)),
          ('conv1/kernel/wquant', 0, 8, 1, ('conv1/Conv2D:1',))}
_FOUR_BITS = ({('conv1/kernel/wquant', 0, 4, 1, ('conv1/Conv2D:1',))}, {('conv1/kernel/wquant', 0, 8, 1, ('conv1/Conv2D:1',))})
_DIFFERENCES = {
    # Its constant folding had renamed the weights, so it did not find the node that the entry names.
    ('plain', 'ig_w'): (set(), _FIRST), ('plain', 'nb_w4'): _FOUR_BITS, ('plain', 'nb_wread'): _FOUR_BITS}


def _name(record):
    """Name of a FixNeuron of vai_q_tensorflow, without the suffix that its constant folding adds to constants."""
    producer = re.sub(r'(/read)?/_[0-9]+__cf__[0-9]+', '', record['producer'])
    return producer + ('/aquant' if record['mode'] == 1 else '/wquant')


_VARIANTS = [(model, variant) for model in _CASES for variant in _CASES[model]['variants']]


def _check(model, variant, plan):
    ours = {(tensor.name, tensor.mode, tensor.bits, tensor.method, tuple(sorted('{}:{}'.format(*reader)
                                                                                for reader in tensor.consumers)))
            for tensor in plan.tensors}
    theirs = {(_name(record), record['mode'], record['bits'], record['method'], tuple(sorted(record['consumers'])))
                 for record in _CASES[model]['variants'][variant]['fix']}
    assert (ours - theirs, theirs - ours) == _DIFFERENCES.get((model, variant), (set(), set()))


def _some(variants):
    """One in three, and those that differ; tests/ptq/test_golden checks all in the models that are written."""
    return [pytest.param(*case, marks=[pytest.mark.slow] * (number % 3 > 0 and case not in _DIFFERENCES))
            for number, case in enumerate(variants)]


@pytest.mark.parametrize('model, variant', _some(_VARIANTS))
def test_the_same_tensors_after_the_passes(model, variant):
    flags = _CASES[model]['variants'][variant]['flags']
    config = _config(flags)
    optimised = optimise(_graph_def(model), config, flags.get('--fold_constant') != '0')
    _check(model, variant, annotate(GraphView(optimised), config))


def _without_values(graph_def):
    """The GraphDef in which float constants represent variables."""
    for node in graph_def.node:
        if node.op == 'Const' and node.attr['dtype'].type == tf.float32.as_datatype_enum:
            proto = node.attr['value'].tensor
            node.attr['value'].tensor.CopyFrom(type(proto)(dtype=proto.dtype, tensor_shape=proto.tensor_shape))
            node.attr[STANDS_FOR].s = node.name.encode()
    return graph_def


# Equalizing layers needs the values of their weights.
@pytest.mark.parametrize('model, variant', _some(case for case in _VARIANTS if 'cle' not in case[1]))
def test_the_same_tensors_without_the_values_of_parameters(model, variant):
    config = _config(_CASES[model]['variants'][variant]['flags'])
    _check(model, variant, decide(_without_values(_graph_def(model)), config).plan)
