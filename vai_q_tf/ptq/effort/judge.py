"""The error of the outputs of a quantized network, relative to those of the float network."""
from typing import List, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import ops
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.sessions import session_config
from vai_q_tf.graph.view import GraphView, indexed_name, tensor_name
from vai_q_tf.plan.quant_plan import QuantPlan
from vai_q_tf.types import Feed

# One array per output for each batch.
Outputs = Sequence[Sequence[np.ndarray]]


def relative_error(expected: Outputs, actual: Outputs) -> float:
    """The squared error of each output relative to the sum of its expected squares, averaged over the outputs.

    The error of an output that is expected to be all zeros is absolute.
    """
    total = 0.0
    for one, other in zip(zip(*expected), zip(*actual)):
        energy = sum(float(np.square(value, dtype=np.float64).sum()) for value in one)
        error = sum(float(np.square(np.subtract(value, given, dtype=np.float64)).sum()) for value, given in zip(one, other))
        total += error / (energy or 1.0)
    return total / len(expected[0])


class Judge:
    """Compares the outputs of quantized forms of a float GraphDef with its own, on fitted and on unseen data; see `Data`."""

    def __init__(self, float_graph: tf.GraphDef, plan: QuantPlan, fitted: Sequence[Feed], unseen: Sequence[Feed],
                 gpu_memory_fraction: Optional[float] = None) -> None:
        ops.load_library()
        self._outputs, self._data = _outputs(float_graph, plan), (fitted, unseen)
        quantized = {record.tensor: record.name for record in plan.tensors}
        self._quantized_outputs = [quantized.get(name, name) for name in self._outputs]
        self._fraction = gpu_memory_fraction
        self._expected = self._run(float_graph, self._outputs, self._data)

    def errors(self, graph_def: tf.GraphDef) -> Tuple[float, float]:
        """The relative errors of a quantized GraphDef on fitted and on unseen data, as many feeds of each."""
        count = len(self._data[1])
        fitted, unseen = self._run(graph_def, self._quantized_outputs, [feeds[:count] for feeds in self._data])
        return relative_error(self._expected[0][:count], fitted), relative_error(self._expected[1][:count], unseen)

    def fitted_error(self, graph_def: tf.GraphDef) -> float:
        """The relative error on all fitted data."""
        return relative_error(self._expected[0], self._run(graph_def, self._quantized_outputs, self._data[:1])[0])

    def _run(self, graph_def: tf.GraphDef, tensors: Sequence[str], data: Sequence[Sequence[Feed]]) -> List[Outputs]:
        """The Outputs `tensors` for each sequence of feeds in `data`."""
        with tf.Graph().as_default() as graph:
            large_constants.import_graph_def(graph_def, name='')
            with large_constants.session(graph, session_config(self._fraction)) as session:
                return [[session.run(list(map(indexed_name, tensors)), feed) for feed in feeds] for feeds in data]


def _outputs(float_graph: tf.GraphDef, plan: QuantPlan) -> List[str]:
    """The floating-point outputs of the output nodes."""
    view = GraphView(float_graph)
    return [tensor_name(name, index) for name in plan.output_nodes for index, dtype in enumerate(view.output_types(name))
            if dtype.is_floating]
