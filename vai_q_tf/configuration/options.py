"""The commands and their options. Every command accepts all options."""
from typing import Any, Dict, NamedTuple, Optional, Tuple, Union

from vai_q_tf.dpu import TARGETS

COMMANDS = (('quantize', 'quantize a frozen graph, or convert its data type'),
            ('inspect', 'show which ops will be quantized, and why others stay float'),
            ('sensitivity', 'measure the cost of each tensor; choose bit widths'),
            ('analyze', 'measure the error of each tensor of a model, worst first'),
            ('report', 'write an HTML page about a quantized model'),
            ('dump', 'write the tensors of a quantized model as integers'),
            ('compare', 'find the first tensor that differs between two models or dumps'),
            ('deploy', 'freeze a checkpoint of quantization-aware training'),
            ('update', 'add missing attributes to the FixNeurons of an older model'))

# Kinds of options. A SWITCH has no value; a CONFIG is a field of QuantizeConfig.
SWITCH, TEXT, FLAG, COUNT, NUMBER, OPTIONAL, STEPS, CONFIG = (
    'switch', 'text', 'flag', 'count', 'number', 'optional number', 'steps', 'config')
_BITS, _ZERO_ONE = 'BITS', '{0,1}'


class Option(NamedTuple):
    """An option of the command.

    Args:
      kind: how its text is checked and converted.
      default: for a CONFIG None, as QuantizeConfig has the default.
      placeholder: for its value in the help; None for a SWITCH.
    """
    name: str
    kind: str
    default: Union[None, bool, int, float, str]
    placeholder: Optional[str]
    help: str


