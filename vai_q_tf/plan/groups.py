"""Compute groups: a weighted op with its weights, bias and activation function, quantized as one."""
from typing import Collection, FrozenSet, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph.traits import READ_OPS, WEIGHTED, Trait, trait
from vai_q_tf.graph.view import node_name
from vai_q_tf.patterns.activations import Activation
from vai_q_tf.patterns.bias import is_bias_of, is_transposed, split_bias_add
from vai_q_tf.plan.draft import IGNORED, Draft
from vai_q_tf.plan.quant_plan import DEPTHWISE_WEIGHT_MODE, WEIGHT_MODE, ComputeGroup, Input


class ComputeChain(NamedTuple):
    """What is computed together.

    data: the tensor in front. bias, bias_reader: the bias tensor and the input that reads it, '' and None without bias.
    result: the tensor before the activation function.
    links: (tensor, nodes of the chain that read it) for every tensor inside. nodes: all of it, the data aside.
    """
    compute: str
    trait: Trait
    data: str
    bias: str
    bias_reader: Optional[Input]
    activation: Optional[Activation]
    result: str
    links: Tuple[Tuple[str, FrozenSet[str]], ...]
    nodes: FrozenSet[str]
    atrous: bool


def add_compute_groups(draft: Draft, activations: Mapping[str, Sequence[Activation]]) -> List[ComputeChain]:
    """Quantizes weights, biases and results of all weighted ops of the range, and records their ComputeGroups.

    Weighted ops with computed weights stay float. The data inputs are left to `add_compute_inputs`.

    Args:
      activations: {source tensor: Activations}.

    Returns:
      the compute chains that were quantized.
    """
    chains = []
    for name in draft.graph_range.nodes:
        if name in draft.covered or name in draft.graph_range.input_nodes or draft.graph_range.is_static(name):
            continue
        spec = trait(draft.view.op(name))
        if spec.kind != WEIGHTED:
            continue
        if draft.view.dtype(name) != tf.float32:
            draft.skip([name], 'its type is {}; only float32 is quantized'.format(draft.view.dtype(name).name))
        elif not draft.graph_range.is_static(draft.view.inputs(name)[spec.weight]):
            draft.skip([name], 'it has no weights: its second operand is computed')
        else:
            chain = _find_chain(draft.graph_range, name, spec, activations)
            if draft.ignored & _names(draft.view, chain):
                draft.skip(sorted(node for node in chain.nodes if not draft.graph_range.is_static(node)), IGNORED)
            else:
                draft.covered.update(chain.nodes)
                chains.append(chain)
    groups = [_add_chain(draft, chain) for chain in chains]
    draft.groups += groups
    for chain, group in zip(chains, groups):
        draft.groups += [group._replace(output=draft.quantized(tensor), bias=group.bias if tensor == chain.result else '')
                         for tensor, _ in chain.links if draft.quantized(tensor)]
    return chains


def add_compute_inputs(draft: Draft, chains: Sequence[ComputeChain]) -> None:
    """Quantizes the data inputs of weighted ops that are still float, and puts all of them in the ComputeGroups."""
    inputs = {chain.compute: draft.add_activation(chain.data)
              for chain in chains if draft.view.dtype(chain.data) == tf.float32}
    draft.groups[:] = [group._replace(input=inputs.get(group.node, group.input)) for group in draft.groups]


def _find_chain(graph_range, name, spec, activations):
    """The ComputeChain of the weighted op `name`."""
    view = graph_range.view
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
    bias = view.inputs(result)[bias_reader[1]] if bias_reader else ''
    nodes.update(path)
    activation = next(iter(activations.get(result, ())), None)
    if activation:
        nodes.update(activation.nodes)
        links.append((result, activation.nodes))
    return ComputeChain(name, spec, data, bias, bias_reader, activation, result, tuple(links), frozenset(nodes), bool(atrous))


