"""The float tensor of each quantized one, by names and without a float graph."""
import pytest

from tests.analysis import small_model
from vai_q_tf.analysis.pairs import pair_by_names, pair_with_itself

_SOURCES = {'x/aquant': 'x', 'w1/wquant': 'w1', 'b1/wquant': 'b1', 'relu/aquant': 'relu', 'w2/wquant': 'w2', 'b2/wquant': 'b2',
            'out/aquant': 'out'}


@pytest.mark.parametrize('pair', [
    lambda model: pair_by_names(small_model.graph(False), model), pair_with_itself])
def test_each_tensor_has_the_one_before_its_fix_neuron(pair):
    pairing = pair(small_model.graph(True))
    assert pairing.float_tensors == _SOURCES and not pairing.unpaired


def test_a_renamed_constant_is_found_by_its_reader():
    reference = small_model.graph(False)
    for node in reference.node:
        node.name = node.name.replace('w1', 'other')
        node.input[:] = [name.replace('w1', 'other') for name in node.input]
    assert pair_by_names(reference, small_model.graph(True)).float_tensors == dict(_SOURCES, **{'w1/wquant': 'other'})


def test_a_tensor_of_another_shape_is_not_the_float_one():
    values = {'w1': small_model.VALUES['w1'][:, :4], 'b1': small_model.VALUES['b1'][:4], 'w2': small_model.VALUES['w2'][:4]}
    pairing = pair_by_names(small_model.graph(False, values), small_model.graph(True))
    assert set(pairing.unpaired) == {'w1/wquant', 'b1/wquant', 'w2/wquant'}
