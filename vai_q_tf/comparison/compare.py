"""Compares two models, or a model and a dump, such as that of a board, tensor by tensor."""
import contextlib
from typing import Dict, List, Optional, Sequence, Tuple, Union

import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.comparison.difference import Difference
from vai_q_tf.comparison.gaps import missing_output, notes_on_activations, notes_on_others, notes_on_the_cause
from vai_q_tf.comparison.hints import hints_on_order, hints_on_values
from vai_q_tf.comparison.pairs import Pair, Pairs, in_shape, paired
from vai_q_tf.comparison.results import Comparison
from vai_q_tf.comparison.sides import DumpSide, ModelSide, SharedInput, Side, open_side
from vai_q_tf.frozen.input_fn import load_input_fn
from vai_q_tf.frozen.load import Path
from vai_q_tf.types import InputFn

_Hints = Dict[str, List[str]]  # {tensor: hints}


def compare(a: Union[tf.GraphDef, Path], b: Union[tf.GraphDef, Path], input_fn: Union[str, InputFn, None] = None,
            max_dump_batches: int = 1, tolerance: Optional[float] = None, dump_input_tensors: str = '',
            arch_type: str = 'DEFAULT') -> Comparison:
    """Measures how far each tensor of B is from that of A, and finds the first that differs.

    Args:
      a: a model, quantized or float (the path of a frozen graph, or a GraphDef), or the folder of a dump: one of `dump`, of
        vai_q_tensorflow, or of a board (`dump_results_<n>/<node>.bin`, or a folder of such files).
      b: the other side, likewise.
      input_fn: see `dump`, with the data that a dump was made from, or the name 'module.function' of one; two dumps need none.
      max_dump_batches: the number of batches.
      tolerance: the largest difference, in steps, that does not count. Default: 0 for two quantized sides, which compute with
        the same integers; 1 if one side is float, since rounding alone makes a difference of half a step.
      dump_input_tensors: see `dump`.
      arch_type: see `dump`.

    Tensors with positions on both sides are compared as integers, others as values. A dump without an index, such as that of a
    board, has no positions; those of the other side are used. Of a float model, the tensors that FixNeurons of the other side
    read are compared; weights are not, since folding and fitting change them on purpose.

    Raises:
      QuantizeError: INVALID_INPUT for a path that is neither a model nor a dump, for files that are cut off or have other sizes
        than their tensors, for dumps of other batches, and if the sides have no tensor in common; NOT_QUANTIZED for two float
        models; INVALID_INPUT_FN for missing or wrong data; UNSUPPORTED_GRAPH for a model that does not run; INVALID_CONFIG.
    """
    if max_dump_batches < 1 or tolerance is not None and not 0 <= tolerance < float('inf'):
        raise errors.QuantizeError(
            errors.INVALID_CONFIG, 'Invalid parameter', 'max_dump_batches is {!r} and tolerance {!r}; expected an integer of '
            'at least 1, and a number of at least 0.'.format(max_dump_batches, tolerance))
    sides = [open_side(source, arch_type, dump_input_tensors) for source in (a, b)]
    found = paired(*sides)
    pairs = found.pairs
    if tolerance is None:
        tolerance = 1 if any(side.is_float for side in sides) else 0
    _require_batches(sides, pairs, max_dump_batches)
    _feed(sides, pairs, input_fn, max_dump_batches)
    differences, hints = _measure(sides, pairs, max_dump_batches, float(tolerance))
    return Comparison(sides[0].name, sides[1].name, max_dump_batches, float(tolerance),
                      tuple(difference.result() for difference in differences), found.only_a, found.only_b,
                      tuple(_notes(sides, found, differences, hints)), missing_output(sides, found))


def _require_batches(sides: Sequence[Side], pairs: Sequence[Pair], batches: int) -> None:
    for side in sides:
        if isinstance(side, DumpSide) and side.batches < batches and not all(pair.is_constant for pair in pairs):
            raise errors.QuantizeError(
                errors.INVALID_INPUT, 'Too few batches', '{!r} has {} of {} batches that max_dump_batches asks for.'.format(
                    side.name, side.batches, batches))


def _feed(sides: Sequence[Side], pairs: Sequence[Pair], input_fn: Union[str, InputFn, None], batches: int) -> None:
    models = [side for side in sides if isinstance(side, ModelSide)]
    function = load_input_fn(input_fn) if isinstance(input_fn, str) else input_fn
    if not models:
        return
    if function is None:
        raise errors.QuantizeError(
            errors.INVALID_INPUT_FN, 'Missing option', 'To run {!r}, --input_fn is needed, with the data that a dump was made '
            'from; see vai_q_tensorflow --help.'.format(models[0].name))
    shared = SharedInput(function, models)
    for side in models:
        side.feed_with(shared.of(side), [pair.names[sides.index(side)] for pair in pairs], batches)


def _measure(sides: Sequence[Side], pairs: Sequence[Pair], batches: int, tolerance: float
             ) -> Tuple[List[Difference], _Hints]:
    """The Difference of each pair over all batches, and hints; constants are read in the first batch only."""
    differences = [Difference(pair, tolerance) for pair in pairs]
    hints: _Hints = {}
    with contextlib.ExitStack() as stack:
        for side in sides:
            stack.enter_context(side)
        a, b = sides
        for batch in range(batches):
            read = [(pair, difference) for pair, difference in zip(pairs, differences) if not (batch and pair.is_constant)]
            a_values = a.read([pair.names[0] for pair, _ in read], batch)
            b_values = b.read([pair.names[1] for pair, _ in read], batch)
            for (pair, difference), a_value, b_value in zip(read, a_values, b_values):
                both = in_shape(pair, a_value, b_value, sides, batch)
                difference.add(batch, *both)
                if difference.departs and difference is next(found for found in differences if found.departs):
                    hints.setdefault(pair.name, hints_on_values(difference, pair, *both))
    return differences, hints


def _notes(sides: Sequence[Side], found: Pairs, differences: Sequence[Difference], hints: _Hints) -> List[str]:
    first = next((pair for pair, difference in zip(found.pairs, differences) if difference.departs), None)
    notes = notes_on_activations(sides, found)
    if first:
        notes += notes_on_the_cause(sides, found, first.name, first.is_constant) + hints.get(first.name, [])
        notes += hints_on_order(sides, found.pairs, differences)
    return notes + _notes_on_sides(sides) + _notes_on_tensors(found.pairs, differences, first) + notes_on_others(sides, found)


def _notes_on_sides(sides: Sequence[Side]) -> List[str]:
    if not any(side.has_names for side in sides):
        return ['Neither side has positions: integers are compared, in the order of names.']
    notes = ['{} has no positions: those of {} are used.'.format(*names)
             for side, names in zip(sides, ('AB', 'BA')) if not side.has_names]
    if any(side.is_float for side in sides):
        notes.append('Weights and biases are left out: folding and fitting change them on purpose.')
    return notes


def _notes_on_tensors(pairs: Sequence[Pair], differences: Sequence[Difference], first: Optional[Pair]) -> List[str]:
    notes = ['The values of {!r} are equal, but its position is {} in A, {} in B.'.format(pair.name, *pair.positions)
             for pair, difference in zip(pairs, differences)
             if None not in pair.positions and len(set(pair.positions)) == 2 and not difference.departs]
    depends_on_data = [pair for pair in pairs if not pair.is_constant]
    if first and first in depends_on_data[:1] and len(set(first.positions)) == 1:
        notes.append('{!r} is the first tensor that depends on data: check that both sides had the same data.'.format(
            first.name))
    return notes