def _bias_path(graph_range, name, result):
    """The nodes from the result of the weighted op `name` to the addition of its bias, and the input that reads that.

    A Squeeze after a convolution, as in a conv1d, or a Reshape after a MatMul, as in a dense layer on more than two
    axes, may come before the addition if nothing else reads the result.
    """
    view, readers = graph_range.view, graph_range.readers(result)
    for reader, _ in readers:
        split = split_bias_add(graph_range, reader)
        if split and is_bias_of(view, name, reader, split[1]):
            return (reader,), (reader, split[2])
    shaping = 'Reshape' if view.op(name) == 'MatMul' else 'Squeeze'
    if len(readers) == 1 and view.op(readers[0][0]) == shaping and readers[0][1] == 0:
        shaped = readers[0][0]
        for reader, _ in graph_range.readers(shaped):
            split = split_bias_add(graph_range, reader)
            if split and is_bias_of(view, name, reader, split[1]):
                return (shaped, reader), (reader, split[2])
    return (), None


def _atrous(graph_range, name, data):
    """The BatchToSpaceND that undoes the SpaceToBatchND before a convolution, '' for others."""
    view = graph_range.view
    if view.op(data) != 'SpaceToBatchND' or data not in graph_range or data in graph_range.input_nodes:
        return ''
    readers = graph_range.readers(name)
    if len(readers) == 1 and view.op(readers[0][0]) == 'BatchToSpaceND' and not graph_range.is_output(name):
        return readers[0][0]
    return ''


def _names(view, chain):
    """The nodes of the chain, its weights and its bias: naming any of them in ignore_nodes keeps the chain float."""
    names = set(chain.nodes)
    for tensor in (view.inputs(chain.compute)[chain.trait.weight], chain.bias):
        while tensor:
            names.add(node_name(tensor))
            tensor = view.inputs(tensor)[0] if view.op(tensor) in READ_OPS else ''
    return names


def _add_chain(draft, chain):
    """Quantizes weights, bias and result of the chain; returns its ComputeGroup, the input left open."""
    view, spec = draft.view, chain.trait
    fused_leaky = chain.activation is not None and view.op(chain.activation.node) == 'LeakyRelu'
    mode = DEPTHWISE_WEIGHT_MODE if spec.depthwise and not chain.atrous and not fused_leaky else WEIGHT_MODE
    weight = draft.add_weight(view.inputs(chain.compute)[spec.weight], 'weight', mode, (chain.compute, spec.weight))
    bias = draft.add_weight(chain.bias, 'bias', WEIGHT_MODE, chain.bias_reader) if chain.bias_reader else ''
    for tensor, readers in chain.links:
        add_if_read_elsewhere(draft, tensor, readers, fused=not chain.activation or readers != chain.activation.nodes)
    output = add_activation_function(draft, chain.activation) if chain.activation else draft.add_activation(chain.result)
    return ComputeGroup(chain.compute, '', weight, bias, output, _reduction(view, chain.compute, spec))


def _reduction(view, name, spec):
    """How many products one value of the result sums; 0 where the shape of the weights is not known."""
    shape = view.shape(view.inputs(name)[spec.weight])
    axes = (1,) if is_transposed(view, name) else spec.reduction_axes
    sizes = [shape[axis] for axis in axes] if shape else [0]
    return int(np.prod(sizes)) if min(sizes) > 0 else 0


def add_activation_function(draft: Draft, activation: Activation) -> str:
    """Quantizes the slope and the result of an activation function; returns the name of the latter."""
    if activation.alpha:
        draft.add_weight(activation.alpha, 'constant', WEIGHT_MODE, activation.alpha_input)
    return draft.add_activation(activation.node)


def add_if_read_elsewhere(draft: Draft, tensor: str, readers: Collection[str], fused: bool = True) -> None:
    """Quantizes a tensor inside a chain if nodes of the range beside `readers` read it.

    `readers` go on reading the float tensor where they are `fused` with what makes it; an activation function is not, once
    others need its input as well: the hardware stores that then, and reads it again.
    """
    others = [name for name, _ in draft.graph_range.readers(tensor) if name not in readers]
    if others or draft.graph_range.is_output(tensor):
        draft.add_activation(tensor, without=readers if fused else ())
