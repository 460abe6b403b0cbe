"""The models that we write have no findings of lint, except those that only the user can cure."""

import functools
import tempfile

import numpy as np
import onnxruntime
import pytest
import tensorflow.compat.v1 as tf

import vai_q_tensorflow
from tests.lint.graphs import fix
from tests.lint.networks import NETWORKS
from tests.ptq.checking import unmeasured
from tests.same_network.checks import assert_same, beside, both_ways
from vai_q_tf.export.onnx.convert import to_onnx
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.view import GraphView
from vai_q_tf.lint.lint import differences, lint
from vai_q_tf.passes.common.infer_shapes import infer_shapes
from vai_q_tf.ptq.quantize import quantize_frozen

# {network: [(rule, node)]}, each with the reason why we write it in that form.
_LEFT = {
    # The input would get another shape, and programs of the user feed it.
    'conv1d': [('placeholder-shape', 'x')],
    # A column of 1/C would be quantized, which is another function; an average pool would have another factor.
    'mean_of_rows': [('no-mean-of-rows', 'mean_of_rows')],
    # Training normalises the result of the MatMul that is there.
    'dense_norm_on_maps': [('dense-on-rank-4', 'dense/Tensordot/MatMul')]}
_QUANTIZED_BY_HAND = ('Placeholder', 'Const', 'Relu', 'Relu6', 'BiasAdd', 'MaxPool', 'AvgPool', 'ConcatV2', 'Add', 'AddV2')
# A finding in others' graphs of these networks, besides those about batch norms and parameters read through an Identity.
_BY_HAND = {
    'dilations_without_bias': 'bias-after-batch-to-space', 'explicit_padding': 'no-explicit-padding', 'ellipses': 'no-ellipsis',
    'batch_in_reshapes': 'batch-in-reshape', 'grouped_convolution': 'no-split', 'split_slice_and_stack': 'no-pack-of-floats',
    'mean_of_rows': 'no-mean-of-rows', 'conv1d': 'placeholder-shape'}
_TRAINED = ('dilations_without_bias', 'split_slice_and_stack', 'explicit_padding', 'dense_on_maps')
_REWRITTEN = _TRAINED + ('ellipses', 'deeplab', 'batch_in_reshapes')


class _Frozen:
    """Networks side by side, with random weights. graph_def, outputs; feed: function from the step to a batch."""

    def __init__(self, *names):
        with tf.Graph().as_default() as graph, tf.Session() as session:
            tf.set_random_seed(1)
            self.outputs = [tensor.op.name for tensor in beside([NETWORKS[name] for name in names])(False)]
            session.run(tf.global_variables_initializer())
            self.graph_def = tf.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), self.outputs)
            self.shapes = {op.name: op.outputs[0].shape.as_list()[1:] for op in graph.get_operations()
                           if op.type == 'Placeholder'}

    def feed(self, step):
        return {name: np.random.RandomState(step).uniform(-1, 1, [4] + shape) for name, shape in self.shapes.items()}

    @unmeasured()
    def quantized(self, **fields):
        model = tf.GraphDef()
        with tempfile.TemporaryDirectory() as directory:
            config = vai_q_tensorflow.QuantizeConfig(
                list(self.shapes), self.outputs, [[-1] + shape for shape in self.shapes.values()], calib_iter=1,
                output_dir=directory, **fields)
            with open(quantize_frozen(self.graph_def, self.feed, config, effort='fast', skip_check=1), 'rb') as file:
                model.ParseFromString(file.read())
        return model

    def run(self, graph_def):
        names = {node.name for node in graph_def.node}
        with tf.Graph().as_default(), tf.Session() as session:
            tf.import_graph_def(graph_def, name='')
            return session.run([(name + '/aquant' if name + '/aquant' in names else name) + ':0' for name in self.outputs],
                               {name + ':0': value for name, value in self.feed(1).items()})

    def quantized_by_hand(self, shapes):
        """The graph with a FixNeuron after constants and most float results, without any passes."""
        graph_def = infer_shapes(self.graph_def, (), None) if shapes else self.graph_def
        view = GraphView(graph_def)
        sources = {name for name in view.names if view.op(name) in _QUANTIZED_BY_HAND and view.dtype(name) == tf.float32}
        nodes = []
        for node in graph_def.node:
            nodes.append(editor.with_inputs(node, [name + '/fix' if name in sources else name for name in node.input]))
            if node.name in sources:
                nodes.append(fix(node.name + '/fix', node.name))
        return editor.subgraph(graph_def, nodes)


_frozen = functools.lru_cache(maxsize=None)(_Frozen)


@functools.lru_cache(maxsize=None)
def _model(*names):
    return _frozen(*names).quantized()


def _found(model):
    return [(finding.rule, finding.node) for finding in lint(model)]


# Networks of other tests, and those with findings, alone; the others four in a graph.
_ORDINARY = [name for name in NETWORKS if name not in _REWRITTEN and name not in _LEFT]


@pytest.mark.parametrize('names', [(name,) for name in NETWORKS if name not in _ORDINARY] + [
    _ORDINARY[first:first + 4] for first in range(0, len(_ORDINARY), 4)], ids='-'.join)
def test_of_files(names):
    assert _found(_model(*names)) == _LEFT.get(names[0], [])


@pytest.mark.parametrize('name', _REWRITTEN)
def test_rewritten_networks_compute_the_same(name):
    frozen = _frozen(name)
    model = frozen.quantized(weight_bit=16, activation_bit=16, simulate_dpu=0)
    for result, expected in zip(frozen.run(model), frozen.run(frozen.graph_def)):
        assert np.abs(result - expected).max() < 2e-3 * np.abs(expected).max()


def test_of_trainings(tmp_path):
    from_file, trained = both_ways(beside([NETWORKS[name] for name in _TRAINED]), str(tmp_path), thorough=False)
    assert_same(from_file, trained)
    assert not [_found(model) for model in trained.models.values() if _found(model)]


@pytest.mark.parametrize('name', NETWORKS)
def test_of_graphs_quantized_by_hand(name):
    frozen = _frozen(name)
    for shapes in (False, True):
        model = frozen.quantized_by_hand(shapes)
        findings, nodes = lint(model) + differences(model), {node.name for node in model.node}
        assert all(finding.node in nodes and len(finding.message.split('. ')) >= 2 for finding in findings)
    rules = {finding.rule for finding in findings}
    assert 'quantized-weights' in rules or 'quantized-bias' in rules
    assert ('no-batch-norm-op' in rules) == any(node.op.startswith('FusedBatchNorm') for node in model.node)
    assert _BY_HAND.get(name, 'quantized-bias') in rules
    others = set(_BY_HAND.values()) - {_BY_HAND.get(name)}
    assert name in ('split_slice_and_stack', 'deeplab') or rules.isdisjoint(others)


@pytest.mark.parametrize('name', _REWRITTEN)
def test_onnx_computes_the_same(name):
    frozen, model = _frozen(name), _model(name)
    session = onnxruntime.InferenceSession(to_onnx(model, list(frozen.shapes), frozen.outputs))
    feed = {given.name: frozen.feed(1)[given.name.partition(':')[0]].astype(np.float32) for given in session.get_inputs()}
    for result, expected in zip(session.run(None, feed), frozen.run(model)):
        np.testing.assert_array_equal(result, expected)
