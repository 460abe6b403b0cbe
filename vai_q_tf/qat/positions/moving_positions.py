"""Quantize positions of a live graph: where they come from and how they move.

Training and evaluation ask a `MovingPositions` for the position of each tensor and know nothing else about its state. The
state is one table, a row of votes for each tensor: every training step the position that suits the batch best gets a vote,
older votes decay, and the position with the most votes is the one in use (`fixed_point.vote`, `fixed_point.mode_position`).
Learned positions begin with such votes, and are then updated by the backward pass (`ops.learned_position`), in the same table.
Tensors that are to have one position are a group. Its roots are those that no other of them makes by a move, a concat or a
pool; only these are searched, and the rows of all members have the votes of the group.

The table is one of `state_table`; `position_saveable` carries it in every checkpoint, and restoring a checkpoint without it (a
float one) leaves it empty.
"""
from collections import Counter
from typing import List, NamedTuple

import tensorflow.compat.v1 as tf

from vai_q_tf import fixed_point, ops
from vai_q_tf.graph import live_editor
from vai_q_tf.plan.positions.position_rules import position_rules
from vai_q_tf.qat.positions import state_table
from vai_q_tf.qat.positions.position_saveable import STATE_NAME, UNTRACKED, PositionSaveable

_SCOPE = STATE_NAME + '/'
TIE = 1.3  # calibration takes a finer position where its squared error is at most so many times the least


