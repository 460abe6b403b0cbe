"""Where quantization resumes after ops that stay float: right after them, wherever an op that computes with it gains."""
from typing import FrozenSet, Iterable, Mapping, Sequence, Set

import tensorflow.compat.v1 as tf

from vai_q_tf.graph.control_flow import branch_nodes
from vai_q_tf.graph.traits import SHARED, SPLIT_INPUTS, VALUE, trait
from vai_q_tf.graph.view import tensor_name
from vai_q_tf.patterns.activations import Activation, relu_after
from vai_q_tf.plan.draft import Draft

# Ops that only move values: quantizing what they read is for those after them, if at all.
_MOVING_OPS = frozenset((
    'BatchToSpaceND', 'DepthToSpace', 'ExpandDims', 'MirrorPad', 'Pad', 'PadV2', 'Reshape', 'SpaceToBatchND', 'Squeeze',
    'StridedSlice', 'Transpose')).union(SPLIT_INPUTS)
_ROOT_OPS = frozenset(('Rsqrt', 'Sqrt'))
# What is done to a variance, or a square of a length, before the root is taken. With few bits small ones would be zero.
_VARIANCE_OPS = frozenset(('Add', 'AddV2', 'Maximum', 'Mean', 'Sum'))


class Resumption:
    """Which float32 tensors that are computed in float are quantized for the ops that read them.

    An op with a quantization rule wants that, also as part of a pattern; but one that only moves values wants it only for the
    sake of an op after it, and one that makes a variance, of which nothing but the root is taken, does not want it; nor does
    an op in a branch, which does not run in every calibration step.

    Args:
      draft: the Draft, with the weighted ops. activations: {source tensor: Activations}.
      patterns: the sets of computed nodes that are quantized as one, beside weighted ops.
    """

    def __init__(self, draft: Draft, activations: Mapping[str, Sequence[Activation]],
                 patterns: Iterable[FrozenSet[str]]) -> None:
        self._draft = draft
        self._wanting: Set[str] = set()
        self._variances: Set[str] = set()
        skipped = {record.node for record in draft.skipped}
        self._branches = branch_nodes(draft.view)
        grouped = draft.covered.difference(skipped)
        for nodes in patterns:
            if draft.ignored.isdisjoint(nodes):
                grouped.update(nodes)
        for name in reversed(draft.graph_range.order):
            if (name in draft.graph_range.input_nodes or draft.graph_range.is_static(name) or name in self._branches
                    or name in draft.graph_range.dropout_nodes):
                continue
            if self._makes_variance(name):
                self._variances.add(name)
            elif name in grouped or (name not in skipped and self._is_wanting(name, activations)):
                self._wanting.add(name)

    def resumes_at(self, tensor: str) -> bool:
        """Whether a tensor that is computed in float is to be quantized."""
        return self._draft.view.dtype(tensor) == tf.float32 and any(
            reader in self._wanting for reader, _ in self._draft.graph_range.readers(tensor))

    def wants(self, name: str) -> bool:
        """Whether an op is to be quantized."""
        return name in self._wanting

    def reason(self, name: str, tensor: str) -> str:
        """Why the op `name` stays float after the tensor, one that is computed in float."""
        text = 'its input {!r} is computed in float'.format(tensor)
        if name in self._branches:
            return text + ', and it is in a branch, which need not run in calibration'
        if name in self._variances:
            return text + ', and so is the root that is taken of its result'
        if self._draft.view.op(name) in _MOVING_OPS:
            return text + ', and nothing after it is quantized; it only moves values'
        return text

    def _is_wanting(self, name, activations):
        view, spec = self._draft.view, trait(self._draft.view.op(name))
        if view.dtype(name) != tf.float32 or name in self._draft.ignored:
            return False
        if view.op(name) in _MOVING_OPS:
            return any(self.resumes_at(tensor_name(name, index)) for index in range(len(view.output_types(name))))
        relu = relu_after(view, name, activations) if spec.relu else None
        return spec.kind in (VALUE, SHARED) and not (relu and self._draft.ignored & relu.nodes)

    def _makes_variance(self, name):
        view, graph_range = self._draft.view, self._draft.graph_range
        if view.op(name) not in _VARIANCE_OPS | _MOVING_OPS or graph_range.is_output(name):
            return False
        readers = {reader for reader, _ in graph_range.readers(name)}
        return bool(readers) and all(view.op(reader) in _ROOT_OPS or reader in self._variances for reader in readers)
