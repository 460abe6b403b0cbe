"""Quantize positions of a live graph: where they come from and how they move.

Training and evaluation ask `MovingPositions` for the position of each tensor and know nothing else about its state. The state
is one table with a row of votes for each tensor. In every training step the position that suits the batch best gets a vote,
older votes decay, and the position with the most votes is in use (`position_histogram`). A learned
position starts from such votes; from then on the backward pass updates its row (`ops.learned_position`).

Tensors that must have one position form a group. Its roots are the members that no other member produces by a move, a concat
or a pool. Only roots are searched, and the rows of all members have the votes of the group.

`state_table` creates the table, `position_saveable` saves it in every checkpoint. Restoring a checkpoint without it (a float
one) leaves it empty.
"""
import contextlib
from collections import Counter
from typing import Callable, Dict, Iterator, List, Mapping, NamedTuple, Sequence, Union

import tensorflow.compat.v1 as tf

from vai_q_tf import fixed_point, ops, position_histogram
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph import live_editor
from vai_q_tf.plan.positions.linear_rules import PositionRules
from vai_q_tf.plan.positions.position_rules import position_rules
from vai_q_tf.plan.quant_plan import QuantPlan, QuantTensor
from vai_q_tf.qat.network.identity import Identity
from vai_q_tf.qat.positions import state_table
from vai_q_tf.qat.positions.phases import Phases
from vai_q_tf.qat.positions.position_saveable import STATE_NAME, UNTRACKED, PositionSaveable

_SCOPE = STATE_NAME + '/'
LEGAL = _SCOPE + 'legal'  # the positions within all rules
TIE = 1.3  # calibration takes a finer position if its squared error is at most this many times the least


def _phases_of_evaluation(handle: tf.Tensor, rows: int) -> Phases:
    """Positions move only if the checkpoint that was restored is from before the first training step."""
    del handle, rows
    untracked = state_table.table(UNTRACKED, 1)
    with tf.name_scope(_SCOPE):
        return Phases(tf.reduce_any(ops.read_positions(untracked, rows=1) > 0), untracked=untracked)


