"""Efforts: sets of aids that bring the outputs of a quantized network nearer to those of the float network.

An aid changes the start of the walk through the layers, or how the walk fits each of them. It is kept only if the outputs come
nearer to the float ones on data that nothing was fitted on.
"""
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.export.constants import ConstantQuantizer
from vai_q_tf.fixed_point import POSITION_ZERO, limits
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.view import GraphView
from vai_q_tf.plan.positions import final_positions
from vai_q_tf.plan.positions.joined import active_alignments
from vai_q_tf.plan.positions.position_rules import position_rules
from vai_q_tf.plan.quant_plan import ACTIVATION_MODE, QuantPlan
from vai_q_tf.ptq.effort.data import Data
from vai_q_tf.ptq.effort.judge import Judge
from vai_q_tf.ptq.effort.trial import Observed, Setting, Trial, judged, loses, no_gain, why_not
from vai_q_tf.ptq.effort.walk import Walk
from vai_q_tf.ptq.equalization.channels import FACTORS, Clip, observe_channels
from vai_q_tf.ptq.equalization.dead_channels import reads_channels_alone, silence_dead_channels
from vai_q_tf.ptq.equalization.noise_equalization import Pair, equalize
from vai_q_tf.ptq.equalization.pairs import find_pairs, unclipped_by
from vai_q_tf.ptq.equalization.ranges import observe_ranges
from vai_q_tf.ptq.fitting.bias_correction import Summary
from vai_q_tf.ptq.fitting.layers import Layer, find_layers
from vai_q_tf.ptq.fitting.positions import LegalPositions
from vai_q_tf.ptq.fitting.state import State, quantized_graph
from vai_q_tf.ptq.fitting.weight_fit import WeightFit
from vai_q_tf.types import Values

_DEAD, _REFIT = 'dead channels', 'refitted weights'
_BY_ERROR, _POOLS = _POSITIONS = 'positions by error', 'pools not aligned'
_GROUPS = 'positions of groups by output error'
# In the order of trial. An aid that was rejected before another one was kept is tried again: the errors that the other one
# removed may have hidden its gain.
AIDS = {'standard': (_DEAD,) + _POSITIONS + (_REFIT,) + _POSITIONS + (_GROUPS,),
        'high': (_DEAD,) + _POSITIONS + ('rounding with error feedback', _REFIT) + _POSITIONS + (_GROUPS, 'equalization')}
_MOST_CANDIDATES = 4  # for the position of a group


class Row(NamedTuple):
    """The outcome of an aid. before, after: signal-to-noise ratios of the outputs on unseen data without and with it, in dB.

    rejected: why it was not kept, '' if it was.
    """
    aid: str
    before: float
    after: float
    rejected: str

    @property
    def kept(self) -> bool:
        return not self.rejected


