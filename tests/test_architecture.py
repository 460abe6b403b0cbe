"""The rooms of the package, and the direction of imports: only from rooms further up in ROOMS, and from the same room."""
import ast
import os
import re

import pytest

_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'vai_q_tf')

# (room, its files or None for all of the folder, its purpose), from the foundations to the command
ROOMS = (
    ('', ('errors', 'version', 'arguments', 'wording', 'decibels', 'files', 'dpu', 'types', 'tf_internal'),
     'used by everything'),
    ('configuration', None, 'the table of commands and options, their checks, and configuration files'),
    ('notebook', None, 'HTML of results in a notebook'),
    ('', ('config', 'fixed_point', 'position_histogram'), 'the QuantizeConfig of the user, and the number format'),
    ('terminal', None, 'the output of a run: streams, messages, progress, tables'),
    ('ops', None, 'the TensorFlow binding of the kernels'),
    ('graph', None, 'views and editors of a GraphDef or a live graph, and exact runs; knows no plan'),
    ('graph/checks', None, 'whether a GraphDef can be read, and is float'),
    ('patterns', None, 'the groups of ops that networks consist of, recognized in a view; decides nothing'),
    ('passes/common', None, 'helpers of passes'),
    ('passes/cleanup', None, 'passes that remove ops without effect at inference'),
    ('passes/folding', None, 'passes that fold parameters and give activations one form'),
    ('passes/dpu', None, 'passes that replace ops by the arithmetic of the DPU'),
    ('passes/forms', None, 'passes that rewrite ops that the compiler refuses as ops that it accepts'),
    ('passes', None, 'float GraphDef to float GraphDef: the order of the passes, and the part of the graph that they change'),
    ('plan', None, 'decides: view to QuantPlan; values only, no ops'),
    ('plan/positions', None, 'decides: observations to positions within the rules of the hardware'),
    ('coverage', None, 'which parts of a network a plan quantizes, which stay float, and why'),
    ('lint', None, 'constructs that the DPU compiler refuses or misreads, and results that the DPU computes differently'),
    ('export', None, 'applies a plan and positions to a float GraphDef, and writes it in every format'),
    ('export/forms', None, 'writes ops of a finished model in the form that the compiler reads'),
    ('export/onnx', None, 'a model as ONNX'),
    ('frozen', None, 'frozen graphs and input functions of users, and models, which have to run before they get a name'),
    ('report/dumps', None, 'the values of the tensors of a model, as files'),
    ('comparison', None, 'differences of two models or dumps, tensor by tensor'),
    ('analysis', None, 'the error of a quantized model against another one, tensor by tensor'),
    ('summary', None, 'the summary of a run'),
    ('html_report', None, 'an HTML page about a quantized network'),
    ('ptq/calibration', None, 'positions and ranges of the tensors of a plan from batches of data'),
    ('ptq/fitting', None, 'fits the biases and weights of a layer to the results of the float layer'),
    ('ptq/equalization', None, 'changes of the weights of the float network before layers are fitted'),
    ('ptq/effort', None, 'the walk through the layers, and the choice of aids that it keeps'),
    ('ptq', None, 'post-training quantization of a frozen file: quantize, finetune, convert, update'),
    ('qat/reading', None, 'the files that a training writes, read with checks'),
    ('qat/network', None, 'from a live graph to its float inference form, and the decisions on that form'),
    ('qat/positions', None, 'the state of positions in a live graph and in checkpoints'),
    ('qat/averages', None, 'means of the weights in a live graph and in checkpoints'),
    ('qat/recipe', None, 'the start of a training: its kind, its calibration, and when norms and positions freeze'),
    ('qat/live', None, 'the optimized network in a live graph; reroutes nothing'),
    ('qat/norms', None, 'the training form of batch norms'),
    ('qat/gradients', None, 'gradients that are already in a live graph'),
    ('qat', None, 'rewrites live graphs; checkpoints; from a checkpoint to a frozen model'),
    ('distillation', None, 'the float network next to the quantized one, and the loss that it adds'),
    ('hooks', None, 'hooks with one job each, for any MonitoredSession'),
    ('integrations/keras', None, 'tf.keras models'),
    ('integrations', None, 'one file for each way to train'),
    ('report/bits', None, 'the cost of each tensor for the outputs, and bits for a budget'),
    ('report', None, 'information about a model for people and programs'),
    ('commands', None, 'one file for each command: options in, one call, an answer'),
    ('command_line', None, 'options, and the processes between a shell and a command'),
    ('', ('__init__', 'public', 'cli', '__main__'), 'the public names and the command'),
)
MOST_FILES = 10


