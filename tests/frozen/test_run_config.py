"""The configuration of a run is written next to its model: the arguments of a call, or the options of a command."""
import os
from argparse import Namespace

import pytest
import yaml

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.configuration.options import CONFIG, ROWS
from vai_q_tf.configuration.read_file import NO_KEYS
from vai_q_tf.configuration.write_file import CONFIG_FILE
from vai_q_tf.frozen.run_config import import_name, recorded, recorded_as, write_fields


@recorded('quantize', source='input_frozen_graph')
def _quantize(source, input_fn, q_config, effort='fast', skip_check=None):
    return os.path.join(q_config.output_dir, 'model.pb')


def _text(directory):
    return (directory / CONFIG_FILE).read_text()


def calib(step):
    return {}


@pytest.fixture
def config(tmp_path):
    return QuantizeConfig(['x'], ['y'], weight_bit=5, output_dir=str(tmp_path))


def test_the_arguments_of_a_call(config, tmp_path):
    assert _quantize(tmp_path / 'float.pb', calib, config) == str(tmp_path / 'model.pb')
    found = yaml.safe_load(_text(tmp_path))
    assert (found['command'], found['input_frozen_graph'], found['input_fn'], found['effort'], found['weight_bit']) == (
        'quantize', str(tmp_path / 'float.pb'), __name__ + '.calib', 'fast', 5)
    _quantize(object(), lambda step: {}, config)
    assert '# input_frozen_graph: was a object\n' in _text(tmp_path) and '# input_fn: was a function\n' in _text(tmp_path)


def test_the_options_of_the_innermost_command(config, tmp_path):
    def options(**values):
        names = [row[0] for row in ROWS if row[1] != CONFIG and row[0] not in NO_KEYS]
        return Namespace(**dict(dict.fromkeys(names), config=config, **values))

    with recorded_as(options(command='quantize', effort='high')):
        with recorded_as(options(command='deploy', effort='standard')):
            _quantize('float.pb', calib, config)
            found = yaml.safe_load(_text(tmp_path))
        _quantize('float.pb', calib, config)
    assert (found['command'], found['effort']) == ('deploy', 'standard') and found['input_frozen_graph'] is None
    assert yaml.safe_load(_text(tmp_path))['effort'] == 'high'
    _quantize('float.pb', calib, config)
    assert yaml.safe_load(_text(tmp_path))['effort'] == 'fast'


def test_the_fields_of_a_config(config, tmp_path):
    write_fields(str(tmp_path), config)
    assert repr(QuantizeConfig.from_file(str(tmp_path / CONFIG_FILE))) == repr(config)


def test_a_file_that_cannot_be_written_is_a_warning(config, tmp_path, caplog):
    config = config.replace(output_dir=str(tmp_path / 'missing'))
    assert _quantize('float.pb', calib, config) == str(tmp_path / 'missing' / 'model.pb')
    warning, = caplog.messages
    assert warning.startswith('The configuration of this run is not next to its model: ') and CONFIG_FILE in warning


def test_the_name_that_a_function_is_imported_by():
    assert import_name(calib) == __name__ + '.calib' and import_name(os.path.join) == 'posixpath.join'
    assert import_name(QuantizeConfig.from_file) == ''  # a new bound method each time
    assert import_name(lambda: 0) == '' and import_name(3) == ''
