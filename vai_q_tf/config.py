"""QuantizeConfig: what to quantize and how.

A config is validated when it is created, on every assignment, and whenever one of its lists is changed, so an error shows the
line that wrote the wrong value. The library never changes a config: one object may serve training, evaluation and deploy.
"""
import copy
import functools
import inspect
import os
from typing import Any, Callable, Dict, List, Optional, Sequence, Type, TypeVar, Union, cast

from vai_q_tf import errors
from vai_q_tf.configuration.checked_list import CheckedList
from vai_q_tf.configuration.config_checks import CHECKS, config_error
from vai_q_tf.configuration.read_file import read_config_file
from vai_q_tf.notebook.html import block, folded, html_table, html_text

_Init = TypeVar('_Init', bound=Callable[..., Any])
_Config = TypeVar('_Config', bound='QuantizeConfig')
_Integer = Union[int, str]
_Number = Union[float, str]
_Shape = Sequence[Union[int, str, None]]


def _no_field(name: str) -> str:
    return 'QuantizeConfig has no field {!r}{}'.format(
        name, errors.did_you_mean(name, CHECKS, most=2) or '; the fields are ' + ', '.join(CHECKS))


def _explain(init: _Init) -> _Init:
    """The constructor with errors that name the class, and propose a field for a misspelt one."""
    positional = inspect.getfullargspec(init).args[1:]

    @functools.wraps(init)
    def explained(self: Any, *args: Any, **kwargs: Any) -> None:
        if len(args) > len(positional):
            raise TypeError('QuantizeConfig takes at most {} positional arguments, got {}'.format(len(positional), len(args)))
        for name in kwargs:
            if name in positional[:len(args)]:
                raise TypeError('QuantizeConfig got {!r} twice'.format(name))
            if name not in CHECKS:
                raise TypeError(_no_field(name))
        init(self, *args, **kwargs)

    return cast(_Init, explained)  # it forwards all arguments


