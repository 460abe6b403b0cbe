"""Training, evaluation and the emitted files are one network: they give the same numbers, bit for bit."""
import functools
import re

import numpy as np
import pytest
import tensorflow as tf

from tests.loading import load
from tests.qat import networks
from tests.same_network import dpu_model
from tests.support import read_graph
from vai_q_tf import CreateQuantizeDeployGraph, CreateQuantizeEvaluationGraph
from vai_q_tf.lint.lint import lint

_OPTIMIZED = tf.compat.v1.ConfigProto()  # with TensorFlow's optimizers of graphs, which conftest turns off in other sessions
_SETTINGS = {
    'batch': {},
    'moving': {'bn_fold': 'moving'},
    'straight_through-current-6-7-bits': {'gradient': 'straight_through', 'position_update': 'current', 'weight_bit': 6,
                                          'activation_bit': 7},
    'method0': {'method': 0},
}


class _Case:
    """A network after training: the Trained, the evaluation graph's result, the two emitted GraphDefs."""

    def __init__(self, name, directory, **fields):
        self.build = networks.NETWORKS[name]
        self.trained = networks.train(self.build, directory, **fields)
        self.output = networks.quantized_name(self.trained.plan, self.trained.output)
        with tf.Graph().as_default():
            self.build(False)
            CreateQuantizeEvaluationGraph(self.trained.config)
            saver = tf.compat.v1.train.Saver()
            with tf.compat.v1.Session(config=_OPTIMIZED) as session:
                saver.restore(session, self.trained.checkpoint)
                self.evaluated = session.run(self.output + ':0', self.trained.feed)
            files = CreateQuantizeDeployGraph(self.trained.checkpoint, self.trained.config)
        self.eval_graph, self.model = (read_graph(path) for path in files)

    def run_model(self, names, config=None):
        with tf.Graph().as_default():
            tf.import_graph_def(self.model, name='')
            with tf.compat.v1.Session(config=config) as session:
                return session.run([name + ':0' for name in names], self.trained.feed)

    def model_nodes(self, op):
        return [node for node in self.model.node if node.op == op]


_OTHERS = [('keras_residual', 'moving'), ('siamese', 'straight_through-current-6-7-bits'),
           ('layers_biased', 'method0')]
_CASES = [(name, 'batch') for name in networks.NETWORKS if name not in dict(_OTHERS)] + _OTHERS + [
    pytest.param(case, marks=pytest.mark.slow) for case in (
        ('siamese', 'batch'), ('layers_biased', 'batch'), ('keras_residual', 'batch'), ('unfused', 'moving'),
        ('transposed', 'moving'), ('slim_mobile', 'moving'),
        ('slim_mobile', 'straight_through-current-6-7-bits'))]


@pytest.fixture(scope='module')
def cases(tmp_path_factory):
    """The function (network, setting) -> its _Case, which is made once."""
    @functools.lru_cache(None)
    def get(name, setting):
        return _Case(name, tmp_path_factory.mktemp(name), **_SETTINGS[setting])
    return get


@pytest.fixture(scope='module', params=_CASES, ids='-'.join)
def case(request, cases):
    return cases(*request.param)


def test_evaluation_graph_equals_training_graph(case):
    assert np.unique(case.trained.result).size > 4
    np.testing.assert_array_equal(case.evaluated, case.trained.result)


def test_emitted_model_equals_training_graph(case):
    np.testing.assert_array_equal(case.run_model([case.output], _OPTIMIZED)[0], case.trained.result)


def test_emitted_evaluation_graph_equals_training_graph(case):
    reader = tf.train.load_checkpoint(case.trained.checkpoint)
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(case.eval_graph, name='')
        assigns = []
        for operation in graph.get_operations():
            if operation.type == 'VariableV2':
                assigns.append(tf.raw_ops.Assign(ref=operation.outputs[0], value=reader.get_tensor(operation.name)))
            elif operation.type == 'VarHandleOp':
                assigns.append(tf.raw_ops.AssignVariableOp(
                    resource=operation.outputs[0], value=reader.get_tensor(operation.name)))
        assert assigns
        with tf.compat.v1.Session() as session:
            session.run(assigns)
            result = session.run(case.output + ':0', case.trained.feed)
    np.testing.assert_array_equal(result, case.trained.result)


def test_every_fix_neuron_gives_values_of_its_grid(case):
    fix_neurons = case.model_nodes('FixNeuron')
    for node, value in zip(fix_neurons, case.run_model([node.name for node in fix_neurons])):
        integers = value.astype(np.float64) * 2.0**node.attr['quantize_pos'].i
        half = 2**(node.attr['bit_width'].i - 1)
        assert np.array_equal(integers, np.round(integers)), node.name
        assert -half <= integers.min() and integers.max() < half, node.name
        assert integers.any() or node.name.endswith('/wquant'), node.name


def test_emitted_model_obeys_the_compiler(case):
    assert not [str(finding) for finding in lint(case.model)]


def test_attributes_of_fix_neurons(case):
    records = {record.name for record in case.trained.plan.tensors}
    fix_neurons = case.model_nodes('FixNeuron')
    assert {_original(node.name, records) for node in fix_neurons} == records
    for node in fix_neurons:
        assert set(node.attr) == {'T', 'bit_width', 'method', 'mode', 'phase', 'output_dir', 'quantize_pos',
                                  '_output_shapes'}, node.name
        assert node.attr['T'].type == tf.float32.as_datatype_enum
        assert node.attr['phase'].i == 1
        assert node.attr['mode'].i == _mode(node.name, case)
        bits = case.trained.config.activation_bit if node.attr['mode'].i == 1 else case.trained.config.weight_bit
        assert node.attr['bit_width'].i == bits
        assert node.attr['method'].i == (0 if node.name in ('x/aquant', 'x2/aquant') else case.trained.config.method)
        assert node.attr['output_dir'].s == b''  # so that a model does not depend on where it is
        assert len(node.attr['_output_shapes'].list.shape) == 1


