"""A page in headless Chromium, driven by its DevTools protocol."""
import asyncio
import json
import re
import shutil
import subprocess
import tempfile
import time
import urllib.request

from tornado.websocket import websocket_connect

from tests.chromium import CHROMIUM

_PATIENCE = 60  # seconds
DRAWN = 'Number((document.documentElement || {dataset: {}}).dataset.drawn)'  # milliseconds after the page was asked for


class Browser:
    """A browser with one page that cannot resolve any host name.

    requests: the URLs that the page asked for. complaints: errors and warnings of its scripts.
    """

    def __init__(self):
        self._profile = tempfile.mkdtemp()
        self._process = subprocess.Popen(
            [CHROMIUM, '--headless', '--no-sandbox', '--disable-gpu', '--remote-debugging-port=0', '--no-first-run',
             '--user-data-dir=' + self._profile, '--host-resolver-rules=MAP * ~NOTFOUND', 'about:blank'],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self._loop, self._number = asyncio.new_event_loop(), 0
        self.requests, self.complaints = [], []
        address = self._address()
        self._socket = self._run(lambda: websocket_connect(address, max_message_size=64 << 20))
        for domain in ('Page', 'Runtime', 'Network', 'Log'):
            self.call(domain + '.enable')

    def _address(self):
        for line in self._process.stderr:
            found = re.search(rb'ws://([\d.:]+)/', line)
            if found:
                with urllib.request.urlopen('http://{}/json/list'.format(found.group(1).decode())) as answer:
                    return json.loads(answer.read().decode())[0]['webSocketDebuggerUrl']
        raise OSError('chromium ended')

    def _run(self, begin):
        """The result of the future that `begin()` returns."""
        async def wait():
            return await asyncio.wait_for(begin(), _PATIENCE)
        return self._loop.run_until_complete(wait())

    def call(self, method, **parameters):
        """The result of a method of the protocol."""
        self._number += 1
        message = json.dumps({'id': self._number, 'method': method, 'params': parameters})
        self._run(lambda: self._socket.write_message(message))
        while True:
            message = json.loads(self._run(self._socket.read_message))
            if message.get('id') == self._number:
                assert 'error' not in message, message
                return message['result']
            self._note(message)

    def _note(self, message):
        method, parameters = message.get('method'), message.get('params')
        if method == 'Network.requestWillBeSent':
            self.requests.append(parameters['request']['url'])
        elif method == 'Runtime.exceptionThrown':
            self.complaints.append(parameters['exceptionDetails'])
        elif method == 'Log.entryAdded' and parameters['entry']['source'] != 'rendering':  # that of a machine without a GPU
            self.complaints.append(parameters)
        elif method == 'Runtime.consoleAPICalled' and parameters['type'] in ('error', 'warning'):
            self.complaints.append(parameters)

    def open(self, path, fragment=''):
        """Opens a file and waits until its plots are drawn."""
        self.call('Page.navigate', url='about:blank')
        self.requests.clear()
        self.complaints.clear()
        self.call('Page.navigate', url='file://{}{}'.format(path, fragment))
        self.wait(DRAWN)

    def value(self, expression):
        """The value of an expression of the page."""
        answer = self.call('Runtime.evaluate', expression=expression, returnByValue=True)
        assert 'exceptionDetails' not in answer, answer
        return answer['result'].get('value')

    def wait(self, expression):
        """The value of an expression, once it is true."""
        end = time.time() + _PATIENCE
        while time.time() < end:
            value = self.value(expression)
            if value:
                return value
            time.sleep(0.02)
        raise AssertionError('{} stays {!r}; {}'.format(expression, value, self.complaints))

    def look(self, width, height, dark=False):
        """Sets the size and the colour scheme of the page."""
        self.call('Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        scheme = {'name': 'prefers-color-scheme', 'value': 'dark' if dark else 'light'}
        self.call('Emulation.setEmulatedMedia', features=[scheme])

    def press(self, key, code=0, text=''):
        """Presses and releases a key."""
        for kind in ('keyDown', 'keyUp'):
            self.call('Input.dispatchKeyEvent', type=kind, key=key, windowsVirtualKeyCode=code, text=text)

    def close(self):
        self._socket.close()
        self._process.terminate()
        self._process.wait()
        self._process.stderr.close()
        self._loop.close()
        shutil.rmtree(self._profile, ignore_errors=True)


