"""Properties of the quantized model of any network, checked on the graphs alone and not on the plan."""
import collections
import contextlib
from unittest import mock

import numpy as np
import tensorflow.compat.v1 as tf

from tests.random_networks import UNUSUAL
from tests.support import read_graph, run
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.fixed_point import POSITION_ZERO
from vai_q_tf.graph.sessions import exact
from vai_q_tf.graph.traits import WEIGHTED, trait
from vai_q_tf.graph.view import GraphView
from vai_q_tf.lint.lint import lint
from vai_q_tf.passes import optimise
from vai_q_tf.ptq.quantize import quantize_frozen

_SHAPING = ('Reshape', 'Squeeze', 'ExpandDims')
_MOVES = _SHAPING + ('Pad', 'StridedSlice', 'Transpose', 'DepthToSpace', 'ResizeNearestNeighbor', 'SpaceToBatchND')
_POOLS = ('MaxPool', 'AvgPool')
_OPERATIONS = ('Add', 'AddV2', 'AddN', 'Mul')


class Case:
    """A frozen network. outputs: its output nodes. feed: gives {input node: array} of a step."""

    def __init__(self, graph_def, outputs, feed, directory):
        self.graph_def, self.outputs, self.feed, self._directory = graph_def, list(outputs), feed, str(directory)

    def config(self, **fields):
        first = self.feed(0)
        return QuantizeConfig(list(first), self.outputs, [[-1] + list(value.shape[1:]) for value in first.values()],
                              **dict({'calib_iter': 2, 'output_dir': self._directory}, **fields))

    def quantized(self, **fields):
        """The quantized model."""
        return read_graph(quantize_frozen(self.graph_def, self.feed, self.config(**fields)))

    def error(self, model, graph_def, step=0):
        """The largest difference of an output of two graphs, relative to its norm; step 0 is calibration data."""
        names = {node.name for node in model.node}
        quantized = [name + '/aquant' if name + '/aquant' in names else name for name in self.outputs]
        results = run(model, quantized, self.feed(step))
        expected = run(graph_def, self.outputs, self.feed(step))
        return max(np.linalg.norm(result - exact) / (np.linalg.norm(exact) or 1) for result, exact in zip(results, expected))


@contextlib.contextmanager
def unmeasured():
    """Quantizes without measuring the errors for the summary, which takes a quarter of the time of a small network."""
    with mock.patch('vai_q_tf.ptq.quantize.measure_errors', return_value=None):
        yield


def plain_session(graph=None):
    """A session without graph optimizers."""
    return tf.Session(graph=graph, config=exact(tf.ConfigProto()))


def assert_float_graph(case, tolerance=1e-4):
    """The passes do not change the outputs, and leave no batch norm that could be folded."""
    for fold_constant in (True, False):
        graph_def = optimise(case.graph_def, case.config(simulate_dpu=0), fold_constant)
        error = case.error(graph_def, case.graph_def)
        assert error < tolerance, error
        view = GraphView(graph_def)
        for name in view.names:
            assert not view.op(name).startswith('FusedBatchNorm'), name
            if view.op(name) == 'Mul':
                constant = any(view.op(operand) == 'Const' for operand in view.inputs(name))
                assert not constant or all(trait(view.op(operand)).kind != WEIGHTED or len(view.consumers(operand)) > 1
                                           for operand in view.inputs(name)), name


def assert_model(case):
    """The model at 8 bits obeys the compiler and the limits of positions, and at 16 bits it is exact; returns the former."""
    model = case.quantized()
    assert not [str(finding) for finding in lint(model) if finding.rule not in UNUSUAL]
    assert_positions(model)
    exact = optimise(case.graph_def, case.config())
    assert case.error(case.quantized(weight_bit=16, activation_bit=16), exact) < 0.01
    return model


def assert_positions(model):
    """Shifts are within the limits; concats, max pools and moves with a quantized result have one position."""
    view = GraphView(model)
    positions = {node.name: node.attr['quantize_pos'].i for node in model.node if node.op == 'FixNeuron'}
    assert POSITION_ZERO not in positions.values()
    for name in view.names:
        row = trait(view.op(name))
        data = [tensor for _, tensor in row.data_inputs(view.inputs(name))]
        if row.kind == WEIGHTED:
            source = view.inputs(data[0])[0] if view.op(data[0]) == 'SpaceToBatchND' else data[0]
            _assert_shifts(view, positions, name, source, view.inputs(name)[row.weight])
        elif view.op(name) in ('ConcatV2', 'MaxPool') and _fix_neuron_after(view, name):
            members = [_fix_neuron_after(view, name)] + [_fix_neuron_before(view, tensor) for tensor in data]
            assert len({positions[member] for member in members if member}) <= 1, name
        elif view.op(name) in _MOVES and _result(view, name) and _fix_neuron_before(view, data[0]):
            assert positions[_result(view, name)] == positions[_fix_neuron_before(view, data[0])], name
        elif view.op(name) in _POOLS + _OPERATIONS and _result(view, name):
            _assert_operands(view.op(name), [positions.get(tensor) for tensor in data], positions[_result(view, name)], name)


def _assert_shifts(view, positions, name, data, weight):
    result, bias = name, ''
    while view.op(result) != 'FixNeuron':
        assert len(set(view.consumers(result))) >= 1, name
        if view.op(result) == 'BiasAdd':
            bias = view.inputs(result)[1]
        readers = [reader for reader, _ in view.consumers(result)]
        result = next((reader for reader in readers if view.op(reader) == 'FixNeuron'), readers[0])
    cut = positions[weight] + positions[data] - positions[result]
    assert 0 <= cut <= 16, name
    if bias:
        assert min(0, cut - 16) <= positions[weight] + positions[data] - positions[bias] <= 16, name


def _assert_operands(op, data, result, name):
    if op in _POOLS and data[0] is not None:
        assert abs(data[0] - result) <= 7, name
    elif op == 'Mul' and None not in data:
        assert 0 <= sum(data) - result <= 32, name
    elif op in _OPERATIONS and op != 'Mul' and None not in data:
        assert max(data) - min(data) <= 15 and abs(min(data) - result) <= 15, name


def _result(view, name):
    """The FixNeuron of the result of an op, also after a relu or after the multiplication of an average pool."""
    readers = [reader for reader, _ in view.consumers(name)]
    if not _fix_neuron_after(view, name) and len(readers) == 1 and view.op(readers[0]) in ('Relu', 'Relu6', 'Mul')[
            :3 if view.op(name) == 'AvgPool' else 2]:
        return _fix_neuron_after(view, readers[0])
    return _fix_neuron_after(view, name)


def _fix_neuron_after(view, name):
    return next((reader for reader, _ in view.consumers(name) if view.op(reader) == 'FixNeuron'), '')


def _fix_neuron_before(view, tensor):
    while view.op(tensor) in _SHAPING + ('Split',):
        tensor = view.inputs(tensor)[view.op(tensor) == 'Split']
    return tensor if view.op(tensor) == 'FixNeuron' else ''


def nodes_of_the_compiler(model):
    """The number of nodes of the compiler's graph: float tensors without BiasAdds, and the shapes of Reshapes."""
    view = GraphView(model)
    counts = collections.Counter(view.op(name) for name in view.names if view.dtype(name) == tf.float32)
    return sum(counts.values()) - counts['BiasAdd'] + counts['Reshape']
