"""Efforts: how much is done to make a quantized network compute what the float network does.

An aid changes what the walk through the layers begins with, or what it does at each. It stays only if the outputs, on data that
nothing was fitted on, come nearer to those of the float network.
"""
from typing import Dict, NamedTuple

import numpy as np

from vai_q_tf.export.constants import ConstantQuantizer
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.view import GraphView
from vai_q_tf.plan import final_positions
from vai_q_tf.plan.position_rules import active_alignments, position_rules
from vai_q_tf.ptq.calibration.calibrate import calibrate_by_errors
from vai_q_tf.ptq.effort.judge import Judge, decibels
from vai_q_tf.ptq.effort.walk import Walk
from vai_q_tf.ptq.equalization.channels import SCALES, observe_channels
from vai_q_tf.ptq.equalization.dead_channels import silence_dead_channels
from vai_q_tf.ptq.equalization.noise_equalization import equalize
from vai_q_tf.ptq.equalization.pairs import find_pairs
from vai_q_tf.ptq.fitting.layers import find_layers
from vai_q_tf.ptq.fitting.legal import LegalPositions
from vai_q_tf.ptq.fitting.state import State, quantized_graph
from vai_q_tf.ptq.fitting.weight_fit import WeightFit

# In dB: what an aid has to gain on unseen data, and how much more it may gain on the data that it was fitted on.
_LEAST_GAIN = 0.1
_MOST_FITTED = 6.0


class Row(NamedTuple):
    """What an aid did: signal-to-noise ratios of the outputs on unseen data without and with it, in dB; why it was not kept."""
    aid: str
    before: float
    after: float
    rejected: str

    @property
    def kept(self):
        return not self.rejected


class Setting(NamedTuple):
    """What a walk begins with, and how it fits weights.

    values: {Const: array} where it is not that of the float graph. observed: {name: Observation}. align_pool: as in
    QuantizeConfig. scales: {layer: what its channels were multiplied by}. fits, refits: whether weights are rounded by the
    error of results, and refitted before that.
    """
    values: Dict[str, np.ndarray]
    observed: Dict[str, final_positions.Observation]
    align_pool: int
    scales: Dict[str, np.ndarray]
    fits: bool = False
    refits: bool = False


class Trial(NamedTuple):
    """A quantized form. fitted, unseen: signal-to-noise ratios of its outputs on data that it was fitted on and on data that it
    was not, in dB."""
    setting: Setting
    state: State
    fitted: float
    unseen: float


