"""The float network and the range of a model are found."""
import pytest
import tensorflow.compat.v1 as tf

from tests.analysis.spoiling import Quantized
from vai_q_tf import ops
from vai_q_tf.analysis.float_network import find_pairing, find_range
from vai_q_tf.analysis.model_tensors import model_tensors
from vai_q_tf.graph.view import GraphView


@pytest.mark.parametrize('seed', range(3))
def test_each_tensor_has_the_float_one_of_the_plan(seed):
    network = Quantized(seed)
    (inputs, outputs), *_ = find_range(network.source, network.model, network.tensors)
    assert inputs == ['x'] and outputs
    pairing = find_pairing(network.source, network.model, network.config.replace(input_nodes=inputs, output_nodes=outputs))
    assert not pairing.unpaired
    assert pairing.float_tensors == {record.name: record.tensor for record in network.plan.tensors}
    assert {name: tensor.role for name, tensor in pairing.tensors.items()} == {
        record.name: record.role for record in network.plan.tensors}


def _two_inputs(quantized):
    with tf.Graph().as_default() as graph:
        inputs = [tf.placeholder(tf.float32, [None, 2], name=name) for name in ('a', 'b')]
        if quantized:
            inputs = [ops.fix_neuron(x, 1, 1, quantize_pos=3, name=x.op.name + '/aquant') for x in inputs]
        total = tf.add(*inputs, name='total')
        if quantized:
            ops.fix_neuron(total, 1, 1, quantize_pos=3, name='total/aquant')
        return graph.as_graph_def()


def test_no_range_without_one_of_the_inputs():
    model, reference = _two_inputs(True), _two_inputs(False)
    tensors = model_tensors(GraphView(model))
    assert find_range(reference, model, tensors) == [(['a', 'b'], ['total'])]
    next(node for node in reference.node if node.name == 'b').name = 'other'
    assert find_range(reference, model, tensors) == []
