"""Every option and field that is written is read again, tried by hypothesis."""
import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vai_q_tf.command_line.parse import parse
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.configuration.config_checks import CHECKS
from vai_q_tf.configuration.options import CONFIG, COUNT, FLAG, NUMBER, OPTIONAL, ROWS, STEPS, SWITCH, TEXT, WORDS
from vai_q_tf.configuration.read_file import KEYS, NO_KEYS, read_config_file
from vai_q_tf.configuration.write_file import to_text

TEXTS = st.one_of(st.sampled_from(['on', 'null', '~', '1e5', '010', '1:30', '2024-01-01', '.5', '?', '- a', '# b', 'a: b',
                                   '*a', '&a', '!a', '', ' ', 'x' * 300, 'a ' * 200, '\n', '\t', '\x85', '\u2028', '\ufeff',
                                   '%TAG', '---', 'True']),
                  st.text(st.characters(blacklist_characters='\0', blacklist_categories=['Cs'])))
NAMES = st.lists(TEXTS.map(str.strip), max_size=4)
FLOATS = st.floats(min_value=1e-30, max_value=1e30)
SIZES = st.one_of(st.just(-1), st.integers(1, 2000))
PER_NODE = TEXTS.map(str.strip).filter(lambda name: name)
TRAINING_STEPS = st.one_of(st.none(), st.integers(0, 10 ** 9), st.floats(0.01, 0.99))
FIELDS = {
    **dict.fromkeys(CHECKS, st.integers(0, 1)),
    **dict.fromkeys(['input_nodes', 'output_nodes', 'ignore_nodes'], NAMES),
    **dict.fromkeys(['weight_bit', 'activation_bit'], st.integers(1, 24)), 'bias_bit': st.one_of(st.none(), st.integers(1, 24)),
    'nodes_bit': st.lists(st.builds('{}:{}'.format, PER_NODE, st.integers(1, 24)), max_size=3),
    'nodes_method': st.lists(st.builds('{}:{}'.format, PER_NODE, st.integers(0, 2)), max_size=3),
    'input_shapes': st.lists(st.lists(SIZES, max_size=5), max_size=3), 'calib_iter': st.integers(1, 10 ** 6),
    'target_type': st.just(''), 'output_dir': TEXTS.filter(str.strip), 'percentile': st.floats(50.001, 100),
    'position_decay': st.floats(0.001, 1), 'recipe': st.sampled_from(['auto', 'finetune', 'scratch', 'manual']),
    'bn_fold': st.sampled_from(['batch', 'moving']), 'arch_type': st.sampled_from(['DEFAULT', 'DPUCADF8H']),
    'position_update': st.sampled_from(['moving', 'current', 'learned']),
    'align_rule': st.sampled_from(['least_error', 'output']),
    'gradient': st.sampled_from(['clipped', 'straight_through']),
    'positions_by': st.sampled_from([None, 'votes', 'mse', 'percentile', 'entropy']),
    **dict.fromkeys(['freeze_bn_step', 'freeze_position_step', 'average_step'], TRAINING_STEPS)}
OTHERS = {TEXT: TEXTS, FLAG: st.integers(0, 1), COUNT: st.integers(1, 10 ** 9), NUMBER: st.one_of(st.none(), FLOATS),
          OPTIONAL: st.one_of(st.none(), FLOATS), SWITCH: st.booleans(),
          STEPS: st.one_of(st.none(), st.just(0.0), FLOATS)}
OPTIONS = {name: st.sampled_from(WORDS[name]) if name in WORDS else OTHERS[kind]
           for name, kind, _, _, _ in ROWS if kind != CONFIG and name not in NO_KEYS}
OPTIONS.update(convert_datatype=st.integers(0, 4), gpu_memory_fraction=st.floats(0.01, 1))
ROUND_TRIP = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def present(values):
    return {name: value for name, value in values.items() if value is not None}


@ROUND_TRIP
@given(fields=st.fixed_dictionaries(FIELDS))
def test_a_config_comes_back(tmp_path, fields):
    path = tmp_path / 'quantize_config.yaml'
    config = QuantizeConfig(**fields)
    path.write_bytes(to_text({name: getattr(config, name) for name in CHECKS}).encode())
    read = QuantizeConfig.from_file(path)
    for name in CHECKS:
        value = getattr(read, name)
        assert value == getattr(config, name) == fields[name] and type(value) is type(getattr(config, name)), name


@ROUND_TRIP
@given(options=st.fixed_dictionaries(OPTIONS).filter(lambda options: not (options['quiet'] and options['verbose'])))
def test_options_come_back(tmp_path, options):
    path = tmp_path / 'quantize_config.yaml'
    path.write_bytes(to_text(options, command='deploy').encode())
    assert read_config_file(path) == dict(present(options), command='deploy')
    parsed = parse(['--config', str(path)])
    assert parsed.command == 'deploy'
    for name, value in present(options).items():
        assert getattr(parsed, name) == value and type(getattr(parsed, name)) is type(value), name
    path.write_text(json.dumps(options))
    assert read_config_file(path) == present(options)


def test_the_file_is_for_people():
    config = QuantizeConfig(input_nodes=['in'], output_nodes=['out'], input_shapes=[[-1, 8, 8, 3]], nodes_bit=['a:4', 'b:5'])
    values = dict({name: getattr(config, name) for name in CHECKS}, effort='high', strict=True, fast_ft_lr=None, input_fn='m.f')
    lines = to_text(values, {'input_frozen_graph': 'was a GraphDef'}, 'quantize').splitlines()
    assert lines[0].startswith('# Written by vai_q_tf ')
    assert lines[1].endswith(' --config quantize_results/quantize_config.yaml')
    assert lines[2] == 'command: quantize'
    for line in ('# input and output', '# input_frozen_graph: was a GraphDef', 'input_nodes: [in]',
                 'input_shapes: [[-1, 8, 8, 3]]',
                 "nodes_bit: ['a:4', 'b:5']", 'input_fn: m.f', 'effort: high', 'strict: true', 'fast_ft_lr: null',
                 'weight_bit: 8', 'recipe: auto', 'percentile: 99.99'):
        assert line in lines
    keys = [line.partition(':')[0] for line in lines if line and not line.startswith('#')]
    assert keys == [key for key in KEYS if key in values or key == 'command']
    backwards = dict(reversed(list(values.items())))
    assert to_text(backwards, {'input_frozen_graph': 'was a GraphDef'}, 'quantize').splitlines() == lines


def test_a_file_of_a_command_gives_a_config(tmp_path):
    path = tmp_path / 'run.yaml'
    path.write_text('command: quantize\ninput_fn: a.b\neffort: high\nweight_bit: 4\nrecipe: scratch\n')
    assert repr(QuantizeConfig.from_file(path)) == "QuantizeConfig(weight_bit=4, recipe='scratch')"
