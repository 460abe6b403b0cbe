"""Tries random networks and damaged files, and lists faults by kind; exit status 1 if there are any.

    python -m tests.fuzz --networks 1000 --files 20000      # as `make fuzz`; with --seed 5 others
    python -m tests.fuzz hostile:17 file:3 trained:3        # these trials again, with all details

A trial is its name: 'hostile:SEED' a damaged file or more through a command, 'file:SEED' a random network through the file
route and to ONNX, 'trained:SEED' one through quantized training.
"""
import argparse
import functools
import os
import sys
import tempfile
import time

os.environ['CUDA_VISIBLE_DEVICES'] = ''
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '1')  # what kills a process says why

from tests import quick_tensorflow  # noqa: E402

import onnxruntime  # noqa: E402, F401  isort: skip  (imported once, for all children)
import tensorflow.compat.v1 as tf  # noqa: E402  isort: skip
import tf2onnx  # noqa: E402, F401  isort: skip

from tests.fuzz import findings, report, workers  # noqa: E402
from tests.fuzz.damage import specimens  # noqa: E402
from tests.fuzz.damage import trial as damage  # noqa: E402

COMMAND = 'python -m tests.fuzz'
_SECONDS = {'hostile': 20, 'file': 60, 'trained': 90, 'specimen': 60}  # of CPU time


def _run(directory, trial, begin):
    group, _, seed = trial.partition(':')
    tf.logging.set_verbosity(tf.logging.WARN)
    tf.reset_default_graph()
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        os.chdir(folder)
        try:
            if group == 'specimen':
                return specimens.make(seed, directory)
            if group == 'hostile':
                return damage.run(int(seed), directory, begin)
            from tests.fuzz import network_checks  # imports much that damaged files do not need
            return network_checks.run(group, seed, begin)
        except Exception as error:
            return findings.of_traceback('exception', findings.text_of(error))
        finally:
            os.chdir(directory)


def _outcome(result):
    return findings.Outcome(*result) if isinstance(result, list) else findings.of_death(result)


def _make_specimens(trials, run, jobs):
    names = {damage.specimen(int(trial.partition(':')[2])) for trial in trials if trial.startswith('hostile:')}
    tasks = ['specimen:' + name for name in sorted(names)]
    for task, result in workers.run_all(tasks, run, _SECONDS['specimen'], jobs):
        if result is not None:
            sys.exit('{} failed: {}'.format(task, result))


def main():
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('trials', nargs='*', help='trials to run again')
    parser.add_argument('--networks', type=int, default=0, help='number of random networks, in each of the two ways')
    parser.add_argument('--files', type=int, default=0, help='number of damaged files')
    parser.add_argument('--seed', type=int, default=0, help='the first seed')
    parser.add_argument('--jobs', type=int, default=len(os.sched_getaffinity(0)), help='number of processes')
    parser.add_argument('--quiet', action='store_true', help='no progress')
    parser.add_argument('--report', help='a document whose table gets the counts')
    options = parser.parse_args()
    numbers = {'hostile': options.files, 'file': options.networks, 'trained': options.networks}
    groups = {group: ['{}:{}'.format(group, options.seed + number) for number in range(count)]
              for group, count in numbers.items()}
    for trial in options.trials:
        groups[trial.partition(':')[0]].append(trial)
    print('Seeds from {}: {}'.format(
        options.seed, ', '.join('{} {}'.format(len(trials), group) for group, trials in groups.items())))
    with tempfile.TemporaryDirectory() as directory:
        run, tally = functools.partial(_run, directory), findings.Tally()
        quick_tensorflow.collect_less()
        _make_specimens(groups['hostile'], run, options.jobs)
        for group, trials in groups.items():
            progress = report.Progress(group, len(trials), options.quiet)
            for trial, result in workers.run_all(trials, run, _SECONDS[group], options.jobs):
                outcome = _outcome(result)
                tally.add(group, trial, outcome)
                if outcome.is_finding and not options.quiet:
                    progress.say('{}: {} {}'.format(trial, outcome.verdict, outcome.kind))
                progress.show(len(tally.findings))
                if options.trials and not options.quiet:
                    print('{}: {} {}\n{}'.format(trial, outcome.verdict, outcome.kind, outcome.detail))
            progress.close()
    if options.report:
        report.write(options.report, tally, options.seed, time.strftime('%Y-%m-%d'))
    print(report.table(tally))
    if tally.findings:
        print('\n{} findings of {} kinds\n\n{}'.format(
            sum(map(len, tally.findings.values())), len(tally.findings), tally.text(COMMAND)))
    return 1 if tally.findings else 0


if __name__ == '__main__':
    sys.exit(main())
