"""QuantizeCallback: its arguments, and the history of positions that it writes."""
import json

import pytest
import tensorflow as tf

from tests.integrations.keras.training import (  # noqa: F401  (a fixture among them)
    build,
    compile_,
    config_of,
    dense,
    fit,
    session_of_its_own,
)
from vai_q_tf.integrations.keras.callback import QuantizeCallback
from vai_q_tf.qat import checkpoints
from vai_q_tf.qat.network.identity import Identity

CALLS = {
    'config first': lambda config, model: QuantizeCallback(config, model, 7),
    'keywords': lambda config, model: QuantizeCallback(model=model, config=config, every_n_steps=7),
    'of 0.1.0, positional': lambda config, model: QuantizeCallback(model, config, 7),
    'of 0.1.0, mixed': lambda config, model: QuantizeCallback(model, config=config, every_n_steps=7),
    'mixed': lambda config, model: QuantizeCallback(config, model=model, every_n_steps=7),
}


@pytest.mark.parametrize('form', sorted(CALLS))
def test_call_forms_of_the_callback(tmp_path, form):
    model = dense()
    callback = CALLS[form](config_of(model, tmp_path), model)
    assert callback._quantized is model and callback._config.output_dir == str(tmp_path)
    timer = callback._hook._timer
    timer.update_last_triggered_step(0)
    assert [timer.should_trigger_for_step(step) for step in (6, 7)] == [False, True]


def test_arguments_of_the_callback_of_a_wrong_type(tmp_path):
    model = dense()
    config = config_of(model, tmp_path)
    for arguments, words in (((model, model), 'QuantizeConfig, got Model'), ((config, 'model'), 'tf.keras.Model, got str'),
                             ((config, config), 'tf.keras.Model, got QuantizeConfig'), (('config', model), 'got str'),
                             ((model,), "'config'"), ((config,), "'model'")):
        with pytest.raises(TypeError, match=words):
            QuantizeCallback(*arguments)
    with pytest.raises(TypeError, match="multiple values for argument 'model'"):
        QuantizeCallback(model, config, model=model)


def test_the_history_has_the_positions_of_the_state(tmp_path):
    model = build()
    callback = QuantizeCallback(model, config_of(model, tmp_path))
    compile_(model)
    fit(model, callbacks=[callback])
    with open(str(tmp_path / 'quantize_position_history.jsonl')) as stream:
        changes = [json.loads(line) for line in stream]
    last = {change['tensor']: change['position'] for change in changes}
    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(tmp_path)))
    assert last == checkpoints.read_positions(reader, {name: Identity('', '', ()) for name in last})
    assert min(change['step'] for change in changes) == 1
