"""Checkpoints: their place, their step, the names of variables, and the positions in them."""
import os
import re
from typing import Collection, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors, position_histogram, tf_internal
from vai_q_tf.qat import graph_record
from vai_q_tf.qat.network.identity import Identity
from vai_q_tf.qat.positions.position_saveable import (
    BITS_KEY,
    STRUCTURES_KEY,
    TENSORS_KEY,
    VARIABLES_KEY,
    VOTES_KEY,
)
from vai_q_tf.qat.reading.checkpoint_reader import CheckpointReader
from vai_q_tf.wording import some_of


def find_checkpoint(path: Union[str, bytes, 'os.PathLike[str]', None]) -> str:
    """The prefix of the checkpoint at `path`, a prefix or a directory; a QuantizeError INVALID_INPUT if there is none."""
    path = os.fsdecode(path) if path else ''
    prefix = latest_checkpoint(path) if os.path.isdir(path) else path
    if prefix and not tf.io.gfile.exists(prefix + '.index') and tf.io.gfile.exists(prefix):
        raise errors.QuantizeError(
            errors.INVALID_INPUT, 'Old format',
            'The checkpoint {!r} has no index: it is of the first format of TensorFlow, or one file of a checkpoint. Give the '
            'prefix of its files, or save it again with tf.train.Saver.'.format(prefix))
    if not prefix or not tf.io.gfile.exists(prefix + '.index'):
        raise errors.QuantizeError(
            errors.INVALID_INPUT, 'Not found',
            'There is no checkpoint at {!r}{}. Give the prefix of a checkpoint, such as dir/model.ckpt-2000, or the directory '
            'that holds it.'.format(path, ': its file checkpoint names {!r}, which is not there'.format(prefix)
                                    if prefix and prefix != path else ''))
    return prefix


def latest_checkpoint(directory: str) -> Optional[str]:
    """The latest checkpoint by the file `checkpoint` of a directory; None if there is no such file.

    Raises:
      QuantizeError: INVALID_INPUT if the file is damaged.
    """
    path = os.path.join(directory, 'checkpoint')
    if not tf.io.gfile.exists(path):
        return None
    try:
        state = tf.train.get_checkpoint_state(directory)
    except ValueError:  # not UTF-8, or without the name
        state = None
    if state is None:
        raise errors.QuantizeError(
            errors.INVALID_INPUT, 'Damaged file', 'The file {!r}, which names the latest checkpoint of its directory, is '
            'damaged. Delete it, and give the prefix of a checkpoint.'.format(path))
    return state.model_checkpoint_path


def checkpoint_step(prefix: str) -> Union[int, str]:
    """The step of a checkpoint: the number at the end of its name, else the global step in it, else its name."""
    name = os.path.basename(prefix)
    number = re.search(r'-(\d+)$', name)
    if number:
        return number.group(1)
    reader = CheckpointReader(prefix)
    step = reader.get_tensor('global_step') if reader.has_tensor('global_step') else None
    return int(step) if step is not None and step.shape == () and step.dtype.kind in 'iu' else name


def variable_name(variable: tf.Variable) -> str:
    """The name of a tf.Variable in a checkpoint: for a part of a partitioned variable that of the whole."""
    part = tf_internal.partition(variable)
    return part.full_name if part else variable.op.name


def missing_variables(checkpoint: str, names: Collection[str], advice: str, what: str = 'has no value of {} variables',
                      code: str = errors.INVALID_INPUT) -> errors.QuantizeError:
    """The QuantizeError for a checkpoint that lacks variables, or has them in another shape.

    names: the variables, each with any details; advice: the cure; what: the problem, with {} for the number of variables.
    """
    return errors.QuantizeError(code, 'Not found', 'The checkpoint {!r} {}: {}. {}'.format(
        checkpoint, what.format(len(names)), ', '.join(sorted(names)), advice))


class Restorable(NamedTuple):
    """Variables that a checkpoint can restore, and those that it cannot.

    found: {name in the checkpoint: the tf.Variables of that name}, several if it is partitioned.
    unfit: {name in the checkpoint: that name, with the difference in shape or type}.
    """
    found: Dict[str, List[tf.Variable]]
    unfit: Dict[str, str]


