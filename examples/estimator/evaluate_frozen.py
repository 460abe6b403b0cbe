"""Accuracy of a frozen quantized model on the test digits.

    python evaluate_frozen.py quantize_eval_model_2000_20240131120000.pb

Needs only the file: neither the code of the network nor a checkpoint.
"""
import sys

import data
import numpy as np
import tensorflow as tf

import vai_q_tensorflow  # noqa: F401  (loads the ops of the quantized graph)


def accuracy(path, digits):
    """The fraction of `digits` that the frozen model classifies correctly."""
    graph_def = tf.GraphDef()
    with open(path, 'rb') as stream:
        graph_def.ParseFromString(stream.read())
    (placeholder,) = [node.name for node in graph_def.node if node.op == 'Placeholder']
    read = {name.split(':')[0] for node in graph_def.node for name in node.input}
    (output,) = [node.name for node in graph_def.node if node.name not in read]
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(graph_def, name='')
        predictions = [session.run(output + ':0', {placeholder + ':0': images}).argmax(-1)
                       for images, _ in data.batches(digits, 250)]
    return np.mean(np.concatenate(predictions) == digits.labels)


if __name__ == '__main__':
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print('accuracy {:.4f}'.format(accuracy(sys.argv[1], data.load()[1])))
