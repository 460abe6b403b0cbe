"""sensitivity: its options, the bits that it prints, and its errors."""
import json
import os

import pytest
import tensorflow.compat.v1 as tf

from tests.command_line.conftest import QUANTIZE
from tests.support import read_graph
from vai_q_tf import errors
from vai_q_tf.graph.view import GraphView
from vai_q_tf.report.bits.results import Sensitivity


@pytest.mark.parametrize('target', [{'target_bits': 5.5}, {'target_db': 60}, {}], ids=str)
def test_every_option_is_forwarded(command, calls, target):
    noted = calls('sensitivity', result=Sensitivity(1.0, 8.0, 2, ()))
    given = dict(sensitivity_iter=2, skip_check=1, fold_constant=0, gpu_memory_fraction=0.75)
    assert command('sensitivity', **QUANTIZE, **given, **target)[0] == 0
    (_, (graph_def, input_fn, config), options), = noted
    assert options == dict({'target_bits': None, 'target_db': None}, **given, **target)
    assert isinstance(graph_def, tf.GraphDef) and input_fn == 'calib_module.calib'
    assert (config.input_nodes, config.output_nodes, config.calib_iter) == (['input'], ['relu'], 3)


@pytest.mark.parametrize('target, bits', [
    ({'target_bits': 6}, {'weights/wquant': 6}),
    ({'target_db': 70}, {'input/aquant': 16, 'weights/wquant': 16, 'bias/wquant': 16, 'relu/aquant': 16})], ids=str)
def test_the_bits_that_sensitivity_prints_can_be_given_to_quantize(command, workplace, target, bits):
    status, out, err = command('sensitivity', **QUANTIZE, **target)
    assert status == 0 and 'WARNING' not in err, err
    lines = out.splitlines()
    assert lines[-1] == 'The report is {}'.format(os.path.join('.', 'quantize_results', 'sensitivity.json'))
    report = json.loads((workplace / 'quantize_results' / 'sensitivity.json').read_text())
    assert lines[-2] == '--nodes_bit ' + report['choice']['nodes_bit']
    assert '{:.2f} dB'.format(report['choice']['db']) in lines[-3]
    assert {line.split()[-1] for line in lines[4:8]} == {'input/aquant', 'weights/wquant', 'bias/wquant', 'relu/aquant'}
    assert command('quantize', *lines[-2].split(), **QUANTIZE)[0] == 0
    view = GraphView(read_graph(workplace / 'quantize_results' / 'quantize_eval_model.pb'))
    found = {name: view.attr(name, 'bit_width').i for name in view.names if view.op(name) == 'FixNeuron'}
    assert {name: found[name] for name in bits} == bits


def test_a_target_out_of_reach(command, workplace):
    status, out, _ = command('sensitivity', target_db=300, **QUANTIZE)
    assert status == 0 and '300 dB cannot be reached: with 4 of 4 tensors at 16 bits' in out and '--nodes_bit' not in out
    status, out, _ = command('sensitivity', target_db=5, **QUANTIZE)
    assert status == 0 and 'No tensor has to stay at 16 bits for 5 dB.' in out and '--nodes_bit' not in out


@pytest.mark.parametrize('change, code, words', [
    ({'target_bits': 9}, errors.INVALID_CONFIG, ['target_bits', '4 to 8']),
    ({'target_bits': 6, 'target_db': 30}, errors.INVALID_CONFIG, ['target_bits', 'target_db']),
    ({'target_db': -3}, errors.INVALID_CONFIG, ['target_db']),
    ({'input_fn': ''}, errors.INVALID_INPUT_FN, ['--input_fn']),
    ({'input_frozen_graph': ''}, errors.INVALID_INPUT, ['--input_frozen_graph']),
    ({'output_nodes': 'rely'}, errors.UNKNOWN_NODE, ["'relu'"]),
    ({'output_dir': 'float.pb'}, errors.INVALID_CONFIG, ['output_dir'])], ids=str)
def test_what_it_refuses(refused, change, code, words, workplace):
    refused('sensitivity', words=[code] + words, **dict(QUANTIZE, **change))
    assert not (workplace / 'quantize_results' / 'sensitivity.json').exists()
