"""An answer that is only a sentence."""
import json

from vai_q_tf.terminal.answer import sentence


def test_a_sentence():
    answer = sentence('all is well')
    assert (answer.text, json.loads(answer.to_json()), answer.status) == ('all is well', {'text': 'all is well'}, 0)
