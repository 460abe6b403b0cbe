"""Recognises a quantized tensor in a checkpoint, in the evaluation graph, and after a release.

Its name is not enough: ops without a name are numbered, and a training has ops that the evaluation has not.
"""
import hashlib
import itertools
from typing import Dict, Iterator, List, NamedTuple, Tuple

from vai_q_tf.graph.view import GraphView, node_name, output_index
from vai_q_tf.passes.common.rewriter import results_of
from vai_q_tf.passes.folding.fold_batch_norms import bias_add_of, fold_of
from vai_q_tf.plan.quant_plan import QuantPlan
from vai_q_tf.qat.network.decision import Decision, variables_of
from vai_q_tf.qat.network.plain_names import whole
from vai_q_tf.qat.network.stand_ins import variable_of

# op -> the input that is a shape, which may be written in several ways.
_SHAPES = {'Reshape': 1, 'Conv2DBackpropInput': 0}


class Identity(NamedTuple):
    """What identifies a quantized tensor, and the bits that its position is for.

    structure: a digest of its computation: ops, attributes and variables from the inputs of the network on.
    variable: the one variable that a parameter is made of; ''.
    earlier: names that the tensor had in version 0.1.0.
    bits: its bit width; 0 if it is not known.
    """
    structure: str
    variable: str
    earlier: Tuple[str, ...]
    bits: int = 0


def identities(decision: Decision) -> Dict[str, Identity]:
    """{name of a quantized tensor: Identity} for the plan of a Decision."""
    view = GraphView(decision.optimised)
    digests, variables, earlier = _digests(view, decision.plan), variables_of(decision), _earlier_names(view, decision.plan)
    found = {}
    for record in decision.plan.tensors:
        structure = digests[node_name(record.tensor)]
        if ':' in record.tensor:
            structure += ':{}'.format(output_index(record.tensor))
        found[record.name] = Identity(structure, variables.get(record.name, ''), tuple(earlier[record.name]), record.bits)
    return found


def _digests(view: GraphView, plan: QuantPlan) -> Dict[str, str]:
    """{node: digest}"""
    found: Dict[str, str] = {}
    for name in view.upstream(view.names):
        found[name] = hashlib.sha1('\n'.join(_computation(view, name, plan, found)).encode()).hexdigest()[:20]
    return found


def _computation(view: GraphView, name: str, plan: QuantPlan, digests: Dict[str, str]) -> List[str]:
    """What a node computes, as texts, given the digests of the nodes that it reads."""
    node = view.node(name)
    if name in plan.input_nodes:
        # Networks of one input are the same network whatever that is called.
        return ['input {}'.format(name if len(plan.input_nodes) > 1 else '')]
    variable = variable_of(node) or (_joined_variable(view, name) if node.op == 'ConcatV2' else '')
    if variable:
        return ['variable {}'.format(variable)]
    attrs = ['{}={}'.format(key, node.attr[key]) for key in sorted(node.attr) if not key.startswith('_')]
    return [node.op] + attrs + ['{}:{}'.format(digests[node_name(tensor)], output_index(tensor))
                                for index, tensor in enumerate(view.inputs(name)) if _SHAPES.get(node.op) != index]


def _joined_variable(view: GraphView, concat: str) -> str:
    """The variable whose parts a concat joins; '' if it joins anything else."""
    wholes = {whole(variable_of(view.node(node_name(tensor)))) for tensor in view.inputs(concat)[:-1]}
    return wholes.pop() if len(wholes) == 1 else ''


def _earlier_names(view: GraphView, plan: QuantPlan) -> Dict[str, List[str]]:
    """{name of a quantized tensor: its names in version 0.1.0}, which named tensors after the training graph."""
    found: Dict[str, List[str]] = {record.name: [] for record in plan.tensors}
    for name, earlier in itertools.chain(
            _names_of_replaced(view, plan), _names_of_folded(view, plan), _names_of_standalone_norms(view, plan)):
        if name:
            found[name].append(earlier)
    return found


def _names_of_replaced(view: GraphView, plan: QuantPlan) -> Iterator[Tuple[str, str]]:
    """(quantized tensor, the name after a node whose result it has now)."""
    activations = _activations(plan)
    for record in plan.tensors:
        suffix = '/aquant' if record.tensor in activations else '/wquant'
        for source in results_of(view.node(node_name(record.tensor))):
            yield record.name, source + suffix


def _names_of_folded(view: GraphView, plan: QuantPlan) -> Iterator[Tuple[str, str]]:
    """(quantized tensor or '', the name after the fold of a batch norm into a weighted op)."""
    by_reader = {reader: record.name for record in plan.tensors for reader in record.consumers}
    by_tensor = _activations(plan)
    for product in filter(lambda name: fold_of(view.node(name)), view.names):
        (compute, index), = view.consumers(product)
        scope = compute[:-len('/Conv2D')] if compute.endswith('/Conv2D') else compute
        yield by_reader.get((compute, index), ''), scope + '/BatchNorm_Fold/mul_1/wquant'
        bias_add, _ = bias_add_of(view, compute) or ('', '')
        for end in ('add_1', 'sub'):
            yield by_reader.get((bias_add, 1), ''), '{}/BatchNorm_Fold/{}/wquant'.format(scope, end)
        for end in ('biasadd_fold', 'biasadd'):
            yield by_tensor.get(bias_add, ''), '{}/{}/aquant'.format(scope, end)


def _names_of_standalone_norms(view: GraphView, plan: QuantPlan) -> Iterator[Tuple[str, str]]:
    """(quantized tensor or '', the name after a batch norm that is not folded)."""
    by_tensor = _activations(plan)
    for group in plan.groups:
        if view.op(group.node) == 'Mul':
            (root, _), = view.consumers(group.node)
            yield group.weight, root + '/BatchNorm_Fold/mul_0/wquant'
            yield group.bias, root + '/BatchNorm_Fold/sub/wquant'
            yield by_tensor.get(root, ''), root + '/add/aquant'


def _activations(plan: QuantPlan) -> Dict[str, str]:
    """{tensor: name} of the quantized activations."""
    return {record.tensor: record.name for record in plan.tensors if record.role in ('input', 'activation')}