def restorable(reader: CheckpointReader, variables: Iterable[tf.Variable]) -> Restorable:
    """Which of the variables a checkpoint can restore; raises a QuantizeError if their values or positions are damaged."""
    found: Dict[str, List[tf.Variable]] = {}
    unfit = {}
    for variable in variables:
        name, part = variable_name(variable), tf_internal.partition(variable)
        if not reader.has_tensor(name):
            unfit[name] = name
            continue
        shape = tf.TensorShape(part.full_shape) if part else variable.shape
        dtype, saved, saved_dtype = variable.dtype.base_dtype, reader.shapes()[name], reader.dtypes()[name]
        if not shape.is_compatible_with(saved):
            unfit[name] = '{} (shape {}, in the checkpoint {})'.format(name, shape.as_list(), saved)
        elif dtype != saved_dtype:
            unfit[name] = '{} ({}, in the checkpoint {})'.format(name, dtype.name, saved_dtype.name)
        else:
            found.setdefault(name, []).append(variable)
    reader.check(list(found) + [name for name in reader.dtypes() if name.startswith('vai_q_tf/')])
    if reader.has_tensor(VARIABLES_KEY):
        _table(reader)
    return Restorable(found, unfit)


def is_before_training(reader: CheckpointReader) -> bool:
    """Whether a checkpoint is from before the first quantized step: it has no votes."""
    return reader.has_tensor(VOTES_KEY) and not np.any(reader.get_tensor(VOTES_KEY))


def read_positions(reader: CheckpointReader, identities: Mapping[str, Identity]) -> Dict[str, int]:
    """The position of each quantized tensor in a checkpoint.

    Args:
      reader: a CheckpointReader.
      identities: {name of a quantized tensor: Identity}; a checkpoint is searched as by `PositionSaveable`.

    Returns:
      {name: position}, positions in fractional bits.

    Raises:
      QuantizeError: MISSING_QUANTIZE_INFO naming the tensors without a position in the checkpoint; INVALID_CONFIG naming those
        with a position for other bits; INVALID_INPUT if it is damaged.
    """
    if not reader.has_tensor(VARIABLES_KEY):
        raise errors.QuantizeError(
            errors.MISSING_QUANTIZE_INFO, 'Not found',
            'The checkpoint has no quantize positions: it was saved by a float training, by a tf.train.Saver that was made '
            'before the graph was rewritten, or by one with a list of variables that lacks the objects of the collection '
            'tf.GraphKeys.SAVEABLE_OBJECTS. Train with CreateQuantizeTrainingGraph, quantize_estimator or '
            'QuantizeTrainingHook, and save at least one step.')
    table = _table(reader)
    rows = rows_of(identities, table.names, table.variables, table.structures)
    found = {name: table.votes[row] for name, row in rows.items() if row is not None and np.any(table.votes[row])}
    missing = [name for name in rows if name not in found]
    if missing:
        raise errors.QuantizeError(
            errors.MISSING_QUANTIZE_INFO, 'Not found',
            'The checkpoint has no position of {} of {} quantized tensors: {}. They did not run in training, or the '
            'training graph was rewritten with other nodes.'.format(len(missing), len(rows), ', '.join(missing)))
    require_bits(reader, identities)
    return {name: position_histogram.mode_position(row) for name, row in found.items()}


def require_bits(reader: CheckpointReader, identities: Mapping[str, Identity]) -> None:
    """Raises a QuantizeError INVALID_CONFIG if a checkpoint has positions for other bits than those of the tensors."""
    if not reader.has_tensor(VARIABLES_KEY) or is_before_training(reader):
        return
    table = _table(reader)
    others = of_other_bits(identities, rows_of(identities, table.names, table.variables, table.structures), table.bits)
    if others:
        raise errors.QuantizeError(
            errors.INVALID_CONFIG, 'Other bits',
            'The checkpoint {!r} is of a training with other bits: {}. Give the bits of that training, or train with these '
            'bits first.'.format(reader.prefix, some_of(others)))


class _Table(NamedTuple):
    """The votes of a checkpoint, float32 [rows, 256], their bits, and what finds each row; [] if it is not known."""
    names: Sequence[str]
    variables: Sequence[str]
    structures: Sequence[str]
    votes: np.ndarray
    bits: Sequence[float]


