"""Float networks with their plans."""
from typing import NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph.view import GraphView
from vai_q_tf.passes import optimise
from vai_q_tf.plan.annotate import annotate
from vai_q_tf.plan.positions import final_positions
from vai_q_tf.plan.positions.position_rules import position_rules
from vai_q_tf.plan.quant_plan import QuantPlan
from vai_q_tf.ptq.calibration.calibrate import calibrate
from vai_q_tf.ptq.fitting.positions import LegalPositions


class Planned(NamedTuple):
    """A float graph after the passes, its plan and config."""
    graph_def: tf.GraphDef
    plan: QuantPlan
    config: QuantizeConfig

    @property
    def legal(self):
        return LegalPositions(position_rules(self.plan, self.config))

    @property
    def tensors(self):
        return {record.name: record for record in self.plan.tensors}

    def calibrated(self, feeds):
        """{quantized tensor: position} by votes of the batches, a list of {placeholder: array}."""
        feeds, config = indexed(feeds), self.config.replace(calib_iter=len(feeds))
        observed = calibrate(self.graph_def, self.plan, config, feeds.__getitem__).observed
        return final_positions.decide(self.plan, observed, self.config)


def planned(outputs, inputs=('x',), passes=True, **fields):
    """The Planned of the default graph. outputs: tensors or names of nodes. passes: whether to run these first."""
    graph_def = tf.get_default_graph().as_graph_def()
    names = [getattr(output, 'op', output) for output in outputs]
    config = QuantizeConfig(list(inputs), [getattr(name, 'name', name) for name in names], **fields)
    if passes:
        graph_def = optimise(graph_def, config)
    return Planned(graph_def, annotate(GraphView(graph_def), config), config)


def indexed(batches):
    """Batches {placeholder: array} as feeds {tensor name: array}."""
    return [{name + ':0': value for name, value in batch.items()} for batch in batches]


def images(*shape, seed=0):
    return np.random.RandomState(seed).uniform(-1, 1, shape).astype(np.float32)


def constant(*shape, name=None, seed=0, scale=1.0):
    random = np.random.RandomState(seed + sum(shape))
    return tf.constant(random.normal(0, scale, shape).astype(np.float32), name=name)


def positions_of(case: Planned, **given):
    """{quantized tensor: position}: 6 for activations, 7 for weights and biases, which is legal, except for those given."""
    found = {record.name: 6 if record.mode == 1 else 7 for record in case.plan.tensors}
    found.update(given)
    return found
