"""What a rewritten graph tells of itself."""
import pytest
import tensorflow as tf

from vai_q_tf import CreateQuantizeTrainingGraph, QuantizeConfig, QuantizeError, errors
from vai_q_tf.qat import record

v1 = tf.compat.v1


def _sum_of_two():
    """A graph of the node 'sum', which adds a dense layer behind 'a', of 4 features, to one behind 'b', of 6."""
    with tf.Graph().as_default() as graph:
        dense = [v1.layers.dense(v1.placeholder(tf.float32, [None, size], name), 3, name='dense_' + name)
                 for name, size in (('a', 4), ('b', 6))]
        tf.add(*dense, name='sum')
        return graph


@pytest.mark.parametrize('inputs, outputs', [(['a', 'b'], ['dense_a/BiasAdd', 'sum']), (['b:0', 'a'], ['sum:0', 'dense_a/BiasAdd'])])
def test_a_range_is_a_set_of_nodes(tmp_path, inputs, outputs):
    graph = _sum_of_two()
    CreateQuantizeTrainingGraph(QuantizeConfig(['a', 'b'], ['dense_a/BiasAdd', 'sum'], output_dir=str(tmp_path)), graph=graph)
    record.check_same_range(record.training_plan(graph), QuantizeConfig(inputs, outputs))


@pytest.mark.parametrize('inputs, outputs', [(['a'], ['sum']), (['a', 'b'], ['sum', 'dense_a/BiasAdd']), (['a', 'c'], ['sum'])])
def test_another_range_is_told_with_the_first(tmp_path, inputs, outputs):
    graph = _sum_of_two()
    CreateQuantizeTrainingGraph(QuantizeConfig(['a:0', 'b'], ['sum'], output_dir=str(tmp_path)), graph=graph)
    with pytest.raises(QuantizeError) as raised:
        record.check_same_range(record.training_plan(graph), QuantizeConfig(inputs, outputs))
    assert raised.value.code == errors.ALREADY_QUANTIZED
    for text in ('from a, b to sum,', 'from {} to {}.'.format(', '.join(inputs), ', '.join(outputs))):
        assert text in str(raised.value)
