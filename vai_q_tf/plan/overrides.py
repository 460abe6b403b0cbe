"""Bit widths and methods of single tensors: nodes_bit and nodes_method, with warnings about names that mean nothing."""
import collections
from typing import Callable, Dict, FrozenSet, Iterable, Iterator, List, Mapping, Sequence, Tuple, Union

import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph.traits import READ_OPS
from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.plan.draft import Draft
from vai_q_tf.plan.quant_plan import DEPTHWISE_WEIGHT_MODE, QuantPlan, QuantTensor

Rank = Tuple[int, int]
# From a node name to its rank and the names of the quantized tensors that it means; see `resolver`.
Resolve = Callable[[str], Tuple[Rank, Sequence[str]]]


def apply_overrides(draft: Draft, config: QuantizeConfig) -> Tuple[QuantTensor, ...]:
    """The tensors of the draft with the entries of config.nodes_bit and config.nodes_method applied.

    An entry names, in the order in which they are tried: the producer of a quantized tensor, a weighted op (its weights
    are meant), a node on the way from the Const to the quantized tensor. A node of the float graph from which one of these is
    derived is tried right after it. Of two entries for one tensor the one tried first wins, then the one listed first. Method 2
    becomes 1 for tensors that are no depthwise weights.
    """
    _warn_of_unknown_nodes(draft)
    resolve = resolver(draft.view, draft)
    known = [tensor.producer for tensor in draft.tensors]
    bits = _settings('nodes_bit', config.nodes_bit, resolve, known)
    methods = _settings('nodes_method', config.nodes_method, resolve, known)
    return tuple(tensor._replace(bits=bits.get(tensor.name, tensor.bits), method=_method(tensor, methods))
                 for tensor in draft.tensors)


def _warn_of_unknown_nodes(draft: Draft) -> None:
    """Warns of names in ignore_nodes that no node has or had."""
    for name in sorted({node_name(name) for name in draft.config.ignore_nodes}):
        if name not in draft.view and not draft.view.derived_nodes(name):
            tf.logging.warning('ignore_nodes (--ignore_nodes) names %r, which is no node between the input and output nodes%s',
                               name, errors.did_you_mean(name, draft.view.names))


def _settings(field: str, entries: Iterable[str], resolve: Resolve, known: Sequence[str]) -> Dict[str, int]:
    """{name of a quantized tensor: the number that the entries 'node:number' of a config field give it}

    known: the names to suggest for a misspelt one.
    """
    chosen: Dict[str, Tuple[Rank, int]] = {}
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


def _method(tensor: QuantTensor, methods: Mapping[str, int]) -> int:
    if tensor.name not in methods:
        return tensor.method
    return 1 if methods[tensor.name] == 2 and tensor.mode != DEPTHWISE_WEIGHT_MODE else methods[tensor.name]


def resolver(view: GraphView, plan: Union[QuantPlan, Draft]) -> Resolve:
    """A function from a node name to (rank, names of quantized tensors): the lowest rank is most exact, no names if unknown.

    plan: of the viewed graph.
    """
    return _Names(view, plan).resolve


def entry_names(view: GraphView, plan: QuantPlan, nodes: Iterable[str]) -> Dict[FrozenSet[str], str]:
    """{names of quantized tensors: the most exact of the `nodes` that means these and no others}.

    plan: of the viewed graph. nodes: names that an entry may have, those of nodes of the float graph.
    """
    resolve = resolver(view, plan)
    found: Dict[FrozenSet[str], Tuple[Rank, str]] = {}
    for node in nodes:
        rank, names = resolve(node)
        tensors = frozenset(names)
        if tensors and (tensors not in found or rank < found[tensors][0]):
            found[tensors] = rank, node
    return {tensors: node for tensors, (_, node) in found.items()}


class _Names:
    """The quantized tensors of a plan by node names."""

    def __init__(self, view: GraphView, plan: Union[QuantPlan, Draft]) -> None:
        self._view = view
        produced: Dict[str, List[str]] = collections.defaultdict(list)
        origins: Dict[str, List[str]] = collections.defaultdict(list)
        for tensor in plan.tensors:
            for name in {tensor.producer, node_name(tensor.tensor)}:
                produced[name].append(tensor.name)
            if tensor.role in ('weight', 'bias', 'constant'):
                for name in _origins(view, tensor):
                    origins[name].append(tensor.name)
        self._ranked: Sequence[Mapping[str, Sequence[str]]] = (
            produced, {group.node: [group.weight] for group in plan.groups}, origins)

    def resolve(self, name: str) -> Tuple[Rank, Sequence[str]]:
        """The rank and the names of the quantized tensors that a node name means."""
        rank, names = self._exact(name)
        if names:
            return (rank, 0), names
        found = [self._exact(node) for node in self._view.derived_nodes(name)]
        return (min((rank for rank, _ in found), default=rank), 1), [tensor for _, tensors in found for tensor in tensors]

    def _exact(self, name: str) -> Tuple[int, Sequence[str]]:
        """As `resolve`, without the nodes that are derived from the named one."""
        for rank, index in enumerate(self._ranked):
            if name in index:
                return rank, index[name]
        return len(self._ranked), ()


def _origins(view: GraphView, tensor: QuantTensor) -> Iterator[str]:
    """The nodes from the variable or Const to the inputs that read the quantized tensor."""
    for start in (view.inputs(node)[index] for node, index in tensor.consumers):
        yield node_name(start)
        while view.op(start) in READ_OPS:
            start = view.inputs(start)[0]
            yield node_name(start)
