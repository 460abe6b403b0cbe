"""The commands and their options: one flat set, accepted with every command, and what each means."""
from vai_q_tf.dpu import TARGETS

COMMANDS = (('quantize', 'quantize a frozen graph, or convert its data type (--convert_datatype)'),
            ('inspect', 'show what is in a graph, and what of it will be quantized'),
            ('sensitivity', 'measure what each quantized tensor costs, and choose bits (--target_bits, --target_db)'),
            ('analyze', 'measure the error of a quantized graph layer by layer, the worst first (--float_graph)'),
            ('report', 'write a page on a quantized graph, to open in a browser (--float_graph, --input_fn)'),
            ('dump', 'write the values of the tensors of a quantized graph'),
            ('compare', 'compare two models or dumps, such as that of a board, tensor by tensor: compare A B'),
            ('deploy', 'freeze a checkpoint of a quantize evaluation graph'),
            ('update', 'bring the FixNeurons of an older quantized graph up to date'))

TEXT, FLAG, COUNT, NUMBER, OPTIONAL, CONFIG = 'text', 'flag', 'count', 'number', 'optional number', 'config'
STEPS = 'steps'
_BITS, _ZERO_ONE = 'BITS', '{0,1}'

# Title, and rows of: name, kind of value, default (that of QuantizeConfig for CONFIG), placeholder of the value, help.
GROUPS = (
    ('input and output', (
        ('config', TEXT, '', 'FILE', 'YAML or JSON file with options as keys; those of the command line go before. A run that '
         'writes a model leaves its quantize_config.yaml beside it, which repeats it'),
        ('input_frozen_graph', TEXT, '', 'FILE', 'frozen graph (GraphDef, binary or text): the float graph for '
         'quantize, inspect and sensitivity, a quantized one for analyze, report, dump and update'),
        ('input_nodes', CONFIG, None, 'NAMES', 'nodes where quantization starts, comma separated: the last nodes of the '
         'preprocessing, or the placeholders'),
        ('output_nodes', CONFIG, None, 'NAMES', 'nodes where quantization ends, comma separated: the last nodes before the '
         'post-processing'),
        ('input_shapes', CONFIG, None, 'SHAPES', 'shape of each input node, ? where a size is not known: ?,224,224,3 or '
         '?,224,224,3:?,300,300,1. Any number of dimensions; with --target_type it must be 4. Default: as in the graph'),
        ('input_fn', TEXT, '', 'MODULE.FUNCTION', 'function from the step to {placeholder name: array}; the module may lie in '
         'the working directory'),
        ('output_dir', CONFIG, None, 'DIR', 'where the results are written'),
        ('output_format', TEXT, 'pb', '{pb,onnx}', 'format of the quantized model'),
        ('onnx_opset', COUNT, 13, 'N', 'operator set of the onnx model'),
        ('report', None, False, None, 'quantize: also write quantize_report.html, a page to open in a browser'),
        ('mode', TEXT, 'frozen', '{frozen,train,eval}', 'what quantize reads: a frozen graph, or the MetaGraph of a '
         'training or an evaluation, which it rewrites'),
        ('input_meta_graph', TEXT, '', 'FILE', 'MetaGraph for --mode train, --mode eval and deploy'),
        ('input_checkpoint', TEXT, '', 'PREFIX', 'checkpoint for --mode train, --mode eval and deploy'),
    )),
    ('quantization', (
        ('weight_bit', CONFIG, None, _BITS, 'bits of weights and biases, 1 to 24'),
        ('activation_bit', CONFIG, None, _BITS, 'bits of activations, 1 to 24'),
        ('bias_bit', CONFIG, None, _BITS, 'bits of biases, 1 to 24. Default: those of weights'),
        ('nodes_bit', CONFIG, None, 'NAME:BITS,...', 'bits of single nodes; the name of a convolution means its weights'),
        ('method', CONFIG, None, '{0,1,2}', '0: no value overflows; 1: least squared difference; 2: as 1, with the relative '
         'difference for depthwise weights'),
        ('nodes_method', CONFIG, None, 'NAME:METHOD,...', 'method of single nodes'),
        ('positions_by', CONFIG, None, '{votes,mse,percentile,entropy}', 'how positions of computed tensors are chosen where '
         'the method is not 0. votes: what most batches choose; over all batches, mse: least squared error, percentile: few '
         'elements out of range, entropy: least divergence. Default: what the effort does'),
        ('percentile', CONFIG, None, 'X', 'percentage of the elements that has to be in range with --positions_by percentile, '
         'above 50 and at most 100'),
        ('calib_iter', CONFIG, None, 'N', 'number of calibration steps, one call of input_fn each'),
        ('effort', TEXT, 'standard', '{fast,standard,high}', 'what is done for accuracy. fast: calibration only; standard: '
         'biases are fitted to the float network; high: weights are, too'),
        ('ignore_nodes', CONFIG, None, 'NAMES', 'nodes that stay float, comma separated'),
        ('skip_check', FLAG, 0, _ZERO_ONE, '1: do not run the float graph before it is quantized'),
        ('fold_constant', FLAG, 1, _ZERO_ONE, '1: compute what depends on constants only beforehand'),
        ('fold_reshape', CONFIG, None, _ZERO_ONE, '1: fold Reshape nodes'),
        ('do_cle', CONFIG, None, _ZERO_ONE, '1: cross layer equalization of weights'),
        ('replace_relu6', CONFIG, None, _ZERO_ONE, '1: cross layer equalization makes Relu6 a Relu'),
        ('replace_sigmoid', CONFIG, None, _ZERO_ONE, '1: replace sigmoid by hard-sigmoid'),
        ('replace_softmax', CONFIG, None, _ZERO_ONE, '1: replace softmax by hard-softmax'),
        ('keep_float_weight', FLAG, 1, _ZERO_ONE, '0: store quantized values of the weights'),
        ('add_shapes', FLAG, 1, _ZERO_ONE, '1: note the shapes of all tensors in the model'),
        ('fix_input_shape', FLAG, 0, _ZERO_ONE, '1: write input_shapes into the model'),
        ('custom_op_so', TEXT, '', 'OP:FILE,...', 'libraries of custom ops to load'),
        ('convert_datatype', TEXT, '0', '{0,1,2,3,4}', 'fold batch norms and convert to 1: Float16, 2: Double, 3: BFloat16, '
         '4: Float, instead of quantizing; needs no input_fn'),
    )),
    ('the DPU', (
        ('target_type', CONFIG, None, 'TARGET', 'DPU that the model is for: {}. inspect tells what of the graph runs on '
         'it'.format(', '.join(sorted(TARGETS)))),
        ('arch_type', CONFIG, None, '{DEFAULT,DPUCADF8H}', 'range of 8 bit activations: DEFAULT [-128, 127], '
         'DPUCADF8H [-127, 127]'),
        ('simulate_dpu', CONFIG, None, _ZERO_ONE, '1: compute average pools, leaky relus and the like as the DPU does'),
        ('scale_all_avgpool', CONFIG, None, _ZERO_ONE, '1: scale average pools of all sizes as the DPU does'),
        ('align_concat', CONFIG, None, '{0,1,2}', 'one position for the inputs of a concat. 0: all of them, 1: output nodes, '
         '2: none'),
        ('align_pool', CONFIG, None, '{0,1,2}', 'one position for the input and the output of a pool; values as align_concat; '
         'standard and high take 0 for 2 where that loses less'),
        ('align_rule', CONFIG, None, '{least_error,output}', 'which position that is: the one with the least error over '
         'all of them, or that of the output'),
        ('adjust_shift_bias', CONFIG, None, '{0,1,2}', "keep the shifts of biases within the DPU's limits. 0: no, 1: static "
         'limits, 2: dynamic limits'),
        ('adjust_shift_cut', CONFIG, None, _ZERO_ONE, "1: keep the shifts of results within the DPU's limits"),
        ('strict', None, False, None, 'fail where the DPU compiler would refuse the model'),
    )),
    ('fast finetuning', (
        ('include_fast_ft', FLAG, 0, _ZERO_ONE, '1: finetune weights on the calibration data'),
        ('fast_ft_mode', FLAG, 1, _ZERO_ONE, 'inputs of the layers while they are tuned. 0: float, 1: quantized'),
        ('fast_ft_epochs', COUNT, 5, 'N', 'passes over the calibration data'),
        ('fast_ft_lr', NUMBER, None, 'X', 'learning rate. Default: 1/100 of the step of the weights of each layer'),
        ('fast_ft_lrcoef', NUMBER, 1.0, 'X', 'factor of the learning rate for layers with a large loss'),
    )),
    ('sensitivity', (
        ('target_bits', OPTIONAL, '', 'X', 'choose bits of weights, 4 to 8 for each, that are X or less on average'),
        ('target_db', OPTIONAL, '', 'X', 'list what has to stay at 16 bits for the outputs to have X dB'),
        ('sensitivity_iter', COUNT, 4, 'N', 'number of calibration batches to measure on'),
    )),
    ('analyze', (
        ('float_graph', TEXT, '', 'FILE', 'float graph that the quantized one was made from. Default: the quantized one '
         'without its FixNeurons'),
        ('analyze_iter', COUNT, 4, 'N', 'number of batches to measure on'),
    )),
    ('dump', (
        ('max_dump_batches', COUNT, 1, 'N', 'number of batches to dump, or to compare'),
        ('dump_float', FLAG, 0, _ZERO_ONE, '1: dump the float values of all nodes too'),
        ('dump_input_tensors', TEXT, '', 'NAME', 'tensor to feed where the graph does not start with a placeholder'),
        ('dump_as_xir', None, False, None, 'has no effect'),
        ('fuse_op_config', TEXT, '', 'FILE', 'not supported'),
    )),
    ('compare', (
        ('tolerance', STEPS, '', 'X', 'steps that are no departure. Default: 0; 1 where one side is a float model'),
    )),
    ('session', (
        ('gpu', TEXT, '', 'IDS', "GPUs to use, comma separated; -1: none. Default: CUDA_VISIBLE_DEVICES, else 0"),
        ('gpu_memory_fraction', NUMBER, 0.5, 'X', 'share of the memory of each GPU, above 0 and at most 1'),
        ('debug_mode', FLAG, 0, _ZERO_ONE, "1: show tracebacks and TensorFlow's messages"),
    )),
    ('what is said', (
        ('quiet', None, False, None, 'no progress and no summary on stderr; warnings and errors stay'),
        ('verbose', None, False, None, "more on stderr: what each pass changed, and TensorFlow's messages"),
        ('json', None, False, None, 'print the answer of the command as JSON'),
    )),
)
ROWS = tuple(row for _, rows in GROUPS for row in rows)
EVERYWHERE = ('config', 'custom_op_so', 'gpu', 'debug_mode', 'quiet', 'verbose', 'json')
_RANGE = ('input_frozen_graph', 'input_nodes', 'output_nodes', 'input_shapes')
_DATA = ('input_fn', 'calib_iter', 'skip_check', 'fold_constant', 'gpu_memory_fraction', 'output_dir')
_MODEL = _RANGE + ('input_fn', 'output_dir', 'gpu_memory_fraction')  # and its float graph
_META_GRAPH = ('input_meta_graph', 'input_checkpoint', 'output_dir')
_OF_GROUP = {title: tuple(row[0] for row in rows) for title, rows in GROUPS}
_PLAN = ('weight_bit', 'activation_bit', 'bias_bit', 'nodes_bit', 'ignore_nodes', 'fold_reshape', 'do_cle', 'replace_relu6',
         'replace_sigmoid', 'replace_softmax', 'arch_type', 'simulate_dpu', 'scale_all_avgpool', 'align_concat', 'align_pool')
_POSITIONS = ('method', 'nodes_method', 'positions_by', 'percentile', 'align_rule', 'adjust_shift_bias', 'adjust_shift_cut')
# What each command makes something of, besides what all do; the others are accepted, and have no effect.
USED = {
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
                 (130, 'interrupted'), (143, 'told to end (SIGTERM)'))
SHORT = {'quiet': '-q', 'verbose': '-v'}
WORDS = {'mode': ('frozen', 'train', 'eval'), 'output_format': ('pb', 'onnx'), 'effort': ('fast', 'standard', 'high')}
NAME_LISTS = ('input_nodes', 'output_nodes', 'ignore_nodes', 'nodes_bit', 'nodes_method')
