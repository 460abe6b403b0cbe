"""The boxes of a network: ops computed together, ops that stay float, results that share a position."""
import tensorflow.compat.v1 as tf

from tests.html_report.made_up import fix_neuron, layered_model, node
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph.view import GraphView
from vai_q_tf.html_report.network import Quantizer, find_network
from vai_q_tf.plan.annotate import annotate
from vai_q_tf.plan.quant_plan import Alignment


def _network(*nodes, plan=None):
    return find_network(tf.GraphDef(node=nodes), plan)


OUTSIDE = 'it is outside the range from the input to the output nodes'


def _by_name(network):
    return {box.name: box for box in network.boxes}


def test_a_layer_is_one_box_with_its_quantizers():
    network = find_network(layered_model(2))
    assert [box.name for box in network.boxes] == ['images', 'layer0/Conv2D', 'layer1/Conv2D', 'layersoftmax']
    box = network.boxes[2]
    assert box.nodes == ('layer1/Conv2D', 'layer1/BiasAdd', 'layer1/Relu') and box.ops == ('Conv2D', 'BiasAdd', 'Relu')
    assert box.result == Quantizer('layer1/Relu/aquant', 8, 1) and box.inputs == (1,)
    assert box.parameters == (Quantizer('layer1/weights/wquant', 8, 7), Quantizer('layer1/bias/wquant', 8, 5))
    assert not box.is_float and box.kind == 'quantized' and not box.end
    assert network.weighted == network.quantized == ('layer0/Conv2D', 'layer1/Conv2D')


def test_inputs_and_outputs_are_ends_and_a_softmax_is_float():
    boxes = _by_name(find_network(layered_model(1)))
    assert boxes['images'].end == 'input' and boxes['images'].kind == 'end' and not boxes['images'].is_float
    softmax = boxes['layersoftmax']
    assert (softmax.end, softmax.is_float, softmax.result, softmax.reason) == ('output', True, None, OUTSIDE)
    softmax = _by_name(find_network(layered_model(1), ends=(['images'], ['layersoftmax:0']),
                                    reasons={'layersoftmax': 'a softmax'}))['layersoftmax']
    assert softmax.is_float and softmax.reason == 'a softmax'
    network = find_network(layered_model(2), ends=(['layer0/Relu'], ['layersoftmax']))
    assert network.weighted == network.quantized == ('layer1/Conv2D',)


def test_what_goes_through_a_float_op_stays_float():
    network = _network(
        node('Placeholder', 'x'), fix_neuron('x/aquant', 'x', 5), node('Exp', 'exp', 'x/aquant'), node('Relu', 'after', 'exp'),
        node('Relu', 'relu', 'x/aquant'), fix_neuron('relu/aquant', 'relu', 4), node('Reshape', 'moved', 'relu/aquant'))
    floats = {box.name: box.is_float for box in network.boxes}
    assert floats == {'x': False, 'exp': True, 'after': True, 'relu': False, 'moved': False}


def test_an_op_that_two_read_is_a_box_of_its_own():
    network = _network(
        node('Placeholder', 'x'), fix_neuron('x/aquant', 'x', 5), node('Relu', 'both', 'x/aquant'),
        node('Neg', 'left', 'both'), fix_neuron('left/aquant', 'left', 4), node('Add', 'sum', 'both', 'left/aquant'),
        fix_neuron('sum/aquant', 'sum', 3))
    boxes = _by_name(network)
    assert boxes['both'].nodes == ('both',) and not boxes['both'].is_float
    assert [network.boxes[number].name for number in boxes['sum'].inputs] == ['both', 'left']


def test_one_position_is_found_without_a_plan():
    def network(position):
        return _by_name(_network(
            node('Placeholder', 'x'), fix_neuron('x/aquant', 'x', 5), node('MaxPool', 'pool', 'x/aquant'),
            fix_neuron('pool/aquant', 'pool', position), node('Relu', 'relu', 'pool/aquant'), fix_neuron('r', 'relu', 5)))
    assert network(5)['pool'].kind == 'shared' and network(5)['pool'].shared == ('x/aquant',)
    assert network(4)['pool'].kind == 'quantized' and network(4)['pool'].shared == ()
    assert network(5)['relu'].shared == ()


def test_shapes_and_constants_are_not_drawn():
    network = _network(
        node('Placeholder', 'x'), node('Shape', 'shape', 'x'), node('StridedSlice', 'batch', 'shape'), node('Const', 'c'),
        node('Pack', 'sizes', 'batch', 'c'), node('Reshape', 'reshape', 'x', 'sizes'), node('NoOp', 'nothing'))
    assert [box.name for box in network.boxes] == ['x', 'reshape']
    assert network.boxes[1].inputs == (0,)


def test_the_plan_says_what_stays_float_and_why():
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [1, 4, 4, 2], name='x')
        y = tf.nn.conv2d(tf.exp(x * 2.0, name='exp'), tf.ones([1, 1, 2, 2]), 1, 'SAME', name='conv')
        tf.sin(tf.nn.relu(y, name='relu'), name='sin')
    float_graph = graph.as_graph_def(add_shapes=True)
    plan = annotate(GraphView(float_graph), QuantizeConfig(input_nodes=['exp'], output_nodes=['relu']))
    nodes = list(float_graph.node)
    sources = {record.tensor: record.name for record in plan.tensors}
    for one in nodes:
        one.input[:] = [sources.get(name, name) for name in one.input]
    model = tf.GraphDef(node=nodes + [fix_neuron(name, tensor, 3) for tensor, name in sources.items()])
    boxes = _by_name(find_network(model, plan))
    assert boxes['conv'].nodes == ('conv', 'relu') and boxes['conv'].end == 'output' and not boxes['conv'].is_float
    assert boxes['exp'].end == 'input' and not boxes['exp'].is_float
    assert boxes['sin'].is_float and boxes['sin'].reason == OUTSIDE
    assert boxes['mul'].is_float
    skipped = plan._replace(skipped=(plan.skipped + (type(plan.skipped)() or ())), alignments=(
        Alignment('concat', 'relu', 'relu/aquant', ('exp/aquant',), True),))
    shared = _by_name(find_network(model, skipped))
    assert shared['conv'].shared == ('exp/aquant',) and shared['exp'].shared == ('relu/aquant',)


def test_circles_do_no_harm():
    network = _network(
        node('Placeholder', 'x'), node('Enter', 'enter', 'x'), node('Merge', 'merge', 'enter', 'next'),
        node('Relu', 'relu', 'merge'), node('NextIteration', 'next', 'relu'), node('Exit', 'exit', 'relu'))
    assert {box.name for box in network.boxes} == {'x', 'enter', 'merge', 'relu', 'next', 'exit'}
