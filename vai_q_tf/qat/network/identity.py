"""By what a quantized tensor is known again: in a checkpoint, in the evaluation graph, after a release.

Names alone do not do: ops without a name are numbered, and training has ops that evaluation has not.
"""
import hashlib
from typing import Dict, NamedTuple, Tuple

from vai_q_tf.graph.view import STANDS_FOR, GraphView, node_name, output_index
from vai_q_tf.passes.common.rewriter import results_of
from vai_q_tf.passes.folding.fold_batch_norms import bias_add_of, fold_of
from vai_q_tf.qat.network.decision import variables_of
from vai_q_tf.qat.network.plain_names import whole

# op -> the input that is a shape, which may be written in several ways.
_SHAPES = {'Reshape': 1, 'Conv2DBackpropInput': 0}


class Identity(NamedTuple):
    """structure: a digest of what is computed: ops, attributes and variables from the inputs of the network on.

    variable: the one variable that a parameter is made of; ''.
    earlier: names that the tensor had in version 0.1.0.
    """
    structure: str
    variable: str
    earlier: Tuple[str, ...]


def identities(decision) -> Dict[str, Identity]:
    """{name of a quantized tensor: Identity} for the plan of a Decision."""
    view = GraphView(decision.optimised)
    digests, variables, earlier = _digests(view, decision.plan), variables_of(decision), _earlier_names(view, decision.plan)
    return {record.name: Identity(digests[record.tensor] if ':' not in record.tensor else '{}:{}'.format(
                digests[node_name(record.tensor)], output_index(record.tensor)),
                                  variables.get(record.name, ''), tuple(earlier.get(record.name, ())))
            for record in decision.plan.tensors}


def _digests(view, plan):
    """{node: digest}"""
    found = {}
    for name in view.upstream(view.names):
        node = view.node(name)
        if name in plan.input_nodes:
            # Networks of one input are the same network whatever that is called.
            parts = ['input {}'.format(name if len(plan.input_nodes) > 1 else '')]
        elif STANDS_FOR in node.attr:
            parts = ['variable {}'.format(node.attr[STANDS_FOR].s.decode())]
        elif node.op == 'ConcatV2' and _joined_variable(view, name):
            parts = ['variable {}'.format(_joined_variable(view, name))]
        else:
            parts = [node.op] + ['{}={}'.format(key, node.attr[key]) for key in sorted(node.attr) if not key.startswith('_')]
            parts += ['{}:{}'.format(found[node_name(tensor)], output_index(tensor))
                      for index, tensor in enumerate(view.inputs(name)) if _SHAPES.get(node.op) != index]
        found[name] = hashlib.sha1('\n'.join(parts).encode()).hexdigest()[:20]
    return found


def _joined_variable(view, name):
    """The variable whose parts a concat joins; '' for others."""
    parts = [view.node(node_name(tensor)) for tensor in view.inputs(name)[:-1]]
    wholes = {whole(part.attr[STANDS_FOR].s.decode()) if STANDS_FOR in part.attr else '' for part in parts}
    return wholes.pop() if len(wholes) == 1 else ''


def _earlier_names(view, plan):
    """{name of a quantized tensor: its names in version 0.1.0}, which named tensors after the training graph."""
    by_reader = {reader: record.name for record in plan.tensors for reader in record.consumers}
    by_tensor = {record.tensor: record.name for record in plan.tensors if record.role in ('input', 'activation')}
    names = {record.name: [source + ('/aquant' if record.tensor in by_tensor else '/wquant')
                           for source in results_of(view.node(node_name(record.tensor)))] for record in plan.tensors}

    def add(name, *earlier):
        if name:
            names.setdefault(name, []).extend(earlier)

    for product in view.names:
        if fold_of(view.node(product)):
            (compute, index), = view.consumers(product)
            scope = compute[:-len('/Conv2D')] if compute.endswith('/Conv2D') else compute
            add(by_reader.get((compute, index)), scope + '/BatchNorm_Fold/mul_1/wquant')
            bias_add, _ = bias_add_of(view, compute) or ('', '')
            add(by_reader.get((bias_add, 1)), *(scope + '/BatchNorm_Fold/{}/wquant'.format(end) for end in ('add_1', 'sub')))
            add(by_tensor.get(bias_add), *(scope + '/{}/aquant'.format(end) for end in ('biasadd_fold', 'biasadd')))
    for group in plan.groups:
        if view.op(group.node) == 'Mul':
            (root, _), = view.consumers(group.node)
            add(group.weight, root + '/BatchNorm_Fold/mul_0/wquant')
            add(group.bias, root + '/BatchNorm_Fold/sub/wquant')
            add(by_tensor.get(root), root + '/add/aquant')
    return names
