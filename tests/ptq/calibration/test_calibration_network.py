"""The ops of the calibration graph have the attrs of the tensors of the plan."""
import pytest
import tensorflow.compat.v1 as tf

from tests.ptq import networks
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph.view import GraphView
from vai_q_tf.plan.annotate import annotate
from vai_q_tf.ptq.calibration.calibration_network import CalibrationNetwork


@pytest.mark.parametrize('arch_type', ['DEFAULT', 'DPUCADF8H'])
def test_all_ops_have_the_range_of_their_tensor(arch_type):
    graph_def, output = networks.branches()
    config = QuantizeConfig(['input'], [output], arch_type=arch_type)
    plan = annotate(GraphView(graph_def), config)
    graph = CalibrationNetwork(graph_def, plan, config).graph
    narrow = {tensor.name: tensor.narrow_range for tensor in plan.tensors}
    seen = set()
    for op in graph.get_operations():
        if op.type in ('VaiFixNeuron', 'VaiSearchPosition', 'VaiPositionErrors'):
            name = op.name if op.type == 'VaiFixNeuron' else op.name.rpartition('/')[0]
            assert op.get_attr('symmetric') == narrow[name], op.name
            seen.add(op.type)
    assert len(seen) == 3 and any(narrow.values()) == (arch_type == 'DPUCADF8H')


def test_constants_are_quantized_in_their_range():
    net = networks.Network()
    offset = net.apply(tf.constant, [-128., 1, 2, 3], name='offset')
    net.apply(tf.add, net.conv(net.input, 4, 'conv'), offset, name='add')
    config = QuantizeConfig(['input'], ['add'], arch_type='DPUCADF8H', nodes_method=['offset:1'])
    graph_def = net.graph_def()
    graph = CalibrationNetwork(graph_def, annotate(GraphView(graph_def), config), config).graph
    with tf.Session(graph=graph) as session:
        assert session.run('offset:0').tolist() == [-127, 1, 2, 3]
