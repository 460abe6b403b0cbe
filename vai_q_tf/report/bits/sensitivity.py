"""sensitivity: how much each quantized tensor costs the outputs of a network, and how many bits the tensors need.

The outputs are compared with those of the float network on calibration data: dB = 10 log10(energy of the float outputs / energy
of the difference), see `output_errors`. A tensor is measured at the position that calibration gives it.
"""
import math
import numbers
from typing import Optional, Tuple, Union

import tensorflow.compat.v1 as tf

from vai_q_tf import errors, files
from vai_q_tf.arguments import also_called
from vai_q_tf.config import QuantizeConfig, require_config
from vai_q_tf.decibels import decibels
from vai_q_tf.frozen.load import Path
from vai_q_tf.graph.sessions import session_config
from vai_q_tf.ptq.calibration.switchable_network import SwitchableNetwork
from vai_q_tf.ptq.prepare import prepare
from vai_q_tf.report.bits.bit_choice import WIDTHS, choose_weights, choose_wide, without
from vai_q_tf.report.bits.results import Sensitivity, TensorCost
from vai_q_tf.report.bits.sensitivity_text import to_json
from vai_q_tf.report.bits.trials import Quantized, Trials
from vai_q_tf.types import InputFn

REPORT = 'sensitivity.json'


@also_called(q_config='config')
def sensitivity(graph_def: Union[tf.GraphDef, Path], input_fn: Union[str, InputFn], config: QuantizeConfig, *,
                target_bits: Optional[float] = None, target_db: Optional[float] = None, sensitivity_iter: int = 4,
                skip_check: int = 0, fold_constant: int = 1, gpu_memory_fraction: Optional[float] = None) -> Sensitivity:
    """Measures how much each quantized tensor costs the outputs, and chooses bits for a target; writes `sensitivity.json`.

    The network is calibrated as by `quantize_frozen` with the effort 'fast' and without fast finetuning. Calibration data is
    read once and kept in memory. The network runs twice for each tensor and each batch.

    Args:
      graph_def: same as in `quantize_frozen`.
      input_fn: same as in `quantize_frozen`.
      config: a QuantizeConfig; the report is written to its output_dir.
      target_bits: chooses 4 to 8 bits for each weight tensor, so that an element has at most this many on average, with the
        least error that is found. The choice is calibrated and measured, and so are all weights at the next whole number of
        bits below; the better one is taken.
      target_db: lists tensors that need 16 bits for the outputs to have this many dB, as few as are found. Tensors that share a
        position get their bits together. The choice is calibrated and measured; if it falls short, more tensors are added.
      sensitivity_iter: the number of calibration batches to measure on, from the first one; all if there are fewer.
      skip_check: same as in `quantize_frozen`.
      fold_constant: same as in `quantize_frozen`.
      gpu_memory_fraction: same as in `quantize_frozen`.

    Returns:
      A Sensitivity; its `choice` is a WeightChoice for target_bits, a WideChoice for target_db.

    Raises:
      QuantizeError: see `quantize_frozen`; INVALID_CONFIG for a target that is out of range, or two targets.
    """
    require_config(config)
    session_config(gpu_memory_fraction)
    _check(target_bits, target_db, sensitivity_iter)
    prepared = prepare(graph_def, input_fn, config, skip_check, fold_constant, gpu_memory_fraction)
    trials = Trials(prepared, config, sensitivity_iter, gpu_memory_fraction)
    base = trials.quantize(config)
    with trials.network(base) as network:
        result, error = _measure(trials, base, network)
        if target_db is not None:
            result = result._replace(choice=choose_wide(trials, base, network, error, target_db))
    if target_bits is not None:
        result = result._replace(choice=choose_weights(trials, base, target_bits))
    files.write(prepared.directory, REPORT, to_json(result).encode())
    return result


def _check(target_bits: Optional[float], target_db: Optional[float], sensitivity_iter: int) -> None:
    if target_bits is not None and target_db is not None:
        raise errors.QuantizeError(errors.INVALID_CONFIG, 'Invalid parameter', 'Both target_bits and target_db are given; '
                                   'give one of the two.')
    if not isinstance(sensitivity_iter, numbers.Integral) or sensitivity_iter < 1:
        raise _invalid('sensitivity_iter', sensitivity_iter, 'an integer of at least 1')
    for name, value, low, high, expected in (
            ('target_bits', target_bits, WIDTHS[0], WIDTHS[-1], 'a number from {} to {}'.format(WIDTHS[0], WIDTHS[-1])),
            ('target_db', target_db, 0, math.inf, 'a number of dB above 0')):
        is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if value is not None and not (is_number and low <= value <= high and 0 < value < math.inf):
            raise _invalid(name, value, expected)


def _invalid(name: str, value: object, expected: str) -> errors.QuantizeError:
    return errors.QuantizeError(errors.INVALID_CONFIG, 'Invalid parameter', '{} is {!r}; expected {}.'.format(
        name, value, expected))


def _measure(trials: Trials, base: Quantized, network: SwitchableNetwork) -> Tuple[Sensitivity, float]:
    """(Sensitivity, relative squared error of the quantized network)."""
    names = [tensor.name for tensor in base.plan.tensors]
    alone = [{name: base.positions[name]} for name in names]
    others = [without(base.positions, [name]) for name in names]
    total, *found = trials.measure(network, [base.positions] + alone + others, 'Sensitivity')
    costs = [TensorCost(tensor.name, tensor.role, tensor.bits, base.positions[tensor.name], decibels(error),
                        _gain(total, rest))
             for tensor, error, rest in zip(base.plan.tensors, found[:len(names)], found[len(names):])]
    return Sensitivity(decibels(total), trials.weight_bits(base), trials.batches,
                       tuple(sorted(costs, key=lambda cost: cost.db))), total


def _gain(total: float, rest: float) -> float:
    return 0.0 if total == rest else decibels(rest) - decibels(total)
