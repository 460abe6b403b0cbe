"""Graphs that are no evaluation models are refused with their FixNeuron."""
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.errors import QuantizeError
from vai_q_tf.export.evaluation_model import check_attrs, require_evaluation_model


def _fix_neuron(inputs=('x',), **attrs):
    node = tf.NodeDef(name='x/aquant', op='FixNeuron', input=inputs)
    for key, value in dict(dict(bit_width=8, quantize_pos=5, mode=1, phase=1), **attrs).items():
        if value is not None:
            node.attr[key].CopyFrom(value if isinstance(value, tf.AttrValue) else tf.AttrValue(i=value))
    return node


def _graph(*nodes):
    return tf.GraphDef(node=[tf.NodeDef(name='x', op='Placeholder'), *nodes])


def test_an_evaluation_model():
    require_evaluation_model(_graph(_fix_neuron(), _fix_neuron(quantize_pos=-126, bit_width=24, mode=2)))


@pytest.mark.parametrize('nodes, words', [
    ([], 'has no FixNeuron'), ([_fix_neuron(phase=0)], "'x/aquant' is in phase 0"), ([_fix_neuron(phase=None)], 'in phase 0'),
    ([_fix_neuron(), _fix_neuron(phase=2)], 'in phase 2')])
def test_graphs_without_final_positions(nodes, words):
    with pytest.raises(QuantizeError, match=words) as caught:
        require_evaluation_model(_graph(*nodes))
    assert caught.value.code == errors.NOT_QUANTIZED


@pytest.mark.parametrize('node, words', [
    (_fix_neuron(bit_width=0), 'has bit_width i: 0; expected an integer from 1 to 24'),
    (_fix_neuron(bit_width=25), 'has bit_width i: 25'),
    (_fix_neuron(quantize_pos=128), 'has quantize_pos i: 128; expected an integer from -126 to 127'),
    (_fix_neuron(quantize_pos=-127), 'has quantize_pos i: -127'), (_fix_neuron(mode=3), 'has mode i: 3'),
    (_fix_neuron(phase=4), 'has phase i: 4'), (_fix_neuron(mode=tf.AttrValue(s=b'1')), 'has mode s: "1"'),
    (_fix_neuron(mode=tf.AttrValue()), 'has mode nothing'), (_fix_neuron(()), 'has 0 inputs'),
    (_fix_neuron(['x', 'x']), 'has 2 inputs')])
def test_impossible_attrs(node, words):
    for check in (check_attrs, lambda node: require_evaluation_model(_graph(node))):
        with pytest.raises(QuantizeError, match="'x/aquant' " + words) as caught:
            check(node)
        assert caught.value.code == errors.INVALID_INPUT


def test_missing_attrs_are_accepted():
    """As other tools write FixNeurons; `update` adds them."""
    check_attrs(_fix_neuron(bit_width=None, quantize_pos=None, mode=None, phase=None))