_GROUPS: Tuple[Tuple[str, Tuple[Tuple[str, str, Any, Optional[str], str], ...]], ...] = (
    ('input and output', (
        ('config', TEXT, '', 'FILE', 'read options from a YAML or JSON file; options on the command line override it. Every '
         'run that writes a model also writes quantize_config.yaml, which repeats the run'),
        ('input_frozen_graph', TEXT, '', 'FILE', 'frozen graph, a binary or text GraphDef: the float graph for quantize, '
         'inspect and sensitivity; the quantized model for analyze, report, dump and update'),
        ('input_nodes', CONFIG, None, 'NAMES', 'nodes where quantization starts, separated by commas: the last nodes of the '
         'preprocessing, or the placeholders'),
        ('output_nodes', CONFIG, None, 'NAMES', 'nodes where quantization ends, separated by commas: the last nodes before the '
         'postprocessing'),
        ('input_shapes', CONFIG, None, 'SHAPES', 'shape of each input node, with ? for an unknown size: ?,224,224,3 for one '
         'node, ?,224,224,3:?,10 for two. Shapes have 4 dimensions if --target_type is set. Default: the shapes in the graph'),
        ('input_fn', TEXT, '', 'MODULE.FUNCTION', 'function that takes the step, from 0, and returns {placeholder name: '
         'array}. The working directory is on the import path'),
        ('output_dir', CONFIG, None, 'DIR', 'directory for the results; it is created if needed'),
        ('output_format', TEXT, 'pb', '{pb,onnx}', 'format of the quantized model'),
        ('onnx_opset', COUNT, 13, 'N', 'operator set of the ONNX model, 11 to 15'),
        ('report', SWITCH, False, None, 'quantize: also write quantize_report.html, a page for the browser'),
        ('mode', TEXT, 'frozen', '{frozen,train,eval}', 'quantize: kind of input. frozen: a frozen graph; train, eval: the '
         'MetaGraph of a training or an evaluation, which is rewritten'),
        ('input_meta_graph', TEXT, '', 'FILE', 'MetaGraph for deploy and for quantize --mode train or eval'),
        ('input_checkpoint', TEXT, '', 'PREFIX', 'checkpoint, or a directory with checkpoints, for deploy and for quantize '
         '--mode train or eval'),
    )),
    ('quantization', (
        ('weight_bit', CONFIG, None, _BITS, 'bit width of weights and constants, 1 to 24, and of biases unless --bias_bit is '
         'set'),
        ('activation_bit', CONFIG, None, _BITS, 'bit width of activations, 1 to 24'),
        ('bias_bit', CONFIG, None, _BITS, 'bit width of biases, 1 to 24. Default: that of weights'),
        ('nodes_bit', CONFIG, None, 'NAME:BITS,...', 'bit widths of single tensors. The name of a convolution '
         'sets its weights'),
        ('method', CONFIG, None, '{0,1,2}', 'how to choose positions. 0: no value overflows; 1: least squared error; 2: as 1, '
         'but relative error for depthwise weights'),
        ('nodes_method', CONFIG, None, 'NAME:METHOD,...', 'methods of single tensors'),
        ('positions_by', CONFIG, None, '{votes,mse,percentile,entropy}', 'how to combine calibration batches, for tensors '
         'whose method is 1 or 2. votes: the position that most batches prefer. Over all batches, mse: least squared error; '
         'percentile: keep --percentile of the elements in range; entropy: least KL divergence. Default: '
         'votes for --effort fast and for sensitivity; other efforts also try mse'),
        ('percentile', CONFIG, None, 'X', 'percentage of elements that --positions_by percentile keeps in range, above 50 and '
         'at most 100'),
        ('calib_iter', CONFIG, None, 'N', 'number of calibration steps; each one calls input_fn once'),
        ('effort', TEXT, 'standard', '{fast,standard,high}', 'time to spend on accuracy. fast: calibrate; standard: also fit '
         'weights and biases to the float network; high: also scale channels'),
        ('ignore_nodes', CONFIG, None, 'NAMES', 'nodes that stay float, separated by commas'),
        ('skip_check', FLAG, 0, _ZERO_ONE, '1: do not run the float graph once before quantizing it'),
        ('fold_constant', FLAG, 1, _ZERO_ONE, '1: fold constants; 0: fold only the parameters of batch norms and arithmetic'),
        ('fold_reshape', CONFIG, None, _ZERO_ONE, '1: make the shapes of Reshape and resize ops constant'),
        ('do_cle', CONFIG, None, _ZERO_ONE, '1: equalize the channel ranges of consecutive layers (cross-layer equalization)'),
        ('replace_relu6', CONFIG, None, _ZERO_ONE, '1: let --do_cle and --effort high replace a Relu6 between two layers with '
         'a Relu; 0: keep every Relu6'),
        ('replace_sigmoid', CONFIG, None, _ZERO_ONE, '1: replace every sigmoid with a hard sigmoid'),
        ('replace_softmax', CONFIG, None, _ZERO_ONE, "1: replace every softmax with the hardware's bfloat16 softmax"),
        ('keep_float_weight', FLAG, 1, _ZERO_ONE, '1: store float weights and quantize them at run time; 0: store quantized '
         'weights'),
        ('add_shapes', FLAG, 1, _ZERO_ONE, '1: store the shapes of all tensors in the model'),
        ('fix_input_shape', FLAG, 0, _ZERO_ONE, '1: write --input_shapes into the placeholders, batch size included'),
        ('custom_op_so', TEXT, '', 'OP:FILE,...', 'libraries of custom ops to load; these ops stay float'),
        ('convert_datatype', TEXT, '0', '{0,1,2,3,4}', 'instead of quantizing, fold batch norms and convert the graph to 1: '
         'float16, 2: float64, 3: bfloat16, 4: float32. Needs no input_fn'),
    )),
    ('the DPU', (
        ('target_type', CONFIG, None, 'TARGET', 'DPU family of the board: {}. inspect shows which ops run on it'.format(
            ', '.join(sorted(TARGETS)))),
        ('arch_type', CONFIG, None, '{DEFAULT,DPUCADF8H}', 'range of 8-bit activations. DEFAULT: -128 to 127; DPUCADF8H: -127 '
         'to 127'),
        ('simulate_dpu', CONFIG, None, _ZERO_ONE, '1: compute average pools, leaky relus and hard sigmoids as the DPU does'),
        ('scale_all_avgpool', CONFIG, None, _ZERO_ONE, '1: scale average pools of all sizes as the DPU does; 0: only square '
         'windows of 3, 5, 6, 7 and 14'),
        ('align_concat', CONFIG, None, '{0,1,2}', 'give the inputs and the result of a concat one position. 0: all concats; '
         '1: only output nodes; 2: none'),
        ('align_pool', CONFIG, None, '{0,1,2}', 'give the input and the result of a pool one position. 0: all pools; 1: only '
         'output nodes; 2: none. The efforts standard and high also try 2'),
        ('align_rule', CONFIG, None, '{least_error,output}', 'position of aligned tensors. least_error: the one with the least '
         'error over all of them; output: that of the result'),
        ('adjust_shift_bias', CONFIG, None, '{0,1,2}', 'keep the shifts of biases within the limits of the DPU. 0: no; 1: '
         'limits from the shift of the result; 2: limits from the number of products'),
        ('adjust_shift_cut', CONFIG, None, _ZERO_ONE, '1: keep the shifts of results within the limits of the DPU'),
        ('strict', SWITCH, False, None, 'fail if the DPU compiler would refuse the model'),
    )),
    ('fast finetuning', (
        ('include_fast_ft', FLAG, 0, _ZERO_ONE, '1: finetune weights on the calibration data'),
        ('fast_ft_mode', FLAG, 1, _ZERO_ONE, 'input of a layer while it is finetuned. 0: float; 1: quantized'),
        ('fast_ft_epochs', COUNT, 5, 'N', 'number of passes over the calibration data'),
        ('fast_ft_lr', NUMBER, None, 'X', 'learning rate of Adam. Default: 1/100 of the quantization step of the weights of '
         'each layer'),
        ('fast_ft_lrcoef', NUMBER, 1.0, 'X', 'factor on the learning rate of layers that start with a loss above 3'),
    )),
    ('sensitivity', (
        ('target_bits', OPTIONAL, '', 'X', 'choose 4 to 8 bits for the weights of each layer, at most X on average'),
        ('target_db', OPTIONAL, '', 'X', 'list the tensors that need 16 bits for outputs of X dB'),
        ('sensitivity_iter', COUNT, 4, 'N', 'number of calibration batches to measure'),
    )),
    ('analyze', (
        ('float_graph', TEXT, '', 'FILE', 'float graph that the model was quantized from. Default: the model without its '
         'FixNeurons'),
        ('analyze_iter', COUNT, 4, 'N', 'number of batches to measure'),
    )),
    ('dump', (
        ('max_dump_batches', COUNT, 1, 'N', 'number of batches to dump or compare'),
        ('dump_float', FLAG, 0, _ZERO_ONE, '1: also dump the float values of all nodes'),
        ('dump_input_tensors', TEXT, '', 'NAME', 'tensor to feed instead of the placeholders; input_fn returns it as '
         'image_tensor'),
        ('dump_as_xir', SWITCH, False, None, 'accepted for old scripts; no effect'),
        ('fuse_op_config', TEXT, '', 'FILE', 'not supported; an error if set'),
    )),
    ('compare', (
        ('tolerance', STEPS, '', 'X', 'largest difference, in quantization steps, that counts as equal. Default: 0, or 1 if '
         'one side is a float model'),
    )),
    ('session', (
        ('gpu', TEXT, '', 'IDS', 'GPUs to use, separated by commas; -1: none. Default: CUDA_VISIBLE_DEVICES, or 0 if that is '
         'not set'),
        ('gpu_memory_fraction', NUMBER, 0.5, 'X', 'share of the memory of each GPU, above 0 and at most 1'),
        ('debug_mode', FLAG, 0, _ZERO_ONE, "1: show tracebacks, pass results and TensorFlow's messages"),
    )),
    ('messages', (
        ('quiet', SWITCH, False, None, 'show only warnings and errors on stderr, without progress and the summary of quantize; '
         'the answer on stdout stays'),
        ('verbose', SWITCH, False, None, "also show what each pass changed, and TensorFlow's messages"),
        ('json', SWITCH, False, None, 'print the answer as JSON'),
    )),
)
# (title, its options)
GROUPS = tuple((title, tuple(Option(*row) for row in rows)) for title, rows in _GROUPS)
ROWS = tuple(option for _, options in GROUPS for option in options)
EVERYWHERE = ('config', 'custom_op_so', 'gpu', 'debug_mode', 'quiet', 'verbose', 'json')
_RANGE = ('input_frozen_graph', 'input_nodes', 'output_nodes', 'input_shapes')
_DATA = ('input_fn', 'calib_iter', 'skip_check', 'fold_constant', 'gpu_memory_fraction', 'output_dir')
_MODEL = _RANGE + ('input_fn', 'output_dir', 'gpu_memory_fraction')  # and its float graph
_META_GRAPH = ('input_meta_graph', 'input_checkpoint', 'output_dir')
_OF_GROUP = {title: tuple(option.name for option in options) for title, options in GROUPS}
_ALIGNED = ('align_concat', 'align_pool')
_PLAN = ('weight_bit', 'activation_bit', 'bias_bit', 'nodes_bit', 'ignore_nodes', 'fold_reshape', 'do_cle', 'replace_relu6',
         'replace_sigmoid', 'replace_softmax', 'arch_type', 'simulate_dpu', 'scale_all_avgpool')
