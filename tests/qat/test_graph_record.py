"""What a rewritten graph tells of itself."""
import functools
import json
import os

import numpy as np
import pytest
import tensorflow as tf

from tests.support import read_graph
from vai_q_tf import (
    CreateQuantizeEvaluationGraph,
    CreateQuantizeTrainingGraph,
    QuantizeConfig,
    QuantizeError,
    deploy_checkpoint,
    errors,
    ops,
)
from vai_q_tf.plan.quant_plan import ACTIVATION_MODE
from vai_q_tf.qat import graph_record
from vai_q_tf.qat.deploy import EvaluationFreezer

v1 = tf.compat.v1
_GOLDEN = os.path.join(os.path.dirname(os.path.dirname(__file__)), 'golden', 'qat')


def _sum_of_two():
    """A graph of the node 'sum', which adds a dense layer behind 'a', of 4 features, to one behind 'b', of 6."""
    with tf.Graph().as_default() as graph:
        dense = [v1.layers.dense(v1.placeholder(tf.float32, [None, size], name), 3, name='dense_' + name)
                 for name, size in (('a', 4), ('b', 6))]
        tf.add(*dense, name='sum')
        return graph


@pytest.mark.parametrize('inputs, outputs', [
    (['a', 'b'], ['dense_a/BiasAdd', 'sum']), (['b:0', 'a'], ['sum:0', 'dense_a/BiasAdd'])])
def test_a_range_is_a_set_of_nodes(tmp_path, inputs, outputs):
    graph = _sum_of_two()
    CreateQuantizeTrainingGraph(QuantizeConfig(['a', 'b'], ['dense_a/BiasAdd', 'sum'], output_dir=str(tmp_path)), graph=graph)
    graph_record.check_same_range(graph_record.training_plan(graph), QuantizeConfig(inputs, outputs))


@pytest.mark.parametrize('inputs, outputs', [(['a'], ['sum']), (['a', 'b'], ['sum', 'dense_a/BiasAdd']), (['a', 'c'], ['sum'])])
def test_another_range_is_told_with_the_first(tmp_path, inputs, outputs):
    graph = _sum_of_two()
    CreateQuantizeTrainingGraph(QuantizeConfig(['a:0', 'b'], ['sum'], output_dir=str(tmp_path)), graph=graph)
    with pytest.raises(QuantizeError) as raised:
        graph_record.check_same_range(graph_record.training_plan(graph), QuantizeConfig(inputs, outputs))
    assert raised.value.code == errors.ALREADY_QUANTIZED
    for text in ('from a, b to sum,', 'from {} to {}.'.format(', '.join(inputs), ', '.join(outputs))):
        assert text in str(raised.value)


def _old(kind):
    """The path of a MetaGraph of DPUCADF8H whose plan has no ranges, 'train' or 'eval'."""
    ops.load_library()
    return os.path.join(_GOLDEN, 'dpucadf8h_{}.meta'.format(kind))


@pytest.mark.parametrize('kind, plan_of', [('train', graph_record.training_plan), ('eval', graph_record.evaluation_plan)])
def test_an_old_plan_has_the_ranges_of_the_ops(kind, plan_of):
    v1.train.import_meta_graph(_old(kind))
    plan = plan_of(v1.get_default_graph())
    assert {tensor.mode for tensor in plan.tensors} == {0, 1}
    assert [tensor.narrow_range for tensor in plan.tensors] == [tensor.mode == ACTIVATION_MODE for tensor in plan.tensors]


@pytest.mark.parametrize('kind', ['train', 'eval'])
def test_an_old_training_is_deployed_with_its_range(tmp_path, kind):
    """Whatever the arch_type of the config is that deploys."""
    with tf.Graph().as_default(), v1.Session() as session:
        saver = v1.train.import_meta_graph(_old('train'))
        session.run(v1.global_variables_initializer())
        session.run('dense/BiasAdd/aquant:0', {'images:0': np.random.RandomState(0).randn(4, 6, 6, 2)})
        checkpoint = saver.save(session, str(tmp_path / 'model.ckpt'), 1)
    config = QuantizeConfig(['images'], ['dense/BiasAdd'], output_dir=str(tmp_path))
    path = deploy_checkpoint(_old(kind), checkpoint, config)
    for file in (path, path.replace('eval_model', 'eval_graph')):
        graph_def = read_graph(file)
        marks = {node.name: '_symmetric' in node.attr for node in graph_def.node if node.op == 'FixNeuron'}
        assert marks == {name: name.endswith('/aquant') for name in marks} and len(marks) == 8


