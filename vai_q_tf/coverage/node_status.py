"""The status of each op of a network under its plan: quantized or float, and why."""
import collections
from typing import Dict, Iterator, List, NamedTuple, Optional

from vai_q_tf.dpu import Target
from vai_q_tf.graph.traits import FORWARDS, trait
from vai_q_tf.graph.view import GraphView, node_name, tensor_name
from vai_q_tf.patterns.graph_range import GraphRange
from vai_q_tf.plan.quant_plan import QuantPlan, QuantTensor

QUANTIZED, FUSED, PASSED, FLOAT = 'quantized', 'fused', 'passes on', 'float'


class InspectedNode(NamedTuple):
    """An op of the range, as it is before quantization, after the passes.

    Attributes:
      name: the op.
      op: its op type.
      status: 'quantized': its result is quantized. 'fused': it is computed together with an op after it, whose result is
        quantized. 'passes on': it forwards a quantized tensor. 'float': it stays float.
      detail: the quantized tensors with their bits, or why it stays float.
      device: 'DPU' or 'CPU' for the target of the config, '' without one.
      reason: why it stays float, or ''.
    """
    name: str
    op: str
    status: str
    detail: str
    device: str = ''
    reason: str = ''


def inspect_nodes(view: GraphView, plan: QuantPlan, target: Optional[Target] = None) -> Iterator[InspectedNode]:
    """The InspectedNode of each op in the range of a plan that computes floats which depend on the inputs.

    Args:
      view: the GraphView that was annotated.
      target: the Target that `device` refers to.
    """
    graph_range = GraphRange(view, plan.input_nodes, plan.output_nodes)
    inspector = _Inspector(view, plan, target)
    for name in plan.nodes:
        dtypes = view.output_types(name)
        if not graph_range.is_static(name) and (not dtypes or any(dtype.is_floating for dtype in dtypes)):
            yield inspector.inspect(name)


class _Status(NamedTuple):
    """See InspectedNode; details: the parts of `detail`."""
    status: str
    details: List[str]
    reason: str = ''


class _Inspector:
    """Reads the status of nodes from a plan."""

    def __init__(self, view: GraphView, plan: QuantPlan, target: Optional[Target]) -> None:
        self._view = view
        self._target = target
        self._results: Dict[str, List[QuantTensor]] = collections.defaultdict(list)  # by producer
        self._parameters: Dict[str, List[QuantTensor]] = collections.defaultdict(list)  # by reader
        for tensor in plan.tensors:
            if tensor.role in ('input', 'activation'):
                self._results[node_name(tensor.tensor)].append(tensor)
            else:
                for reader in sorted({node for node, _ in tensor.consumers}):
                    self._parameters[reader].append(tensor)
        self._skipped = {record.node: record.reason for record in plan.skipped}
        self._aligned = {alignment.output: alignment.inputs for alignment in plan.alignments}
        self._fused = self._find_fused(plan)

    def inspect(self, name: str) -> InspectedNode:
        """The InspectedNode of the op."""
        op, (status, details, reason) = self._view.op(name), self._status(name)
        details += [self._describe(tensor) for tensor in self._parameters[name]]
        device = self._device(name, status)
        if self._target and device == 'CPU' and status != FLOAT:
            details.insert(0, '{} has no {}'.format(self._target.name, op))
        elif self._target and device == 'DPU' and op == 'DepthwiseConv2dNative' and self._target.note:
            details.append(self._target.note)
        return InspectedNode(name, op, status, '; '.join(details), device, reason)

    def _device(self, name: str, status: str) -> str:
        if not self._target:
            return ''
        on_dpu = status != FLOAT and (self._view.op(name) in self._target.ops or self._scales_pool(name))
        return 'DPU' if on_dpu else 'CPU'

    def _status(self, name: str) -> _Status:
        results = [self._describe(tensor) for tensor in self._results[name]]
        if name in self._skipped:
            reason = self._skipped[name]
            return _Status(FLOAT, [reason] + ['its result becomes ' + text for text in results], reason)
        if results:
            return _Status(QUANTIZED, results)
        if trait(self._view.op(name)).kind == FORWARDS:
            return _Status(PASSED, [])
        if name in self._fused:
            return _Status(FUSED, ['quantized as ' + self._fused[name]])
        reason = 'nothing that it reads is quantized'
        return _Status(FLOAT, [reason], reason)

    def _find_fused(self, plan: QuantPlan) -> Dict[str, str]:
        """{node: name of the quantized tensor of the op after it that it is computed with}"""
        found: Dict[str, str] = {}
        for name in reversed(self._view.upstream(plan.output_nodes, plan.input_nodes)):
            for reader in readers(self._view, name):
                if reader in self._skipped:
                    continue
                if self._results[reader]:
                    found[name] = self._results[reader][0].name
                elif reader in found:
                    found.setdefault(name, found[reader])
        return found

    def _describe(self, tensor: QuantTensor) -> str:
        text = '{} {}: {} bits'.format(tensor.role, tensor.name, tensor.bits)
        if tensor.name in self._aligned:
            text += ', one position with ' + ', '.join(self._aligned[tensor.name])
        return text

    def _scales_pool(self, name: str) -> bool:
        """Whether the node multiplies an average pool, as the DPU does within the pool."""
        return self._view.op(name) == 'Mul' and 'AvgPool' in map(self._view.op, self._view.inputs(name))


def readers(view: GraphView, name: str) -> List[str]:
    """The nodes that read the outputs of a node, output by output; of an unknown op only those of output 0."""
    return [reader for index in range(max(1, len(view.output_types(name))))
            for reader, _ in view.consumers(tensor_name(name, index))]