class Effort:
    """A network whose quantized form is improved, aid by aid.

    Args:
      float_graph, plan, config: the network. observed: {name: Observation} by votes.
      data: Data. judge: a Judge on that; of `float_graph`, where it is not given.

    Attributes:
      rows: a Row for each aid that was tried.
    """

    def __init__(self, float_graph, plan, config, observed, data, gpu_memory_fraction=None, judge=None):
        self._float_graph, self._plan, self._config, self._data = float_graph, plan, config, data
        self._fraction = gpu_memory_fraction
        self._layers = find_layers(float_graph, plan)
        self._view = GraphView(float_graph)
        self._judge = judge or Judge(float_graph, plan, data.fitted, data.unseen, gpu_memory_fraction)
        self._start = Setting({}, observed, config.align_pool, {})
        self._best = self._walk(self._start, 'Bias correction')
        self.rows = []

    def standard(self, by_errors):
        """The aids of the effort `standard`; by_errors: {name: Observation}."""
        self._silence_dead_channels()
        setting = self._best.setting
        self._try('positions by error', setting._replace(observed=self._observed(by_errors, setting.values)))
        if self._config.align_pool is None and any(
                alignment.kind == 'pool' for alignment in active_alignments(self._plan, self._config)):
            self._try('pools not aligned', self._best.setting._replace(align_pool=2))

    def high(self, error_plan):
        """The aids of the effort `high`, after those of `standard`. error_plan: as in `calibrate_twice`."""
        self._try('rounding with error feedback', self._best.setting._replace(fits=True))
        self._try('refitted weights', self._best.setting._replace(fits=True, refits=True))
        self._equalize(error_plan)

    def result(self):
        """The best Trial; the walk itself is judged, too."""
        plain, fast = (self._judged(setting, self._begin(setting)) for setting in (self._best.setting, self._start))
        rejected = why_not(plain, self._best)
        self.rows.append(Row('bias correction', plain.unseen, self._best.unseen, rejected))
        return max(fast, plain, self._best, key=lambda trial: trial.unseen + _LEAST_GAIN * (trial is fast))

    def _silence_dead_channels(self):
        sources = {tensor: layer.channel_axis for layer in self._layers for tensor in (layer.source, layer.result)}
        found = observe_channels(self._float_graph, sources, self._data.fitted, self._fraction)
        arrays = {name: self._view.value(name) for layer in self._layers for name in layer.constants}
        values = silence_dead_channels(self._layers, arrays, found)
        if values:
            self._try('dead channels', self._best.setting._replace(
                values=values, observed=self._observed(self._best.setting.observed, values)))

    def _equalize(self, error_plan):
        setting, pairs = self._best.setting, find_pairs(self._float_graph, self._plan, self._layers)
        if not pairs:
            return
        members = {layer.node: layer for pair in pairs for layer in (pair.head, pair.tail)}
        graph = editor.with_values(self._float_graph, setting.values)
        tensors = {tensor: -1 for layer in members.values() for tensor in (layer.source, layer.result)}
        found = observe_channels(graph, tensors, self._data.fitted, self._fraction,
                                 clipped={pair.head.result for pair in pairs if pair.relu6})
        view = GraphView(graph)
        maps = {name: layer.grouped(view.value(layer.weight.tensor)).astype(np.float64) for name, layer in members.items()}
        positions = {name: self._best.state.positions[layer.output] for name, layer in members.items()}
        scales = {name: SCALES[chosen] for name, chosen in equalize(pairs, maps, found, positions).items()}
        values = dict(setting.values)
        for name, layer in members.items():
            values[layer.weight.tensor] = layer.ungrouped(maps[name], view.value(layer.weight.tensor).shape)
            if layer.bias and name in scales:
                bias = view.value(layer.bias.tensor)
                values[layer.bias.tensor] = (bias * scales[name].reshape(bias.shape)).astype(np.float32)
        feeds = self._data.everything
        observed = calibrate_by_errors(editor.with_values(self._float_graph, values), error_plan,
                                       self._config.replace(calib_iter=len(feeds)), feeds.__getitem__, self._fraction).observed
        self._try('equalization', setting._replace(values=values, observed=observed, scales=scales))

    def _observed(self, observed, values):
        """Observations with those of changed constants in their place."""
        changed = {}
        with ConstantQuantizer() as quantizer:
            for record in self._plan.tensors:
                if record.tensor in values:
                    with_errors = observed[record.name].errors is not None
                    changed[record.name] = quantizer.search(record, values[record.tensor], with_errors)
        return dict(observed, **changed)

    def _try(self, aid, setting):
        """Takes an aid's setting over if it gains."""
        trial = self._walk(setting, aid.capitalize())
        rejected = why_not(self._best, trial)
        self.rows.append(Row(aid, self._best.unseen, trial.unseen, rejected))
        if not rejected:
            self._best = trial

    def _walk(self, setting, text):
        legal = LegalPositions(position_rules(self._plan, self._config_of(setting)))
        fit = WeightFit(self._float_graph, legal, setting.refits) if setting.fits else None
        walk = Walk(self._float_graph, self._plan, self._layers, self._begin(setting), legal, self._data.fitted, fit,
                    setting.scales, self._fraction)
        return self._judged(setting, walk.run(text))

    def _begin(self, setting):
        return State(setting.values, final_positions.decide(self._plan, setting.observed, self._config_of(setting)))

    def _config_of(self, setting):
        return self._config.replace(align_pool=setting.align_pool)

    def _judged(self, setting, state):
        return Trial(setting, state, *map(decibels, self._judge.errors(
            quantized_graph(self._float_graph, self._plan, state))))


def why_not(best, trial):
    """Why a trial does not take the place of the best one; '' if it does."""
    gain, fitted_gain = trial.unseen - best.unseen, trial.fitted - best.fitted
    if not gain >= _LEAST_GAIN:
        return 'no gain'
    if fitted_gain - gain > _MOST_FITTED:
        return 'it gains {:.1f} dB on the data that it was fitted on'.format(fitted_gain)
    return ''
