"""The blocks that finetuning trains: a weighted op with its bias and activation function, up to its quantized result.

If a tensor within is quantized and other ops read it quantized, such as the input of a relu, the block ends there.
"""
from typing import AbstractSet, Dict, List, Mapping, NamedTuple, Sequence, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.plan.quant_plan import ACTIVATION_MODE, ComputeGroup, QuantPlan


class Block(NamedTuple):
    """name: its weighted op. constants: the Consts of its weights and bias. source: the float tensor that it approximates, ''
    without one. output: the FixNeuron after that."""
    name: str
    constants: Tuple[str, ...]
    source: str
    output: str


def find_blocks(float_graph: tf.GraphDef, eval_graph: tf.GraphDef,
                plan: QuantPlan) -> Tuple[List[Block], List[Tuple[str, str]]]:
    """(the blocks of `eval_graph` that can be trained, in the order of the plan; (weighted op, reason) for the others)."""
    float_view, eval_view = GraphView(float_graph), GraphView(eval_graph)
    activations = frozenset(name for name in eval_view.names if _is_activation(eval_view, name))
    blocks, skipped = [], []
    owners: Dict[str, str] = {}
    for name, groups in _by_node(plan).items():
        if name not in eval_view or name not in float_view:
            skipped.append((name, 'it is not in both the float and the quantized graph'))
            continue
        block = _block(eval_view, activations, name, groups)
        obstacle = _obstacle(block, float_view, owners)
        if obstacle:
            skipped.append((name, obstacle))
        else:
            owners.update((constant, name) for constant in block.constants)
            blocks.append(block)
    return blocks, skipped


def _obstacle(block: Block, float_view: GraphView, owners: Mapping[str, str]) -> str:
    """Why a block cannot be trained, '' if it can. owners: {Const: weighted op} of the blocks so far."""
    if not block.source or node_name(block.source) not in float_view:
        return 'its result is not quantized, or the float graph has no such tensor'
    if not block.constants:
        return 'its weights and its bias are not constants'
    shared = [constant for constant in block.constants if constant in owners]
    return '{!r} is trained with {!r}'.format(shared[0], owners[shared[0]]) if shared else ''


def _is_activation(view: GraphView, name: str) -> bool:
    return view.op(name) == 'FixNeuron' and view.attr(name, 'mode').i == ACTIVATION_MODE


def _by_node(plan: QuantPlan) -> Dict[str, List[ComputeGroup]]:
    """{weighted op: its groups, first that of its result, then from the last tensor within the block to the first}."""
    found: Dict[str, List] = {}
    for group in plan.groups:
        found.setdefault(group.node, []).append(group)
    return {name: groups[:1] + groups[:0:-1] for name, groups in found.items()}


def _block(view: GraphView, activations: AbstractSet[str], name: str, groups: Sequence[ComputeGroup]) -> Block:
    """The Block up to the output that depends on the most constants without another quantized tensor between."""
    constants = [(fix_neuron, _constant(view, fix_neuron)) for fix_neuron in (groups[0].weight, groups[0].bias)]
    best = Block(name, (), '', '')
    for output in (group.output for group in groups if group.output in view):
        source = view.inputs(output)[0]
        within = set(view.upstream([node_name(source)], activations))
        reached = tuple(constant for fix_neuron, constant in constants if constant and fix_neuron in within)
        if not best.output or len(reached) > len(best.constants):
            best = Block(name, reached, source, output)
    return best


def _constant(view: GraphView, fix_neuron: str) -> str:
    """The float32 Const before a FixNeuron, or ''."""
    if fix_neuron not in view or view.op(fix_neuron) != 'FixNeuron':
        return ''
    name = view.skip_identity(view.inputs(fix_neuron)[0])
    return name if view.op(name) == 'Const' and view.dtype(name) == tf.float32 else ''
