"""The rooms of the package, and the direction of imports: a file imports what stands above it in ROOMS, or beside it."""
import ast
import os
import re

import pytest

_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'vai_q_tf')

# (room, the files that belong to it, None for all of the folder; what belongs there), from the bottom of the house to its roof
ROOMS = (
    ('', ('errors', 'version', 'arguments', 'wording', 'decibels', 'files', 'dpu', 'types', 'tf_internal'),
     'what everything may use'),
    ('configuration', None, 'the commands and options as a table, what each takes, and the files that have them'),
    ('notebook', None, 'how results look in a notebook'),
    ('', ('config', 'fixed_point'), 'the config of users, and the number format'),
    ('terminal', None, 'what people see of a run: streams, progress, tables'),
    ('ops', None, 'the TensorFlow binding of the kernels'),
    ('graph', None, 'what a GraphDef or a live graph is, how it is edited and run exactly; knows no plan'),
    ('graph/checks', None, 'whether a GraphDef can be read at all, and is float'),
    ('patterns', None, 'which groups of ops networks are made of, recognised in a view; decides nothing'),
    ('passes/common', None, 'what passes are written with'),
    ('passes/cleanup', None, 'passes that drop what does nothing at inference'),
    ('passes/folding', None, 'passes that fold parameters and canonicalise activations'),
    ('passes/dpu', None, 'passes that replace ops by what the DPU computes'),
    ('passes/forms', None, 'passes that write what the compiler refuses as ops that it reads'),
    ('passes', None, 'float GraphDef to float GraphDef: the order of the passes, and the part they work on'),
    ('plan', None, 'decides: view to QuantPlan; values only, no ops'),
    ('plan/positions', None, 'decides: observations to positions within the rules of the hardware'),
    ('coverage', None, 'what of a network a plan quantizes, what stays float and why'),
    ('lint', None, 'what the DPU compiler refuses or misreads, and what the DPU computes otherwise'),
    ('export', None, 'applies a plan and positions to a float GraphDef, and writes it in every format'),
    ('export/forms', None, 'writes ops of a finished model in the form that the compiler reads'),
    ('export/onnx', None, 'a model as ONNX'),
    ('frozen', None, 'frozen graphs at the border: what users hand over, and models, which run before they get a name'),
    ('report/dumps', None, 'the values of the tensors of a model, as files'),
    ('comparison', None, 'how two models or dumps differ, tensor by tensor'),
    ('analysis', None, 'how far a quantized model is from another one, tensor by tensor'),
    ('summary', None, 'what a run has to say when it is done'),
    ('html_report', None, 'one HTML page that shows what became of a network'),
    ('ptq/calibration', None, 'what batches of data tell of the tensors of a plan'),
    ('ptq/fitting', None, 'fits the biases and weights of a layer to what the float layer gives'),
    ('ptq/equalization', None, 'what is done to the weights of the float network before layers are fitted'),
    ('ptq/effort', None, 'the walk through the layers, and which aids it keeps'),
    ('ptq', None, 'the routes of a frozen file: quantize, finetune, convert, update'),
    ('qat/reading', None, 'the files that a training leaves, each read through one checked door'),
    ('qat/network', None, 'from a live graph to its float inference form, and what is decided on that'),
    ('qat/positions', None, 'the state of positions in a live graph and in checkpoints'),
    ('qat/averages', None, 'means of the weights in a live graph and in checkpoints'),
    ('qat/recipe', None, 'how a training begins: where it starts from, what it calibrates, when what stays'),
    ('qat/live', None, 'the optimised network in a live graph; re-points nothing'),
    ('qat/norms', None, 'the training form of batch norms'),
    ('qat/gradients', None, 'gradients that a live graph has already'),
    ('qat', None, 'rewrites live graphs; checkpoints; from a checkpoint to the file route'),
    ('distillation', None, 'the float network beside the quantized one, and what it adds to the loss'),
    ('hooks', None, 'one job a hook, for any MonitoredSession'),
    ('integrations/keras', None, 'tf.keras models'),
    ('integrations', None, 'one file a way to train'),
    ('report/bits', None, 'what each tensor costs the outputs, and bits for a budget'),
    ('report', None, 'what people and programs want to know of a model'),
    ('commands', None, 'one command a file: options in, one call, and what it has to say'),
    ('command_line', None, 'options, and what stands between a shell and a command'),
    ('', ('__init__', 'public', 'cli', '__main__'),
     'the public names and the command'),
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
    """The modules of the package that a module imports, wherever it does."""
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
    """The table of docs/design.md has the rooms, in this order, with these sentences and the files that there are."""
    with open(os.path.join(os.path.dirname(_PACKAGE), 'docs', 'design.md'), encoding='utf-8') as document:
        rows = re.findall(r'^\| `vai_q_tf/([\w/]*?)/?` \| (.+) \| (.+) \|$', document.read(), re.MULTILINE)
    assert [(room, sentence) for room, sentence, _ in rows] == [(room, sentence) for room, _, sentence in ROOMS]
    for level, (_, _, files) in enumerate(rows):
        names = {module.rpartition('/')[2] for module in _MODULES if _level(module) == level}
        assert set(re.findall(r'`(\w+)`', files)) == {name for name in names if not name.startswith('__')}
