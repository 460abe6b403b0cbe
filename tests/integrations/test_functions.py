"""The three documented functions: call forms, files, and clear errors that leave the graph as it was."""
import inspect
import itertools
import os
import re
import stat

import numpy as np
import pytest
import tensorflow as tf

from tests.support import read_graph
from vai_q_tf import QuantizeConfig, QuantizeError, errors
from vai_q_tf.integrations import functions
from vai_q_tf.qat.training import TRAIN_GRAPH_FILE


def _network(training=True):
    images = tf.compat.v1.placeholder(tf.float32, [None, 8, 8, 3], name='images')
    net = tf.layers.conv2d(images, 4, 3, use_bias=False, name='conv')
    net = tf.nn.relu(tf.layers.batch_normalization(net, training=training, name='norm'), name='relu')
    net = tf.layers.flatten(net)
    return images, tf.layers.dense(net, 2, name='logits')


def _config(directory, **settings):
    fields = dict(input_nodes=['images'], output_nodes=['logits/BiasAdd'], input_shapes=[[-1, 8, 8, 3]],
                  output_dir=str(directory), recipe='manual')
    fields.update(settings)
    return QuantizeConfig(**fields)


def _train(directory):
    """Trains two steps; returns the prefix of a checkpoint."""
    with tf.Graph().as_default():
        images, logits = _network()
        loss = tf.reduce_mean(tf.square(logits))
        step = tf.compat.v1.train.get_or_create_global_step()
        functions.CreateQuantizeTrainingGraph(_config(directory))
        train = tf.compat.v1.train.GradientDescentOptimizer(0.1).minimize(loss, step)
        with tf.compat.v1.Session() as session:
            session.run(tf.compat.v1.global_variables_initializer())
            for _ in range(2):
                session.run(train, {images: np.ones([2, 8, 8, 3])})
            return tf.compat.v1.train.Saver().save(session, str(directory / 'model.ckpt'), global_step=step)


FUNCTIONS = [functions.CreateQuantizeTrainingGraph, functions.CreateQuantizeEvaluationGraph]


@pytest.mark.parametrize('function', FUNCTIONS)
@pytest.mark.parametrize('form', ['config', 'keyword', 'graph_config', 'graph_keywords', 'none_config'])
def test_call_forms(tmp_path, function, form):
    config, graph = _config(tmp_path), tf.compat.v1.get_default_graph()
    _network()
    call = {'config': lambda: function(config), 'keyword': lambda: function(config=config),
            'graph_config': lambda: function(graph, config), 'graph_keywords': lambda: function(graph=graph, config=config),
            'none_config': lambda: function(None, config)}[form]
    call()
    assert graph.get_operation_by_name('relu/aquant').type == 'VaiFixNeuron'


def test_a_graph_argument_is_the_graph_that_is_rewritten(tmp_path):
    other = tf.Graph()
    with other.as_default():
        _network()
    before = len(tf.compat.v1.get_default_graph().get_operations())
    functions.CreateQuantizeTrainingGraph(graph=other, config=_config(tmp_path))
    assert len(tf.compat.v1.get_default_graph().get_operations()) == before
    assert other.get_operation_by_name('relu/aquant')


@pytest.mark.parametrize('form', ['positional', 'keywords', 'directory', 'graph'])
def test_deploy_call_forms_and_files(tmp_path, form):
    checkpoint = _train(tmp_path)
    _network(training=False)
    config, graph = _config(tmp_path), tf.compat.v1.get_default_graph()
    before = repr(config)
    functions.CreateQuantizeEvaluationGraph(config=config)
    files = {'positional': lambda: functions.CreateQuantizeDeployGraph(checkpoint, config),
             'keywords': lambda: functions.CreateQuantizeDeployGraph(checkpoint=checkpoint, config=config),
             'directory': lambda: functions.CreateQuantizeDeployGraph(checkpoint=str(tmp_path), config=config),
             'graph': lambda: functions.CreateQuantizeDeployGraph(graph, checkpoint, config)}[form]()
    assert repr(config) == before
    assert re.match(r'quantize_eval_graph_2_\d{14}\.pb$', os.path.basename(files.eval_graph))
    assert re.match(r'quantize_eval_model_2_\d{14}\.pb$', os.path.basename(files.eval_model))
    assert sorted(name for name in os.listdir(str(tmp_path)) if name.endswith('.pb')) == sorted(
        [TRAIN_GRAPH_FILE, os.path.basename(files.eval_graph), os.path.basename(files.eval_model)])
    assert not [name for name in os.listdir(str(tmp_path)) if name.startswith('.')]
    assert stat.S_IMODE(os.stat(files.eval_model).st_mode) == 0o644


