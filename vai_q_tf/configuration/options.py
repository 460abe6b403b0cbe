"""The commands and their options. Every command accepts all options."""
from typing import Any, Dict, NamedTuple, Optional, Tuple, Union

from vai_q_tf.dpu import TARGETS

COMMANDS = (('quantize', 'quantize a frozen graph, or convert its data type (--convert_datatype)'),
            ('inspect', 'show the contents of a graph, and which parts will be quantized'),
            ('sensitivity', 'measure the cost of each quantized tensor, and choose bits (--target_bits, --target_db)'),
            ('analyze', 'measure the error of a quantized graph layer by layer, worst first (--float_graph)'),
            ('report', 'write an HTML page about a quantized graph (--float_graph, --input_fn)'),
            ('dump', 'write the values of the tensors of a quantized graph'),
            ('compare', 'compare two models or dumps, such as that of a board, tensor by tensor: compare A B'),
            ('deploy', 'freeze a checkpoint of a quantize evaluation graph'),
            ('update', 'bring the FixNeurons of an older quantized graph up to date'))

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
        ('config', TEXT, '', 'FILE', 'YAML or JSON file with options as keys; the command line takes precedence. A run that '
         'writes a model also writes quantize_config.yaml, which repeats the run'),
        ('input_frozen_graph', TEXT, '', 'FILE', 'frozen graph (GraphDef, binary or text): the float graph for '
         'quantize, inspect and sensitivity, a quantized one for analyze, report, dump and update'),
        ('input_nodes', CONFIG, None, 'NAMES', 'nodes where quantization starts, comma separated: the last nodes of the '
         'preprocessing, or the placeholders'),
        ('output_nodes', CONFIG, None, 'NAMES', 'nodes where quantization ends, comma separated: the last nodes before the '
         'post-processing'),
        ('input_shapes', CONFIG, None, 'SHAPES', 'shape of each input node, with ? for an unknown size: ?,224,224,3 or '
         '?,224,224,3:?,300,300,1. Any number of dimensions, but 4 with --target_type. Default: the shapes in the graph'),
        ('input_fn', TEXT, '', 'MODULE.FUNCTION', 'function from the number of a step to {placeholder name: array}; the module '
         'may be in the working directory'),
        ('output_dir', CONFIG, None, 'DIR', 'directory for the results'),
        ('output_format', TEXT, 'pb', '{pb,onnx}', 'format of the quantized model'),
        ('onnx_opset', COUNT, 13, 'N', 'operator set of the ONNX model'),
        ('report', SWITCH, False, None, 'quantize: also write quantize_report.html, to open in a browser'),
        ('mode', TEXT, 'frozen', '{frozen,train,eval}', 'input of quantize: a frozen graph, or the MetaGraph of a training or '
         'an evaluation, which it rewrites'),
        ('input_meta_graph', TEXT, '', 'FILE', 'MetaGraph for --mode train, --mode eval and deploy'),
        ('input_checkpoint', TEXT, '', 'PREFIX', 'checkpoint for --mode train, --mode eval and deploy'),
    )),
    ('quantization', (
        ('weight_bit', CONFIG, None, _BITS, 'bits of weights and biases, 1 to 24'),
        ('activation_bit', CONFIG, None, _BITS, 'bits of activations, 1 to 24'),
        ('bias_bit', CONFIG, None, _BITS, 'bits of biases, 1 to 24. Default: those of weights'),
        ('nodes_bit', CONFIG, None, 'NAME:BITS,...', 'bits of single tensors; the name of a convolution means its weights'),
        ('method', CONFIG, None, '{0,1,2}', '0: no value overflows; 1: least squared error; 2: as 1, with the relative error '
         'for depthwise weights'),
        ('nodes_method', CONFIG, None, 'NAME:METHOD,...', 'method of single tensors'),
        ('positions_by', CONFIG, None, '{votes,mse,percentile,entropy}', 'how positions of computed tensors are chosen if the '
         'method is not 0. votes: the best position of most batches; over all batches, mse: least squared error, percentile: '
         'few elements out of range, entropy: least divergence. Default: by the effort'),
        ('percentile', CONFIG, None, 'X', 'percentage of the elements that --positions_by percentile keeps in range, above 50 '
         'and at most 100'),
        ('calib_iter', CONFIG, None, 'N', 'number of calibration steps, each of which calls input_fn once'),
        ('effort', TEXT, 'standard', '{fast,standard,high}', 'effort for accuracy. fast: calibration only; standard: also '
         'fit biases to the float network; high: also fit weights'),
        ('ignore_nodes', CONFIG, None, 'NAMES', 'nodes that stay float, comma separated'),
        ('skip_check', FLAG, 0, _ZERO_ONE, '1: do not run the float graph before quantizing it'),
        ('fold_constant', FLAG, 1, _ZERO_ONE, '1: constant folding'),
        ('fold_reshape', CONFIG, None, _ZERO_ONE, '1: make the shapes of Reshape and resize ops constants'),
        ('do_cle', CONFIG, None, _ZERO_ONE, '1: cross-layer equalization of weights'),
        ('replace_relu6', CONFIG, None, _ZERO_ONE, '1: cross-layer equalization replaces a Relu6 between two layers by a Relu; '
         '0: it leaves such layers as they are'),
        ('replace_sigmoid', CONFIG, None, _ZERO_ONE, '1: replace every sigmoid by a hard sigmoid'),
        ('replace_softmax', CONFIG, None, _ZERO_ONE, "1: replace every softmax by the hardware's softmax"),
        ('keep_float_weight', FLAG, 1, _ZERO_ONE, '0: store quantized weights'),
        ('add_shapes', FLAG, 1, _ZERO_ONE, '1: store the shapes of all tensors in the model'),
        ('fix_input_shape', FLAG, 0, _ZERO_ONE, '1: write input_shapes into the placeholders'),
        ('custom_op_so', TEXT, '', 'OP:FILE,...', 'libraries of custom ops to load'),
        ('convert_datatype', TEXT, '0', '{0,1,2,3,4}', 'instead of quantizing, fold batch norms and convert to 1: Float16, '
         '2: Double, 3: BFloat16, 4: Float; needs no input_fn'),
    )),
    ('the DPU', (
        ('target_type', CONFIG, None, 'TARGET', 'DPU that the model is for: {}. inspect shows which ops run on it'.format(
            ', '.join(sorted(TARGETS)))),
        ('arch_type', CONFIG, None, '{DEFAULT,DPUCADF8H}', 'range of 8-bit activations: DEFAULT [-128, 127], '
         'DPUCADF8H [-127, 127]'),
        ('simulate_dpu', CONFIG, None, _ZERO_ONE, '1: compute average pools, leaky relus and hard sigmoids as the DPU does'),
        ('scale_all_avgpool', CONFIG, None, _ZERO_ONE, '1: scale average pools of all sizes as the DPU does'),
        ('align_concat', CONFIG, None, '{0,1,2}', 'one position for the inputs and the result of concats. 0: all concats, '
         '1: those that are output nodes, 2: none'),
        ('align_pool', CONFIG, None, '{0,1,2}', 'one position for the input and the result of pools, with the values of '
         'align_concat; the efforts standard and high use 2 instead of 0 if that lowers the error'),
        ('align_rule', CONFIG, None, '{least_error,output}', 'position of aligned tensors: the one with the least error over '
         'all of them, or that of the output'),
        ('adjust_shift_bias', CONFIG, None, '{0,1,2}', "keep the shifts of biases within the DPU's limits. 0: no, 1: static "
         'limits, 2: dynamic limits'),
        ('adjust_shift_cut', CONFIG, None, _ZERO_ONE, "1: keep the shifts of results within the DPU's limits"),
        ('strict', SWITCH, False, None, 'fail if the DPU compiler would refuse the model'),
    )),
    ('fast finetuning', (
        ('include_fast_ft', FLAG, 0, _ZERO_ONE, '1: finetune weights on the calibration data'),
        ('fast_ft_mode', FLAG, 1, _ZERO_ONE, 'inputs of a layer while it is tuned. 0: float, 1: quantized'),
        ('fast_ft_epochs', COUNT, 5, 'N', 'passes over the calibration data'),
        ('fast_ft_lr', NUMBER, None, 'X', 'learning rate. Default: 1/100 of the quantization step of the weights of each '
         'layer'),
        ('fast_ft_lrcoef', NUMBER, 1.0, 'X', 'factor of the learning rate for layers with a large loss'),
    )),
    ('sensitivity', (
        ('target_bits', OPTIONAL, '', 'X', 'choose 4 to 8 bits for the weights of each layer, X or less on average'),
        ('target_db', OPTIONAL, '', 'X', 'list the tensors that have to stay at 16 bits for outputs of X dB'),
        ('sensitivity_iter', COUNT, 4, 'N', 'number of calibration batches to measure'),
    )),
    ('analyze', (
        ('float_graph', TEXT, '', 'FILE', 'float graph from which the quantized one was made. Default: the quantized one '
         'without its FixNeurons'),
        ('analyze_iter', COUNT, 4, 'N', 'number of batches to measure'),
    )),
    ('dump', (
        ('max_dump_batches', COUNT, 1, 'N', 'number of batches to dump or compare'),
        ('dump_float', FLAG, 0, _ZERO_ONE, '1: also dump the float values of all nodes'),
        ('dump_input_tensors', TEXT, '', 'NAME', 'tensor to feed if the graph does not start with a placeholder'),
        ('dump_as_xir', SWITCH, False, None, 'has no effect'),
        ('fuse_op_config', TEXT, '', 'FILE', 'not supported'),
    )),
    ('compare', (
        ('tolerance', STEPS, '', 'X', 'accepted difference in quantization steps. Default: 0, or 1 if one side is a float '
         'model'),
    )),
    ('session', (
        ('gpu', TEXT, '', 'IDS', "GPUs to use, comma separated; -1: none. Default: CUDA_VISIBLE_DEVICES, else 0"),
        ('gpu_memory_fraction', NUMBER, 0.5, 'X', 'share of the memory of each GPU, above 0 and at most 1'),
        ('debug_mode', FLAG, 0, _ZERO_ONE, "1: show tracebacks and TensorFlow's messages"),
    )),
    ('messages', (
        ('quiet', SWITCH, False, None, 'only warnings and errors on stderr, no progress and no summary'),
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
_PLAN = ('weight_bit', 'activation_bit', 'bias_bit', 'nodes_bit', 'ignore_nodes', 'fold_reshape', 'do_cle', 'replace_relu6',
         'replace_sigmoid', 'replace_softmax', 'arch_type', 'simulate_dpu', 'scale_all_avgpool', 'align_concat', 'align_pool')
_POSITIONS = ('method', 'nodes_method', 'positions_by', 'percentile', 'align_rule', 'adjust_shift_bias', 'adjust_shift_cut')
# The options that each command uses besides EVERYWHERE; it accepts the others without effect.
USED: Dict[str, Tuple[str, ...]] = {
    'quantize': _RANGE + _DATA + _META_GRAPH + _PLAN + _POSITIONS + _OF_GROUP['fast finetuning'] + (
        'mode', 'effort', 'strict', 'output_format', 'onnx_opset', 'keep_float_weight', 'add_shapes', 'fix_input_shape',
        'convert_datatype', 'report'),
    'inspect': _RANGE + _PLAN + ('target_type',),
    'sensitivity': _RANGE + _DATA + _PLAN + _POSITIONS + _OF_GROUP['sensitivity'],
    'analyze': _MODEL + _PLAN + _OF_GROUP['analyze'],
    'report': _MODEL + _PLAN + _OF_GROUP['analyze'],
    'dump': ('input_frozen_graph', 'input_fn', 'output_dir', 'arch_type') + _OF_GROUP['dump'],
    'compare': ('input_fn', 'output_dir', 'arch_type', 'max_dump_batches', 'dump_input_tensors') + _OF_GROUP['compare'],
    'deploy': _META_GRAPH + _PLAN + _POSITIONS + ('input_nodes', 'output_nodes', 'input_shapes'),
    'update': ('input_frozen_graph',),
}
EXIT_STATUSES = ((0, 'done'), (1, 'an error, with one line on stderr'), (3, 'compare found a difference'),
                 (130, 'interrupted'), (143, 'terminated (SIGTERM)'))
SHORT = {'quiet': '-q', 'verbose': '-v'}
WORDS = {'mode': ('frozen', 'train', 'eval'), 'output_format': ('pb', 'onnx'), 'effort': ('fast', 'standard', 'high')}
NAME_LISTS = ('input_nodes', 'output_nodes', 'ignore_nodes', 'nodes_bit', 'nodes_method')
