"""Which tensors of a network a board did not write, and what that means for the answer."""
import pytest
import tensorflow.compat.v1 as tf

from tests.comparison.test_compare import float_network, measured
from vai_q_tf.comparison.gaps import activations, missing_output, notes_on_activations, notes_on_others, notes_on_the_cause
from vai_q_tf.comparison.pairs import paired
from vai_q_tf.comparison.sides import open_side
from vai_q_tf.ops import fix_neuron


def _chain():
    """x, two weights, and the activations y, z and out, one after the other."""
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(measured(), name='')
        value = graph.get_tensor_by_name('y/aquant:0')
        tail = fix_neuron(tf.constant([1.0], name='v'), bit_width=8, quantize_pos=1, phase=1, mode=0, name='v/wquant')
        for name in ('z', 'out'):
            value = fix_neuron(tf.add(value, tail, name=name), bit_width=8, quantize_pos=4, phase=1, mode=1,
                               name=name + '/aquant')
        return graph.as_graph_def()


@pytest.fixture
def sides(tmp_path):
    """A function: the chain, and a board with files of these names."""
    def made(*names):
        for name in names:
            (tmp_path / (name + '.bin')).write_bytes(bytes(6))
        return [open_side(source, 'DEFAULT', '') for source in (_chain(), str(tmp_path))]
    return made


@pytest.mark.parametrize('names, output, notes, others', [
    (('x_aquant', 'y_aquant', 'z_aquant', 'out_aquant'), None, [], []),
    (('x_aquant', 'z_aquant', 'out_aquant'), None, ['B lacks 1 of the 4 activations of A: y/aquant'], []),
    (('x_aquant', 'y_aquant', 'z_aquant', 'output'), 'out/aquant', ['B lacks 1 of the 4 activations of A: out/aquant'],
     ['Only in B: output']),
    (('x_aquant',), 'out/aquant', ['B lacks 3 of the 4 activations of A: y/aquant, z/aquant, out/aquant'], [])])
def test_activations_are_apart_from_weights(sides, names, output, notes, others):
    found = sides(*names)
    for both in (found, found[::-1]):
        pairs = paired(*both)
        assert missing_output(both, pairs) == output
        written = [notes_on_activations(both, pairs), notes_on_others(both, pairs)]
        expected = [notes, ['B has no weights and biases; A has 2.'] + others]
        if both is not found:
            swap = str.maketrans('AB', 'BA')
            expected = [[note.translate(swap) for note in part] for part in expected]
            expected[1].sort(key=lambda note: 'Only' not in note)
        assert written == expected


def test_some_weights_and_no_activations(sides):
    both = sides('w_wquant')
    pairs = paired(*both)
    assert notes_on_activations(both, pairs) == ['B has no activations; A has 4.']
    assert notes_on_others(both, pairs) == ['B lacks 1 of the 2 weights and biases of A: v/wquant']
    assert activations(both[0]) == ['x/aquant', 'y/aquant', 'z/aquant', 'out/aquant']


def test_weights_of_a_float_model_are_no_gap():
    both = [open_side(source, 'DEFAULT', '') for source in (float_network(), measured())]
    pairs = paired(*both)
    assert pairs.only_b and notes_on_others(both, pairs) == [] and missing_output(both, pairs) is None


@pytest.mark.parametrize('names, first, notes', [
    (('x_aquant', 'y_aquant', 'z_aquant', 'out_aquant'), 'z/aquant', []),
    (('x_aquant', 'z_aquant'), 'z/aquant', ["Nothing between 'x/aquant' and 'z/aquant' was compared, so the cause may be in "
                                            'y/aquant.']),
    (('x_aquant', 'out_aquant'), 'out/aquant', ["Nothing between 'x/aquant' and 'out/aquant' was compared, so the cause may "
                                                'be in y/aquant or z/aquant.']),
    (('y_aquant',), 'y/aquant', ["Nothing before 'y/aquant' was compared, so the cause may be in x/aquant."]),
    (('y_aquant', 'w_wquant'), 'w/wquant', [])])
def test_the_cause_may_be_in_a_tensor_that_was_not_compared(sides, names, first, notes):
    both = sides(*names)
    assert notes_on_the_cause(both, paired(*both), first, first == 'w/wquant') == notes
    board = [both[1], both[1]]
    assert notes_on_the_cause(board, paired(*board), names[0], False) == []  # its order is that of names
