"""The blocks that finetuning trains: a weighted op with its bias and activation function, up to its quantized result.

Where a tensor inside is quantized and read quantized, as that before a relu where other ops need it too, the block ends there.
"""
from typing import NamedTuple, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.plan.quant_plan import ACTIVATION_MODE


class Block(NamedTuple):
    """name: its weighted op. constants: the Consts of its weights and bias. source: the float tensor that it is to give.
    output: the FixNeuron after that."""
    name: str
    constants: Tuple[str, ...]
    source: str
    output: str


def find_blocks(float_graph, eval_graph, plan):
    """The blocks of `eval_graph` that can be trained, in the order of the plan, and why the others cannot.

    Returns:
      (list of Block, list of (name of a weighted op, reason)).
    """
    float_view, eval_view = GraphView(float_graph), GraphView(eval_graph)
    activations = frozenset(name for name in eval_view.names if _is_activation(eval_view, name))
    blocks, skipped, taken = [], [], {}
    for name, groups in _by_node(plan).items():
        found = _longest(eval_view, activations, groups) if name in eval_view and name in float_view else None
        if found is None:
            skipped.append((name, 'it is not in both the float and the quantized graph'))
            continue
        output, constants = found
        source = eval_view.inputs(output)[0] if output else ''
        shared = [constant for constant in constants if constant in taken]
        if not source or node_name(source) not in float_view:
            skipped.append((name, 'its result is not quantized, or the float graph has no such tensor'))
        elif not constants:
            skipped.append((name, 'its weights and its bias are not constants'))
        elif shared:
            skipped.append((name, '{!r} is trained with {!r}'.format(shared[0], taken[shared[0]])))
        else:
            taken.update((constant, name) for constant in constants)
            blocks.append(Block(name, constants, source, output))
    return blocks, skipped


def _is_activation(view, name):
    return view.op(name) == 'FixNeuron' and view.attr(name, 'mode').i == ACTIVATION_MODE


def _by_node(plan):
    """{weighted op: its groups, that of its result first, then from the last tensor inside to the first}."""
    found = {}
    for group in plan.groups:
        found.setdefault(group.node, []).append(group)
    return {name: groups[:1] + groups[:0:-1] for name, groups in found.items()}


def _longest(view, activations, groups):
    """(output, constants) of the group whose output depends on the most constants without another quantized tensor between.

    ('', ()) where no output is quantized.
    """
    constants = [(fix_neuron, _constant(view, fix_neuron)) for fix_neuron in (groups[0].weight, groups[0].bias)]
    best = '', ()
    for output in (group.output for group in groups if group.output in view):
        inside = set(view.upstream([node_name(view.inputs(output)[0])], activations))
        reached = tuple(constant for fix_neuron, constant in constants if constant and fix_neuron in inside)
        if not best[0] or len(reached) > len(best[1]):
            best = output, reached
    return best


def _constant(view, fix_neuron):
    """The float32 Const before a FixNeuron; '' where there is none."""
    if fix_neuron not in view or view.op(fix_neuron) != 'FixNeuron':
        return ''
    name = view.skip_identity(view.inputs(fix_neuron)[0])
    return name if view.op(name) == 'Const' and view.dtype(name) == tf.float32 else ''