@pytest.mark.parametrize('function, expected', [
    (functions.CreateQuantizeTrainingGraph, '(config=None, graph=None, *, towers=None)'),
    (functions.CreateQuantizeEvaluationGraph, '(config=None, graph=None)'),
    (functions.CreateQuantizeDeployGraph, '(checkpoint=None, config=None, graph=None)')])
def test_signatures_show_the_documented_order_and_help_describes_each_argument(function, expected):
    signature = inspect.signature(function)
    bare = signature.replace(return_annotation=signature.empty, parameters=[
        parameter.replace(annotation=parameter.empty) for parameter in signature.parameters.values()])
    assert str(bare) == expected
    described = re.findall(r'^  (\w+): ', inspect.getdoc(function), re.MULTILINE)
    assert [name for name in described if name in signature.parameters] == list(signature.parameters)


@pytest.fixture(name='received')
def _received(monkeypatch):
    """The arguments that the functions forward, {'graph', 'config', 'checkpoint'}; nothing is rewritten."""
    received = {}

    class Freezer:
        def __init__(self, graph, config):
            received.update(graph=graph, config=config)

        def write(self, prefix, step):
            return 'files'

    def find_checkpoint(checkpoint):
        received['checkpoint'] = checkpoint
        return 'prefix-1'

    monkeypatch.setattr(functions.training, 'create_training_graph', lambda graph, config, towers: received.update(
        graph=graph, config=config))
    monkeypatch.setattr(functions.evaluation, 'create_evaluation_graph', lambda graph, config: received.update(
        graph=graph, config=config))
    monkeypatch.setattr(functions, 'EvaluationFreezer', Freezer)
    monkeypatch.setattr(functions.checkpoints, 'find_checkpoint', find_checkpoint)
    return received


@pytest.mark.parametrize('function, names', [
    (functions.CreateQuantizeTrainingGraph, ['config', 'graph']),
    (functions.CreateQuantizeEvaluationGraph, ['config', 'graph']),
    (functions.CreateQuantizeDeployGraph, ['checkpoint', 'config', 'graph'])])
def test_every_call_form(received, function, names):
    """All orders of right, wrong and missing arguments, each positional, by keyword, or both."""
    values = {'config': QuantizeConfig(['a'], ['b']), 'graph': tf.Graph(), 'checkpoint': 'model.ckpt', 'none': None, 'wrong': 3}
    default, accepted = tf.compat.v1.get_default_graph(), 0
    for kinds in itertools.chain(*(itertools.product(values, repeat=length) for length in range(len(names) + 2))):
        positional = ['graph' if kind == 'none' else kind for kind in kinds]
        for choice in itertools.product(['absent', 'right', 'none', 'wrong'], repeat=len(names)):
            by_keyword = [name for name, what in zip(names, choice) if what != 'absent']
            keywords = {name: values[name if what == 'right' else what] for name, what in zip(names, choice)
                        if what != 'absent'}
            arguments = dict(zip(positional, (values[kind] for kind in kinds)), **keywords)
            received.clear()
            if (len(set(positional + by_keyword)) == len(positional + by_keyword) and set(positional) <= set(names)
                    and 'wrong' not in choice and arguments.get('config') is not None):
                function(*(values[kind] for kind in kinds), **keywords)
                assert received['config'] is values['config']
                assert received['graph'] is (arguments.get('graph') or default)
                assert received.get('checkpoint') == arguments.get('checkpoint')
                accepted += 1
            else:
                with pytest.raises(TypeError, match='got|unexpected'):
                    function(*(values[kind] for kind in kinds), **keywords)
                assert not received
    assert accepted == {2: 12, 3: 61}[len(names)]


@pytest.mark.parametrize('form', [lambda config, towers: functions.CreateQuantizeTrainingGraph(config, towers=towers),
                                  lambda config, towers: functions.CreateQuantizeTrainingGraph(None, config, towers=towers)])
def test_towers_are_forwarded(monkeypatch, form):
    handed = []
    monkeypatch.setattr(functions.training, 'create_training_graph', lambda graph, config, towers: handed.append(towers))
    form(QuantizeConfig(['a'], ['b']), ['clone_0'])
    form(QuantizeConfig(['a'], ['b']), None)
    assert handed == [['clone_0'], None]


@pytest.mark.parametrize('call', [
    lambda config: functions.CreateQuantizeTrainingGraph(config, None, ['clone_0']),
    lambda config: functions.CreateQuantizeEvaluationGraph(config, towers=['clone_0']),
    lambda config: functions.CreateQuantizeTrainingGraph({'input_nodes': []}),
    lambda config: functions.CreateQuantizeTrainingGraph(),
    lambda config: functions.CreateQuantizeTrainingGraph(config, config),
    lambda config: functions.CreateQuantizeTrainingGraph(config=config, chekpoint='x'),
    lambda config: functions.CreateQuantizeEvaluationGraph('graph', config),
    lambda config: functions.CreateQuantizeDeployGraph(checkpoint=3, config=config),
    lambda config: functions.CreateQuantizeDeployGraph('checkpoint', config='config'),
])
def test_wrong_types_are_named(tmp_path, call):
    with pytest.raises(TypeError, match='got|unexpected'):
        call(_config(tmp_path))


