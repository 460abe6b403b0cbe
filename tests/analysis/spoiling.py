"""Random networks quantized, with one layer spoiled."""
import numpy as np
import tensorflow.compat.v1 as tf

from tests.ptq.checking import unmeasured
from tests.random_networks import LAYERS, Builder, built
from vai_q_tf import passes
from vai_q_tf.analysis.model_tensors import model_tensors
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.export import finalize
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.view import GraphView
from vai_q_tf.plan.annotate import annotate
from vai_q_tf.plan.positions import final_positions
from vai_q_tf.ptq.calibration.calibrate import calibrate
from vai_q_tf.ptq.quantize import quantize_frozen

# What is spoiled: weights by a factor, or the position of a tensor.
SPOILS = (('weight', 0.5), ('weight', 2.0), ('weight', 1.25)) + tuple(
    (role, shift) for role in ('weight', 'bias', 'activation') for shift in (-3, 3))


class Quantized:
    """A random network: its float graph before and after the passes, config, plan, model and two batches of data."""

    def __init__(self, seed):
        random = np.random.RandomState(seed)
        layers = [LAYERS[random.randint(len(LAYERS))] for _ in range(random.randint(2, 7))]
        with tf.Graph().as_default() as graph:
            outputs = [output.op.name for output in built(Builder(random.randint), layers).outputs]
            self.source = graph.as_graph_def()
        self.config = QuantizeConfig(['x'], list(dict.fromkeys(name for name in outputs if name != 'x')), calib_iter=2)
        self.feeds = [{'x:0': np.random.RandomState(step).uniform(-1, 1, (8, 8, 8, 3)).astype(np.float32)} for step in range(2)]
        self.graph = passes.optimise(self.source, self.config)
        self.plan = annotate(GraphView(self.graph), self.config)
        found = calibrate(self.graph, self.plan, self.config, self.feeds.__getitem__)
        positions = final_positions.decide(self.plan, found.observed, self.config)
        self.model = finalize.finalize(self.graph, self.plan, positions, {})
        self.tensors = model_tensors(GraphView(self.model))

    def spoiled(self, role, change, random):
        """(model, layer) with a random layer spoiled as in SPOILS; None if no layer has such a tensor."""
        layers = sorted({tensor.layer for tensor in self.tensors.values() if tensor.role == 'weight'})
        view = GraphView(self.model)
        chosen = [tensor for tensor in self.tensors.values() if tensor.role == role and tensor.layer in layers
                  and (role == 'activation' or np.any(view.value(tensor.source)))]
        if not chosen:
            return None
        tensor = chosen[random.randint(len(chosen))]
        if isinstance(change, float):
            return editor.with_values(self.model, {tensor.source: view.value(tensor.source) * change}), tensor.layer
        nodes = [editor.exact_copy(node) for node in self.model.node]
        next(node for node in nodes if node.name == tensor.name).attr['quantize_pos'].i += change
        return editor.subgraph(self.model, nodes), tensor.layer


@unmeasured()
def quantized(source, config, input_fn, directory):
    """The path of the model of a float GraphDef, calibrated on two batches."""
    return quantize_frozen(source, input_fn, config.replace(calib_iter=2, output_dir=str(directory)), effort='fast')
