"""The rows of the tables of a report, as text."""
import math
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from vai_q_tf.analysis.results import Histogram, TensorError
from vai_q_tf.fixed_point import POSITION_ZERO
from vai_q_tf.html_report.figures import db_text
from vai_q_tf.wording import percent

_MOST_BINS = 64
_MOST_LINES = 24  # in the plot of positions


class Row(NamedTuple):
    """A row of the table of tensors. keys: numbers to sort its columns by; None: by text."""
    cells: Tuple[str, ...]
    keys: Tuple[Optional[float], ...]


TENSOR_HEADS = (('#', 'number'), ('tensor', ''), ('layer', ''), ('role', ''), ('bits', 'number'), ('position', 'number'),
                ('least', 'number'), ('greatest', 'number'), ('saturated', 'number'), ('to zero', 'number'), ('dB', 'number'),
                ('alone', 'number'), ('lost', 'number'))


def tensor_rows(tensors: Iterable[TensorError]) -> List[Row]:
    """A Row for each TensorError."""
    return [Row((str(number), tensor.name, tensor.layer, tensor.role, str(tensor.bits), str(tensor.position),
                 number_text(tensor.low), number_text(tensor.high), percent(tensor.saturated), percent(tensor.zeroed),
                 db_text(tensor.db), db_text(tensor.alone_db), db_text(tensor.loss_db)),
                (number, None, None, None, tensor.bits, tensor.position, _key(tensor.low), _key(tensor.high),
                 _key(tensor.saturated), _key(tensor.zeroed), _key(tensor.db), _key(tensor.alone_db),
                 _key(tensor.loss_db)))
            for number, tensor in enumerate(tensors, 1)]


def _key(value: float) -> float:
    """A finite number, for JSON; NaN sorts as the least."""
    return max(-1e300, min(1e300, value)) if not math.isnan(value) else -1e300


def number_text(value: float) -> str:
    """A number with four significant digits."""
    return '{:.4g}'.format(value).replace('-', '−')


def histograms(tensors: Iterable[TensorError]) -> List[Any]:
    """For each tensor [low, high, float counts, quantized counts, limits of its bits and position]; 0 without a histogram."""
    return [_histogram(tensor, tensor.histogram) if tensor.histogram else 0 for tensor in tensors]


def _histogram(tensor: TensorError, histogram: Histogram) -> List[Any]:
    low, high, *counts = histogram
    factor = -(-len(counts[0]) // _MOST_BINS) or 1
    step, limit = 2.0**-tensor.position, 2**(tensor.bits - 1)
    bins = -(-len(counts[0]) // factor)
    merged = [[int(sum(values[start:start + factor])) for start in range(0, len(values), factor)] for values in counts]
    end = low + (high - low) * bins * factor / max(len(counts[0]), 1)
    return [_rounded(low), _rounded(end), *merged, _rounded(-limit * step), _rounded((limit - 1) * step)]


def _rounded(value: float) -> float:
    return float('{:.6g}'.format(value))


def depth_words(tensors: Sequence[TensorError]) -> str:
    """The plot of the depth in sentences; tensors: the activations from the inputs on."""
    finite = [tensor for tensor in tensors if math.isfinite(tensor.db)]
    if not finite:
        return 'No activation differs from its float tensor.'
    words = 'From {} at {} the activations go to {} at {}.'.format(
        db_text(tensors[0].db), tensors[0].name, db_text(tensors[-1].db), tensors[-1].name)
    falls = [(before.db - after.db, before, after) for before, after in zip(tensors, tensors[1:])
             if math.isfinite(before.db) and math.isfinite(after.db)]
    if falls and max(falls, key=lambda fall: fall[0])[0] > 0:
        size, _, after = max(falls, key=lambda fall: fall[0])
        words += ' The greatest fall from one to the next, {:.1f} dB, is at {}.'.format(size, after.name)
    alone = [tensor for tensor in tensors if math.isfinite(tensor.alone_db)]
    if alone:
        worst = min(alone, key=lambda tensor: tensor.alone_db)
        words += ' On its own {} adds most: {}.'.format(worst.layer, db_text(worst.alone_db))
    return words


class Moves(NamedTuple):
    """The positions of a tensor: the first one, and each new one, with the step from which it holds."""
    name: str
    steps: Tuple[int, ...]
    positions: Tuple[int, ...]


def moves(history: Iterable[Tuple[int, str, int]]) -> List[Moves]:
    """The Moves of each tensor in (step, name, position), most changes first."""
    found: Dict[str, Tuple[List[int], List[int]]] = {}
    for step, name, position in history:
        steps, positions = found.setdefault(name, ([], []))
        if not positions or positions[-1] != position:
            steps.append(step)
            positions.append(position)
    return sorted((Moves(name, tuple(steps), tuple(positions)) for name, (steps, positions) in found.items()),
                  key=lambda line: -len(line.steps))


def drawn_moves(lines: Sequence[Moves], last: int) -> List[Tuple[str, Tuple[int, ...], List[float]]]:
    """(name, steps, positions) up to the step `last` of the first Moves, without those that never changed.

    The position of a tensor of zeros is NaN.
    """
    return [(line.name, line.steps + (last,), [math.nan if position == POSITION_ZERO else position
                                               for position in line.positions + line.positions[-1:]])
            for line in lines[:_MOST_LINES] if len(line.steps) > 1]


def position_rows(lines: Iterable[Moves]) -> List[Tuple[str, ...]]:
    """The rows of the table of Moves."""
    return [(line.name, _position(line.positions[0]), _position(line.positions[-1]), str(len(line.steps) - 1),
             str(line.steps[-1]) if len(line.steps) > 1 else 'never') for line in lines]


def _position(position: int) -> str:
    return 'only zeros' if position == POSITION_ZERO else str(position)
