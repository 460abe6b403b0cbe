"""The fuzzer finds planted faults, repeats itself for the same seed, and finds nothing in a small run."""
import os
import random
import signal
import subprocess
import time

import numpy as np
import tensorflow.compat.v1 as tf

from tests.command_line.conftest import small_network
from tests.fuzz import findings, report, workers
from tests.fuzz.damage import models, trial
from tests.fuzz.damage.graph_mutations import damage_graph
from tests.fuzz.damage.mutations import damage_bytes, damage_message, damage_text
from tests.fuzz.damage.specimens import FROZEN, TRAINED
from tests.fuzz.networks import SeededNetwork


def _trial(name, begin):
    begin('first')
    begin('second')
    if name == 'abort':
        os.abort()
    elif name == 'exit':
        os._exit(3)
    elif name == 'compute':
        while True:
            pass
    elif name == 'sleep':
        time.sleep(100)
    return [name]


def test_a_death_is_reported_for_its_trial(monkeypatch):
    monkeypatch.setattr(workers, '_LOST', 2)
    results = dict(workers.run_all(['one', 'abort', 'exit', 'compute', 'sleep', 'two'], _trial, seconds=1, jobs=6))
    assert results['one'] == ['one'] and results['two'] == ['two']
    died = {name: result['died'] for name, result in results.items() if isinstance(result, dict)}
    assert died == {'abort': -signal.SIGABRT, 'exit': 3, 'compute': -signal.SIGXCPU, 'sleep': -signal.SIGXCPU}
    outcomes = {name: findings.of_death(results[name]) for name in died}
    assert {name: outcome.verdict for name, outcome in outcomes.items()} == {
        'abort': 'died', 'exit': 'died', 'compute': 'slow', 'sleep': 'slow'}
    assert outcomes['abort'].kind == 'SIGABRT in second: tests/fuzz/test_fuzz.py:{} _trial'.format(
        _trial.__code__.co_firstlineno + 4)


def test_errors_in_one_function_are_one_kind():
    def of(value):
        try:
            return tf.constant(value) + findings.innermost(value)
        except Exception as error:
            return findings.of_traceback('uncoded', findings.text_of(error))
    outcome = of(object())
    assert outcome.kind.startswith('TypeError in tests/fuzz/test_fuzz.py:') and outcome.is_finding
    tally = findings.Tally()
    for name in ('hostile:1', 'hostile:2'):
        tally.add('hostile', name, outcome)
    tally.add('hostile', 'hostile:3', findings.Outcome('refused'))
    assert tally.text('again').startswith('uncoded (2): TypeError in ') and 'again hostile:1 hostile:2' in tally.text('again')
    assert report.table(tally).splitlines()[-1] == '| damaged files | 3 | 0 | 1 | 2 |'


def test_one_seed_is_one_damage():
    data = small_network().SerializeToString(deterministic=True)
    found = set()
    for seed in range(60):
        results = []
        for _ in range(2):
            graph_def, chosen = tf.GraphDef.FromString(data), random.Random(seed)
            (damage_graph if seed % 2 else damage_message)(graph_def, chosen)
            results.append((graph_def.SerializeToString(deterministic=True), damage_bytes(data, chosen),
                            damage_text(tf.GraphDef.FromString(data), chosen)))
        assert results[0] == results[1]
        found.update(results[0])
    assert len(found) > 150 and data in found  # now and then nothing is changed, as a GraphDef without version shows


def test_one_seed_is_one_network():
    def text(seed, training=False, **options):
        with tf.Graph().as_default() as graph:
            SeededNetwork(seed, **options).build(training)
            return str(graph.as_graph_def())
    texts = [text(seed) for seed in range(8)]
    assert len(set(texts)) == 8 and texts == [text(seed) for seed in range(8)]
    network = SeededNetwork(3, most=6)
    assert text(3, kept=range(network.size)) == texts[3]
    assert 'head' in text(3, kept=[]) and len(text(3, kept=[])) < len(texts[3])


def test_all_specimens_are_damaged():
    assert {trial.specimen(seed) for seed in range(150)} == set(FROZEN + TRAINED)


def test_a_model_with_wrong_results_is_noticed():
    exact = [np.arange(4.), np.zeros(2)]
    assert models.decibels(exact, exact) == np.inf
    assert abs(models.decibels(exact, [exact[0] * 1.1, exact[1]]) - 20) < 1e-6
    assert models.decibels(exact, [exact[0][:3], exact[1]]) == models.decibels(exact, [exact[0] * np.nan, exact[1]]) == -np.inf
    assert models.decibels([np.array([np.nan])], [np.zeros(1)]) == np.inf


def test_a_small_run_finds_nothing(forked_python):
    """In another process, because it forks and this one has sessions. All of these files are damages of two specimens."""
    seeds = [seed for seed in range(1400) if trial.specimen(seed) in ('classifier', 'dense')][:9]
    done = subprocess.run([forked_python, '-m', 'tests.fuzz', '--jobs', '1', '--quiet', 'file:2', 'trained:1'] + [
        'hostile:{}'.format(seed) for seed in seeds], stdout=subprocess.PIPE, universal_newlines=True)
    assert done.returncode == 0, done.stdout
    assert '| damaged files | 9 |' in done.stdout and '| networks, trained | 1 |' in done.stdout
