"""Efforts: sets of aids that bring the outputs of a quantized network nearer to those of the float network.

An aid changes the start of the walk through the layers, or how the walk fits each of them. It is kept only if the outputs come
nearer to the float ones on data that nothing was fitted on.
"""
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.decibels import decibels
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
from vai_q_tf.ptq.effort.walk import Walk
from vai_q_tf.ptq.equalization.channels import FACTORS, Clip, observe_channels
from vai_q_tf.ptq.equalization.dead_channels import reads_channels_alone, silence_dead_channels
from vai_q_tf.ptq.equalization.noise_equalization import Pair, equalize
from vai_q_tf.ptq.equalization.pairs import find_pairs, unclipped_by
from vai_q_tf.ptq.fitting.bias_correction import Summary
from vai_q_tf.ptq.fitting.layers import Layer, find_layers
from vai_q_tf.ptq.fitting.legal import LegalPositions
from vai_q_tf.ptq.fitting.state import State, quantized_graph
from vai_q_tf.ptq.fitting.weight_fit import WeightFit
from vai_q_tf.types import Values

_WEIGHTS = ('rounding with error feedback', 'refitted weights')
_DEAD, _POOLS = 'dead channels', 'pools not aligned'
_POSITIONS = ('positions by error', _POOLS, 'positions of groups by output error')
AIDS = {'standard': (_DEAD,) + _POSITIONS,  # in the order of trial
        'high': (_DEAD,) + _WEIGHTS + _POSITIONS + ('equalization',)}
_MOST_CANDIDATES = 4  # for the position of a group
# The least gain of an aid on unseen data, in dB; if it gains _MOST_FITTED more on fitted data, it must gain _CLEAR_GAIN.
_LEAST_GAIN = 0.1
_MOST_FITTED, _CLEAR_GAIN = 6.0, 2.0
_MORE_IMAGES = 2  # like the one on which an aid loses most; with them it must not lose

Observed = Mapping[str, final_positions.Observation]


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


class Setting(NamedTuple):
    """The start of a walk, and how it fits weights.

    values: {Const: array} for those with other values than in the float graph. observed: {quantized tensor: Observation}.
    align_pool: as in QuantizeConfig. scales: {weighted op: factors on the channels of its result}. unclipped: as in State.
    chosen: {quantized tensor: position of its group}, see `final_positions.decide`. fits: whether weights are rounded by the
    error of results; refits: whether they are refitted before that.
    """
    values: Dict[str, np.ndarray]
    observed: Observed
    align_pool: int
    scales: Dict[str, np.ndarray]
    unclipped: Dict[str, str] = {}
    chosen: Dict[str, int] = {}
    fits: bool = False
    refits: bool = False


