"""Compares two models, or a model and a dump, such as that of a board, tensor by tensor."""
import contextlib

from vai_q_tf import errors
from vai_q_tf.comparison.difference import Difference
from vai_q_tf.comparison.pairs import in_shape, paired
from vai_q_tf.comparison.results import Comparison
from vai_q_tf.comparison.sides import SharedInput, open_side


def compare(a, b, input_fn=None, max_dump_batches=1, tolerance=None, dump_input_tensors='', arch_type='DEFAULT'):
    """How far each tensor of B is from that of A, and which is the first that departs: a Comparison.

    Args:
      a, b: each a model, quantized or float (the path of a frozen graph, or a GraphDef), or the folder of a dump: one of
        `dump`, of the original's, or of a board (`dump_results_<n>/<node>.bin`, or a folder of such files).
      input_fn: as of `dump`, with the data that a dump was made from, or the name 'module.function' of one; dumps need none.
      max_dump_batches: how many batches.
      tolerance: steps that are no departure. Default: 0 for two quantized sides, which compute with the same integers; 1 where
        one is float, as rounding alone puts half a step between them.
      dump_input_tensors, arch_type: as of `dump`.

    Tensors of one position are compared as integers, others as values. A dump without an index, as of a board, tells no
    positions; those of the other side are taken. Of a float model activations are compared, with the tensors that FixNeurons of
    the other side read; weights are not, since folding and fitting change them on purpose.

    Raises:
      QuantizeError: INVALID_INPUT for what is no model and no dump, for files that are cut off or have other sizes than their
        tensors, for dumps of other batches, and where both sides have no tensor in common; NOT_QUANTIZED for two float models;
        INVALID_INPUT_FN for missing or wrong data; UNSUPPORTED_GRAPH for a model that does not run; INVALID_CONFIG.
    """
    if max_dump_batches < 1 or tolerance is not None and not 0 <= tolerance < float('inf'):
        raise errors.QuantizeError(
            errors.INVALID_CONFIG, 'Invalid parameter', 'max_dump_batches is {!r} and tolerance {!r}; expected an integer of '
            'at least 1, and a number of at least 0.'.format(max_dump_batches, tolerance))
    sides = [open_side(source, arch_type, dump_input_tensors) for source in (a, b)]
    pairs, only = paired(*sides)
    is_float = any(side.is_float for side in sides)
    tolerance = float(is_float) if tolerance is None else float(tolerance)
    _feed(sides, pairs, input_fn, max_dump_batches)
    found = {pair: Difference(pair, tolerance) for pair in pairs}
    with contextlib.ExitStack() as stack:
        for side in sides:
            stack.enter_context(side)
        for batch in range(max_dump_batches):
            read = [pair for pair in pairs if not (batch and pair.is_constant)]
            values = [side.read([pair.names[number] for pair in read], batch) for number, side in enumerate(sides)]
            for pair, *both in zip(read, *values):
                found[pair].add(batch, *in_shape(pair, both, sides, batch))
    notes = _notes(sides, is_float)
    notes += ['The values of {!r} are equal, but its position is {} in A, {} in B.'.format(pair.name, *pair.positions)
              for pair in pairs if None not in pair.positions and len(set(pair.positions)) == 2 and not found[pair].departs]
    tensors = tuple(difference.result() for difference in found.values())
    first = next((pair for pair in pairs if found[pair].departs), None)
    if first and first == next((pair for pair in pairs if not pair.is_constant), None) and len(set(first.positions)) == 1:
        notes.append('Nothing that depends on data comes before {!r}: see whether both sides had the same data.'.format(
            first.name))
    return Comparison(sides[0].name, sides[1].name, max_dump_batches, tolerance, tensors, *only, tuple(notes))


def _feed(sides, pairs, input_fn, batches):
    """Checks that there is data for all batches, and hands it to the models."""
    for side in sides:
        if side.is_dump and side.batches < batches and not all(pair.is_constant for pair in pairs):
            raise errors.QuantizeError(
                errors.INVALID_INPUT, 'Too few batches', '{!r} has {} of {} batches that max_dump_batches asks for.'.format(
                    side.name, side.batches, batches))
    models = [side for side in sides if not side.is_dump]
    if models and input_fn is None:
        raise errors.QuantizeError(
            errors.INVALID_INPUT_FN, 'Missing option', 'To run {!r}, --input_fn is needed, with the data that a dump was made '
            'from; see vai_q_tensorflow --help.'.format(models[0].name))
    shared = SharedInput(input_fn, models)
    for side in models:
        side.feed_with(shared.of(side), [pair.names[sides.index(side)] for pair in pairs], batches)


def _notes(sides, is_float):
    notes = ['{} tells no positions: those of {} are taken.'.format(*names)
             for side, names in zip(sides, ('AB', 'BA')) if not side.has_names]
    if is_float:
        notes.append('Weights and biases are left out: folding and fitting change them on purpose.')
    return notes if len(notes) < 2 else ['Neither side tells positions: integers are compared, in the order of names.']