def _gradients(graph):
    tf.gradients(graph.get_tensor_by_name('logits/BiasAdd:0'), graph.get_tensor_by_name('images:0'))


def _finalize(graph):
    graph.finalize()


def _file_in_the_way(config):
    os.makedirs(os.path.dirname(config.output_dir), exist_ok=True)
    open(config.output_dir, 'w').close()
    return config


WRONG = {
    'called after gradients': (errors.GRAPH_HAS_GRADIENTS, 'before .*optimizer', _gradients, {}),
    'finalized': (errors.GRAPH_FINALIZED, 'finalized', _finalize, {}),
    'unknown output': (errors.UNKNOWN_NODE, 'logits/BiasAdd', None, dict(output_nodes=['logits/BiasAd'])),
    'unknown input': (errors.UNKNOWN_NODE, "'image'", None, dict(input_nodes=['image'])),
    'swapped': (errors.EMPTY_RANGE, 'swapped', None, dict(input_nodes=['logits/BiasAdd'], output_nodes=['images'],
                                                          input_shapes=[])),
    'disconnected': (errors.EMPTY_RANGE, 'unused', lambda graph: tf.zeros([1], name='aside'),
                     dict(input_nodes=['images', 'aside'], input_shapes=[])),
    'rank': (errors.LENGTH_MISMATCH, r'\[-1, 64\].*images', None, dict(input_shapes=[[-1, 64]])),
    'dimension': (errors.LENGTH_MISMATCH, 'images', None, dict(input_shapes=[[-1, 8, 9, 3]])),
    'number of shapes': (errors.LENGTH_MISMATCH, '2 input_shapes for 1', None, dict(input_shapes=[[1, 8, 8, 3]] * 2)),
    'no output': (errors.INVALID_CONFIG, 'output_nodes', None, dict(output_nodes=[])),
    'nothing to quantize': (errors.EMPTY_RANGE, 'labels', lambda graph: tf.identity(tf.compat.v1.placeholder(
        tf.int32, [None], name='labels'), name='same'), dict(input_nodes=['labels'], output_nodes=['same'], input_shapes=[])),
}


@pytest.mark.parametrize('function', FUNCTIONS)
@pytest.mark.parametrize('case', sorted(WRONG))
def test_errors_leave_the_graph_as_it_was(tmp_path, function, case):
    code, text, prepare, fields = WRONG[case]
    graph = tf.compat.v1.get_default_graph()
    _network()
    if prepare:
        prepare(graph)
    before, collections = graph.as_graph_def(), sorted(map(str, graph.get_all_collection_keys()))
    with pytest.raises(QuantizeError, match=text) as raised:
        function(_config(tmp_path / 'out', **fields))
    assert raised.value.code == code
    assert str(raised.value).startswith('[{}]['.format(code))
    assert graph.as_graph_def() == before
    assert sorted(map(str, graph.get_all_collection_keys())) == collections
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('first', FUNCTIONS)
@pytest.mark.parametrize('second', FUNCTIONS)
def test_a_second_call_is_refused(tmp_path, first, second):
    graph = tf.compat.v1.get_default_graph()
    _network()
    first(_config(tmp_path))
    before = graph.as_graph_def()
    with pytest.raises(QuantizeError, match='float graph') as raised:
        second(_config(tmp_path))
    assert raised.value.code == errors.ALREADY_QUANTIZED
    assert graph.as_graph_def() == before


def test_output_dir_that_cannot_be_made(tmp_path):
    graph = tf.compat.v1.get_default_graph()
    _network()
    before = graph.as_graph_def()
    config = _file_in_the_way(_config(tmp_path / 'file'))
    with pytest.raises(QuantizeError, match='output_dir') as raised:
        functions.CreateQuantizeTrainingGraph(config)
    assert raised.value.code == errors.INVALID_CONFIG
    assert graph.as_graph_def() == before


def test_freezing_needs_a_global_step(tmp_path):
    graph = tf.compat.v1.get_default_graph()
    _network()
    before = graph.as_graph_def()
    with pytest.raises(QuantizeError, match='get_or_create_global_step'):
        functions.CreateQuantizeTrainingGraph(_config(tmp_path, freeze_bn_step=3))
    assert graph.as_graph_def() == before