_POSITIONS = _ALIGNED + ('method', 'nodes_method', 'positions_by', 'percentile', 'align_rule', 'adjust_shift_bias',
                         'adjust_shift_cut')
# Fields of QuantizeConfig that act in one of the two ways only: training ignores the first ones, but refuses do_cle.
POST_TRAINING_FIELDS = ('target_type', 'calib_iter', 'do_cle', 'replace_relu6', 'positions_by', 'percentile')
TRAINING_FIELDS = ('recipe', 'bn_fold', 'freeze_bn_step', 'freeze_position_step', 'average_step', 'position_update',
                   'position_decay', 'gradient')
# The options that each command reads besides EVERYWHERE; it accepts and ignores the others.
USED: Dict[str, Tuple[str, ...]] = {
    'quantize': _RANGE + _DATA + _META_GRAPH + _PLAN + _POSITIONS + _OF_GROUP['fast finetuning'] + (
        'mode', 'effort', 'strict', 'output_format', 'onnx_opset', 'keep_float_weight', 'add_shapes', 'fix_input_shape',
        'convert_datatype', 'report'),
    'inspect': _RANGE + _PLAN + ('target_type',),
    'sensitivity': _RANGE + _DATA + _PLAN + _POSITIONS + _OF_GROUP['sensitivity'],
    'analyze': _MODEL + _PLAN + _ALIGNED + _OF_GROUP['analyze'],
    'report': _MODEL + _PLAN + _ALIGNED + _OF_GROUP['analyze'],
    'dump': ('input_frozen_graph', 'input_fn', 'output_dir', 'arch_type') + _OF_GROUP['dump'],
    'compare': ('input_fn', 'output_dir', 'arch_type', 'max_dump_batches', 'dump_input_tensors') + _OF_GROUP['compare'],
    'deploy': _META_GRAPH + tuple(name for name in _PLAN + _POSITIONS if name == 'do_cle' or name not in POST_TRAINING_FIELDS)
    + ('input_nodes', 'output_nodes', 'input_shapes'),
    'update': ('input_frozen_graph',),
}
# The options without which a command is an error; quantize in its mode frozen.
REQUIRED: Dict[str, Tuple[str, ...]] = {
    'quantize': ('input_frozen_graph', 'input_nodes', 'output_nodes', 'input_fn'),
    'inspect': ('input_frozen_graph',),
    'sensitivity': ('input_frozen_graph', 'input_nodes', 'output_nodes', 'input_fn'),
    'analyze': ('input_frozen_graph',),
    'report': ('input_frozen_graph',),
    'dump': ('input_frozen_graph', 'input_fn'),
    'compare': (),
    'deploy': ('input_meta_graph', 'input_checkpoint', 'input_nodes', 'output_nodes'),
    'update': ('input_frozen_graph',),
}
ARGUMENTS = {'compare': 'A B'}
EXIT_STATUSES = ((0, 'success'), (1, 'error: one line on stderr'),
                 (3, 'compare found a difference, or did not compare the output'),
                 (129, 'the terminal was closed (SIGHUP)'), (130, 'interrupted (Ctrl-C)'), (143, 'terminated (SIGTERM)'))
SHORT = {'quiet': '-q', 'verbose': '-v'}
WORDS = {'mode': ('frozen', 'train', 'eval'), 'output_format': ('pb', 'onnx'), 'effort': ('fast', 'standard', 'high')}
NAME_LISTS = ('input_nodes', 'output_nodes', 'ignore_nodes', 'nodes_bit', 'nodes_method')
