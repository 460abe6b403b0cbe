"""A quantized tensor is recognised in graphs with other names."""
import pytest
import tensorflow.compat.v1 as tf

import vai_q_tensorflow
from vai_q_tf.graph.view import GraphView
from vai_q_tf.qat.network.decision import decide
from vai_q_tf.qat.network.identity import identities
from vai_q_tf.qat.network.inference_form import inference_form


def _identities(build, inputs, output='out'):
    config = vai_q_tensorflow.QuantizeConfig(inputs, [output])
    with tf.Graph().as_default() as graph:
        build()
    graph_def = graph.as_graph_def(add_shapes=True)
    return identities(decide(inference_form(graph_def, GraphView(graph_def), config).graph_def, config))


def _siamese():
    towers = []
    for name in 'ab':
        x = tf.placeholder(tf.float32, [None, 4], name)
        with tf.variable_scope('shared', reuse=tf.AUTO_REUSE):
            towers.append(tf.layers.dense(x, 3, activation=tf.nn.relu, use_bias=False))
    tf.subtract(towers[0], towers[1], name='out')


def _renumbered(extra, name='x'):
    def build():
        x = tf.placeholder(tf.float32, [None, 4], name)
        for _ in range(extra):
            tf.nn.relu(tf.zeros([1]))  # takes a number
        tf.nn.relu(tf.layers.dense(x, 3, name='layer'))
        tf.layers.dense(tf.get_default_graph().get_tensor_by_name('Relu{}:0'.format('_{}'.format(extra) * bool(extra))), 2,
                        name='head')
        tf.identity('head/BiasAdd:0', name='unused')
    return build


def test_inputs_of_one_shape_are_distinguished_in_any_order():
    """Towers that share all variables differ only in their inputs."""
    found = _identities(_siamese, ['a', 'b'])
    assert found == _identities(_siamese, ['b', 'a'])
    activations = [identity.structure for name, identity in found.items() if name.endswith('/aquant')]
    assert len(set(activations)) == len(activations) == 4


def test_numbers_in_names_do_not_count():
    few, many = (_identities(_renumbered(extra), ['x'], 'head/BiasAdd') for extra in (0, 3))
    assert 'Relu/aquant' in few and 'Relu_3/aquant' in many
    assert few['Relu/aquant'].structure == many['Relu_3/aquant'].structure


def test_the_name_of_the_one_input_does_not_count():
    found, other = (_identities(_renumbered(0, name), [name], 'head/BiasAdd') for name in ('x', 'images'))
    assert found['head/BiasAdd/aquant'] == other['head/BiasAdd/aquant']


@pytest.mark.parametrize('change', ['op', 'attr', 'variable'])
def test_what_is_computed_counts(change):
    def network(changed):
        def build():
            x = tf.placeholder(tf.float32, [None, 8, 8, 2], 'x')
            x = tf.layers.conv2d(x, 3, 3, strides=1 + changed * (change == 'attr'), padding='same',
                                 name='other' if changed and change == 'variable' else 'layer')
            (tf.nn.relu6 if changed and change == 'op' else tf.nn.relu)(x, name='out')
        return build
    found, other = (_identities(network(changed), ['x'])['out/aquant'] for changed in (False, True))
    assert found.structure != other.structure
