"""QuantPlan: which tensors of a graph are quantized, and how. A value: plans can be compared, printed and stored as JSON.

Tensors are named as in the optimised graph, 'node' for output 0 and 'node:k' for the others; an input of a node is a pair
(node, input index). `QuantTensor.name` is the name of the FixNeuron, in live graphs and in models, and the key of its position
in a checkpoint.
"""
import collections
import json
from typing import Any, Callable, Dict, NamedTuple, Tuple

from vai_q_tf.fixed_point import POSITION_MIN
from vai_q_tf.notebook.html import block, folded, html_table, html_text
from vai_q_tf.types import NodeInput
from vai_q_tf.wording import some_of

WEIGHT_MODE, ACTIVATION_MODE, DEPTHWISE_WEIGHT_MODE = 0, 1, 2


class QuantTensor(NamedTuple):
    """One quantized tensor.

    Attributes:
      name: '<producer>/wquant' (modes 0 and 2) or '<producer>/aquant' (mode 1).
      role: 'input', 'weight', 'bias', 'constant' or 'activation'.
      mode: 0 weight or bias, 1 activation, 2 depthwise weight.
      bits: total bits, sign included.
      method: 0, 1 or 2.
      tensor: the float tensor of the viewed graph.
      consumers: the inputs that read the quantized tensor, (node, input index).
      min_position: the lowest position that the hardware supports for it.
      narrow_range: whether the smallest integer is unused, as in TensorFlow's ops with an attr of that name.
    """
    name: str
    role: str
    mode: int
    bits: int
    method: int
    tensor: str
    consumers: Tuple[NodeInput, ...]
    min_position: int = POSITION_MIN
    narrow_range: bool = False

    @property
    def producer(self) -> str:
        """The name without '/wquant' or '/aquant'."""
        return self.name.rpartition('/')[0]


class ComputeGroup(NamedTuple):
    """A weighted op with the names of the QuantTensors around it; '' for one that it does not have.

    An op has several groups if values before its bias or its activation function are quantized too. The first one in a plan is
    that of its final result.
    reduction: the number of products in the sum of one result value; 0 if unknown.
    """
    node: str
    input: str
    weight: str
    bias: str
    output: str
    reduction: int = 0


class OperandGroup(NamedTuple):
    """An op without weights whose shifts the hardware limits, with the names of the QuantTensors around it.

    kind: 'add', 'mul', 'pool', 'activation' or 'hard_sigmoid'.
    node: the op; for an average pool, the pool and not the multiplication after it.
    inputs: the quantized inputs; the same name twice for an addition of a tensor to itself.
    """
    kind: str
    node: str
    inputs: Tuple[str, ...]
    output: str


class Alignment(NamedTuple):
    """Tensors that the hardware needs at one position: the result and the inputs of an op that joins, selects or moves values.

    kind: 'concat', 'pool', or 'move' for an op that copies the integers of its input.
    node: the op; for an average pool, the pool and not the multiplication after it.
    output, inputs: names of QuantTensors. is_output: whether `node` is one of the output nodes.
    """
    kind: str
    node: str
    output: str
    inputs: Tuple[str, ...]
    is_output: bool


class Skipped(NamedTuple):
    """An op in the range that stays float, and why."""
    node: str
    op: str
    reason: str


class QuantPlan(NamedTuple):
    """Which tensors of a range are quantized, and how.

    Attributes:
      input_nodes: where the range starts.
      output_nodes: where it ends.
      nodes: all nodes of the range.
      tensors: a QuantTensor for each quantized tensor, in graph order.
      groups: the weighted ops with the tensors around them.
      skipped: the ops that stay float, and why.
      alignments: the tensors that need one position.
      operand_groups: the ops without weights whose shifts the hardware limits.
    """
    input_nodes: Tuple[str, ...]
    output_nodes: Tuple[str, ...]
    nodes: Tuple[str, ...]
    tensors: Tuple[QuantTensor, ...]
    groups: Tuple[ComputeGroup, ...]
    skipped: Tuple[Skipped, ...]
    alignments: Tuple[Alignment, ...] = ()
    operand_groups: Tuple[OperandGroup, ...] = ()

    def layers(self) -> Dict[str, str]:
        """{name of a QuantTensor: its layer}: the weighted op that it belongs to, or else the op that produces it."""
        found = {tensor.name: tensor.tensor.partition(':')[0] for tensor in self.tensors}
        for group in self.groups:
            found.update((name, group.node) for name in (group.weight, group.bias, group.output) if name)
        return found

    def _sentence(self) -> str:
        roles = collections.Counter(tensor.role for tensor in self.tensors)
        return 'from {} to {}: {} quantized tensors ({}), {} ops stay float'.format(
            some_of(self.input_nodes), some_of(self.output_nodes), len(self.tensors),
            ', '.join('{1} {0}'.format(*role) for role in roles.most_common()) or 'none', len(self.skipped))

    def __repr__(self) -> str:
        return '<QuantPlan {}. All: .tensors, .skipped, .to_json()>'.format(self._sentence())

    def _repr_html_(self) -> str:
        return block(
            'QuantPlan', html_text('It goes {}.'.format(self._sentence())),
            html_table(('tensor', 'role', 'bits', 'method', 'read by'), [
                (tensor.name, tensor.role, tensor.bits, tensor.method, some_of(node for node, _ in tensor.consumers))
                for tensor in self.tensors]),
            folded('ops that stay float', html_table(('op', 'type', 'reason'), self.skipped)))

    def to_json(self) -> str:
        """The plan as JSON text; `from_json` returns an equal plan."""
        fields = self._asdict()
        for field in _RECORDS:
            fields[field] = [record._asdict() for record in fields[field]]
        return json.dumps(fields, sort_keys=True)

    @classmethod
    def from_json(cls, text: str, narrow_range: Callable[[str], bool] = lambda name: False) -> 'QuantPlan':
        """The plan that `to_json` wrote.

        narrow_range: whether the tensor of a name has a narrow range; asked only for plans of version 0.1.0, which do not
          record it.
        """
        stored = json.loads(text)
        fields = {key: _tuples(value) for key, value in stored.items() if key in cls._fields and key not in _RECORDS}
        _upgrade(stored, narrow_range)
        for field, record in _RECORDS.items():
            fields[field] = tuple(record(**{key: _tuples(value) for key, value in values.items()}) for values in stored[field])
        return cls(**fields)


_RECORDS: Dict[str, Any] = {'tensors': QuantTensor, 'groups': ComputeGroup, 'skipped': Skipped, 'alignments': Alignment,
                            'operand_groups': OperandGroup}


def _tuples(value: Any) -> Any:
    """The JSON value with tuples in place of lists."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _upgrade(stored: Dict[str, Any], narrow_range: Callable[[str], bool]) -> None:
    """Changes a stored plan of version 0.1.0 to today's fields."""
    stored.setdefault('operand_groups', [])
    for tensor in stored['tensors']:
        tensor.pop('fold', None)
        if 'narrow_range' not in tensor:
            tensor['narrow_range'] = narrow_range(tensor['name'])
            tensor['min_position'] = tensor.pop('least_position', POSITION_MIN)
