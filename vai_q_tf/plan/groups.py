"""Compute groups: a weighted op with its weights, bias and activation function, quantized as one."""
from typing import Collection, FrozenSet, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph.traits import READ_OPS, WEIGHTED, Trait, trait
from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.patterns.activations import Activation
from vai_q_tf.patterns.bias import is_bias_of, is_transposed, split_bias_add
from vai_q_tf.patterns.graph_range import GraphRange
from vai_q_tf.plan.draft import IGNORED, ActivationsOf, Draft, other_type
from vai_q_tf.plan.quant_plan import DEPTHWISE_WEIGHT_MODE, WEIGHT_MODE, ComputeGroup
from vai_q_tf.types import NodeInput

_COMPUTED_WEIGHTS = 'it has no weights: its second operand is computed'


class ComputeChain(NamedTuple):
    """The nodes that are computed together with a weighted op.

    compute: the weighted op. trait: that of its type.
    data: the tensor before the chain. bias_reader: the input that reads the bias; None without bias.
    result: the tensor before the activation function.
    links: (tensor, nodes of the chain that read it) for every tensor inside.
    nodes: the whole chain without the producer of the data.
    atrous: whether the op is between a SpaceToBatchND and a BatchToSpaceND.
    """
    compute: str
    trait: Trait
    data: str
    bias_reader: Optional[NodeInput]
    activation: Optional[Activation]
    result: str
    links: Tuple[Tuple[str, FrozenSet[str]], ...]
    nodes: FrozenSet[str]
    atrous: bool


def add_compute_groups(draft: Draft, activations: ActivationsOf) -> List[ComputeChain]:
    """Quantizes weights, biases and results of all weighted ops of the range, and records their ComputeGroups.

    Weighted ops with computed weights stay float. The data inputs are left to `add_compute_inputs`.

    Returns:
      the compute chains that were quantized.
    """
    chains = []
    for name in draft.graph_range.nodes:
        chain = _quantizable_chain(draft, name, activations) if _is_weighted_op(draft, name) else None
        if chain:
            draft.covered.update(chain.nodes)
            chains.append(chain)
    groups = [_add_chain(draft, chain) for chain in chains]
    draft.groups += groups
    for chain, group in zip(chains, groups):
        draft.groups += _inner_groups(draft, chain, group)
    return chains


def add_compute_inputs(draft: Draft, chains: Sequence[ComputeChain]) -> None:
    """Quantizes the data inputs of weighted ops that are still float, and records them all in the ComputeGroups."""
    inputs = {chain.compute: draft.add_activation(chain.data)
              for chain in chains if draft.view.dtype(chain.data) == tf.float32}
    draft.groups[:] = [group._replace(input=inputs.get(group.node, group.input)) for group in draft.groups]


def _is_weighted_op(draft: Draft, name: str) -> bool:
    """Whether a node is a weighted op that is not decided yet."""
    return (trait(draft.view.op(name)).kind == WEIGHTED and name not in draft.covered
            and name not in draft.graph_range.input_nodes and not draft.graph_range.is_static(name))


def _quantizable_chain(draft: Draft, name: str, activations: ActivationsOf) -> Optional[ComputeChain]:
    """The ComputeChain of a weighted op; None if it stays float, for a reason that is recorded."""
    dtype = draft.view.dtype(name)
    if dtype != tf.float32:
        draft.skip([name], other_type(dtype))
        return None
    if not draft.graph_range.is_static(draft.view.inputs(name)[trait(draft.view.op(name)).weight]):
        draft.skip([name], _COMPUTED_WEIGHTS)
        return None
    chain = _find_chain(draft.graph_range, name, activations)
    if draft.ignored & _names(draft.view, chain):
        draft.skip([node for node in chain.nodes if not draft.graph_range.is_static(node)], IGNORED)
        return None
    return chain


def _find_chain(graph_range: GraphRange, name: str, activations: ActivationsOf) -> ComputeChain:
    """The ComputeChain of the weighted op `name`."""
    view, spec = graph_range.view, trait(graph_range.view.op(name))
    data = graph_range.source(view.inputs(name)[spec.data][0])
    nodes, links, result = {name}, [], name
    atrous = _atrous(graph_range, name, data)
    if atrous:
        nodes.update((node_name(data), atrous))
        data, result = graph_range.source(view.inputs(data)[0]), atrous
        links.append((name, frozenset((atrous,))))
    path, bias_reader = _bias_path(graph_range, name, result)
    for reader in path:
        links.append((result, frozenset((reader,))))
        result = reader
    nodes.update(path)
    activation = next(iter(activations.get(result, ())), None)
    if activation:
        nodes.update(activation.nodes)
        links.append((result, activation.nodes))
    return ComputeChain(name, spec, data, bias_reader, activation, result, tuple(links), frozenset(nodes), bool(atrous))


def _atrous(graph_range: GraphRange, name: str, data: str) -> str:
    """The BatchToSpaceND that undoes the SpaceToBatchND before a dilated convolution; '' for other ops."""
    view = graph_range.view
    if view.op(data) != 'SpaceToBatchND' or data not in graph_range or data in graph_range.input_nodes:
        return ''
    readers = graph_range.readers(name)
    if len(readers) == 1 and view.op(readers[0][0]) == 'BatchToSpaceND' and not graph_range.is_output(name):
        return readers[0][0]
    return ''


