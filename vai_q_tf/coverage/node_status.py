"""What becomes of each op of a network that is quantized, told by its plan."""
import collections
from typing import NamedTuple

from vai_q_tf.graph.traits import FORWARDS, trait
from vai_q_tf.graph.view import node_name, tensor_name
from vai_q_tf.patterns.graph_range import GraphRange

QUANTIZED, FUSED, PASSED, FLOAT = 'quantized', 'fused', 'passes on', 'float'


class InspectedNode(NamedTuple):
    """An op of the range, as it is after the optimisations before quantization.

    status: QUANTIZED has a quantized result; FUSED is computed at once with an op after it, whose result is quantized;
      PASSED hands a quantized tensor on; FLOAT stays float.
    detail: the quantized tensors with their bits, or why it stays float.
    device: 'DPU' or 'CPU' for the target of the config, '' without one.
    reason: why it stays float, '' where it does not.
    """
    name: str
    op: str
    status: str
    detail: str
    device: str = ''
    reason: str = ''


def inspect_nodes(view, plan, target=None):
    """Yields the InspectedNode of each op in the range of a QuantPlan that computes floats which depend on the inputs.

    view: the GraphView that was annotated. target: the Target that the devices are about.
    """
    graph_range = GraphRange(view, plan.input_nodes, plan.output_nodes)
    results = collections.defaultdict(list)
    for tensor in plan.tensors:
        if tensor.role in ('input', 'activation'):
            results[node_name(tensor.tensor)].append(tensor)
    parameters = collections.defaultdict(list)
    for tensor in plan.tensors:
        if tensor.role not in ('input', 'activation'):
            for reader in sorted({node for node, _ in tensor.consumers}):
                parameters[reader].append(tensor)
    skipped = {record.node: record.reason for record in plan.skipped}
    aligned = {alignment.output: alignment for alignment in plan.alignments}
    after = _quantized_after(view, plan, results, skipped)
    for name in plan.nodes:
        op, dtypes = view.op(name), view.output_types(name)
        if graph_range.is_static(name) or dtypes and not any(dtype.is_floating for dtype in dtypes):
            continue
        results_of = [_describe(tensor, aligned) for tensor in results[name]]
        reason = ''
        if name in skipped:
            reason = skipped[name]
            status, detail = FLOAT, [reason] + ['its result becomes ' + text for text in results_of]
        elif results_of:
            status, detail = QUANTIZED, results_of
        elif trait(op).kind == FORWARDS:
            status, detail = PASSED, []
        elif after.get(name):
            status, detail = FUSED, ['quantized as ' + after[name]]
        else:
            reason = 'nothing that it reads is quantized'
            status, detail = FLOAT, [reason]
        detail += [_describe(tensor, aligned) for tensor in parameters[name]]
        device = ''
        if target:
            on_dpu = status != FLOAT and (op in target.ops or _scales_pool(view, name))
            device = 'DPU' if on_dpu else 'CPU'
            if not on_dpu and status != FLOAT:
                detail.insert(0, '{} has no {}'.format(target.name, op))
            elif on_dpu and op == 'DepthwiseConv2dNative' and target.note:
                detail.append(target.note)
        yield InspectedNode(name, op, status, '; '.join(detail), device, reason)


def _scales_pool(view, name):
    """Whether it is the factor with which the DPU's average pool differs from TensorFlow's."""
    return view.op(name) == 'Mul' and 'AvgPool' in map(view.op, view.inputs(name))


def _quantized_after(view, plan, results, skipped):
    """{node: name of the quantized tensor of the op after it that it is computed with}."""
    found = {}
    for name in reversed(view.upstream(plan.output_nodes, plan.input_nodes)):
        for reader in readers(view, name):
            if reader in skipped:
                continue
            if results.get(reader):
                found[name] = results[reader][0].name
            elif reader in found:
                found.setdefault(name, found[reader])
    return found


def _describe(tensor, aligned):
    text = '{} {}: {} bits'.format(tensor.role, tensor.name, tensor.bits)
    if tensor.name in aligned:
        text += ', one position with ' + ', '.join(aligned[tensor.name].inputs)
    return text


def readers(view, name):
    """The nodes that read the outputs of a node, in their order; of an op that is not known output 0 alone."""
    return [reader for index in range(max(1, len(view.output_types(name))))
            for reader, _ in view.consumers(tensor_name(name, index))]
