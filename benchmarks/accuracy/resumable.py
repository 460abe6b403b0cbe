"""Runs in a pool of processes, each of them a line of a results file, so that a measurement may be stopped at any time."""
import functools
import multiprocessing
import os
import sys
import time
import traceback

import results


def parse(parser, arguments, quick, what_is_quick):
    """The options of a measurement: those of the parser, and those that every measurement has.

    quick: {option: value} that --quick sets; what_is_quick: what its help says of it.
    """
    parser.add_argument('--processes', type=int, default=len(os.sched_getaffinity(0)), help='%(default)s')
    parser.add_argument('--output_dir', default='accuracy_results', help='where everything is written (%(default)s)')
    parser.add_argument('--reuse', action='store_true', help='leave out the runs that are there for other commits, too')
    parser.add_argument('--quick', action='store_true',
                        help=what_is_quick + ', to see that all works; the figures mean nothing')
    options = parser.parse_args(arguments)
    if options.quick:
        vars(options).update(quick, output_dir=os.path.join(options.output_dir, 'quick'))
    return options


def run_missing(planned, execute, file, processes, show, reuse=False):
    """Executes the runs of which the file has no result for this commit. Whether all ended well.

    Args:
      planned: results.Runs, the most important first.
      execute: function from a Run to its result, a dict that has the fields of the Run, too; it goes to other processes.
      file: path of the results file.
      processes: how many, at most.
      show: function from a result to what is printed of it.
      reuse: whether results of other commits count, too.
    """
    commit = results.commit()
    there = {results.key(result) for result in results.read(file) if reuse or result['commit'] == commit}
    missing = [run for run in planned if run not in there]
    print('{} runs of commit {}, {} of them are there; {}'.format(
        len(planned), commit, len(planned) - len(missing), file), flush=True)
    if not missing:
        return True
    started, ended = time.time(), 0
    with multiprocessing.get_context('spawn').Pool(min(processes, len(missing))) as pool:
        for number, (run, result, error) in enumerate(pool.imap_unordered(functools.partial(_run, execute), missing), 1):
            if error:
                print('{} failed:\n{}'.format(_name(run), error), file=sys.stderr)
                continue
            ended += 1
            results.append(file, dict(result, commit=commit))
            left = (time.time() - started) / number * (len(missing) - number) / 60
            print('{:3}/{}  {:<60} {}  {:5.0f} s   {:.0f} minutes left'.format(
                number, len(missing), _name(run), show(result), result['seconds'], left), flush=True)
    return ended == len(missing)


def _run(execute, run):
    """(run, result, None), or (run, None, the error as text, for some exceptions cannot be sent between processes)."""
    try:
        return run, execute(run), None
    except Exception:
        return run, None, traceback.format_exc()


def _name(run):
    width = 'W{0}A{0} '.format(run.bits) if run.bits else ''
    return '{} {} {} {}{}, seed {}'.format(run.dataset, run.network, run.activation, width, run.recipe, run.seed)
