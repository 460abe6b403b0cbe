"""The errors of the outputs of a quantized network, relative to those of the float network."""
from typing import List, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import ops
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.sessions import session_config
from vai_q_tf.graph.view import GraphView, indexed_name, tensor_name
from vai_q_tf.plan.quant_plan import QuantPlan
from vai_q_tf.ptq.effort.data import count_images
from vai_q_tf.types import Feed

# One array per output for each batch.
Outputs = Sequence[Sequence[np.ndarray]]


def relative_errors(expected: Outputs, actual: Outputs, counts: Sequence[int]) -> np.ndarray:
    """The squared error of each image relative to the mean of the expected squares of all images, averaged over the outputs.

    The error of an output that is expected to be all zeros is absolute. If an error is not finite, it is infinite.

    Args:
      counts: the number of images in each batch; an output that cannot be divided by it has equal errors in all of them.
    """
    total = np.zeros(sum(counts))
    for one, other in zip(zip(*expected), zip(*actual)):
        energy = sum(float(np.square(value, dtype=np.float64).sum()) for value in one)
        errors = np.concatenate([_of_images(np.square(np.subtract(value, given, dtype=np.float64)), count)
                                 for value, given, count in zip(one, other, counts)])
        total += errors * len(total) / (energy or 1.0)
    return np.where(np.isfinite(total), total / len(expected[0]), np.inf)


def _of_images(values: np.ndarray, count: int) -> np.ndarray:
    """The sum of the values of each image in a batch."""
    if values.size % count:
        return np.full(count, values.sum() / count)
    return values.reshape(count, -1).sum(axis=1)


class Judge:
    """Compares the outputs of quantized forms of a float GraphDef with its own, on fitted and on unseen data; see `Data`."""

    def __init__(self, float_graph: tf.GraphDef, plan: QuantPlan, fitted: Sequence[Feed], unseen: Sequence[Feed],
                 gpu_memory_fraction: Optional[float] = None) -> None:
        ops.load_library()
        self._counts = [[count_images(feed) for feed in feeds] for feeds in (fitted, unseen)]
        self._outputs, self._data = _outputs(float_graph, plan), (fitted, unseen)
        quantized = {record.tensor: record.name for record in plan.tensors}
        self._quantized_outputs = [quantized.get(name, name) for name in self._outputs]
        self._fraction = gpu_memory_fraction
        self._expected = self._run(float_graph, self._outputs, self._data)

    def errors_of_images(self, graph_def: tf.GraphDef) -> Tuple[np.ndarray, np.ndarray]:
        """The relative errors of a quantized GraphDef on the images of fitted and of unseen data, as many feeds of each."""
        feeds = len(self._data[1])
        actual = self._run(graph_def, self._quantized_outputs, [part[:feeds] for part in self._data])
        fitted, unseen = (relative_errors(expected[:feeds], outputs, counts[:feeds])
                          for expected, outputs, counts in zip(self._expected, actual, self._counts))
        return fitted, unseen

    def errors(self, graph_def: tf.GraphDef) -> Tuple[float, float]:
        """The means of `errors_of_images`."""
        fitted, unseen = self.errors_of_images(graph_def)
        return float(fitted.mean()), float(unseen.mean())

    def fitted_error(self, graph_def: tf.GraphDef) -> float:
        """The relative error on all fitted data."""
        actual, = self._run(graph_def, self._quantized_outputs, self._data[:1])
        return float(relative_errors(self._expected[0], actual, self._counts[0]).mean())

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