@pytest.mark.parametrize('arch_type', ['DEFAULT', 'DPUCADF8H'])
def test_an_old_plan_of_towers_has_the_ranges_of_their_ops(tmp_path, arch_type):
    config = QuantizeConfig(['x'], ['dense/BiasAdd'], output_dir=str(tmp_path), arch_type=arch_type)
    for tower in ('tower_0', 'tower_1'):
        with tf.name_scope(tower), v1.variable_scope('', reuse=tower == 'tower_1'):
            v1.layers.dense(v1.placeholder(tf.float32, [None, 4], 'x'), 3, name='dense')
    CreateQuantizeTrainingGraph(config, towers=['tower_0', 'tower_1'])
    graph = v1.get_default_graph()
    plan = graph_record.training_plan(graph)
    assert {tensor.narrow_range for tensor in plan.tensors} == {False, arch_type == 'DPUCADF8H'}
    texts = graph.get_collection_ref(graph_record._TRAINING_PLAN)
    fields = json.loads(texts[0])
    for tensor in fields['tensors']:
        del tensor['narrow_range']
        tensor['least_position'] = tensor.pop('min_position')
    texts[:] = [json.dumps(fields)]
    assert graph_record.training_plan(graph) == plan


def test_training_searches_and_quantizes_in_the_range_of_the_plan(tmp_path):
    graph = _sum_of_two()
    config = QuantizeConfig(['a', 'b'], ['sum'], output_dir=str(tmp_path), arch_type='DPUCADF8H')
    CreateQuantizeTrainingGraph(config, graph=graph)
    plan = graph_record.training_plan(graph)
    for tensor in plan.tensors:
        assert tensor.narrow_range == (tensor.mode == ACTIVATION_MODE)
        for name in (tensor.name, tensor.name + '/search'):
            assert graph.get_operation_by_name(name).get_attr('symmetric') == tensor.narrow_range


@pytest.fixture(scope='module')
def meta_of(tmp_path_factory):
    """The function of a rewrite -> the MetaGraphDef of a dense layer after it."""
    @functools.lru_cache(None)
    def written(create):
        with tf.Graph().as_default():
            v1.layers.dense(v1.placeholder(tf.float32, [None, 4], 'x'), 3, name='dense')
            create(QuantizeConfig(['x'], ['dense/BiasAdd'], output_dir=str(tmp_path_factory.mktemp('written'))))
            return v1.train.export_meta_graph().SerializeToString()
    return lambda create=CreateQuantizeTrainingGraph: v1.MetaGraphDef.FromString(written(create))


def _imported(meta, scope=None):
    with tf.Graph().as_default() as graph:
        v1.train.import_meta_graph(meta, import_scope=scope)
    return graph


def _changed(change):
    def damage(data):
        fields = json.loads(data.decode())
        change(fields)
        return json.dumps(fields).encode()
    return damage


def _tensor(**fields):
    return _changed(lambda plan: plan['tensors'][1].update(fields))


PLANS = {
    'empty': lambda data: b'', 'cut off': lambda data: data[:-9], 'no text': lambda data: b'\xff' + data,
    'a list': lambda data: b'[]',
    'a number': lambda data: b'7', 'deep': lambda data: b'[' * 100000,
    'a graph': lambda data: v1.GraphDef().SerializeToString(),
    'no tensors': _changed(lambda plan: plan.pop('tensors')), 'other tensors': _changed(lambda plan: plan.update(tensors=[1])),
    'nodes': _changed(lambda plan: plan.update(nodes=7)), 'node': _changed(lambda plan: plan.update(nodes=[7])),
    'newer': _tensor(scale=[1]), 'bits': _tensor(bits='8'), 'no bits': _tensor(bits=0), 'mode': _tensor(mode=9),
    'consumers': _tensor(consumers=[['x']]), 'another graph': _tensor(name='other/wquant'), 'range': _tensor(narrow_range=1),
}


@pytest.mark.parametrize('kind', sorted(PLANS))
def test_a_damaged_plan(meta_of, kind):
    meta = meta_of()
    notes = meta.collection_def[graph_record._TRAINING_PLAN].bytes_list.value
    notes[0] = PLANS[kind](notes[0])
    with pytest.raises(QuantizeError, match=graph_record._TRAINING_PLAN) as raised:
        graph_record.training_plan(_imported(meta))
    assert raised.value.code == errors.MISSING_QUANTIZE_INFO and 'write it again' in str(raised.value)


