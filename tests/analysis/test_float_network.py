"""The float network and the range of a model are found."""
import pytest

from tests.analysis.spoiling import Quantized
from vai_q_tf.analysis.float_network import find_pairing, find_range


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
