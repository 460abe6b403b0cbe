"""The path of chromium, and the mark of tests that need it."""
import shutil

import pytest

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason='chromium is not installed')
