"""The node on which TensorFlow crashes is found, wherever it is in the graph."""
import subprocess

import pytest
import tensorflow.compat.v1 as tf

_FIND = '''
import sys
import tensorflow.compat.v1 as tf
from vai_q_tf.frozen.crash import crashing_node
found = crashing_node(tf.GraphDef.FromString(sys.stdin.buffer.read()))
print(found.name if found else None)
'''


def _graph(crashing=()):
    """Nodes 'op0' to 'op4' one after the other; the shape functions of those in `crashing` end the process."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [1, 8, 8, 4], name='input')
        for number in range(5):
            with tf.control_dependencies([x]), tf.colocate_with(x):
                x = tf.transpose(x, [0, 2, 1, 3], name='op{}'.format(number))
        tf.identity(x, 'output')
    graph_def = graph.as_graph_def()
    for node in graph_def.node:
        if node.name in [name + '/perm' for name in crashing]:
            node.attr['value'].tensor.CopyFrom(tf.make_tensor_proto([0, 2, -2**31, 3]))
    return graph_def


@pytest.mark.parametrize('crashing, found', [((), 'None'), (['op0'], 'op0'), (['op4'], 'op4'), (['op3', 'op2'], 'op2')])
def test_the_first_node_that_crashes(forked_python, crashing, found):
    done = subprocess.run([forked_python, '-c', _FIND], input=_graph(crashing).SerializeToString(), stdout=subprocess.PIPE)
    assert done.stdout.decode().strip() == found