def _bias_path(graph_range: GraphRange, name: str, result: str) -> Tuple[Tuple[str, ...], Optional[NodeInput]]:
    """The nodes from the result of the weighted op `name` to the addition of its bias, and the input that reads the bias.

    A Squeeze after a convolution, as in a conv1d, or a Reshape after a MatMul, as in a dense layer on more than two
    axes, may come before the addition if nothing else reads the result.
    """
    found = _bias_reader(graph_range, name, result)
    if found:
        return (found[0],), found
    shaping = 'Reshape' if graph_range.view.op(name) == 'MatMul' else 'Squeeze'
    readers = graph_range.readers(result)
    if len(readers) == 1 and graph_range.view.op(readers[0][0]) == shaping and readers[0][1] == 0:
        shaped = readers[0][0]
        found = _bias_reader(graph_range, name, shaped)
        if found:
            return (shaped, found[0]), found
    return (), None


def _bias_reader(graph_range: GraphRange, name: str, result: str) -> Optional[NodeInput]:
    """The input that reads the bias of the weighted op `name`, which is added to the tensor `result`; None without."""
    for reader, _ in graph_range.readers(result):
        split = split_bias_add(graph_range, reader)
        if split and is_bias_of(graph_range.view, name, reader, split[1]):
            return reader, split[2]
    return None


def _names(view: GraphView, chain: ComputeChain) -> FrozenSet[str]:
    """The nodes of the chain, its weights and its bias: any of them in ignore_nodes keeps the chain float."""
    names = set(chain.nodes)
    for reader, index in filter(None, ((chain.compute, chain.trait.weight), chain.bias_reader)):
        tensor = view.inputs(reader)[index]
        names.add(node_name(tensor))
        while view.op(tensor) in READ_OPS:
            tensor = view.inputs(tensor)[0]
            names.add(node_name(tensor))
    return frozenset(names)


def _add_chain(draft: Draft, chain: ComputeChain) -> ComputeGroup:
    """Quantizes weights, bias and result of the chain; returns its ComputeGroup, still without input."""
    weight = add_parameter(draft, 'weight', _weight_mode(draft.view, chain), (chain.compute, chain.trait.weight))
    bias = add_parameter(draft, 'bias', WEIGHT_MODE, chain.bias_reader) if chain.bias_reader else ''
    for tensor, readers in chain.links:
        if is_read_elsewhere(draft, tensor, readers):
            # If others need the input of the activation function as well, the hardware stores it and reads it again.
            stored = chain.activation and readers == chain.activation.nodes
            draft.add_activation(tensor, without=() if stored else readers)
    output = add_activation_function(draft, chain.activation) if chain.activation else draft.add_activation(chain.result)
    return ComputeGroup(chain.compute, '', weight, bias, output, _reduction(draft.view, chain))


def add_parameter(draft: Draft, role: str, mode: int, reader: NodeInput) -> str:
    """Quantizes the weight or bias that the input `reader` reads; returns the name."""
    node, index = reader
    return draft.add_weight(draft.view.inputs(node)[index], role, mode, reader)


def _weight_mode(view: GraphView, chain: ComputeChain) -> int:
    fused_leaky = chain.activation is not None and view.op(chain.activation.node) == 'LeakyRelu'
    return DEPTHWISE_WEIGHT_MODE if chain.trait.depthwise and not chain.atrous and not fused_leaky else WEIGHT_MODE


def _reduction(view: GraphView, chain: ComputeChain) -> int:
    """The number of products in the sum of one result value; 0 if the shape of the weights is unknown."""
    shape = view.shape(view.inputs(chain.compute)[chain.trait.weight])
    axes = (1,) if is_transposed(view, chain.compute) else chain.trait.reduction_axes
    sizes = [shape[axis] for axis in axes] if shape else [0]
    return int(np.prod(sizes)) if min(sizes) > 0 else 0


def _inner_groups(draft: Draft, chain: ComputeChain, group: ComputeGroup) -> List[ComputeGroup]:
    """The ComputeGroups of quantized values inside the chain: `group` with another result, and without bias before that."""
    return [group._replace(output=draft.quantized(tensor), bias=group.bias if tensor == chain.result else '')
            for tensor, _ in chain.links if draft.quantized(tensor)]


def add_activation_function(draft: Draft, activation: Activation) -> str:
    """Quantizes the slope and the result of an activation function; returns the name of the latter."""
    if activation.alpha_input:
        draft.add_weight(activation.alpha, 'constant', WEIGHT_MODE, activation.alpha_input)
    return draft.add_activation(activation.node)


def is_read_elsewhere(draft: Draft, tensor: str, readers: Collection[str]) -> bool:
    """Whether a tensor inside a chain is an output, or read in the range by other nodes than `readers`."""
    return draft.graph_range.is_output(tensor) or any(
        name not in readers for name, _ in draft.graph_range.readers(tensor))