class QuantizeConfig:
    """What to quantize and how.

    Numbers may be strings, and flags booleans. Lists are copied. Assignments and changes of a list, such as
    `config.ignore_nodes.append('conv1')`, are checked like the arguments.

    Args:
      input_nodes: names of the nodes where quantization starts: the last nodes of the preprocessing, or the placeholders. They
        are quantized too.
      output_nodes: names of the nodes where quantization ends: the last nodes before the postprocessing. They are quantized
        too.
      input_shapes: one list of integers per input node, with -1 for an unknown dimension. Empty: the shapes in the graph.
      ignore_nodes: names of nodes that stay float, together with their pattern (convolution, bias, activation).
      weight_bit: bit width of weights and constants, and of biases if bias_bit is None.
      activation_bit: bit width of activations.
      nodes_bit: bit widths of single tensors, as a list of 'node:bits'. The name of a convolution sets its weights.
      nodes_method: methods of single tensors, as a list of 'node:method'.
      method: how to choose the position of a tensor, its number of fractional bits. 0: the greatest position at which no value
        overflows; 1: of that position and the four above it, the one with the least squared error; 2: as 1, but with the
        relative error for depthwise weights. Input nodes use method 0 unless nodes_method names them.
      target_type: DPU family, such as 'DPUCZDX8G', for which `inspect` shows which ops run on it. Empty: no family.
      calib_iter: number of calibration steps; each one calls the input function once.
      output_dir: directory for the results; it is created if needed.
      align_concat: which concats use one position for their inputs and their result. 0: all; 1: only output nodes; 2: none.
      align_pool: which pools use one position for their input and their result. 0: all; 1: only output nodes; 2: none. The DPU
        supports both, so the efforts standard and high of `quantize_frozen` replace 0 by 2 if that lowers the error.
      adjust_shift_bias: which limits keep the shift of biases within the range of the DPU. 0: none; 1: limits from the shift of
        the result; 2: limits from the number of products.
      adjust_shift_cut: 1 keeps the shift of results within the range of the DPU, 0 to 16 bits.
      simulate_dpu: 1 computes average pools, leaky relus and hard sigmoids as the DPU does, 0 as TensorFlow does.
      scale_all_avgpool: 1 scales average pools of all sizes as the DPU does, 0 only square windows of 3, 5, 6, 7 and 14. Needs
        simulate_dpu.
      do_cle: 1 equalizes the channel ranges of consecutive layers (cross-layer equalization). Training refuses it, because it
        needs the values of the weights.
      replace_relu6: 1 lets do_cle, and the equalization of the effort 'high', replace a Relu6 between two layers with a Relu. 0
        keeps every Relu6; do_cle leaves such layers alone.
      replace_sigmoid: 1 replaces every sigmoid with a hard sigmoid. Needs simulate_dpu.
      fold_bn_only: 1 folds batch norms and changes nothing else in the graph, except for do_cle and fold_reshape.
      fold_reshape: 1 makes the shapes of Reshape and resize ops constant.
      replace_softmax: 1 replaces every softmax between input and output nodes with the hardware's bfloat16 softmax.
      bias_bit: bit width of biases. None: weight_bit. The DPU uses 8-bit biases, so set this to 8 if weights have fewer
        bits.
      recipe: how a training starts and when it freezes. 'finetune', for float weights: batch norms use their moving statistics
        from the start; positions are calibrated on the float network and stay. 'scratch': batch norms use the statistics of
        the batch; positions move for two thirds of a training of known length. 'auto' looks at the weights in the first step
        and picks one of the two; if the weights are inconclusive, it calibrates and lets positions move. 'manual': no
        calibration; only freeze_bn_step and freeze_position_step count. These two fields override every recipe.
      bn_fold: batch norm in training. 'batch' normalizes with the statistics of the batch and runs one convolution. 'moving'
        folds with the moving statistics from the first step, and a second convolution feeds the moving averages (as the
        Vitis AI quantizer does).
      freeze_bn_step: global step from which training uses the moving statistics and no longer updates them. A number between
        0 and 1 is a share of a training of known length. None: by the recipe.
      freeze_position_step: global step, or share, from which positions stay. None: by the recipe.
      average_step: global step, or share, from which training records the mean of the weights over the steps;
        `averaged_checkpoint` then puts it in place of the weights. None: never.
      position_update: 'moving' quantizes with the tracked position, the one that evaluation will use. 'current' quantizes with
        the best position for the current batch (as the Vitis AI quantizer does). 'learned' trains the position together with
        the weights (TQT), starting from the calibrated one or from that of the first batch, until it is frozen; it also does
        so after a start from float weights.
      position_decay: factor on all earlier votes in the position histogram at every step. A position that gets every new vote
        overtakes an established one after n steps, when position_decay**n < 1/2: 35 steps at 0.98.
      gradient: 'clipped' passes the gradient only if the value is in range, 'straight_through' always.
      arch_type: range of 8-bit activations. 'DEFAULT': -128 to 127. 'DPUCADF8H': -127 to 127, and symmetric at all bit widths.
      align_rule: position of the tensors that a concat or pool aligns. 'least_error': the one with the least squared error
        over all of them; in training, the smallest of their positions. 'output': that of the result (as the Vitis AI
        quantizer does), which may saturate the inputs and leaves out tensors that are only moved.
      positions_by: how calibration combines its batches, for computed tensors with method 1 or 2. 'votes': the best position of
        most batches. The others look at all batches of the float network together: 'mse' takes the least squared error,
        'percentile' the greatest position that keeps that percentage in range, 'entropy' the least Kullback-Leibler
        divergence. They also set input nodes if method is 1 and nodes_method does not name them. None: 'votes' for the effort
        fast of `quantize_frozen`; the other efforts use 'mse' if it is better. Aligned tensors follow align_rule.
      percentile: percentage of the nonzero elements of a tensor that positions_by='percentile' keeps in range.

    Raises:
      QuantizeError: a value out of range (code, field, allowed values).
      TypeError: a wrong type, or an unknown field.
    """

    # The fields as they are kept: CHECKS converts what the constructor and assignments get.
    input_nodes: List[str]
    output_nodes: List[str]
    input_shapes: List[List[int]]
    ignore_nodes: List[str]
    weight_bit: int
    activation_bit: int
    nodes_bit: List[str]
    nodes_method: List[str]
    method: int
    target_type: str
    calib_iter: int
    output_dir: str
    align_concat: int
    align_pool: int
    adjust_shift_bias: int
    adjust_shift_cut: int
    simulate_dpu: int
    scale_all_avgpool: int
    do_cle: int
    replace_relu6: int
    replace_sigmoid: int
    fold_bn_only: int
    fold_reshape: int
    replace_softmax: int
    bias_bit: Optional[int]
    recipe: str
    bn_fold: str
    freeze_bn_step: Optional[float]
    freeze_position_step: Optional[float]
    average_step: Optional[float]
    position_update: str
    position_decay: float
    gradient: str
    arch_type: str
    align_rule: str
    positions_by: Optional[str]
    percentile: float

    @_explain
    def __init__(
            self, input_nodes: Sequence[str] = (), output_nodes: Sequence[str] = (), input_shapes: Sequence[_Shape] = (),
            ignore_nodes: Sequence[str] = (), weight_bit: _Integer = 8, activation_bit: _Integer = 8,
            nodes_bit: Sequence[str] = (), nodes_method: Sequence[str] = (), method: _Integer = 1, target_type: str = '',
            calib_iter: _Integer = 100, output_dir: str = './quantize_results', align_concat: _Integer = 0,
            align_pool: _Integer = 0, adjust_shift_bias: _Integer = 1, adjust_shift_cut: _Integer = 1,
            simulate_dpu: _Integer = 1, scale_all_avgpool: _Integer = 1, do_cle: _Integer = 0, replace_relu6: _Integer = 1,
            replace_sigmoid: _Integer = 0, fold_bn_only: _Integer = 0, fold_reshape: _Integer = 0,
            replace_softmax: _Integer = 0, *, bias_bit: Optional[_Integer] = None, recipe: str = 'auto',
            bn_fold: str = 'batch', freeze_bn_step: Optional[_Number] = None,
            freeze_position_step: Optional[_Number] = None, average_step: Optional[_Number] = None,
            position_update: str = 'moving', position_decay: _Number = 0.98, gradient: str = 'clipped',
            arch_type: str = 'DEFAULT', align_rule: str = 'least_error', positions_by: Optional[str] = None,
            percentile: _Number = 99.99) -> None:
        given = locals()
        for name in CHECKS:
            setattr(self, name, given[name])

    @classmethod
    def from_file(cls: Type[_Config], path: Union[str, 'os.PathLike[str]']) -> _Config:
        """The config in a YAML or JSON file, such as the `quantize_config.yaml` next to a model.

        Its keys are fields; other options of the command, such as input_fn, are ignored.

        Raises:
          QuantizeError: an unreadable file or a wrong value, with file, key and line.
        """
        return cls(**{name: value for name, value in read_config_file(path).items() if name in CHECKS})

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in CHECKS:
            raise AttributeError(_no_field(name))
        if isinstance(value, CheckedList) and value is vars(self).get(name):
            return  # += assigns the list that it has changed
        object.__setattr__(self, name, CHECKS[name](name, value))

    def __setstate__(self, state: Dict[str, Any]) -> None:
        # CheckedLists are copied and pickled as plain lists.
        for name, value in state.items():
            object.__setattr__(self, name, CHECKS[name](name, value) if name in CHECKS else value)

    def __repr__(self) -> str:
        return 'QuantizeConfig({})'.format(', '.join('{}={!r}'.format(name, getattr(self, name)) for name in self._changed()))

    def _changed(self) -> List[str]:
        default = QuantizeConfig()
        return [name for name in CHECKS if getattr(self, name) != getattr(default, name)]

    def _repr_html_(self) -> str:
        """The fields that differ from the defaults, and the others folded."""
        changed = self._changed()
        others = [name for name in CHECKS if name not in changed]
        return block('QuantizeConfig', self._table(changed, 'value') or html_text('All fields have their defaults.'),
                     folded('{} fields with their defaults'.format(len(others)), self._table(others, 'default')))

    def _table(self, names: List[str], title: str) -> str:
        return html_table(('field', title), [(name, repr(getattr(self, name))) for name in names], most=len(names))

    def replace(self: _Config, **fields: Any) -> _Config:
        """A copy of the config, of the same type, with some fields changed.

        Raises:
          QuantizeError, TypeError: as the constructor.
        """
        changed = copy.copy(self)
        for name, value in fields.items():
            if name not in CHECKS:
                raise TypeError(_no_field(name))
            setattr(changed, name, value)
        return changed

    def check_range(self) -> None:
        """Checks the fields against each other, when a graph is about to be quantized.

        Raises:
          QuantizeError: no input or output nodes, or not one shape per input node.
        """
        for field in ('input_nodes', 'output_nodes'):
            if not getattr(self, field):
                raise config_error(field, [], 'the names of the nodes where quantization starts and ends')
        if self.input_shapes and len(self.input_shapes) != len(self.input_nodes):
            raise errors.QuantizeError(
                errors.LENGTH_MISMATCH, 'Invalid parameter',
                '{} input_shapes for {} input_nodes ({}); give one shape per node.'.format(
                    len(self.input_shapes), len(self.input_nodes), ', '.join(self.input_nodes)))


def require_config(config: object) -> QuantizeConfig:
    """`config`, if it is a QuantizeConfig with input and output nodes.

    Raises:
      TypeError: it is not a QuantizeConfig.
      QuantizeError: as `check_range`.
    """
    if not isinstance(config, QuantizeConfig):
        raise TypeError('config must be a vai_q_tensorflow.QuantizeConfig, got {}: {!r}'.format(
            type(config).__name__, config))
    config.check_range()
    return config