def _modules():
    """{module: path} of the package."""
    found = {}
    for folder, _, names in os.walk(_PACKAGE):
        for name in names:
            if name.endswith('.py'):
                path = os.path.join(folder, name)
                found[os.path.relpath(path, _PACKAGE)[:-len('.py')].replace(os.sep, '/')] = path
    return found


_MODULES = _modules()


def _level(module):
    folder, _, name = module.rpartition('/')
    return next(level for level, (room, files, _) in enumerate(ROOMS) if room == folder and (files is None or name in files))


def _imports(module):
    """The modules of the package that a module imports, at any place."""
    with open(_MODULES[module], encoding='utf-8') as source:
        tree = ast.parse(source.read())
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, 'relative import in {}'.format(module)
            submodules = ['{}.{}'.format(node.module, alias.name) for alias in node.names]
            names.update(name if _module(name) else node.module for name in submodules)
    return {_module(name) for name in names} - {None, module}


def _module(name):
    """The module of the package that an import names; None for others, and for the package itself."""
    if not name.startswith('vai_q_tf.'):
        return None
    path = name.replace('.', '/')[len('vai_q_tf/'):]
    return next((module for module in (path, path + '/__init__') if module in _MODULES), None)


def test_every_module_has_a_room():
    for module in _MODULES:
        assert any(room == module.rpartition('/')[0] for room, _, _ in ROOMS), module
        assert _level(module) >= 0
    for room, files, _ in ROOMS:
        for name in files or ('__init__',):
            assert '{}/{}'.format(room, name).lstrip('/') in _MODULES


@pytest.mark.parametrize('module', sorted(_MODULES))
def test_imports_run_down(module):
    above = [target for target in _imports(module) if _level(target) > _level(module)]
    assert not above, '{} imports {} from a room above its own'.format(module, ', '.join(above))


def test_no_circle_in_a_room():
    imports = {module: {target for target in _imports(module) if _level(target) == _level(module)} for module in _MODULES}
    while imports:
        free = [module for module, targets in imports.items() if not targets.intersection(imports)]
        assert free, 'a circle of imports among {}'.format(', '.join(sorted(imports)))
        for module in free:
            del imports[module]


@pytest.mark.parametrize('level', range(len(ROOMS)))
def test_rooms_are_small(level):
    files = [module for module in _MODULES if _level(module) == level and not module.endswith('/__init__')]
    assert len(files) <= MOST_FILES, sorted(files)


def test_the_document_shows_the_rooms():
    """The table in docs/design.md has the rooms in this order, with their purposes and files."""
    with open(os.path.join(os.path.dirname(_PACKAGE), 'docs', 'design.md'), encoding='utf-8') as document:
        rows = re.findall(r'^\| `vai_q_tf/([\w/]*?)/?` \| (.+) \| (.+) \|$', document.read(), re.MULTILINE)
    assert [(room, sentence) for room, sentence, _ in rows] == [(room, sentence) for room, _, sentence in ROOMS]
    for level, (_, _, files) in enumerate(rows):
        names = {module.rpartition('/')[2] for module in _MODULES if _level(module) == level}
        assert set(re.findall(r'`(\w+)`', files)) == {name for name in names if not name.startswith('__')}
