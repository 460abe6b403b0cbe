"""What a rewritten graph tells of itself."""
import json
import os

import numpy as np
import pytest
import tensorflow as tf

from vai_q_tf import CreateQuantizeTrainingGraph, QuantizeConfig, QuantizeError, deploy_checkpoint, errors, ops
from vai_q_tf.plan.quant_plan import ACTIVATION_MODE
from vai_q_tf.qat import graph_record

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
        with open(file, 'rb') as stream:
            graph_def = v1.GraphDef.FromString(stream.read())
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
