"""Properties of a deployed model that the compiler relies on, besides its numbers."""
import tensorflow.compat.v1 as tf
from tensorflow.python.framework import function

from tests.qat import networks
from vai_q_tf import CreateQuantizeDeployGraph, CreateQuantizeEvaluationGraph


@function.Defun(tf.float32)
def _twice(x):
    return 2 * x


def _files(build, directory):
    """(the evaluation graph with FixNeurons, the model), two GraphDefs."""
    trained = networks.train(build, directory, steps=1)
    with tf.Graph().as_default():
        build(False)
        CreateQuantizeEvaluationGraph(trained.config)
        found = []
        for path in CreateQuantizeDeployGraph(trained.checkpoint, trained.config):
            with open(path, 'rb') as file:
                found.append(tf.GraphDef.FromString(file.read()))
        return found


def test_a_bias_that_is_added_twice_becomes_two(tmp_path):
    _, model = _files(networks.siamese, tmp_path)
    nodes = {node.name: node for node in model.node}
    quantized = [node for node in model.node if node.op == 'FixNeuron' and nodes[node.input[0]].op == 'Const']
    readers = {node.name: [reader.name for reader in model.node if node.name in reader.input] for node in quantized}
    assert {name: len(names) for name, names in readers.items()} == dict.fromkeys(readers, 1)
    values = [tf.make_ndarray(nodes[nodes[reader.input[1]].input[0]].attr['value'].tensor).tolist() for reader in model.node
              if reader.op == 'BiasAdd' and reader.name.endswith('conv2/BiasAdd')]
    assert len(values) == 2 and values[0] == values[1]


def test_the_model_has_no_functions(tmp_path):
    def build(training):
        y = networks.without_norm(training)
        _twice(tf.constant(1.0), name='beside')
        return y
    evaluation, model = _files(build, tmp_path)
    assert evaluation.library.function and model.library == tf.GraphDef().library
    assert model.versions == evaluation.versions
