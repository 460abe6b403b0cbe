"""Small networks to try single aids on."""
import numpy as np
import tensorflow.compat.v1 as tf

from tests.ptq.equalization.graphs import Builder, run_on
from vai_q_tf import passes
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph.view import GraphView
from vai_q_tf.plan.annotate import annotate
from vai_q_tf.ptq.calibration.calibrate import calibrate_twice
from vai_q_tf.ptq.effort.data import split
from vai_q_tf.ptq.effort.effort import Effort
from vai_q_tf.ptq.effort.judge import Judge
from vai_q_tf.ptq.effort.trial import Trial
from vai_q_tf.ptq.fitting.state import quantized_graph


def graph_of(build, shape, seed=0):
    """The GraphDef that `build` makes with a Builder, and the name of the node that it returns."""
    with tf.Graph().as_default() as graph:
        output = build(Builder([None] + list(shape), seed)).op.name
    return graph.as_graph_def(), output


def noise_ratio(expected, actual):
    """Signal to noise in dB."""
    error = np.square(np.subtract(expected, actual, dtype=np.float64)).sum()
    return 10 * np.log10(np.square(expected, dtype=np.float64).sum() / error) if error else np.inf


def _calibrated(build, feeds, fields):
    """(output, config, optimised GraphDef, plan, [by votes, by errors]); the last result is kept for the next aid."""
    key = build, feeds, fields
    if not (_LAST and build is _LAST[0][0] and fields == _LAST[0][2] and len(feeds) == len(_LAST[0][1]) and all(
            np.array_equal(feed['x:0'], other['x:0']) for feed, other in zip(feeds, _LAST[0][1]))):
        graph_def, output = graph_of(build, feeds[0]['x:0'].shape[1:])
        config = QuantizeConfig(['x'], [output], calib_iter=len(feeds), **fields)
        graph_def = passes.optimise(graph_def, config)
        plan = annotate(GraphView(graph_def), config)
        _LAST[:] = [key, (output, config, graph_def, plan, calibrate_twice(graph_def, plan, config, feeds.__getitem__))]
    return _LAST[1]


_LAST = []


class Tried:
    """Aids tried on a network.

    Args:
      build: see `graph_of`. batches: the calibration data, arrays. aids: their names.
      fields: of QuantizeConfig.

    Attributes:
      rows: {aid: Row}. state: the State that was chosen. values: the float values that it approximates.
    """

    def __init__(self, build, batches, aids, **fields):
        feeds = [{'x:0': batch} for batch in batches]
        self.output, config, self.graph_def, self.plan, (votes, by_errors) = _calibrated(build, feeds, fields)
        data = split(feeds)
        effort = Effort(self.graph_def, self.plan, config, votes.observed, by_errors.observed, data,
                        Judge(self.graph_def, self.plan, data.fitted, data.unseen))
        effort.run(aids)
        best = effort.result()
        self.state, self.values = best.state, best.setting.values
        self.rows = {row.aid: row for row in effort.rows}

    def quality(self, x):
        """The signal-to-noise ratio on data, in dB."""
        expected, = run_on(self.graph_def, [self.output], x)
        quantized = {record.tensor: record.name for record in self.plan.tensors}
        actual, = run_on(quantized_graph(self.graph_def, self.plan, self.state), [quantized.get(self.output, self.output)], x)
        return noise_ratio(expected, actual)


def images(count, *shape, seed=0, batches=4, low=-1.0, high=1.0):
    """Random batches."""
    random = np.random.RandomState(seed)
    return [random.uniform(low, high, (count,) + shape).astype(np.float32) for _ in range(batches)]


def made_trial(fitted, unseen):
    """A Trial with these signal-to-noise ratios in dB. All images of a part have the same error."""
    errors = [np.inf if np.isnan(ratio) else 10 ** (-ratio / 10) for ratio in (fitted, unseen)]
    return Trial(None, None, fitted, unseen, np.repeat(errors, 50))
