"""Draft: a plan under construction."""
from typing import Collection, Dict, Iterable, List, Mapping, Optional, Sequence, Set, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.dpu import has_narrow_range
from vai_q_tf.fixed_point import POSITION_MIN
from vai_q_tf.graph.control_flow import loop_nodes
from vai_q_tf.graph.traits import SPLIT_INPUTS
from vai_q_tf.graph.view import node_name, output_index
from vai_q_tf.patterns.activations import Activation
from vai_q_tf.patterns.graph_range import GraphRange
from vai_q_tf.plan.quant_plan import ACTIVATION_MODE, ComputeGroup, QuantTensor, Skipped
from vai_q_tf.types import NodeInput

IGNORED = 'it is in ignore_nodes, or belongs to a node that is'
IN_LOOP = 'it is in the loop '

# {source tensor: the activation functions applied to it}
ActivationsOf = Mapping[str, Sequence[Activation]]


def other_type(dtype: tf.DType) -> str:
    """Why an op with results of that type stays float."""
    return 'its type is {}; only float32 is quantized'.format(dtype.name)


class Draft:
    """Collects QuantTensors, each tensor once, and the ops that stay float.

    Attributes:
      graph_range, view, config: what is planned, and how.
      ignored: the nodes that config.ignore_nodes names, and those in loops.
      covered: the nodes that are decided: quantized as part of a group, or skipped.
      groups: the ComputeGroups.
    """

    def __init__(self, graph_range: GraphRange, config: QuantizeConfig) -> None:
        self.graph_range = graph_range
        self.view = graph_range.view
        self.config = config
        looped = loop_nodes(self.view, frozenset(graph_range.order))
        self.ignored = frozenset(looped).union(node for name in config.ignore_nodes for node in self._nodes_of(node_name(name)))
        self.covered: Set[str] = set()
        self.groups: List[ComputeGroup] = []
        self._tensors: Dict[str, QuantTensor] = {}
        self._readers: Dict[str, Dict[NodeInput, None]] = {}
        self._places: Dict[str, Tuple[int, int]] = {}
        self._skipped: Dict[str, Skipped] = {}
        self._activations: Dict[str, str] = {}
        self._constants: Dict[str, str] = {}
        self._min_positions: Dict[str, int] = {}
        for name in sorted(looped, key=self.view.order):
            if not graph_range.is_static(name):
                self.skip([name], IN_LOOP + repr(looped[name]))

    def _nodes_of(self, name: str) -> Tuple[str, ...]:
        return (name,) if name in self.view else self.view.derived_nodes(name)

    def add_weight(self, tensor: str, role: str, mode: int, reader: NodeInput) -> str:
        """Quantizes the weight, bias or constant that the input `reader` reads; returns the name.

        It is named after its Const, or, if it is computed, after the node that produces it.
        """
        tensor = self._parameter(tensor)
        return self._add(producer_name(tensor) + '/wquant', role, mode, self.config.method, tensor, (reader,))

    def add_constant_operand(self, tensor: str, reader: NodeInput) -> str:
        """Quantizes a constant operand as an activation; returns the name."""
        tensor = self._parameter(tensor)
        name = self._add(producer_name(tensor) + '/aquant', 'constant', ACTIVATION_MODE, self.config.method, tensor, (reader,))
        self._constants[tensor] = name
        return name

    def _parameter(self, tensor: str) -> str:
        constant = self.view.skip_identity(tensor)
        return constant if self.view.op(constant) == 'Const' else tensor

    def add_activation(self, tensor: str, role: str = 'activation', without: Collection[str] = (),
                       method: Optional[int] = None) -> str:
        """Quantizes a tensor, once, for all its readers except the nodes `without`; returns the name.

        method: that of the config if None.
        """
        if tensor not in self._activations:
            self._activations[tensor] = self._add(
                producer_name(tensor) + '/aquant', role, ACTIVATION_MODE, self.config.method if method is None else method,
                tensor, self.graph_range.consumers(tensor, without))
        return self._activations[tensor]

    def _add(self, name: str, role: str, mode: int, method: int, tensor: str, consumers: Iterable[NodeInput]) -> str:
        self._readers.setdefault(name, {}).update((reader, None) for reader in consumers)
        if name not in self._tensors:
            narrow_range = mode == ACTIVATION_MODE and has_narrow_range(self.config.arch_type)
            self._tensors[name] = QuantTensor(
                name, role, mode, self._bits(role, mode), method, tensor, (), narrow_range=narrow_range)
            self._places[name] = self.view.order(tensor), len(self._places)
        return name

    def _bits(self, role: str, mode: int) -> int:
        if role == 'bias' and self.config.bias_bit is not None:
            return self.config.bias_bit
        return self.config.activation_bit if mode == ACTIVATION_MODE else self.config.weight_bit

    def quantized(self, tensor: str) -> str:
        """The name of the QuantTensor of an activation; '' if it stays float."""
        return self._activations.get(tensor, '')

    def quantized_source(self, tensor: str) -> str:
        """The name of the QuantTensor with the values of a tensor: its own, or that of the tensor which was split; or ''."""
        tensor = self.graph_range.source(tensor)
        while not self.quantized(tensor) and self.view.op(tensor) in SPLIT_INPUTS and tensor in self.graph_range:
            tensor = self.graph_range.source(self.view.inputs(tensor)[SPLIT_INPUTS[self.view.op(tensor)]])
        return self.quantized(tensor)

    def quantized_constant(self, tensor: str) -> str:
        """The name of the QuantTensor of a constant operand; '' for another tensor."""
        return self._constants.get(self._parameter(tensor), '')

    def require_min_position(self, tensor: str, position: int) -> None:
        """Records the lowest position that the hardware supports for an activation, if that is quantized."""
        self._min_positions[tensor] = max(position, self._min_positions.get(tensor, position))

    def is_left_out(self, tensor: str) -> bool:
        """Whether ignore_nodes keeps the node of a tensor float."""
        name = node_name(tensor)
        return name in self._skipped and self._skipped[name].reason == IGNORED

    def skip(self, nodes: Iterable[str], reason: str) -> None:
        """Records that the nodes stay float; the first reason of a node counts."""
        for name in nodes:
            self._skipped.setdefault(name, Skipped(name, self.view.op(name), reason))
            self.covered.add(name)

    @property
    def tensors(self) -> Tuple[QuantTensor, ...]:
        """The QuantTensors in graph order."""
        lowest = {self.quantized(tensor): position for tensor, position in self._min_positions.items()}
        return tuple(
            self._tensors[name]._replace(consumers=tuple(self._readers[name]), min_position=lowest.get(name, POSITION_MIN))
            for name in sorted(self._tensors, key=self._places.__getitem__))

    @property
    def skipped(self) -> Tuple[Skipped, ...]:
        """The Skipped records in graph order."""
        return tuple(self._skipped[name] for name in sorted(self._skipped, key=self.view.order))


def producer_name(tensor: str) -> str:
    """The node of a tensor, 'node/output_k' for an output k > 0: the name of its FixNeuron without the suffix."""
    index = output_index(tensor)
    return '{}/output_{}'.format(node_name(tensor), index) if index else tensor
