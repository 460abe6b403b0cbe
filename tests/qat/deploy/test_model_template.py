"""What the compiler is to read of an evaluation graph, before its numbers are known."""
import tensorflow.compat.v1 as tf
from tensorflow.python.framework import function

from tests.qat import networks
from vai_q_tf import QuantizeConfig
from vai_q_tf.qat.deploy import model_template
from vai_q_tf.qat.evaluation import create_evaluation_graph
from vai_q_tf.qat.fix_neuron_form import fix_neurons


@function.Defun(tf.float32)
def _twice(x):
    return 2 * x


def _forms(build, inputs):
    """(the evaluation graph with FixNeurons, the GraphDef of the template)."""
    with tf.Graph().as_default() as graph:
        config = QuantizeConfig(inputs, [build(False).op.name])
        plan = create_evaluation_graph(graph, config)
        evaluation = fix_neurons(graph.as_graph_def(add_shapes=True), plan, 1, '')
    return evaluation, model_template.build(evaluation, plan, config).graph_def


def test_a_bias_that_is_added_twice_becomes_two_under_the_names_of_files_so_far():
    _, model = _forms(networks.siamese, ['x', 'x2'])
    nodes = {node.name: node for node in model.node}
    assert nodes['tower/conv2/biases1'].op == 'Const' and 'tower/conv2/biases_1' not in nodes
    for node in model.node:
        if node.op == 'FixNeuron' and nodes[node.input[0]].op == 'Const':
            assert sum(node.name in reader.input for reader in model.node if reader.op == 'BiasAdd') <= 1


def test_the_model_has_no_functions():
    def build(training):
        y = networks.without_norm(training)
        _twice(tf.constant(1.0), name='beside')
        return y
    evaluation, model = _forms(build, ['x'])
    assert evaluation.library.function and not model.HasField('library') and model.versions == evaluation.versions
