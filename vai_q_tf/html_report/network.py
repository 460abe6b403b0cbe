"""The network of a model as boxes: ops that are computed together, with the quantizers of their result and parameters."""
import collections
from typing import Collection, Container, Dict, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf.graph.dependence import reach, readers
from vai_q_tf.graph.traits import FIX_NEURON_OPS, FLOAT, FORWARDS, SHAPE_OPS, SHARED, WEIGHTED, trait
from vai_q_tf.graph.view import VARIABLE_OPS, GraphView, node_name
from vai_q_tf.html_report.outside import Ends, nodes_outside
from vai_q_tf.plan.quant_plan import QuantPlan

IN_QUANTIZED, IN_SHARED, IN_FLOAT, IN_END = 'quantized', 'shared', 'float', 'end'
_STATIC_OPS = VARIABLE_OPS | {'Const', 'NoOp'}
OUTSIDE = 'it is outside the range from the input to the output nodes'


class Quantizer(NamedTuple):
    """A FixNeuron. bits: sign included; position: fractional bits."""
    name: str
    bits: int
    position: int


class Box(NamedTuple):
    """Ops that are computed together.

    name: of the op with weights, else of the last op. nodes, ops: names and types, in order. kind: IN_END for an input or an
    output, IN_FLOAT, IN_SHARED for a result that shares its position, else IN_QUANTIZED. is_float: whether it stays float.
    end: 'input', 'output' or ''. result: the Quantizer of its result. parameters: the Quantizers of its weights and constants.
    shared: names of the quantized tensors with which its result shares a position. reason: why it stays float; '' if unknown.
    inputs: numbers of the boxes that it reads.
    """
    name: str
    nodes: Tuple[str, ...]
    ops: Tuple[str, ...]
    kind: str
    is_float: bool
    end: str
    result: Optional[Quantizer]
    parameters: Tuple[Quantizer, ...]
    shared: Tuple[str, ...]
    reason: str
    inputs: Tuple[int, ...]


class Network(NamedTuple):
    """boxes: producers before readers. weighted: names of the ops of the range with weights. quantized: those of them with
    quantized weights."""
    boxes: Tuple[Box, ...]
    weighted: Tuple[str, ...]
    quantized: Tuple[str, ...]


def find_network(model: tf.GraphDef, plan: Optional[QuantPlan] = None, ends: Optional[Ends] = None,
                 reasons: Optional[Mapping[str, str]] = None) -> Network:
    """The Network of a model, without nodes that depend on constants and variables only.

    plan: its QuantPlan. Without one, an op counts as quantized if a FixNeuron follows it, or if only such ops read it.
    ends, reasons: without a plan, the input and output nodes, and {op: why it stays float}, as far as known.
    """
    return _Finder(GraphView(model), plan, ends, reasons or {}).find()