class Effort:
    """Improves the quantized form of a network, aid by aid.

    Args:
      float_graph, plan, config: the network.
      observed: {quantized tensor: Observation} at the start. by_errors: the same by 'mse', None if the config has positions_by.
      data: Data. judge: the Judge on it.

    Attributes:
      rows: a Row for each aid that was tried, and after `result` for the bias correction and for all together.
    """

    def __init__(self, float_graph: tf.GraphDef, plan: QuantPlan, config: QuantizeConfig, observed: Observed,
                 by_errors: Optional[Observed], data: Data, judge: Judge, gpu_memory_fraction: Optional[float] = None) -> None:
        self._float_graph, self._plan, self._config, self._data = float_graph, plan, config, data
        self._by_errors, self._fraction = by_errors, gpu_memory_fraction
        self._layers = find_layers(float_graph, plan)
        self._tensors = {record.name: record for record in plan.tensors}
        self._view = GraphView(float_graph)
        self._judge = judge
        self._summaries: Dict[str, Summary] = {}
        start = Setting({}, observed, config.align_pool, {})
        self._fast = self._unfitted = self._best = self._judged(start, self._begin(start))
        self._accepted: Optional[Trial] = None  # the Trial whose walk gained over its start
        self._rejected: Dict[str, Trial] = {}  # {aid: the Trial that it did not replace}
        self.rows: List[Row] = []

    def run(self, aids: Sequence[str]) -> None:
        """Tries aids, names out of AIDS, each in addition to those kept before."""
        silenced = self._dead_channels(self._best.setting) if _DEAD in aids else None
        propose = {_DEAD: lambda setting: silenced,
                   'rounding with error feedback': lambda setting: setting._replace(fits=True),
                   _REFIT: lambda setting: setting._replace(fits=True, refits=True),
                   _BY_ERROR: self._positions_by_error, _POOLS: self._pools_apart,
                   _GROUPS: self._positions_of_groups, 'equalization': self._equalization}
        if silenced is not None and self._gains_at_once(silenced):
            aids = [aid for aid in aids if aid != _DEAD]
        for aid in filter(self._is_due, aids):
            setting = propose[aid](self._best.setting)
            if setting is not None:
                self._best = self._try(aid, setting)
        self._correct_biases()

    def _gains_at_once(self, setting: Setting) -> bool:
        """Keeps silenced dead channels if they gain before anything is fitted, which saves a walk; whether it does."""
        trial = self._judged(setting, self._begin(setting))
        if why_not(self._fast, trial):
            return False
        self._unfitted = self._best = self._keep(_DEAD, self._fast, trial, '')
        return True

    def _is_due(self, aid: str) -> bool:
        """Whether an aid was not tried yet, or rejected before another one was kept."""
        tried = [row for row in self.rows if row.aid == aid]
        return not tried or not tried[0].kept and self._rejected[aid] is not self._best

    def _try(self, aid: str, setting: Setting) -> Trial:
        """The Trial that stays.

        For pools new positions are tried alone: if they gain nothing, no walk is made. If weights are refitted in the first
        walk, corrected biases alone are tried only if it gains nothing over the start.
        """
        if aid == _REFIT and self._best is self._unfitted:
            trial = self._walk(setting, aid.capitalize())
            if not why_not(self._best, trial):
                self._accepted = self._keep(aid, self._best, trial, '')
                return trial
            self._correct_biases()
            return self._keep(aid, self._best, trial, why_not(self._best, trial))
        self._correct_biases()
        if aid == _POOLS:
            trial = self._judged(setting, self._with_positions(setting))
            if trial.fitted <= self._best.fitted or trial.unseen <= self._best.unseen:
                return self._keep(aid, self._best, trial, no_gain(self._best, trial) or loses(self._best, trial))
        trial = self._walk(setting, aid.capitalize())
        return self._keep(aid, self._best, trial, why_not(self._best, trial))

    def _correct_biases(self) -> None:
        """The first walk, unless there was one."""
        if self._best is self._unfitted:
            self._best = self._walk(self._best.setting, 'Bias correction')

    def result(self) -> Trial:
        """The best Trial, after the walk itself is judged, and all aids together against calibration alone."""
        best = self._best if self._best is self._accepted else self._judge_walk(self._best.setting)
        return self._keep('all together', self._fast, best, why_not(self._fast, best, together=True))

    def _judge_walk(self, setting: Setting) -> Trial:
        """The Trial that stays: the best one, or that of the start of its walk."""
        begin = self._begin(setting)
        plain = self._unfitted if begin == self._unfitted.state else self._judged(setting, begin)
        walked = 'fitted biases and weights' if setting.fits else 'bias correction'
        return self._keep(walked, plain, self._best, why_not(plain, self._best, together=True))

    def _keep(self, aid: str, former: Trial, trial: Trial, rejected: str) -> Trial:
        """The Trial that stays of two; adds a Row, or replaces that of the last trial of the aid."""
        self.rows = [row for row in self.rows if row.aid != aid] + [Row(aid, former.unseen, trial.unseen, rejected)]
        if not rejected:
            return trial
        self._rejected[aid] = former
        return former

    # The aids: each returns a new Setting, or None if it has nothing to do.

    def _dead_channels(self, setting: Setting) -> Optional[Setting]:
        if not self._layers:
            return None
        axes = {layer.source: layer.channel_axis for layer in self._layers if reads_channels_alone(self._view, layer)}
        axes.update((layer.result, layer.channel_axis) for layer in self._layers)
        found = observe_ranges(self._float_graph, axes, self._data.fitted, self._fraction)
        arrays = {name: self._view.value(name) for layer in self._layers for name in layer.constants}
        values = silence_dead_channels(self._view, self._layers, arrays, found)
        if not values:
            return None
        # If a dead channel left no precision to the other weights, calibration by votes observed wrong values after them.
        # Errors are those of the float network.
        observed = setting.observed if self._by_errors is None else self._by_errors
        return setting._replace(values=values, observed=self._of_changed_constants(observed, values))

    def _positions_by_error(self, setting: Setting) -> Optional[Setting]:
        if self._by_errors is None:
            return None
        return self._if_new(setting, setting._replace(
            observed=self._of_changed_constants(self._by_errors, setting.values)))

    def _pools_apart(self, setting: Setting) -> Optional[Setting]:
        pools = [alignment for alignment in active_alignments(self._plan, self._config) if alignment.kind == 'pool']
        return self._if_new(setting, setting._replace(align_pool=2)) if pools and self._config.align_pool == 0 else None

    def _positions_of_groups(self, setting: Setting) -> Optional[Setting]:
        """The position of each group with the least error of the outputs, between the best positions of its members."""
        self._correct_biases()
        config = self._config_of(setting)
        chosen: Dict[str, int] = {}
        for names in final_positions.shared(self._plan, config):
            suited = [setting.observed[name].position for name in names]
            suited = [position for position in suited if position != POSITION_ZERO]
            candidates = range(min(suited), max(suited) + 1)[:_MOST_CANDIDATES] if suited else ()
            if len(candidates) > 1:
                chosen[names[0]] = min(candidates, key=lambda position: self._fitted_error(
                    setting._replace(chosen=dict(chosen, **{names[0]: position}))))
        return self._if_new(setting, setting._replace(chosen=chosen))

    def _if_new(self, setting: Setting, changed: Setting) -> Optional[Setting]:
        """A changed Setting, None if the walk would begin as with the former one."""
        return changed if self._begin(changed) != self._begin(setting) else None

    @large_constants.kept_apart()
    def _fitted_error(self, setting: Setting) -> float:
        return self._judge.fitted_error(quantized_graph(self._float_graph, self._plan, self._with_positions(setting)))

    def _with_positions(self, setting: Setting) -> State:
        """The best State, with activations at the positions of a Setting."""
        fitted = {record.name: self._best.state.positions[record.name] for record in self._plan.tensors
                  if record.mode != ACTIVATION_MODE}
        return self._best.state._replace(positions=dict(self._begin(setting).positions, **fitted))

    @large_constants.kept_apart()
    def _equalization(self, setting: Setting) -> Optional[Setting]:
        self._correct_biases()
        pairs = [pair for pair in find_pairs(self._float_graph, self._plan, self._layers)
                 if self._best.state.positions[pair.head.output] != POSITION_ZERO]
        if not pairs:
            return None
        members = {layer.node: layer for pair in pairs for layer in (pair.head, pair.tail)}
        tensors = {tensor: -1 for layer in members.values() for tensor in (layer.source, layer.result)}
        unclipped = unclipped_by(pairs, self._plan) if self._config.replace_relu6 else {}
        clips = {pair.head.result: self._clip(pair, unclipped) for pair in pairs}
        graph = editor.with_values(self._float_graph, setting.values)
        found = observe_channels(graph, tensors, self._data.fitted, self._fraction, clips)
        view = GraphView(graph)
        arrays = {name: view.value(name) for layer in members.values() for name in layer.constants}
        maps = {name: layer.grouped(arrays[layer.weight.tensor]).astype(np.float64) for name, layer in members.items()}
        positions = {name: self._best.state.positions[layer.output] for name, layer in members.items()}
        scales = equalize(pairs, maps, found, clips, positions)
        values = dict(setting.values, **_scaled_constants(arrays, members, maps, scales))
        return setting._replace(values=values, scales=scales, unclipped=unclipped,
                                observed=self._of_changed_constants(setting.observed, values))

    def _clip(self, pair: Pair, unclipped: Mapping[str, str]) -> Clip:
        """The Clip of the head of a Pair, at the position that its quantized result has now."""
        record = self._tensors[pair.head.output]
        _, high = limits(self._best.state.positions[record.name], record.bits, record.narrow_range)
        if pair.head.node in unclipped:
            return Clip(FACTORS * high / 6, high, True)
        return Clip(FACTORS, min(high, 6) if pair.relu6 else high, bool(pair.relu6))

    def _of_changed_constants(self, observed: Observed, values: Values) -> Observed:
        """The observations, with new ones of the constants in `values`."""
        changed = {}
        with ConstantQuantizer() as quantizer:
            for record in self._plan.tensors:
                if record.tensor in values:
                    with_errors = observed[record.name].errors is not None
                    changed[record.name] = quantizer.search(record, values[record.tensor], with_errors)
        return dict(observed, **changed)

    def _walk(self, setting: Setting, text: str) -> Trial:
        return self._judged(setting, self._walked(setting, text))

    @large_constants.kept_apart()
    def _walked(self, setting: Setting, text: str) -> State:
        legal = LegalPositions(position_rules(self._plan, self._config_of(setting)))
        fit = WeightFit(self._float_graph, legal, setting.refits) if setting.fits else None
        walk = Walk(self._float_graph, self._plan, self._layers, self._begin(setting), legal, self._data.fitted, fit,
                    setting.scales, self._summaries, self._fraction)
        return walk.run(text)

    def _begin(self, setting: Setting) -> State:
        return State(setting.values, final_positions.decide(
            self._plan, setting.observed, self._config_of(setting), setting.chosen), setting.unclipped)

    def _config_of(self, setting: Setting) -> QuantizeConfig:
        return self._config.replace(align_pool=setting.align_pool)

    @large_constants.kept_apart()
    def _judged(self, setting: Setting, state: State) -> Trial:
        return judged(self._judge, setting, state, quantized_graph(self._float_graph, self._plan, state))


def _scaled_constants(arrays: Values, layers: Mapping[str, Layer], maps: Values, scales: Values) -> Dict[str, np.ndarray]:
    """{Const: array} of layers with equalized maps, and with their biases scaled."""
    values = {}
    for name, layer in layers.items():
        values[layer.weight.tensor] = layer.ungrouped(maps[name], arrays[layer.weight.tensor].shape)
        if layer.bias and name in scales:
            bias = arrays[layer.bias.tensor]
            values[layer.bias.tensor] = (bias * scales[name].reshape(bias.shape)).astype(np.float32)
    return values
