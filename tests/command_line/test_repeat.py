"""The configuration file of a run repeats it: the model is the same, byte for byte."""
import glob
import importlib.util
import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.ptq.networks import Network
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.configuration.read_file import read_config_file
from vai_q_tf.configuration.write_file import CONFIG_FILE
from vai_q_tf.integrations.metagraph import quantize_meta_graph
from vai_q_tf.ptq.convert import convert_datatype
from vai_q_tf.ptq.quantize import quantize_frozen
from vai_q_tf.summary.text import SUMMARY_FILE

IMAGES = '''
import numpy as np
def calib(step):
    return {'input': np.random.RandomState(step).normal(0, 1, (24, 4, 4, 3))}
'''
RANGE = {'input_frozen_graph': 'net.pb', 'input_nodes': 'input', 'output_nodes': 'last/BiasAdd', 'output_dir': 'out'}
QUANTIZE = dict(RANGE, input_fn='images.calib', calib_iter=2, gpu='-1')


def network():
    net = Network(size=4)
    x = net.depthwise(net.conv(net.input, 4, 'conv'), 'depthwise')
    x = net.apply(tf.nn.avg_pool2d, x, 2, 2, 'VALID', name='pool')
    return net.conv(x, 4, 'last', relu=False)


@pytest.fixture
def place(workplace):
    """The working directory, with the network and its images."""
    (workplace / 'net.pb').write_bytes(network().graph.as_graph_def().SerializeToString())
    (workplace / 'images.py').write_text(IMAGES)
    return workplace


@pytest.fixture
def repeated(command, place):
    """Runs a command line, and the configuration file that it wrote; returns {name: bytes} of the output of both runs."""
    def run(*arguments, **options):
        status, _, err = command(*arguments, **options)
        assert status == 0, err
        return _again(command, glob.glob('out/**/' + CONFIG_FILE, recursive=True))
    return run


def _again(command, configs):
    config, = configs
    first = _files(os.path.dirname(config))
    kept = '{}.kept'.format(CONFIG_FILE)
    os.rename(config, kept)
    for name in os.listdir(os.path.dirname(config)):
        os.unlink(os.path.join(os.path.dirname(config), name))
    status, _, err = command(config=kept)
    assert status == 0, err
    return first, _files(os.path.dirname(config))


def _files(directory):
    found = {}
    for name in sorted(os.listdir(directory)):
        with open(os.path.join(directory, name), 'rb') as stream:
            found[name] = stream.read()
    return found


@pytest.mark.parametrize('options', [
    dict(effort='fast', method=0), dict(effort='fast', method=1, do_cle=1), dict(effort='fast', method=2, weight_bit=5),
    dict(effort='standard', nodes_bit='last/Conv2D:6', percentile=99.5), dict(effort='high', weight_bit=4, bias_bit=8),
    dict(effort='fast', include_fast_ft=1, fast_ft_epochs=2, fast_ft_lr=0.01),
    dict(effort='standard', include_fast_ft=1, fast_ft_mode=0),
    dict(effort='fast', positions_by='entropy', keep_float_weight=0, fix_input_shape=1, input_shapes='1,4,4,3', add_shapes=0)],
    ids=lambda options: ' '.join(map('{0[0]}={0[1]}'.format, options.items())))
def test_a_quantized_model(repeated, options):
    first, second = repeated('quantize', **QUANTIZE, **options)
    assert sorted(first) == [CONFIG_FILE, 'quantize_eval_model.pb', SUMMARY_FILE] and first == second


@pytest.mark.skipif(importlib.util.find_spec('tf2onnx') is None, reason='no tf2onnx')
def test_an_onnx_model(repeated):
    first, second = repeated('quantize', '--strict', **QUANTIZE, effort='fast', output_format='onnx', onnx_opset=12)
    assert sorted(first) == [CONFIG_FILE, 'quantize_eval_model.onnx', SUMMARY_FILE] and first == second


def test_a_converted_model(repeated):
    first, second = repeated('quantize', **RANGE, convert_datatype=1)
    assert sorted(first) == ['converted_model_fp16.pb', CONFIG_FILE] and first == second


def _float_meta_graph(directory):
    """Writes eval.meta and a checkpoint of a network with variables."""
    with tf.Graph().as_default(), tf.Session() as session:
        images = tf.placeholder(tf.float32, [None, 8, 8, 3], name='input')
        tf.nn.relu(tf.layers.conv2d(images, 4, 3, name='conv'), name='relu')
        session.run(tf.global_variables_initializer())
        saver = tf.train.Saver()
        saver.save(session, str(directory / 'float.ckpt'), write_meta_graph=False)
        tf.train.export_meta_graph(str(directory / 'eval.meta'))


META = {'input_nodes': 'input', 'output_nodes': 'relu', 'input_meta_graph': 'eval.meta', 'output_dir': 'out', 'gpu': '-1'}


