"""Draft: the plan while it is being made."""
from typing import Collection, Dict, Iterable, List, Optional, Set, Tuple

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.dpu import has_narrow_range
from vai_q_tf.fixed_point import POSITION_MIN
from vai_q_tf.graph.control_flow import loop_nodes
from vai_q_tf.graph.traits import SPLIT_INPUTS
from vai_q_tf.graph.view import node_name, output_index
from vai_q_tf.patterns.graph_range import GraphRange
from vai_q_tf.plan.quant_plan import ACTIVATION_MODE, ComputeGroup, Input, QuantTensor, Skipped

IGNORED = 'it is in ignore_nodes, or belongs to a node that is'
IN_LOOP = 'it is in the loop '


def producer_name(tensor: str) -> str:
    """What the FixNeuron after a tensor is named after: its node, 'node/output_k' for an output k > 0."""
    index = output_index(tensor)
    return '{}/output_{}'.format(node_name(tensor), index) if index else tensor


class Draft:
    """Collects QuantTensors, each tensor once, and the ops that stay float."""

    def __init__(self, graph_range: GraphRange, config: QuantizeConfig) -> None:
        self.graph_range = graph_range
        self.view = graph_range.view
        self.config = config
        looped = loop_nodes(self.view, frozenset(graph_range.order))
        self.ignored = frozenset(looped).union(node for name in config.ignore_nodes for node in self._nodes_of(node_name(name)))
        self.covered: Set[str] = set()
        self.groups: List[ComputeGroup] = []
        self._tensors: Dict[str, QuantTensor] = {}
        self._readers: Dict[str, Dict[Input, None]] = {}
        self._places: Dict[str, Tuple[int, int]] = {}
        self._skipped: Dict[str, Skipped] = {}
        self._activations: Dict[str, str] = {}
        self._constants: Dict[str, str] = {}
        self._least: Dict[str, int] = {}
        for name in sorted(looped, key=self.view.order):
            if not graph_range.is_static(name):
                self.skip([name], IN_LOOP + repr(looped[name]))

    def _nodes_of(self, name):
        return (name,) if name in self.view else self.view.derived_nodes(name)

    def add_weight(self, tensor: str, role: str, mode: int, reader: Input) -> str:
        """Quantizes the weight, bias or constant that the input `reader` reads; returns the name.

        It is named after its Const, after the node that feeds the reader where it is computed.
        """
        tensor = self._parameter(tensor)
        return self._add(producer_name(tensor) + '/wquant', role, mode, tensor, (reader,))

    def add_constant_operand(self, tensor: str, reader: Input) -> str:
        """Quantizes a constant operand as an activation; returns the name."""
        tensor = self._parameter(tensor)
        name = self._add(producer_name(tensor) + '/aquant', 'constant', ACTIVATION_MODE, tensor, (reader,))
        self._constants[tensor] = name
        return name

    def _parameter(self, tensor):
        constant = self.view.skip_identity(tensor)
        return constant if self.view.op(constant) == 'Const' else tensor

    def add_activation(self, tensor: str, role: str = 'activation', without: Collection[str] = (),
                       method: Optional[int] = None) -> str:
        """Quantizes a tensor for all its readers but the nodes `without`, once; returns the name."""
        if tensor not in self._activations:
            self._activations[tensor] = self._add(
                producer_name(tensor) + '/aquant', role, ACTIVATION_MODE, tensor,
                self.graph_range.consumers(tensor, without), method=method)
        return self._activations[tensor]

    def _add(self, name, role, mode, tensor, consumers, method=None):
        self._readers.setdefault(name, {}).update((reader, None) for reader in consumers)
        if name in self._tensors:
            return name
        bits = self.config.activation_bit if mode == ACTIVATION_MODE else self.config.weight_bit
        if role == 'bias' and self.config.bias_bit is not None:
            bits = self.config.bias_bit
        method = self.config.method if method is None else method
        narrow_range = mode == ACTIVATION_MODE and has_narrow_range(self.config.arch_type)
        self._tensors[name] = QuantTensor(name, role, mode, bits, method, tensor, (), narrow_range=narrow_range)
        self._places[name] = self.view.order(tensor), len(self._places)
        return name

    def quantized(self, tensor: str) -> str:
        """The name of the QuantTensor of an activation; '' where it stays float."""
        return self._activations.get(tensor, '')

    def quantized_source(self, tensor: str) -> str:
        """The name of the QuantTensor that has the values of a tensor, which may be a part of it that a split made; or ''."""
        tensor = self.graph_range.source(tensor)
        while not self.quantized(tensor) and self.view.op(tensor) in SPLIT_INPUTS and tensor in self.graph_range:
            tensor = self.graph_range.source(self.view.inputs(tensor)[SPLIT_INPUTS[self.view.op(tensor)]])
        return self.quantized(tensor)

    def quantized_constant(self, tensor: str) -> str:
        """The name of the QuantTensor of a constant operand; '' where it is none."""
        return self._constants.get(self._parameter(tensor), '')

    def require_min_position(self, tensor: str, least: int) -> None:
        """Notes the least position that the hardware takes for an activation, if that is quantized."""
        self._least[tensor] = max(least, self._least.get(tensor, least))

    def is_left_out(self, tensor: str) -> bool:
        """Whether ignore_nodes keeps the node of a tensor float."""
        name = node_name(tensor)
        return name in self._skipped and self._skipped[name].reason == IGNORED

    def skip(self, nodes: Iterable[str], reason: str) -> None:
        """Records that the nodes stay float."""
        for name in nodes:
            self._skipped.setdefault(name, Skipped(name, self.view.op(name), reason))
            self.covered.add(name)

    @property
    def tensors(self) -> Tuple[QuantTensor, ...]:
        """The QuantTensors in graph order."""
        least = {self.quantized(tensor): position for tensor, position in self._least.items()}
        return tuple(
            self._tensors[name]._replace(consumers=tuple(self._readers[name]), min_position=least.get(name, POSITION_MIN))
            for name in sorted(self._tensors, key=self._places.__getitem__))

    @property
    def skipped(self) -> Tuple[Skipped, ...]:
        """The Skipped records in graph order."""
        return tuple(self._skipped[name] for name in sorted(self._skipped, key=self.view.order))