def test_deploy_needs_an_evaluation_graph_and_a_checkpoint(tmp_path):
    checkpoint = _train(tmp_path)
    config = _config(tmp_path)
    _network(training=False)
    with pytest.raises(QuantizeError, match='CreateQuantizeEvaluationGraph') as raised:
        functions.CreateQuantizeDeployGraph(checkpoint, config)
    assert raised.value.code == errors.NOT_QUANTIZED
    functions.CreateQuantizeEvaluationGraph(config)
    for missing in ('', str(tmp_path / 'nothing'), str(tmp_path / 'model.ckpt-1')):
        with pytest.raises(QuantizeError, match='no checkpoint') as raised:
            functions.CreateQuantizeDeployGraph(missing, config)
        assert raised.value.code == errors.INVALID_INPUT


def test_variables_that_the_checkpoint_lacks_are_named(tmp_path):
    checkpoint = _train(tmp_path)
    images, _ = _network(training=False)
    reader = tf.train.load_checkpoint(checkpoint)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for name in ('conv/kernel', *('vai_q_tf/positions/' + key for key in ('tensors', 'variables', 'votes'))):
            value = reader.get_tensor(name)
            tf.compat.v1.get_variable(name, initializer=tf.constant(value))
        session.run(tf.compat.v1.global_variables_initializer())
        partial = tf.compat.v1.train.Saver().save(session, str(tmp_path / 'partial'))
    functions.CreateQuantizeEvaluationGraph(_config(tmp_path))
    with pytest.raises(QuantizeError, match='logits/kernel') as raised:
        functions.CreateQuantizeDeployGraph(partial, _config(tmp_path))
    assert 'norm/gamma' in str(raised.value) and 'conv/kernel' not in str(raised.value)
    assert not list(tmp_path.glob('quantize_eval*'))


def test_the_train_graph_file_shows_fix_neurons_only(tmp_path):
    _network()
    functions.CreateQuantizeTrainingGraph(_config(tmp_path))
    graph_def = read_graph((tmp_path / TRAIN_GRAPH_FILE))
    quantized = [node for node in graph_def.node if node.op == 'FixNeuron']
    assert {node.name for node in quantized} >= {
        'images/aquant', 'conv/kernel/wquant', 'conv/kernel/biases/wquant', 'relu/aquant',
        'logits/kernel/wquant', 'logits/bias/wquant', 'logits/BiasAdd/aquant'}
    assert {node.attr['phase'].i for node in quantized} == {2}
    assert not [node.op for node in graph_def.node if node.op.startswith('Vai')]
    with tf.Graph().as_default():
        tf.import_graph_def(graph_def, name='')


def test_the_quantized_output_is_what_the_loss_reads(tmp_path):
    graph = tf.compat.v1.get_default_graph()
    _, logits = _network()
    loss = tf.reduce_mean(logits, name='loss')
    functions.CreateQuantizeTrainingGraph(_config(tmp_path))
    assert loss.op.inputs[0].name == 'logits/BiasAdd/aquant:0'
    assert graph.get_tensor_by_name('logits/BiasAdd/aquant:0').shape.as_list() == [None, 2]


def test_the_batch_size_of_the_model_is_its_own(tmp_path):
    tf.layers.conv2d(tf.zeros([8, 8, 8, 3], name='images'), 4, 3, name='conv')
    config = _config(tmp_path, output_nodes=['conv/BiasAdd'], input_shapes=[[1, 8, 8, 3]])
    functions.CreateQuantizeTrainingGraph(config)
    with tf.compat.v1.Session() as session:
        session.run(tf.compat.v1.global_variables_initializer())
        session.run('conv/BiasAdd/aquant:0')
        checkpoint = tf.compat.v1.train.Saver().save(session, str(tmp_path / 'model.ckpt'), global_step=1)
    with tf.Graph().as_default():
        tf.layers.conv2d(tf.compat.v1.placeholder(tf.float32, [None, 8, 8, 3], name='images'), 4, 3, name='conv')
        functions.CreateQuantizeEvaluationGraph(config)
        model = functions.CreateQuantizeDeployGraph(checkpoint, config).eval_model
    graph_def = read_graph(model)
    shape = next(node.attr['shape'].shape for node in graph_def.node if node.name == 'images')
    assert [dim.size for dim in shape.dim] == [1, 8, 8, 3]


def test_replicas_of_a_distribution_strategy_are_refused_by_name(tmp_path):
    tf.compat.v1.disable_eager_execution()
    strategy = tf.distribute.MirroredStrategy(['/cpu:0', '/cpu:1'])
    with strategy.scope():
        _network()
        with pytest.raises(QuantizeError, match='2 replicas by MirroredStrategy') as raised:
            functions.CreateQuantizeTrainingGraph(_config(tmp_path))
    assert raised.value.code == errors.UNSUPPORTED_GRAPH
