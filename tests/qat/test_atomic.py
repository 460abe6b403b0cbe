"""A rewrite that fails, in any step, leaves the live graph unchanged."""
import importlib
import os
import signal

import pytest
import tensorflow.compat.v1 as tf

from tests.qat import networks
from vai_q_tf import CreateQuantizeEvaluationGraph, CreateQuantizeTrainingGraph, QuantizeConfig, QuantizeError
from vai_q_tf.qat.live.rewiring import find_rewiring

# 'module:function' of every step, in the order of its first call.
_DECISION = ['qat.network.inference_form:find_training_norms', 'qat.network.inference_form:remove_dropouts',
             'qat.network.decision:with_stand_ins', 'qat.network.decision:annotate', 'qat.rewrite:names_of_copies']
_EDIT = ['qat.live.correspondence:static_nodes', 'graph.live_editor:add_node', 'ops:search_position', 'ops:vai_fix_neuron',
         'ops:moving_position', 'qat.rewrite:find_rewiring', 'qat.rewrite:apply_rewrite', 'qat.graph_record:note_float_graph']
_TRAINING = ['files:make_directory', 'files:write', 'qat.training:fix_neurons', 'qat.norms.folded_norm:add_on_batch',
             'qat.norms.standalone_norm:add_on_batch', 'qat.norms.statistics:hold_moving_averages', 'ops:scaled_fix_neuron',
             'qat.norms.training_forms:on_batch', 'qat.distribution:share_moving_averages',
             'qat.graph_record:note_training', 'passes.folding.fold_batch_norms:FoldedParameters']
_EVALUATION = ['qat.graph_record:note_evaluation']


_FEW = ('several_outputs', 'slim_mobile', 'transposed')


class _Failure(Exception):
    pass


def _fail(*_, **__):
    raise _Failure


def _failing(monkeypatch, step):
    module, name = step.split(':')
    monkeypatch.setattr(importlib.import_module('vai_q_tf.' + module), name, _fail)


def _state(graph):
    return graph.as_graph_def(), {name: list(graph.get_collection_ref(name)) for name in graph.get_all_collection_keys()}


def _network(training):
    x = tf.placeholder(tf.float32, [None, 8, 8, 3], 'x')
    y = tf.nn.relu(tf.layers.batch_normalization(tf.layers.conv2d(x, 4, 3, name='conv'), training=training, name='bn'))
    y = tf.layers.batch_normalization(tf.nn.max_pool2d(y, 2, 2, 'VALID'), training=training, name='alone')
    return tf.identity(tf.reduce_mean(tf.layers.dropout(y, training=training), [1, 2]), 'out')


def _config(tmp_path, **fields):
    return QuantizeConfig(['x'], ['out'], output_dir=str(tmp_path / 'out'), **fields)


@pytest.mark.parametrize('rewrite, training, steps', [
    (CreateQuantizeTrainingGraph, True, _DECISION + _EDIT + _TRAINING),
    (CreateQuantizeEvaluationGraph, False, _DECISION + _EDIT + _EVALUATION)])
def test_a_step_that_fails(rewrite, training, steps, tmp_path, monkeypatch):
    """One after the other in one graph, which is then rewritten as if no step had failed."""
    def rewritten(graph):
        rewrite(_config(tmp_path, freeze_bn_step=3, freeze_position_step=3))
        return graph.as_graph_def()

    with tf.Graph().as_default() as graph:
        tf.train.get_or_create_global_step()
        _network(training)
        before = _state(graph)
        for step in steps:
            with monkeypatch.context() as patched:
                _failing(patched, step)
                with pytest.raises(_Failure):
                    rewritten(graph)
                    pytest.fail(step)
            assert _state(graph) == before, step
        result = rewritten(graph)
        assert any(op.name.endswith('/aquant') for op in graph.get_operations())
    with tf.Graph().as_default() as graph:
        tf.train.get_or_create_global_step()
        _network(training)
        assert result == rewritten(graph)


@pytest.mark.parametrize('rewrite, training', [(CreateQuantizeTrainingGraph, True), (CreateQuantizeEvaluationGraph, False)])
@pytest.mark.parametrize('live', [False, True])
def test_an_interrupt(rewrite, training, live, tmp_path, monkeypatch):
    """Ctrl-C ends the rehearsal, and waits for the end of the edit."""
    interrupted = []
    original = find_rewiring

    def interrupt(network, graph_range):
        if (network.graph is graph) == live:
            interrupted.append(network)
            os.kill(os.getpid(), signal.SIGINT)
        return original(network, graph_range)

    def rewritten():
        tf.train.get_or_create_global_step()
        _network(training)
        before = _state(tf.get_default_graph())
        try:
            rewrite(_config(tmp_path))
        finally:
            result.append((before, _state(tf.get_default_graph())))

    result = []
    with tf.Graph().as_default() as graph:
        with monkeypatch.context() as patched:
            patched.setattr('vai_q_tf.qat.rewrite.find_rewiring', interrupt)
            with pytest.raises(KeyboardInterrupt):
                rewritten()
    assert len(interrupted) == 1
    with tf.Graph().as_default():
        rewritten()
    (before, after), (_, complete) = result
    assert after[0] == (complete if live else before)[0]
    assert set(after[1]) == set((complete if live else before)[1])


@pytest.mark.parametrize('fields', [dict(do_cle=1), dict(freeze_bn_step=3), dict(input_shapes=[[-1, 4, 4, 3]])])
def test_a_config_that_does_not_fit(fields, tmp_path):
    with tf.Graph().as_default() as graph:
        _network(True)
        before = _state(graph)
        with pytest.raises(QuantizeError):
            CreateQuantizeTrainingGraph(_config(tmp_path, **fields))
        assert _state(graph) == before


@pytest.mark.parametrize('name', [pytest.param(name, marks=[pytest.mark.slow] * (name not in _FEW))
                                  for name in sorted(networks.NETWORKS)])
def test_a_rewrite_only_adds_ops(name, tmp_path):
    with tf.Graph().as_default() as graph:
        output = networks.NETWORKS[name](True)
        before = {op.name for op in graph.get_operations()}
        inputs = [op.name for op in graph.get_operations() if op.type == 'Placeholder']
        CreateQuantizeTrainingGraph(QuantizeConfig(inputs, [output.op.name], output_dir=str(tmp_path)))
        assert before < {op.name for op in graph.get_operations()}


@pytest.mark.parametrize('fused', [True, False])
def test_a_norm_that_decides_while_the_graph_runs(fused, tmp_path):
    """The error for its condition says that it is a learning phase."""
    with tf.Graph().as_default() as graph:
        x = tf.layers.conv2d(tf.placeholder(tf.float32, [None, 8, 8, 3], 'x'), 4, 3, name='conv')
        tf.identity(tf.layers.batch_normalization(x, training=tf.placeholder(tf.bool, [], 'phase'), fused=fused), 'out')
        before = _state(graph)
        with pytest.raises(QuantizeError, match='Quantize_TF1_Learning_Phase'):
            CreateQuantizeTrainingGraph(_config(tmp_path))
        assert _state(graph) == before