class MovingPositions:
    """The positions of the named tensors in the default graph; adds the state and its saveable object to the graph.

    Tensors that the plan wants at one position share it, see `position_rules`. While a run tracks positions they are those of
    the votes; in others, those that `final_positions.decide` makes of them.

    Args:
      rows: {name of a quantized tensor: the name that its position is kept by}; several tensors with one name have the position
        in common, and in a step the least of the positions that suit them gets the vote.
      identities: {name that a position is kept by: the Identity of the tensor}, by which a checkpoint is searched, too.
      plan: the QuantPlan, with the names by which positions are kept.
      config: the QuantizeConfig.
      recipe: the Recipe of a training; None where positions are only read. A checkpoint from before the first step of a
        training has none to read; then they are those that suit what the graph runs on.

    Attributes:
      phases: the Phases of a training.
    """

    def __init__(self, rows, identities, plan, config, recipe=None):
        rules = position_rules(plan, config)
        self._rows = rows
        self._numbers = {name: number for number, name in enumerate(rules.names)}
        self._groups = dict(zip(rules.names, rules.groups))
        self._roots = [[] for _ in rules.lowest]
        self._members = [[] for _ in rules.lowest]
        for number, (group, is_root) in enumerate(zip(rules.groups, rules.roots)):
            self._members[group].append(number)
            self._roots[group] += [number] * is_root
        self._asked, self._in_use = {}, {}
        self._networks = max(Counter(rows.values()).values(), default=1)
        self._decay = config.position_decay
        self._update = config.position_update if recipe is not None else 'moving'
        self._device = state_table.device()
        self.phases = None
        with tf.name_scope(None), tf.control_dependencies(None), tf.device(None), tf.device(self._device):
            self._handle = state_table.table(STATE_NAME, len(rules.names))
            untracked = start = None
            if recipe is None:
                untracked = state_table.table(UNTRACKED, 1)
                with tf.name_scope(_SCOPE):
                    self._track, self._calibrating = tf.reduce_any(ops.read_positions(untracked, rows=1) > 0), None
            else:
                self.phases = recipe.phases(self._handle, len(rules.names))
                self._track, self._calibrating, start = self.phases.track, self.phases.calibrating, self.phases.start
            with tf.name_scope(_SCOPE):
                self._tie = 1.0 if self._calibrating is None else tf.where(self._calibrating, TIE, 1.0)
                # Whether the update rule is at work, not only the votes.
                self._updating = self._track if self._calibrating is None else self._track & ~self._calibrating
            self._legal = ops.legal_positions(self._handle, rules, name=STATE_NAME + '/legal')
            self._legal_of_votes = self._legal  # what the ops on votes give in a step that observes nothing
            if self._update == 'learned':
                self._legal_of_votes = None
                with tf.name_scope(_SCOPE):
                    self._searching = self._rows_to_search(ops.read_positions(self._handle, rows=len(rules.names)))
            tf.add_to_collection(tf.GraphKeys.SAVEABLE_OBJECTS, PositionSaveable.add(
                self._handle, rules.names, [identities[name] for name in rules.names], untracked, start))

    def position(self, record, search):
        """The position (scalar int32) to quantize a tensor with.

        Tensors are to be asked for in the order in which the network computes them.

        Args:
          record: its QuantTensor.
          search: an op of the position search with its tensor; it takes `track`, `bit_width`, `mode`, `method`, `tie` and
            `name`.
        """
        group = self._groups[self._rows[record.name]]
        roots = self._roots[group]
        if self._numbers[self._rows[record.name]] in roots:
            observed = search(track=self._searches(group), bit_width=record.bits, mode=record.mode, method=record.method,
                              tie=self._tie, name=record.name + '/search')
            ask = self._ask_root if len(roots) == 1 else self._ask_one_root
            self._in_use[group] = self._learned(record.name, group, ask(record.name, group, observed))
        return self._in_use[group]

    def _rows_to_search(self, votes):
        """Bool [rows], which vote in this step: those that have no position to learn from, or are never updated."""
        voting = self._track if self.phases.voting is None else self.phases.voting
        found = tf.reduce_any(votes[:, :fixed_point.POSITION_ZERO + fixed_point.HISTOGRAM_ZERO] > 0, axis=1)
        return self._track & (~found | (voting & ~fixed_point.is_learned(votes)))

    def _searches(self, group):
        """Whether the position of a group is searched in a step."""
        if self._update != 'learned':
            return self._track
        with tf.name_scope(_SCOPE), tf.device(None), tf.device(self._device):
            return self._searching[self._roots[group][0]]

    def _learned(self, tensor, group, elected):
        """The position that is in use where `elected` is elected, and marked as one that the backward pass updates."""
        if self._update != 'learned':
            return elected
        row, *members = self._rows_of(group)
        with tf.device(None), tf.device(self._device):
            return ops.learned_position(
                self._handle, elected, self._legal, self._updating, rows=len(self._numbers), row=row, members=members,
                networks=self._networks, name=tensor + '/learned')

    def _rows_of(self, group):
        """The rows of a group, its roots first."""
        roots = self._roots[group]
        return roots + [member for member in self._members[group] if member not in roots]

    def _ask_root(self, tensor, group, observed):
        """The position of a group with one root, `tensor`, after it votes for the position `observed`."""
        if group not in self._asked:
            moving = self._vote(tensor, group, observed, tensor + '/position')
        else:
            observed, moving = self._vote_in_common(tensor, group, observed)
        self._asked[group] = observed, moving
        if self._update != 'current':
            return moving
        with tf.control_dependencies([moving]):
            return tf.raw_ops.Select(condition=self._updating, x=observed, y=moving, name=tensor + '/current')

    def _vote(self, tensor, group, observed, name):
        row, *copies = self._rows_of(group)
        with tf.device(None), tf.device(self._device):
            return ops.moving_position(
                self._handle, observed, rows=len(self._numbers), row=row, decay=self._decay, tensor=tensor, copies=copies,
                legal=self._legal_of_votes, calibrating=self._calibrating, name=name)

    def _vote_in_common(self, tensor, group, observed):
        """The least of what is observed so far, and the vote for it; both replace those for the tensors before."""
        before = self._asked[group]
        readers = [live_editor.consumers(value) for value in before]
        with tf.device(None), tf.device(self._device):
            least = tf.minimum(before[0], observed, name=tensor + '/least')
        together = least, self._vote(tensor, group, least, tensor + '/position')
        for inputs, value in zip(readers, together):
            live_editor.reroute(least.graph, inputs, value)
        return together

    def _ask_one_root(self, tensor, group, observed):
        """The position of a group with several roots, of which `tensor` is one that would vote for the position `observed`.

        Others may not be computed yet, so it is that of the votes of earlier steps; in the very first step, for it and what is
        after it, the least so far. The vote comes when the last root has searched, in every copy of the network.
        """
        asked = self._asked.setdefault(group, _Several([], [], []))
        asked.observed.append(observed)
        number = (len(asked.observed) - 1) % len(self._roots[group]) + 1  # which of them it is, in its copy of the network
        is_last = number == len(self._roots[group])
        with tf.device(None), tf.device(self._device):
            so_far = asked.observed if is_last else asked.observed[-number:]  # one copy need not wait for the others before
            least = tf.reduce_min(tf.stack(so_far), name=tensor + '/least') if len(so_far) > 1 else observed
            kept = ops.kept_position(
                self._handle, least, rows=len(self._numbers), row=self._roots[group][0], tensor=tensor,
                legal=self._legal_of_votes, calibrating=self._calibrating, name=tensor + ('/kept' if is_last else '/position'))
            asked.kept.append(kept)
            if not is_last:
                return kept
            with tf.control_dependencies(asked.kept):
                vote = self._vote(tensor, group, least, tensor + '/vote')
            for waiting in asked.waiting:
                live_editor.replace_control_inputs(waiting.op, waiting.op.control_inputs, [vote.op])
            with tf.control_dependencies([vote]):
                asked.waiting.append(tf.identity(kept, name=tensor + '/position'))
            return asked.waiting[-1]


class _Several(NamedTuple):
    """What was made for a group with several roots, in all copies of the network so far.

    waiting: the positions that the last root of each copy is quantized with, which wait for the vote.
    """
    observed: List[tf.Tensor]
    kept: List[tf.Tensor]
    waiting: List[tf.Tensor]
