"""The command on measured cases of vai_q_tensorflow: the same tensors, bits, methods and positions.

Weights and biases are compared by their readers, because the constant folding of vai_q_tensorflow renames constants; all other
tensors also by their producer. A case listed in _DIFFERENCES must differ.
"""
import json
import os
import sys

import pytest

from tests.ptq.checking import unmeasured
from tests.support import read_graph
from vai_q_tf import cli

_FOLDER = os.path.join(os.path.dirname(os.path.dirname(__file__)), 'golden', 'ptq')
_CASES = {}
for _model in ('plain', 'concat', 'resnet_small'):
    with open(os.path.join(_FOLDER, _model + '.json')) as _file:
        _CASES[_model] = json.load(_file)


@unmeasured()
def _quantized(model, flags, output_dir, monkeypatch):
    """The model that the command writes for the flags of a case."""
    monkeypatch.chdir(_FOLDER)
    monkeypatch.setattr(sys, 'path', sys.path + [_FOLDER])
    options = dict(flags, **{'--input_frozen_graph': model + '.pb', '--output_dir': str(output_dir), '--align_rule': 'output',
                               '--effort': 'fast', '--skip_check': '1'})
    assert cli.main(['quantize'] + [word for option in options.items() for word in option]) == 0
    return read_graph(os.path.join(str(output_dir), 'quantize_eval_model.pb'))


def _records(graph_def):
    """The FixNeurons of a model in the form of the measured cases."""
    nodes = {node.name: node for node in graph_def.node}
    for node in graph_def.node:
        if node.op == 'FixNeuron':
            assert node.attr['phase'].i == 1
            yield {'producer': node.input[0], 'op': nodes[node.input[0]].op, 'suffix': node.name.rpartition('/')[2],
                   'mode': node.attr['mode'].i, 'bits': node.attr['bit_width'].i, 'method': node.attr['method'].i,
                   'pos': node.attr['quantize_pos'].i,
                   'consumers': ['{}:{}'.format(reader.name, index) for reader in graph_def.node
                                 for index, name in enumerate(reader.input) if name == node.name]}


def _by_key(records):
    found = {}
    for record in records:
        consumers = tuple(sorted(record['consumers']))
        key = consumers if record['op'] == 'Const' else record['producer']
        assert key not in found
        found[key] = (consumers,) + tuple(record[field] for field in ('suffix', 'mode', 'bits', 'method', 'pos'))
    return found


# (model, variant) -> {key: why it is different}
_DIFFERENCES = {('plain', variant): dict.fromkeys(
    keys, 'vai_q_tensorflow renames conv1/kernel by constant folding, so the option does not find it')
    for variant, keys in {'ig_w': [('conv1/BiasAdd:1',), ('conv1/Conv2D:1',), 'conv1/Relu'],
                          'nb_w4': [('conv1/Conv2D:1',)], 'nb_wread': [('conv1/Conv2D:1',)]}.items()}
_DIFFERENCES['plain', 'cle1'] = dict.fromkeys(
    [('fc1/MatMul:1',), ('fc2/MatMul:1',)], 'vai_q_tensorflow does not equalize MatMuls')
_DIFFERENCES.update((('concat', variant), {
    'mp1/MaxPool': 'an average and a max pool read it, and vai_q_tensorflow gives it the position of the one that it visits '
                   'last'})
    for variant in _CASES['concat']['variants'] if variant not in ('ac1', 'ac2', 'ap1', 'ap2', 'sim0'))
_DIFFERENCES['concat', 'w16a16'][('i2_a/Conv2D:1',)] = 'its shift is limited by the position of mp1/MaxPool, which is different'


def _runs(model):
    """Groups of variants of a model, for one run of the command each.

    Variants that changed nothing in vai_q_tensorflow and do not differ here share a run if their flags agree.
    """
    variants, runs = _CASES[model]['variants'], []
    for variant, case in variants.items():
        joins = case['fix'] == variants['m1']['fix'] and (model, variant) not in _OWN
        run = next((run for run in runs if joins and all(_agree(case['flags'], variants[other]['flags']) for other in run)
                    and variants[run[0]]['fix'] == case['fix'] and (model, run[0]) not in _OWN), None)
        if run is None:
            runs.append([variant])
        else:
            run.append(variant)
    return runs


def _agree(flags, others):
    return all(others.get(flag, value) == value for flag, value in flags.items())


# Variants with other differences than m1.
_OWN = {(model, variant) for model, variant in _DIFFERENCES
        if _DIFFERENCES[model, variant] != _DIFFERENCES.get((model, 'm1'))}


# 'plain' shows bits of weights and of activations alone; the others have both at once.
@pytest.mark.parametrize('model, variants', [
    pytest.param(model, run, marks=[pytest.mark.slow] * (model != 'plain' and run[0] in ('a4', 'a16', 'w4', 'w16')))
    for model in _CASES for run in _runs(model)], ids=lambda value: value if isinstance(value, str) else ','.join(value))
def test_equals_vai_q_tensorflow(model, variants, tmp_path, monkeypatch):
    cases = [_CASES[model]['variants'][variant] for variant in variants]
    flags = {flag: value for case in cases for flag, value in case['flags'].items()}
    ours, originals = _by_key(_records(_quantized(model, flags, tmp_path, monkeypatch))), _by_key(cases[0]['fix'])
    different = {key for key in set(ours) | set(originals) if ours.get(key) != originals.get(key)}
    assert different == set(_DIFFERENCES.get((model, variants[0]), ()))
