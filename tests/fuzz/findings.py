"""Outcomes of trials, and the kinds of findings."""
import re
import signal
import traceback
from typing import NamedTuple

_FRAME = re.compile(r'File "[^"]*?((?:vai_q_tf|tests)/[^"]*)", line (\d+),? in (\w+)')


class Outcome(NamedTuple):
    """verdict: 'done', 'refused' with a code, or that of a finding. kind: common to the findings of one fault."""
    verdict: str
    kind: str = ''
    detail: str = ''

    @property
    def is_finding(self):
        return self.verdict not in ('done', 'refused')


def of_traceback(verdict, text):
    """The Outcome for the text of a traceback; errors of one type in one function are one kind."""
    text = text.partition('Original stack trace for')[0]  # where TensorFlow made the op
    lines = text.strip().splitlines()
    frames = [number for number, line in enumerate(lines) if line.startswith('  File "')]
    errors = [line for line in lines[frames[-1] if frames else 0:] if line[:1].strip()]
    error = errors[0] if errors else 'nothing was said'
    name = error.partition(':')[0].rpartition('.')[2][:80]
    return Outcome(verdict, '{} in {}'.format(name, innermost(text)), '\n'.join(lines[-14:]))


def innermost(text, last=True):
    """The last function of the package, or of these tests, in a traceback; the first one in a dump of faulthandler."""
    frames = _FRAME.findall(text)
    if not frames:
        return 'no function of vai_q_tf'
    path, line, function = frames[-1 if last else 0]
    return '{}:{} {}'.format(path, line, function)


def text_of(error):
    """The traceback of an exception."""
    return ''.join(traceback.format_exception(type(error), error, error.__traceback__))


def of_death(result):
    """The Outcome of a trial whose process died, from a result of `workers.run_all`."""
    status, words = result['died'], result['words']
    place = innermost(words, last=False)
    if -status in (signal.SIGXCPU, signal.SIGKILL):
        if place.startswith('vai_q_tf/frozen/smoke_run.py'):
            return Outcome('done')  # the float network itself does not terminate
        return Outcome('slow', '{}: {}'.format(result['part'], place), words[-1500:])
    name = signal.Signals(-status).name if status < 0 else 'exit status {}'.format(status)
    checks = re.findall(r'Check failed: .{,60}|what\(\): .{,60}|terminate called.{,60}', words)
    why = re.sub(r'\d+', 'N', checks[-1]) + ', ' if checks else ''
    return Outcome('died', '{} in {}: {}{}'.format(name, result['part'], why, place), words[-1500:])


class Tally:
    """Counts outcomes, and keeps the trials of the findings."""

    def __init__(self):
        self.counts, self.findings = {}, {}

    def add(self, group, trial, outcome):
        counts = self.counts.setdefault(group, {})
        counts[outcome.verdict] = counts.get(outcome.verdict, 0) + 1
        if outcome.is_finding:
            self.findings.setdefault((outcome.verdict, outcome.kind), []).append((trial, outcome.detail))

    def text(self, command):
        """The findings by kind, most frequent first, each with the command that shows its first one again."""
        blocks = []
        for (verdict, kind), trials in sorted(self.findings.items(), key=lambda item: -len(item[1])):
            blocks.append('{} ({}): {}\n  {} {}\n{}'.format(
                verdict, len(trials), kind, command, ' '.join(trial for trial, _ in trials[:5]),
                '\n'.join('    ' + line for line in trials[0][1].splitlines())))
        return '\n\n'.join(blocks)