def test_a_meta_graph_and_its_deployed_model(command, place):
    _float_meta_graph(place)
    train = dict(META, mode='train', input_checkpoint='float.ckpt')
    assert command('quantize', **train)[0] == 0
    meta = 'out/quantize_train/quantize_train.ckpt.meta'
    with tf.Graph().as_default(), tf.Session() as session:
        saver = tf.train.import_meta_graph(meta)
        saver.restore(session, 'out/quantize_train/quantize_train.ckpt')
        session.run('relu/aquant:0' if 'relu/aquant' in session.graph._nodes_by_name else 'relu:0',
                    {'input:0': np.random.RandomState(0).normal(0, 1, (4, 8, 8, 3))})
        trained = saver.save(session, 'trained.ckpt', write_meta_graph=False)
    first, second = _again(command, ['out/quantize_train/' + CONFIG_FILE])
    assert first['quantize_train.ckpt.meta'] == second['quantize_train.ckpt.meta'] and first[CONFIG_FILE] == second[CONFIG_FILE]
    assert QuantizeConfig.from_file('out/' + CONFIG_FILE).output_nodes == ['relu']  # next to quantize_train_graph.pb
    status, _, err = command('deploy', **dict(META, input_checkpoint=trained))
    assert status == 0, err
    first, second = _again(command, ['out/deploy/' + CONFIG_FILE])
    assert first[CONFIG_FILE] == second[CONFIG_FILE]
    assert 'latest.json' in first and 'latest.json' in second
    models = [[found[name] for name in sorted(found) if name.endswith('.pb')] for found in (first, second)]
    assert models[0] == models[1] and len(models[0]) == 2  # names and latest.json contain the time


def batches(step):
    return {'input': np.random.RandomState(step).normal(0, 1, (2, 4, 4, 3))}


def test_the_command_repeats_a_call_from_python(command, place):
    config = QuantizeConfig(input_nodes=['input'], output_nodes=['last/BiasAdd'], calib_iter=2, output_dir='out', weight_bit=6)
    quantize_frozen('net.pb', 'images.calib', config, effort='fast', keep_float_weight=0)
    assert repr(QuantizeConfig.from_file('out/' + CONFIG_FILE)) == repr(config)
    first, second = _again(command, ['out/' + CONFIG_FILE])
    assert first['quantize_eval_model.pb'] == second['quantize_eval_model.pb']
    convert_datatype('net.pb', config.replace(output_dir='fp'), 'double')
    first, second = _again(command, ['fp/' + CONFIG_FILE])
    assert first['converted_model_double.pb'] == second['converted_model_double.pb']


def test_a_call_from_python_records_its_arguments(place):
    config = QuantizeConfig(input_nodes=['input'], output_nodes=['last/BiasAdd'], calib_iter=1, output_dir='out')
    graph_def = network().graph.as_graph_def()
    quantize_frozen(graph_def, batches, config, effort='fast')
    found = read_config_file('out/' + CONFIG_FILE)
    assert (found['command'], found['input_fn'], found['effort']) == ('quantize', __name__ + '.batches', 'fast')
    quantize_frozen(place / 'net.pb', lambda step: batches(step), config, effort='fast')
    found = read_config_file('out/' + CONFIG_FILE)
    assert found['input_frozen_graph'] == str(place / 'net.pb') and 'input_fn' not in found
    assert '# input_fn: was a function' in (place / 'out' / CONFIG_FILE).read_text()
    _float_meta_graph(place)
    config = config.replace(output_nodes=['relu'], bias_bit=9)
    path = quantize_meta_graph('eval', 'eval.meta', 'float.ckpt', config)
    found = read_config_file(os.path.join(os.path.dirname(path), CONFIG_FILE))
    assert {key: found[key] for key in ('command', 'mode', 'input_meta_graph', 'input_checkpoint', 'bias_bit')} == {
        'command': 'quantize', 'mode': 'eval', 'input_meta_graph': 'eval.meta', 'input_checkpoint': 'float.ckpt', 'bias_bit': 9}


def test_a_run_that_fails_writes_none(command, place):
    assert command('quantize', **dict(QUANTIZE, output_nodes='missing'))[0] == 1
    assert command('quantize', **dict(QUANTIZE, input_fn='images.missing'))[0] == 1
    assert not list(place.glob('**/' + CONFIG_FILE))


def test_a_model_without_the_file_is_a_warning(command, place):
    (place / 'out' / CONFIG_FILE).mkdir(parents=True)
    status, _, err = command('quantize', **QUANTIZE, effort='fast')
    assert status == 0 and (place / 'out' / 'quantize_eval_model.pb').exists()
    assert len([line for line in err.splitlines() if 'warning: ' in line and CONFIG_FILE in line]) == 1, err


def test_a_file_that_cannot_be_used_is_one_line(refused, place):
    (place / 'run.yaml').write_text('command: quantize\ncalib_itre: 3\n')
    refused(config='missing.yaml', words=['Cannot read', 'missing.yaml'])
    refused(config='run.yaml', words=["'run.yaml', line 2", "did you mean 'calib_iter'"])
    refused('quantize', config='', words=['--input_frozen_graph'])
