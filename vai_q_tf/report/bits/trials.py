"""A prepared network that is quantized with various bits and measured on the same data."""
import itertools
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence

import numpy as np

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.frozen.load import runnable
from vai_q_tf.graph.view import GraphView, node_name, output_index
from vai_q_tf.plan.annotate import annotate
from vai_q_tf.plan.overrides import entry_names, resolver
from vai_q_tf.plan.positions import final_positions
from vai_q_tf.plan.positions.position_rules import position_rules
from vai_q_tf.plan.quant_plan import QuantPlan
from vai_q_tf.ptq.calibration.calibrate import calibrate
from vai_q_tf.ptq.calibration.switchable_network import SwitchableNetwork, output_errors
from vai_q_tf.ptq.prepare import Prepared
from vai_q_tf.terminal.progress import progress
from vai_q_tf.types import Positions, TensorShapeProto


class Quantized(NamedTuple):
    """A calibrated network: its config, plan and positions. shapes: {node: [shape of each output]}."""
    config: QuantizeConfig
    plan: QuantPlan
    positions: Dict[str, int]
    shapes: Dict[str, List[TensorShapeProto]]


class Trials:
    """Experiments on one network and its calibration data, which the constructor reads.

    Args:
      prepared: Prepared. config: the QuantizeConfig that it was prepared with.
      batches: the number of batches to measure on, from the first one; all if there are fewer.
      gpu_memory_fraction: see `session_config`.
    """

    def __init__(self, prepared: Prepared, config: QuantizeConfig, batches: int, gpu_memory_fraction: Optional[float]) -> None:
        self._graph_def, self._config, self._memory = prepared.graph_def, config, gpu_memory_fraction
        self._runnable = runnable(prepared.graph_def)
        self._view = GraphView(prepared.graph_def)
        steps = progress(range(config.calib_iter), config.calib_iter, 'Calibration data')
        self._feeds = [prepared.feed(step) for step in steps]
        self._measured = self._feeds[:batches]
        self._default = _bits(annotate(self._view, config.replace(nodes_bit=[])))
        self._resolve = resolver(self._view, prepared.plan)
        self._entries = entry_names(self._view, prepared.plan, prepared.names)

    @property
    def batches(self) -> int:
        """The number of batches that are measured on."""
        return len(self._measured)

    def can_name(self, name: str) -> bool:
        """Whether an entry of nodes_bit can mean this tensor alone."""
        return frozenset([name]) in self._entries

    def with_bits(self, bits: Mapping[str, int]) -> QuantizeConfig:
        """The config in which tensors have the `bits`, {name: bits}.

        Entries of nodes_bit for these tensors are replaced, others stay. A tensor that no entry can name alone, such as one
        that the passes added, gets its bits by an entry for several tensors, if all of them get the same; else it keeps them.
        """
        meant = {entry: set(self._resolve(entry.rpartition(':')[0].strip())[1]) for entry in self._config.nodes_bit}
        kept = [entry for entry, names in meant.items() if not names.issubset(bits)]
        needed = {name for name in bits if bits[name] != self._default[name]}.union(*(meant[entry] for entry in kept))
        alone = [frozenset([name]) for name in bits if name in needed and self.can_name(name)]
        unnamed = {name for name in needed if not self.can_name(name)}
        together = [names for names in self._entries
                    if names & unnamed and names.issubset(bits) and len({bits[name] for name in names}) == 1]
        return self._config.replace(nodes_bit=kept + [
            '{}:{}'.format(self._entries[names], bits[min(names)]) for names in alone + together])

    def quantize(self, config: QuantizeConfig) -> Quantized:
        """The network Quantized with the config, by a calibration."""
        plan = annotate(self._view, config)
        calibrated = calibrate(self._runnable, plan, config, self._feeds.__getitem__, self._memory)
        return Quantized(config, plan, final_positions.decide(plan, calibrated.observed, config), calibrated.shapes)

    def network(self, quantized: Quantized) -> SwitchableNetwork:
        """A SwitchableNetwork with these bits."""
        return SwitchableNetwork(self._runnable, quantized.plan, self._memory)

    def measure(self, network: SwitchableNetwork, settings: Sequence[Positions], text: str) -> np.ndarray:
        """The error of the outputs for each of the `settings`, float64 [settings]; see `output_errors`."""
        return output_errors(network, progress(self._measured, len(self._measured), text), settings)

    def error(self, quantized: Quantized) -> float:
        """The error of the outputs with all tensors quantized."""
        with self.network(quantized) as network:
            return self.measure(network, [quantized.positions], 'Check')[0]

    def search(self, network: SwitchableNetwork, text: str) -> Callable[[Positions], float]:
        """A function from {name: position} to the error of the outputs; all its calls share one progress bar."""
        feeds = iter(progress(itertools.cycle(self._measured), None, text))
        return lambda positions: output_errors(network, itertools.islice(feeds, len(self._measured)), [positions])[0]

    @staticmethod
    def weight_sizes(quantized: Quantized) -> Dict[str, int]:
        """{name of a weight tensor: number of its elements}; unknown dimensions count as 1."""
        sizes = {}
        for tensor in quantized.plan.tensors:
            if tensor.role == 'weight':
                shape = quantized.shapes[node_name(tensor.tensor)][output_index(tensor.tensor)]
                sizes[tensor.name] = int(np.prod([max(dim.size, 1) for dim in shape.dim], dtype=np.int64))
        return sizes

    def weight_bits(self, quantized: Quantized) -> float:
        """The mean number of bits of an element of a weight tensor; 0 without weights."""
        sizes = self.weight_sizes(quantized)
        bits = _bits(quantized.plan)
        return sum(size * bits[name] for name, size in sizes.items()) / max(sum(sizes.values()), 1)

    @staticmethod
    def units(quantized: Quantized) -> List[List[str]]:
        """Lists of the names of tensors that share a position: more bits for one of them alone have no effect."""
        units: Dict[Any, List[str]] = {}
        for tensor, number in zip(quantized.plan.tensors, position_rules(quantized.plan, quantized.config).groups):
            units.setdefault(number, []).append(tensor.name)
        return list(units.values())


def _bits(plan: QuantPlan) -> Dict[str, int]:
    return {tensor.name: tensor.bits for tensor in plan.tensors}
