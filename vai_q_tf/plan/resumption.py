"""Where quantization resumes after ops that stay float: right after them, if an op that computes with the values wants it."""
from typing import FrozenSet, Iterable, Set

import tensorflow.compat.v1 as tf

from vai_q_tf.graph.control_flow import branch_nodes
from vai_q_tf.graph.traits import MOVING_OPS, SHARED, SPLIT_INPUTS, VALUE, trait
from vai_q_tf.graph.view import tensor_name
from vai_q_tf.patterns.activations import relu_after
from vai_q_tf.plan.draft import ActivationsOf, Draft

# Ops that only move values: whether their inputs are quantized depends on the ops after them.
_MOVING_OPS = MOVING_OPS.union(SPLIT_INPUTS)
_ROOT_OPS = frozenset(('Rsqrt', 'Sqrt'))
# Steps from a variance, or the square of a length, to its root. With few bits small ones would be zero.
_VARIANCE_OPS = frozenset(('Add', 'AddV2', 'Maximum', 'Mean', 'Sum'))


class Resumption:
    """Which float32 tensors that are computed in float are quantized for the ops that read them.

    An op with a quantization rule wants quantized inputs, also as part of a pattern. These do not: an op that only moves
    values, unless an op after it wants them; an op that computes a variance of which only the root is taken; an op in a branch,
    which does not run in every calibration step.

    Args:
      draft: the Draft, with the weighted ops.
      patterns: sets of nodes that are quantized as one, besides those of weighted ops.
    """

    def __init__(self, draft: Draft, activations: ActivationsOf, patterns: Iterable[FrozenSet[str]]) -> None:
        self._draft, self._activations = draft, activations
        self._branches = branch_nodes(draft.view)
        self._wanting: Set[str] = set()
        self._variances: Set[str] = set()
        skipped = {record.node for record in draft.skipped}
        grouped = draft.covered.difference(skipped).union(
            *(nodes for nodes in patterns if draft.ignored.isdisjoint(nodes)))
        for name in filter(self._is_computed, reversed(draft.graph_range.order)):
            if self._computes_variance(name):
                self._variances.add(name)
            elif name in grouped or (name not in skipped and self._has_wanting_rule(name)):
                self._wanting.add(name)

    def resumes_at(self, tensor: str) -> bool:
        """Whether a tensor that is computed in float is quantized."""
        return self._draft.view.dtype(tensor) == tf.float32 and any(
            reader in self._wanting for reader, _ in self._draft.graph_range.readers(tensor))

    def wants(self, name: str) -> bool:
        """Whether an op wants quantized inputs."""
        return name in self._wanting

    def reason(self, name: str, tensor: str) -> str:
        """Why the op `name` stays float after the tensor, which is computed in float."""
        text = 'its input {!r} is computed in float'.format(tensor)
        if name in self._branches:
            return text + ', and it is in a branch, which need not run in calibration'
        if name in self._variances:
            return text + ', and so is the root that is taken of its result'
        if self._draft.view.op(name) in _MOVING_OPS:
            return text + ', and nothing after it is quantized; it only moves values'
        return text

    def _is_computed(self, name: str) -> bool:
        """Whether an op runs in every inference, on values that depend on the input nodes."""
        graph_range = self._draft.graph_range
        return not (name in graph_range.input_nodes or graph_range.is_static(name) or name in self._branches
                    or name in graph_range.dropout_nodes)

    def _has_wanting_rule(self, name: str) -> bool:
        view, spec = self._draft.view, trait(self._draft.view.op(name))
        if view.dtype(name) != tf.float32 or name in self._draft.ignored:
            return False
        if view.op(name) in _MOVING_OPS:
            return any(self.resumes_at(tensor_name(name, index)) for index in range(len(view.output_types(name))))
        relu = relu_after(view, name, self._activations) if spec.relu else None
        return spec.kind in (VALUE, SHARED) and not (relu and self._draft.ignored & relu.nodes)

    def _computes_variance(self, name: str) -> bool:
        view, graph_range = self._draft.view, self._draft.graph_range
        if view.op(name) not in _VARIANCE_OPS | _MOVING_OPS or graph_range.is_output(name):
            return False
        readers = {reader for reader, _ in graph_range.readers(name)}
        return bool(readers) and all(view.op(reader) in _ROOT_OPS or reader in self._variances for reader in readers)