def test_plans_of_several_networks(meta_of):
    meta = meta_of()
    notes = meta.collection_def[graph_record._TRAINING_PLAN].bytes_list.value
    notes.append(notes[0])
    plan = graph_record.training_plan(_imported(meta))
    notes.append(_tensor(bits=7)(notes[0]))
    with pytest.raises(QuantizeError, match='several networks'):
        graph_record.training_plan(_imported(meta))
    assert plan == graph_record.training_plan(_imported(meta_of()))


GRAPHS = {
    'empty': b'', 'no graph': b'\xff\xff', 'no nodes': v1.GraphDef(versions={'producer': 1}).SerializeToString(),
    'an unknown op':
        v1.GraphDef(node=[v1.NodeDef(name=name, op='Nonsense') for name in ('x', 'dense/BiasAdd')]).SerializeToString(),
    'another network': v1.GraphDef(node=[v1.NodeDef(name='x', op='NoOp')]).SerializeToString(), 'a text': None, 'missing': None}


@pytest.mark.parametrize('create, kind', [(CreateQuantizeTrainingGraph, kind) for kind in sorted(GRAPHS)] + [
    (CreateQuantizeEvaluationGraph, kind) for kind in sorted(GRAPHS) if kind != 'missing'])  # version 0.1.0 has none there
def test_a_damaged_float_network(meta_of, kind, create):
    meta = meta_of(create)
    if kind == 'missing':
        del meta.collection_def[graph_record._FLOAT_GRAPH]
    elif kind == 'a text':
        meta.collection_def[graph_record._FLOAT_GRAPH].node_list.value[:] = ['x:0']
    else:
        meta.collection_def[graph_record._FLOAT_GRAPH].bytes_list.value[0] = GRAPHS[kind]
    with pytest.raises(QuantizeError, match=graph_record._FLOAT_GRAPH) as raised:
        graph_record.float_graph(_imported(meta))
    assert raised.value.code == errors.MISSING_QUANTIZE_INFO


def test_a_graph_that_lacks_what_the_rewrite_made(tmp_path):
    graph = _sum_of_two()
    for ask in (graph_record.state, graph_record.track, graph_record.votes, graph_record.tables,
                graph_record.identities_of_rows):
        with pytest.raises(QuantizeError) as raised:
            ask(graph)
        assert raised.value.code == errors.MISSING_QUANTIZE_INFO
    with graph.as_default():
        for name in (graph_record.ROWS, graph_record.ROW_VARIABLES):
            tf.constant(['a', 'b'][:1 + (name == graph_record.ROWS)], name=name)
    with pytest.raises(QuantizeError, match='as many'):
        graph_record.identities_of_rows(graph)


@pytest.mark.parametrize('scope', [None, 'a', 'a/b'])
def test_what_is_known_in_an_import_scope(tmp_path, meta_of, scope):
    meta = meta_of()
    plain, graph = _imported(meta), _imported(meta, scope)
    assert graph_record.training_plan(graph) == graph_record.training_plan(plain)
    assert graph_record.float_graph(graph) == graph_record.float_graph(plain)
    assert graph_record.identities_of_rows(graph) == graph_record.identities_of_rows(plain)
    prefix = scope + '/' if scope else ''
    assert graph_record.import_scope(graph) == prefix
    assert graph_record.votes(graph).name == prefix + 'vai_q_tf/positions/votes:0'
    with graph.as_default(), v1.Session() as session:
        saver = v1.train.Saver()
        session.run(v1.global_variables_initializer())
        session.run(prefix + 'dense/BiasAdd/aquant:0', {prefix + 'x:0': np.ones([2, 4])})
        votes = session.run(graph_record.votes(graph))
        path = saver.save(session, str(tmp_path / 'model'))
        again = v1.train.export_meta_graph()
    assert votes.any()
    np.testing.assert_array_equal(v1.train.load_variable(path, 'vai_q_tf/positions/votes'), votes)
    if scope is None:
        assert again.collection_def[graph_record._FLOAT_GRAPH] == meta.collection_def[graph_record._FLOAT_GRAPH]


def test_an_evaluation_graph_in_a_scope_is_not_deployed(tmp_path, meta_of):
    graph = _imported(meta_of(CreateQuantizeEvaluationGraph), 'scope')
    with pytest.raises(QuantizeError, match="'scope/'.*without import_scope"):
        EvaluationFreezer(graph, QuantizeConfig(['x'], ['dense/BiasAdd'], output_dir=str(tmp_path)))