def _table(reader: CheckpointReader) -> _Table:
    known = [reader.get_tensor(key) if reader.has_tensor(key) else None for key in (TENSORS_KEY, VARIABLES_KEY, STRUCTURES_KEY)]
    if not reader.has_tensor(VOTES_KEY) or known[0] is None:
        raise reader.damaged('it has {!r} and no {!r}'.format(
            VARIABLES_KEY, TENSORS_KEY if reader.has_tensor(VOTES_KEY) else VOTES_KEY))
    votes, rows = reader.get_tensor(VOTES_KEY), known[0].size
    bits = reader.get_tensor(BITS_KEY) if reader.has_tensor(BITS_KEY) else np.zeros(rows, np.float32)
    if (votes.dtype != np.float32 or votes.shape != (rows, position_histogram.HISTOGRAM_BINS) or not np.isfinite(votes).all()
            or any(texts is not None and (texts.shape != (rows,) or texts.dtype.kind != 'O') for texts in known)
            or bits.dtype != np.float32 or bits.shape != (rows,) or not np.isfinite(bits).all()):
        raise reader.damaged('its {!r} is no table of votes for its quantized tensors'.format(VOTES_KEY))
    try:
        names, variables, structures = ([] if texts is None else [text.decode() for text in texts] for texts in known)
    except UnicodeDecodeError as error:
        raise reader.damaged('the name of a quantized tensor is no text') from error
    return _Table(names, variables, structures, votes, bits.tolist())


def require_positions_of(identities: Mapping[str, Identity], training_graph: tf.Graph) -> None:
    """Raises a QuantizeError if checkpoints of a training graph will lack the position of a quantized tensor for its bits.

    identities: {name of a quantized tensor of the evaluation graph: Identity}.

    Raises:
      QuantizeError: UNSUPPORTED_GRAPH or, for other bits, INVALID_CONFIG, naming the tensors.
    """
    known = graph_record.identities_of_rows(training_graph)
    rows = rows_of(identities, list(known), *zip(*((row.variable, row.structure) for row in known.values())))
    missing = [name for name, row in rows.items() if row is None]
    if missing:
        raise errors.QuantizeError(
            errors.UNSUPPORTED_GRAPH, 'Networks differ',
            'The evaluation graph quantizes {} tensors that the training graph does not, so no checkpoint will have their '
            'positions: {}. Build both with one function.'.format(len(missing), ', '.join(missing)))
    others = of_other_bits(identities, rows, [row.bits for row in known.values()])
    if others:
        raise errors.QuantizeError(
            errors.INVALID_CONFIG, 'Other bits',
            'The training graph has other bits than the config: {}. Give both the same config.'.format(some_of(others)))


def rows_of(identities: Mapping[str, Identity], names: Sequence[str], variables: Sequence[str] = (),
            structures: Sequence[str] = ()) -> Dict[str, Optional[int]]:
    """The row of each tensor in a table of votes.

    Args:
      identities: {name of a quantized tensor: Identity}; a table is searched as by `PositionSaveable`.
      names, variables, structures: the names by which each row can be found; () for unknown ones.

    Returns:
      {name: number of the row, None if there is none}.
    """
    known: Dict[Tuple[str, str], int] = {}
    for row in reversed(range(len(names))):
        name, variable, structure = (texts[row] if texts else '' for texts in (names, variables, structures))
        keys = [('structure', structure), ('name', name), ('variable', variable), (name, structure)]
        known.update((key, row) for key in keys if key[1])
    return {name: next((known[key] for key in _keys(name, identity) if key in known), None)
            for name, identity in identities.items()}


def of_other_bits(identities: Mapping[str, Identity], rows: Mapping[str, Optional[int]], bits: Sequence[float]) -> List[str]:
    """The tensors whose rows are for positions of other bits, each with both widths.

    identities, rows: arguments and result of `rows_of`; bits: the width of each row of the table, 0 for unknown.
    """
    widths = {name: (0 if row is None else int(bits[row]), identities[name].bits) for name, row in rows.items()}
    return ['{} ({} bits, here {})'.format(name, saved, own) for name, (saved, own) in widths.items()
            if saved and own and saved != own]


def _keys(name: str, identity: Identity) -> List[Tuple[str, str]]:
    """The keys by which a row of a checkpoint may be that of a tensor, the most reliable first."""
    earlier = [('name', other) for other in identity.earlier]
    return [(name, identity.structure), ('structure', identity.structure), ('name', name)] + earlier + [
        ('variable', identity.variable)]