class _Finder:
    def __init__(self, view: GraphView, plan: Optional[QuantPlan], ends: Optional[Ends], reasons: Mapping[str, str]) -> None:
        self._view, self._plan = view, plan
        self._skipped = {record.node: record.reason for record in plan.skipped} if plan else reasons
        order = view.upstream(view.names)
        computed = self._computed(order)
        self._drawn = [name for name in order if name in computed and view.op(name) not in FIX_NEURON_OPS]
        self._sources = {name: self._read(name, computed) for name in self._drawn}
        self._readers: Dict[str, List[str]] = collections.defaultdict(list)
        for name in self._drawn:
            for source in self._sources[name]:
                self._readers[source].append(name)
        self._results = self._find_results(order, computed)
        self._weighted = [name for name in self._drawn if trait(view.op(name)).kind == WEIGHTED]
        self._outside = (set(self._drawn) - set(plan.nodes) if plan else nodes_outside(
            self._sources, self._results, self._weighted, ends and ([*map(node_name, ends[0])], [*map(node_name, ends[1])])))
        self._static: Dict[str, List[Quantizer]] = {}  # by nodes that depend on constants only: Quantizers upstream
        self._parameters = {name: self._find_parameters(name, computed) for name in self._drawn}

    def find(self) -> Network:
        """The Network."""
        covered = self._covered()
        follows = {name: self._readers[name][0] for name in self._drawn if self._is_computed_with_next(name, covered)}
        members: Dict[str, List[str]] = collections.defaultdict(list)
        for name in self._drawn:
            last = name
            while last in follows:
                last = follows[last]
            members[last].append(name)
        numbers = {name: number for number, last in enumerate(filter(members.__contains__, self._drawn))
                   for name in members[last]}
        shared = self._shared()
        boxes = [self._box(members[last], covered, shared, numbers) for last in self._drawn if last in members]
        weighted = [name for name in self._weighted if name not in self._outside]
        return Network(tuple(boxes), tuple(weighted), tuple(name for name in weighted if self._parameters[name]))

    def _computed(self, order: Sequence[str]) -> Collection[str]:
        """The nodes that depend on more than constants and variables."""
        nodes = [self._view.node(name) for name in order if self._view.op(name) not in SHAPE_OPS]
        starts = [node.name for node in nodes if node.op not in _STATIC_OPS and not self._view.inputs(node.name)]
        return reach(starts, readers(nodes, controls=False))

    def _producer(self, tensor: str) -> str:
        """The node that computes a tensor, before any FixNeuron."""
        name = node_name(tensor)
        while self._view.op(name) in FIX_NEURON_OPS:
            name = node_name(self._view.inputs(name)[0])
        return name

    def _read(self, name: str, computed: Container[str]) -> List[str]:
        """The computed nodes that a node reads, each once."""
        return list(dict.fromkeys(self._producer(tensor) for tensor in self._view.inputs(name)
                                  if node_name(tensor) in computed))

    def _quantizer(self, name: str) -> Quantizer:
        return Quantizer(name, self._view.attr(name, 'bit_width').i, self._view.attr(name, 'quantize_pos').i)

    def _find_results(self, order: Sequence[str], computed: Container[str]) -> Dict[str, Quantizer]:
        found: Dict[str, Quantizer] = {}
        for name in order:
            if name in computed and self._view.op(name) in FIX_NEURON_OPS:
                found.setdefault(self._producer(name), self._quantizer(name))
        return found

    def _find_parameters(self, name: str, computed: Container[str]) -> Tuple[Quantizer, ...]:
        found = [self._in_static(node_name(tensor)) for tensor in self._view.inputs(name) if node_name(tensor) not in computed]
        return tuple(dict.fromkeys(quantizer for quantizers in found for quantizer in quantizers))

    def _in_static(self, start: str) -> List[Quantizer]:
        if start not in self._static:
            self._static[start] = [self._quantizer(name) for name in self._view.upstream([start])
                                   if self._view.op(name) in FIX_NEURON_OPS]
        return self._static[start]

    def _is_float_op(self, name: str) -> bool:
        """Whether an op is known to stay float."""
        if self._plan:
            return name in self._skipped
        return trait(self._view.op(name)).kind == FLOAT and name not in self._results and bool(self._sources[name])

    def _covered(self) -> Set[str]:
        """The nodes that do not stay float: they have a quantized result, forward one, or are computed with such nodes."""
        carried: Set[str] = set()
        waiting: Set[str] = set()
        for name in self._drawn:
            sources = self._sources[name]
            if self._is_float_op(name):
                continue
            if name in self._results:
                carried.add(name)
            elif sources and all(source in carried or source in waiting for source in sources):
                spec = trait(self._view.op(name))
                forwards = (spec.kind == FORWARDS or spec.moves) and carried.issuperset(sources)
                (carried if forwards else waiting).add(name)
        for name in reversed(self._drawn):
            readers = self._readers[name]
            if name in waiting and readers and carried.issuperset(readers):
                carried.add(name)
        return carried

    def _is_computed_with_next(self, name: str, covered: Container[str]) -> bool:
        readers = self._readers[name]
        return (name in covered and name not in self._results and len(readers) == 1 and readers[0] in covered
                and bool(self._sources[name]))

    def _shared(self) -> Dict[str, Set[str]]:
        """{name of a quantized tensor: those that share its position}."""
        found: Dict[str, Set[str]] = collections.defaultdict(set)
        for group in self._planned_groups(self._plan) if self._plan else self._found_groups():
            for name in group:
                found[name] |= group - {name}
        return found

    @staticmethod
    def _planned_groups(plan: QuantPlan) -> List[Set[str]]:
        return [{alignment.output, *alignment.inputs} for alignment in plan.alignments]

    def _found_groups(self) -> List[Set[str]]:
        """The results of ops that should share the position of their inputs, and do."""
        groups = []
        for name, result in self._results.items():
            inputs = [self._results.get(source) for source in self._sources.get(name, ())]
            if (trait(self._view.op(name)).kind == SHARED and inputs
                    and all(other is not None and other.position == result.position for other in inputs)):
                groups.append({result.name, *(other.name for other in inputs if other)})
        return groups

    def _box(self, nodes: Sequence[str], covered: Container[str], shared: Mapping[str, Set[str]],
             numbers: Mapping[str, int]) -> Box:
        last, view = nodes[-1], self._view
        result, is_float = self._results.get(last), last not in covered
        end = 'input' if self._is_input(last) else 'output' if self._is_output(last) else ''
        mates = tuple(sorted(shared.get(result.name, ()))) if result else ()
        is_float = is_float and not (end == 'input' and result)
        kind = IN_END if end else IN_FLOAT if is_float else IN_SHARED if mates else IN_QUANTIZED
        inner = [numbers[source] for name in nodes for source in self._sources[name]]
        name = next((node for node in nodes if trait(view.op(node)).kind == WEIGHTED), last)
        parameters = tuple(dict.fromkeys(quantizer for node in nodes for quantizer in self._parameters[node]))
        return Box(name, tuple(nodes), tuple(map(view.op, nodes)), kind, is_float, end, result, parameters, mates,
                   self._reason(last) if is_float else '',
                   tuple(number for number in dict.fromkeys(inner) if number != numbers[last]))

    def _is_input(self, name: str) -> bool:
        named = self._plan and name in {node_name(node) for node in self._plan.input_nodes}
        return bool(named) or self._view.op(name).startswith('Placeholder')

    def _is_output(self, name: str) -> bool:
        outputs = self._plan.output_nodes if self._plan else ()
        return not self._readers[name] or name in {self._producer(node) for node in outputs if node_name(node) in self._view}

    def _reason(self, name: str) -> str:
        if name in self._outside:
            return OUTSIDE
        return self._skipped.get(name, 'nothing that it reads is quantized' if self._plan else '')
