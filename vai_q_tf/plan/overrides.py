"""Bit widths and methods of single tensors: nodes_bit and nodes_method, with warnings about names that mean nothing."""
import collections
from typing import Callable, Dict, FrozenSet, Iterable, Sequence, Tuple, Union

import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph.traits import READ_OPS
from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.plan.draft import Draft
from vai_q_tf.plan.quant_plan import DEPTHWISE_WEIGHT_MODE, QuantPlan, QuantTensor

# From a node name to (rank, names of quantized tensors).
Resolve = Callable[[str], Tuple[Tuple[int, int], Sequence[str]]]


def apply_overrides(draft: Draft, config: QuantizeConfig) -> Tuple[QuantTensor, ...]:
    """The tensors of the draft with the entries of config.nodes_bit and config.nodes_method applied.

    An entry names, in the order in which they are tried: the producer of a quantized tensor, a weighted op (its weights
    are meant), a node on the way from the Const to the quantized tensor. A node of the float graph that one of these stands
    for is tried right after it. Of two entries for one tensor the one tried first wins, then the one listed first. Method 2
    becomes 1 where there are no depthwise weights.
    """
    view = draft.view
    for name in sorted({node_name(name) for name in draft.config.ignore_nodes}):
        if name not in view and not view.derived_nodes(name):
            tf.logging.warning('ignore_nodes (--ignore_nodes) names %r, which is no node between the input and output nodes%s',
                               name, errors.did_you_mean(name, view.names))
    resolve = resolver(view, draft)
    names = [tensor.name.rpartition('/')[0] for tensor in draft.tensors]
    bits = _settings('nodes_bit', config.nodes_bit, resolve, names)
    methods = _settings('nodes_method', config.nodes_method, resolve, names)
    tensors = []
    for tensor in draft.tensors:
        method = methods.get(tensor.name, tensor.method)
        if tensor.name in methods and method == 2 and tensor.mode != DEPTHWISE_WEIGHT_MODE:
            method = 1
        tensors.append(tensor._replace(bits=bits.get(tensor.name, tensor.bits), method=method))
    return tuple(tensors)


def resolver(view: GraphView, plan: Union[QuantPlan, Draft]) -> Resolve:
    """A function from a node name to (rank, names of quantized tensors): the least rank is most exact, no names if unknown.

    plan: what has `tensors` and `groups`, a QuantPlan of the viewed graph or a draft of one.
    """
    producers, origins = collections.defaultdict(list), collections.defaultdict(list)
    for tensor in plan.tensors:
        producers[tensor.name.rpartition('/')[0]].append(tensor.name)
        if tensor.tensor and node_name(tensor.tensor) != tensor.name.rpartition('/')[0]:
            producers[node_name(tensor.tensor)].append(tensor.name)
        if tensor.role in ('weight', 'bias', 'constant'):
            for node in _origins(view, tensor):
                origins[node].append(tensor.name)
    computes = {group.node: [group.weight] for group in plan.groups}
    ranked = (producers, computes, origins)

    def exact(name):
        for rank, names in enumerate(ranked):
            if names.get(name):
                return rank, names[name]
        return len(ranked), ()

    def resolve(name):
        rank, names = exact(name)
        if names:
            return (rank, 0), names
        found = [exact(heir) for heir in view.derived_nodes(name)]
        return (min((rank for rank, _ in found), default=rank), 1), [tensor for _, tensors in found for tensor in tensors]
    return resolve


def entry_names(view: GraphView, plan: QuantPlan, nodes: Iterable[str]) -> Dict[FrozenSet[str], str]:
    """{names of quantized tensors, a frozenset: the most exact of the `nodes` that means these and no others}.

    plan: the QuantPlan of the viewed graph. nodes: names of nodes that an entry may have, those of the float graph.
    """
    resolve = resolver(view, plan)
    found: Dict[FrozenSet[str], Tuple[Tuple[int, int], str]] = {}
    for node in nodes:
        rank, names = resolve(node)
        tensors = frozenset(name for name in names if name)
        if tensors and (tensors not in found or rank < found[tensors][0]):
            found[tensors] = rank, node
    return {tensors: node for tensors, (_, node) in found.items()}


def _origins(view, tensor):
    """The nodes from the variable or Const to the inputs that read the quantized, or to be folded, tensor."""
    for start in (view.inputs(node)[index] for node, index in tensor.consumers):
        yield node_name(start)
        while view.op(start) in READ_OPS:
            start = view.inputs(start)[0]
            yield node_name(start)


def _settings(field, entries, resolve, known):
    chosen = {}
    for entry in entries:
        name, _, value = entry.rpartition(':')
        rank, tensors = resolve(name.strip())
        if not tensors:
            tf.logging.warning('%s: %r does not name a quantized tensor, the entry is ignored%s', field, entry,
                               errors.did_you_mean(name.strip(), known))
        for tensor in tensors:
            if tensor not in chosen or rank < chosen[tensor][0]:
                chosen[tensor] = rank, int(value)
    return {tensor: value for tensor, (_, value) in chosen.items()}
