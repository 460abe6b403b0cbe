"""QuantPlan: which tensors of a graph are quantized, and how. A value: it can be compared, printed and stored as JSON.

Tensors are named as in the optimised graph, 'node' for output 0 and 'node:k' for the others; an input of a node is a pair
(node, input index). `QuantTensor.name` is the name of the FixNeuron, in live graphs as in models, and the key of its position
in a checkpoint.
"""
import collections
import json
from typing import NamedTuple, Tuple

from vai_q_tf.fixed_point import POSITION_MIN
from vai_q_tf.notebook.html import block, folded, html_table, html_text
from vai_q_tf.wording import some_of

WEIGHT_MODE, ACTIVATION_MODE, DEPTHWISE_WEIGHT_MODE = 0, 1, 2

Input = Tuple[str, int]


class QuantTensor(NamedTuple):
    """One quantized tensor.

    name: '<producer>/wquant' (modes 0 and 2) or '<producer>/aquant' (mode 1).
    role: 'input', 'weight', 'bias', 'constant' or 'activation'.
    mode: 0 weight or bias, 1 activation, 2 depthwise weight.
    bits: total bits with the sign. method: 0, 1 or 2.
    tensor: the float tensor of the viewed graph.
    consumers: the inputs that are to read the quantized tensor.
    min_position: the least position that the hardware takes for it.
    narrow_range: whether the smallest integer is left out, as by TensorFlow's ops of that attr.
    """
    name: str
    role: str
    mode: int
    bits: int
    method: int
    tensor: str
    consumers: Tuple[Input, ...]
    min_position: int = POSITION_MIN
    narrow_range: bool = False


class ComputeGroup(NamedTuple):
    """A weighted op with the names of the QuantTensors around it ('' where there is none).

    An op has several where values before its bias or its activation function are quantized, too. The first one in a plan is
    that of its result.
    reduction: how many products one value of the result sums; 0 where it is not known.
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
    node: the op, or the pool (not the multiplication after an average pool).
    inputs: those that are quantized, an addition of a tensor to itself having it twice.
    """
    kind: str
    node: str
    inputs: Tuple[str, ...]
    output: str


class Alignment(NamedTuple):
    """Quantized tensors that the hardware needs at one position: the result of an op that joins or selects, and its inputs.

    kind: 'concat', 'pool', or 'move' for an op that hands on the integers of its input as they are.
    node: the op; of an average pool not the multiplication after it.
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
    """What `annotate` decides. `tensors` are in graph order, `nodes` are all nodes of the range."""
    input_nodes: Tuple[str, ...]
    output_nodes: Tuple[str, ...]
    nodes: Tuple[str, ...]
    tensors: Tuple[QuantTensor, ...]
    groups: Tuple[ComputeGroup, ...]
    skipped: Tuple[Skipped, ...]
    alignments: Tuple[Alignment, ...] = ()
    operand_groups: Tuple[OperandGroup, ...] = ()

    def layers(self):
        """{name of a QuantTensor: the op that it belongs to}: the weighted op around it, or the one that makes it."""
        found = {tensor.name: tensor.tensor.partition(':')[0] for tensor in self.tensors}
        for group in self.groups:
            found.update((name, group.node) for name in (group.weight, group.bias, group.output) if name)
        return found

    def _sentence(self):
        roles = collections.Counter(tensor.role for tensor in self.tensors)
        return 'from {} to {}: {} quantized tensors ({}), {} ops stay float'.format(
            some_of(self.input_nodes), some_of(self.output_nodes), len(self.tensors),
            ', '.join('{1} {0}'.format(*role) for role in roles.most_common()) or 'none', len(self.skipped))

    def __repr__(self):
        return '<QuantPlan {}. All: .tensors, .skipped, .to_json()>'.format(self._sentence())

    def _repr_html_(self):
        return block(
            'QuantPlan', html_text('It goes {}.'.format(self._sentence())),
            html_table(('tensor', 'role', 'bits', 'method', 'read by'), [
                (tensor.name, tensor.role, tensor.bits, tensor.method, some_of(node for node, _ in tensor.consumers))
                for tensor in self.tensors]),
            folded('ops that stay float', html_table(('op', 'type', 'reason'), self.skipped)))

    def to_json(self):
        """The plan as a JSON text; `from_json` gives an equal plan."""
        fields = self._asdict()
        for field in _RECORDS:
            fields[field] = [record._asdict() for record in fields[field]]
        return json.dumps(fields, sort_keys=True)

    @classmethod
    def from_json(cls, text, narrow_range=lambda name: False):
        """The plan that `to_json` wrote.

        narrow_range: function from the name of a tensor to that field of it, for a text of version 0.1.0, which has none, and
          calls min_position least_position.
        """
        fields = {key: tuple(value) for key, value in json.loads(text).items() if key in cls._fields}
        fields.setdefault('operand_groups', ())  # version 0.1.0 writes none
        for tensor in fields['tensors']:
            tensor.pop('fold', None)
            if 'narrow_range' not in tensor:
                tensor['narrow_range'] = narrow_range(tensor['name'])
                tensor['min_position'] = tensor.pop('least_position', POSITION_MIN)
        for field, record in _RECORDS.items():
            fields[field] = tuple(record(**values) for values in fields[field])
        fields['tensors'] = tuple(tensor._replace(consumers=tuple((node, index) for node, index in tensor.consumers))
                                  for tensor in fields['tensors'])
        for field in ('alignments', 'operand_groups'):
            fields[field] = tuple(record._replace(inputs=tuple(record.inputs)) for record in fields[field])
        return cls(**fields)


_RECORDS = {'tensors': QuantTensor, 'groups': ComputeGroup, 'skipped': Skipped, 'alignments': Alignment,
            'operand_groups': OperandGroup}