def _original(name, known):
    """The quantized tensor of a FixNeuron: a bias that two nodes read has a numbered copy for the second."""
    return name if name in known else re.sub(r'[0-9]+$', '', name)


def _mode(name, case):
    """The mode by definition: 1 for activations, 2 for weights of depthwise convolutions, 0 for other parameters."""
    if name.endswith('/aquant'):
        return 1
    depthwise = {node.input[1] for node in case.model_nodes('DepthwiseConv2dNative')}
    fused_leaky = {node.input[0] for node in case.model_nodes('LeakyRelu')}
    adds = {node.name: node.input[0] for node in case.model_nodes('BiasAdd')}
    excepted = {node.input[1] for node in case.model_nodes('DepthwiseConv2dNative')
                if node.name in fused_leaky or node.name in {adds.get(name) for name in fused_leaky}}
    return 2 if name in depthwise - excepted else 0


def test_positions_are_those_of_the_checkpoint(case):
    reader = tf.train.load_checkpoint(case.trained.checkpoint)
    names = [name.decode() for name in reader.get_tensor('vai_q_tf/positions/tensors')]
    votes = reader.get_tensor('vai_q_tf/positions/votes')
    for node in case.model_nodes('FixNeuron'):
        row = votes[names.index(_original(node.name, names))]
        assert row[node.attr['quantize_pos'].i + 128] == row.max(), node.name


def test_constants_are_made_of_the_variables(case):
    """Without its FixNeurons the model computes what the float network computes with the variables of the checkpoint."""
    model, operands = tf.compat.v1.GraphDef(), {node.name: node.input[0] for node in case.model_nodes('FixNeuron')}
    for node in case.model.node:
        if node.name not in operands:
            added = model.node.add()
            added.CopyFrom(node)
            added.input[:] = [operands.get(name, name) for name in node.input]
    with tf.Graph().as_default():
        tf.import_graph_def(model, name='')
        with tf.compat.v1.Session() as session:
            result = session.run(operands.get(case.output, case.output) + ':0', case.trained.feed)
    with tf.Graph().as_default():
        output = case.build(False)
        with tf.compat.v1.Session() as session:
            load({variable: case.trained.parameters[variable.op.name] for variable in tf.compat.v1.global_variables()}, session)
            expected = session.run(output, case.trained.feed)
    np.testing.assert_allclose(result, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_names_are_those_of_the_file_route(cases):
    nodes = {node.name: (node.op, list(node.input)) for node in cases('slim_mobile', 'batch').model.node}
    norm = 'BatchNorm/FusedBatchNormV3'
    expected = {
        'conv1/Conv2D': ('Conv2D', ['x/aquant', 'conv1/weights/wquant']),
        'conv1/weights/wquant': ('FixNeuron', ['conv1/weights']),
        'conv1/biases': ('Const', []),
        'conv1/biases/wquant': ('FixNeuron', ['conv1/biases']),
        'conv1/' + norm: ('BiasAdd', ['conv1/Conv2D', 'conv1/biases/wquant']),
        'conv1/Relu6': ('Relu6', ['conv1/' + norm]),
        'conv1/Relu6/aquant': ('FixNeuron', ['conv1/Relu6']),
        'depthwise/depthwise': ('DepthwiseConv2dNative', ['conv1/Relu6/aquant', 'depthwise/depthwise_weights/wquant']),
        'depthwise/' + norm: ('BiasAdd', ['depthwise/depthwise', 'depthwise/biases/wquant']),
        'pointwise/{}/aquant'.format(norm): ('FixNeuron', ['pointwise/' + norm]),
        'mean/mul': ('Mul', ['mean', 'mean/scale_value']),
        'logits/Conv2D': ('Conv2D', ['mean/mul/aquant', 'logits/weights/wquant']),
        'logits/BiasAdd': ('BiasAdd', ['logits/Conv2D', 'logits/biases/wquant']),
        'softmax': ('Softmax', ['squeeze/aquant']),
    }
    assert {name: nodes.get(name) for name in expected} == expected


def test_names_with_a_bias_in_front_of_the_batch_norm(cases):
    nodes = {node.name: (node.op, list(node.input)) for node in cases('layers_biased', 'method0').model.node}
    expected = {
        'conv1/kernel/wquant': ('FixNeuron', ['conv1/kernel']),
        'conv1/bias/wquant': ('FixNeuron', ['conv1/bias']),
        'conv1/BiasAdd': ('BiasAdd', ['conv1/Conv2D', 'conv1/bias/wquant']),
        'relu1/aquant': ('FixNeuron', ['relu1']),
        'dense2/MatMul': ('MatMul', ['leaky4/aquant', 'dense2/kernel/wquant']),
    }
    assert {name: nodes.get(name) for name in expected} == expected


@pytest.mark.parametrize('name, setting', [
    ('slim_mobile', 'batch'), ('keras_residual', 'moving'), ('unfused', 'batch'), ('without_norm', 'batch')])
def test_a_model_is_arithmetic_on_integers(name, setting, cases):
    case = cases(name, setting)
    assert not dpu_model.differences(case.model, {'x': case.trained.feed['x:0']})