class MovingPositions:
    """The positions of the named tensors in the default graph; adds the state and its saveable object to the graph.

    Tensors that must share a position by `position_rules` share it here. While a run tracks positions they are those of the
    votes, in other runs the legal ones that `final_positions.decide` derives from the votes.

    Args:
      rows: {name of a quantized tensor: name of its row}. Tensors with one row have the position in common; in a step the
        least of the positions that suit them gets the vote.
      identities: {name of a row: the Identity of the tensor}, by which a checkpoint is searched, too.
      plan: the QuantPlan, which has the names of the rows.
      config: the QuantizeConfig.
      find_phases: function (handle of the table, number of rows) that adds the Phases of a training to the graph. By default
        positions are only read. A checkpoint from before the first training step has none to read; then they are those that
        suit the data at hand.

    Attributes:
      phases: the Phases.
    """

    def __init__(self, rows: Mapping[str, str], identities: Mapping[str, Identity], plan: QuantPlan, config: QuantizeConfig,
                 find_phases: Callable[[tf.Tensor, int], Phases] = _phases_of_evaluation) -> None:
        rules = position_rules(plan, config)
        self._groups = _Groups(rows, rules)
        self._decay = config.position_decay
        self._device = state_table.device()
        self._votes: Dict[int, _Vote] = {}
        self._several: Dict[int, _SeveralRoots] = {}
        self._in_use: Dict[int, tf.Tensor] = {}
        with tf.name_scope(None), tf.control_dependencies(None), self._with_state():
            self._handle = state_table.table(STATE_NAME, self._groups.rows)
            self.phases = find_phases(self._handle, self._groups.rows)
            self._update = config.position_update if self.phases.untracked is None else 'moving'
            with tf.name_scope(_SCOPE):
                self._tie = _tie(self.phases)
                self._updating = _updating(self.phases)
            self._legal = ops.legal_positions(self._handle, rules, name=LEGAL)
            # The result of the ops on votes in a step that observes nothing.
            self._legal_of_votes = None if self._update == 'learned' else self._legal
            if self._update == 'learned':
                with tf.name_scope(_SCOPE):
                    self._searching = _rows_to_search(self.phases, ops.read_positions(self._handle, rows=self._groups.rows))
            tf.add_to_collection(tf.GraphKeys.SAVEABLE_OBJECTS, PositionSaveable.add(
                self._handle, rules.names, [identities[name] for name in rules.names], self.phases.untracked,
                self.phases.start))

    def position(self, record: QuantTensor, search: Callable[..., tf.Tensor]) -> tf.Tensor:
        """The position (scalar int32) to quantize a tensor with.

        Tensors must be asked for in the order in which the network computes them.

        Args:
          record: its QuantTensor.
          search: an op of the position search with its tensor; it takes `track`, `bit_width`, `mode`, `method`, `tie` and
            `name`.
        """
        group = self._groups.of(record.name)
        if self._groups.is_root(record.name):
            observed = search(track=self._searches(group), bit_width=record.bits, mode=record.mode, method=record.method,
                              tie=self._tie, name=record.name + '/search')
            elect = self._elect_by_only_root if len(self._groups.roots(group)) == 1 else self._elect_by_one_root
            self._in_use[group] = self._learned(record.name, group, elect(record.name, group, observed))
        return self._in_use[group]

    @contextlib.contextmanager
    def _with_state(self) -> Iterator[None]:
        """New ops get the device of the state."""
        with tf.device(None), tf.device(self._device):
            yield

    def _searches(self, group: int) -> tf.Tensor:
        """Whether the position of a group is searched in a step."""
        if self._update != 'learned':
            return self.phases.track
        with tf.name_scope(_SCOPE), self._with_state():
            return self._searching[self._groups.roots(group)[0]]

    def _learned(self, tensor: str, group: int, elected: tf.Tensor) -> tf.Tensor:
        """The position in use if `elected` is elected, and marked as one that the backward pass updates."""
        if self._update != 'learned':
            return elected
        row, *members = self._groups.members(group)
        with self._with_state():
            return ops.learned_position(
                self._handle, elected, self._legal, self._updating, rows=self._groups.rows, row=row, members=members,
                networks=self._groups.networks, name=tensor + '/learned')

    def _elect_by_only_root(self, tensor: str, group: int, observed: tf.Tensor) -> tf.Tensor:
        """The position of a group with one root, `tensor`, after it votes for the position `observed`."""
        if group in self._votes:
            vote = self._vote_in_common(tensor, group, observed)
        else:
            vote = _Vote(observed, self._vote(tensor, group, observed, tensor + '/position'))
        self._votes[group] = vote
        if self._update != 'current':
            return vote.elected
        with tf.control_dependencies([vote.elected]):
            return tf.raw_ops.Select(condition=self._updating, x=vote.observed, y=vote.elected, name=tensor + '/current')

    def _vote(self, tensor: str, group: int, observed: tf.Tensor, name: str) -> tf.Tensor:
        """The position that a group elects after it votes for the position `observed`."""
        row, *copies = self._groups.members(group)
        with self._with_state():
            return ops.moving_position(
                self._handle, observed, rows=self._groups.rows, row=row, decay=self._decay, tensor=tensor, copies=copies,
                legal=self._legal_of_votes, calibrating=self.phases.calibrating, name=name)

    def _vote_in_common(self, tensor: str, group: int, observed: tf.Tensor) -> '_Vote':
        """The vote for the least position observed so far, in place of the vote of the copies of the network before."""
        before = self._votes[group]
        readers = [live_editor.consumers(value) for value in before]
        with self._with_state():
            least = tf.minimum(before.observed, observed, name=tensor + '/least')
        vote = _Vote(least, self._vote(tensor, group, least, tensor + '/position'))
        for inputs, value in zip(readers, vote):
            live_editor.reroute(least.graph, inputs, value)
        return vote

    def _elect_by_one_root(self, tensor: str, group: int, observed: tf.Tensor) -> tf.Tensor:
        """The position of a group with several roots, of which `tensor` is one that would vote for the position `observed`.

        Others may not be computed yet, so it is elected by the votes of earlier steps; in the very first step it is the least
        so far, for this root and all that follows it. The group votes when its last root has searched, in every copy of the
        network.
        """
        several = self._several.setdefault(group, _SeveralRoots([], [], []))
        several.observed.append(observed)
        roots = len(self._groups.roots(group))
        number = (len(several.observed) - 1) % roots + 1  # counts the roots of this copy of the network
        if number == roots:
            return self._vote_of_all_roots(tensor, group, several)
        # One copy need not wait for the others before it.
        kept = self._keep(tensor, group, self._least(tensor, several.observed[-number:]), tensor + '/position')
        several.kept.append(kept)
        return kept

    def _vote_of_all_roots(self, tensor: str, group: int, several: '_SeveralRoots') -> tf.Tensor:
        """The position for the last root, `tensor`, of a copy of the network; it waits for the vote of all copies so far."""
        least = self._least(tensor, several.observed)
        kept = self._keep(tensor, group, least, tensor + '/kept')
        several.kept.append(kept)
        with tf.control_dependencies(several.kept):
            vote = self._vote(tensor, group, least, tensor + '/vote')
        for waiting in several.waiting:
            live_editor.replace_control_inputs(waiting.op, waiting.op.control_inputs, [vote.op])
        with self._with_state(), tf.control_dependencies([vote]):
            several.waiting.append(tf.identity(kept, name=tensor + '/position'))
        return several.waiting[-1]

    def _least(self, tensor: str, observed: Sequence[tf.Tensor]) -> tf.Tensor:
        """The least of the positions `observed`."""
        if len(observed) == 1:
            return observed[0]
        with self._with_state():
            return tf.reduce_min(tf.stack(observed), name=tensor + '/least')

    def _keep(self, tensor: str, group: int, least: tf.Tensor, name: str) -> tf.Tensor:
        """The position that a group elects without a new vote, `least` before its first vote."""
        with self._with_state():
            return ops.kept_position(
                self._handle, least, rows=self._groups.rows, row=self._groups.roots(group)[0], tensor=tensor,
                legal=self._legal_of_votes, calibrating=self.phases.calibrating, name=name)