class Trial(NamedTuple):
    """A Setting, the State that results, and what the Judge found.

    fitted, unseen: the signal-to-noise ratios of the outputs on both parts of the data, in dB. images: the error of each image.
    """
    setting: Setting
    state: State
    fitted: float
    unseen: float
    images: np.ndarray


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
        self.rows: List[Row] = []

    def run(self, aids: Sequence[str]) -> None:
        """Tries aids, names out of AIDS, each in addition to those kept before."""
        silenced = self._dead_channels(self._best.setting) if _DEAD in aids else None
        propose = {_DEAD: lambda setting: silenced,
                   'rounding with error feedback': lambda setting: setting._replace(fits=True),
                   'refitted weights': lambda setting: setting._replace(fits=True, refits=True),
                   'positions by error': self._positions_by_error, _POOLS: self._pools_apart,
                   'positions of groups by output error': self._positions_of_groups, 'equalization': self._equalization}
        if silenced is not None and self._gains_at_once(silenced):
            aids = [aid for aid in aids if aid != _DEAD]
        self._best = self._walk(self._best.setting, 'Bias correction')
        for aid in aids:
            setting = propose[aid](self._best.setting)
            if setting is not None:
                self._best = self._try(aid, setting)

    def _gains_at_once(self, setting: Setting) -> bool:
        """Keeps silenced dead channels if they gain before anything is fitted, which saves a walk; whether it does."""
        trial = self._judged(setting, self._begin(setting))
        if why_not(self._fast, trial):
            return False
        self._unfitted = self._best = self._keep(_DEAD, self._fast, trial, '')
        return True

    def _try(self, aid: str, setting: Setting) -> Trial:
        """The Trial that stays. For pools new positions are tried alone: if they gain nothing, no walk is made."""
        if aid == _POOLS:
            trial = self._judged(setting, self._with_positions(setting))
            if trial.fitted <= self._best.fitted:
                return self._keep(aid, self._best, trial, _no_gain(self._best, trial) or _loses(self._best, trial))
        trial = self._walk(setting, aid.capitalize())
        return self._keep(aid, self._best, trial, why_not(self._best, trial))

    def result(self) -> Trial:
        """The best Trial, after the walk itself is judged, and all aids together against calibration alone.

        However much more they gain on fitted data: these gains add up, and each aid was judged by them already.
        """
        setting = self._best.setting
        plain = self._unfitted if setting is self._unfitted.setting else self._judged(setting, self._begin(setting))
        walked = 'fitted biases and weights' if setting.fits else 'bias correction'
        best = self._keep(walked, plain, self._best, _no_gain(plain, self._best) or _risk(plain, self._best))
        return self._keep('all together', self._fast, best, _no_gain(self._fast, best) or _risk(self._fast, best))

    def _keep(self, aid: str, former: Trial, trial: Trial, rejected: str) -> Trial:
        """The Trial that stays of two; adds a Row."""
        self.rows.append(Row(aid, former.unseen, trial.unseen, rejected))
        return former if rejected else trial

    # The aids: each returns a new Setting, or None if it has nothing to do.

    def _dead_channels(self, setting: Setting) -> Optional[Setting]:
        if not self._layers:
            return None
        axes = {layer.source: layer.channel_axis for layer in self._layers if reads_channels_alone(self._view, layer)}
        axes.update((layer.result, layer.channel_axis) for layer in self._layers)
        found = observe_channels(self._float_graph, axes, self._data.fitted, self._fraction)
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
        changed = setting._replace(observed=self._of_changed_constants(self._by_errors, setting.values))
        return changed if self._begin(changed) != self._begin(setting) else None

    def _pools_apart(self, setting: Setting) -> Optional[Setting]:
        pools = [alignment for alignment in active_alignments(self._plan, self._config) if alignment.kind == 'pool']
        return setting._replace(align_pool=2) if pools and self._config.align_pool == 0 else None

    def _positions_of_groups(self, setting: Setting) -> Optional[Setting]:
        """The position of each group with the least error of the outputs, between the best positions of its members."""
        config = self._config_of(setting)
        chosen: Dict[str, int] = {}
        for names in final_positions.shared(self._plan, config):
            suited = [setting.observed[name].position for name in names]
            suited = [position for position in suited if position != POSITION_ZERO]
            candidates = range(min(suited), max(suited) + 1)[:_MOST_CANDIDATES] if suited else ()
            if len(candidates) > 1:
                chosen[names[0]] = min(candidates, key=lambda position: self._fitted_error(
                    setting._replace(chosen=dict(chosen, **{names[0]: position}))))
        changed = setting._replace(chosen=chosen)
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


def judged(judge: Judge, setting: Setting, state: State, graph_def: tf.GraphDef) -> Trial:
    """The Trial of a quantized GraphDef."""
    fitted, unseen = judge.errors_of_images(graph_def)
    return Trial(setting, state, decibels(fitted.mean()), decibels(unseen.mean()), np.concatenate([fitted, unseen]))


def why_not(best: Trial, trial: Trial) -> str:
    """Why a trial does not replace the best one, '' if it does."""
    gain, fitted_gain = trial.unseen - best.unseen, trial.fitted - best.fitted
    if fitted_gain - gain > _MOST_FITTED and _LEAST_GAIN <= gain < _CLEAR_GAIN:
        return 'it gains {:.1f} dB on the data that it was fitted on'.format(fitted_gain)
    return _no_gain(best, trial) or _risk(best, trial)


def _risk(best: Trial, trial: Trial) -> str:
    """Why a trial that gains on unseen data may lose on others, '' if it hardly can.

    The few unseen images may lack rare values of the fitted data, and all of them may lack others of the kind.
    """
    lost = trial.images - best.images
    if lost.sum() > 0:
        return _loses(best, trial)
    if lost.sum() + _MORE_IMAGES * lost.max() > 0:
        return 'more images like the one on which it loses most would undo the gain'
    return ''


def _loses(best: Trial, trial: Trial) -> str:
    lost = best.fitted - trial.fitted
    return 'it {} on the data that it was fitted on'.format('loses {:.1f} dB'.format(lost) if lost >= 0.05 else 'gains nothing')


def _no_gain(best: Trial, trial: Trial) -> str:
    return '' if trial.unseen - best.unseen >= _LEAST_GAIN else 'no gain'
