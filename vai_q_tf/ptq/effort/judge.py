"""How far the outputs of a quantized network are from those of the float network."""

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import ops
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.sessions import session_config
from vai_q_tf.graph.view import GraphView, indexed_name, tensor_name


def relative_error(expected, actual):
    """The squared error of outputs relative to the squares of the expected ones, the mean over the outputs.

    expected, actual: lists of batches, each a list of one array an output. Outputs that should be all zeros count as they are.
    """
    total = 0.0
    for one, other in zip(zip(*expected), zip(*actual)):
        energy = sum(float(np.square(value, dtype=np.float64).sum()) for value in one)
        error = sum(float(np.square(np.subtract(value, given, dtype=np.float64)).sum()) for value, given in zip(one, other))
        total += error / (energy or 1.0)
    return total / len(expected[0])


class Judge:
    """Judges quantized forms of a float GraphDef by its outputs, on data that aids are fitted on and on data that they are not.

    Args:
      float_graph, plan: the network.
      fitted, unseen: lists of feeds {tensor name: array}.
    """

    def __init__(self, float_graph, plan, fitted, unseen, gpu_memory_fraction=None):
        ops.load_library()
        self._outputs, self._data = _outputs(float_graph, plan), (fitted, unseen)
        quantized = {record.tensor: record.name for record in plan.tensors}
        self._quantized_outputs = [quantized.get(name, name) for name in self._outputs]
        self._fraction = gpu_memory_fraction
        self._expected = self._run(float_graph, self._outputs, self._data)

    def errors(self, graph_def):
        """(relative error on the fitted data, on the unseen data) of a quantized GraphDef; as much of each."""
        count = len(self._data[1])
        actual = self._run(graph_def, self._quantized_outputs, [feeds[:count] for feeds in self._data])
        return tuple(relative_error(expected[:count], given) for expected, given in zip(self._expected, actual))

    def fitted_error(self, graph_def):
        """The relative error on all fitted data."""
        return relative_error(self._expected[0], self._run(graph_def, self._quantized_outputs, self._data[:1])[0])

    def _run(self, graph_def, tensors, data):
        """For each list of feeds in `data` the values of the tensors, a list a batch."""
        with tf.Graph().as_default() as graph:
            large_constants.import_graph_def(graph_def, name='')
            with large_constants.session(graph, session_config(self._fraction)) as session:
                return [[session.run(list(map(indexed_name, tensors)), feed) for feed in feeds] for feeds in data]


def _outputs(float_graph, plan):
    """The tensors of numbers that the output nodes give."""
    view = GraphView(float_graph)
    return [tensor_name(name, index) for name in plan.output_nodes for index, dtype in enumerate(view.output_types(name))
            if dtype.is_floating]