def _tie(phases: Phases) -> Union[float, tf.Tensor]:
    """By which factor the squared error of a finer position may be larger than the least."""
    return 1.0 if phases.calibrating is None else tf.where(phases.calibrating, TIE, 1.0)


def _updating(phases: Phases) -> tf.Tensor:
    """Whether the update rule is at work, not only the votes."""
    return phases.track if phases.calibrating is None else phases.track & ~phases.calibrating


def _rows_to_search(phases: Phases, votes: tf.Tensor) -> tf.Tensor:
    """Bool [rows]: the rows that vote in this step. They have no position to learn from, or are never updated."""
    voting = phases.track if phases.voting is None else phases.voting
    found = tf.reduce_any(votes[:, :fixed_point.POSITION_ZERO + position_histogram.HISTOGRAM_ZERO] > 0, axis=1)
    return phases.track & (~found | (voting & ~position_histogram.is_learned(votes)))


class _Groups:
    """The rows of the table by groups of tensors that share a position.

    Args:
      row_names: {name of a quantized tensor: name of its row}.
      rules: the PositionRules, whose tensors are the rows.

    Attributes:
      rows: how many rows there are.
      networks: how many copies of the network there are.
    """

    def __init__(self, row_names: Mapping[str, str], rules: PositionRules) -> None:
        numbers = {name: number for number, name in enumerate(rules.names)}
        self._rows = {tensor: numbers[name] for tensor, name in row_names.items()}
        self._groups = rules.groups
        self._roots: List[List[int]] = [[] for _ in rules.lowest]
        self._others: List[List[int]] = [[] for _ in rules.lowest]
        for row, (group, is_root) in enumerate(zip(rules.groups, rules.roots)):
            (self._roots if is_root else self._others)[group].append(row)
        self.rows = len(rules.names)
        self.networks = max(Counter(row_names.values()).values(), default=1)

    def of(self, tensor: str) -> int:
        """The number of the group that a tensor belongs to."""
        return self._groups[self._rows[tensor]]

    def is_root(self, tensor: str) -> bool:
        """Whether a tensor is a root of its group."""
        return self._rows[tensor] in self._roots[self.of(tensor)]

    def roots(self, group: int) -> List[int]:
        """The rows of the roots of a group."""
        return self._roots[group]

    def members(self, group: int) -> List[int]:
        """All rows of a group, its roots first."""
        return self._roots[group] + self._others[group]


class _Vote(NamedTuple):
    """The vote of a group with one root: the position that it voted for, and the one that it elected."""
    observed: tf.Tensor
    elected: tf.Tensor


class _SeveralRoots(NamedTuple):
    """The positions of a group with several roots, in all copies of the network so far.

    waiting: those that the last root of each copy is quantized with, which wait for the vote.
    """
    observed: List[tf.Tensor]
    kept: List[tf.Tensor]
    waiting: List[tf.Tensor]
