"A page of Chromium, where there is one, that keeps what it asked for and what it wanted to say."
import contextlib
import shutil

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))),
                None)


@contextlib.contextmanager
def chromium_page():
    "Skips the test where there is no browser."
    if CHROMIUM is None:
        pytest.skip('no Chromium on this machine (Debian: apt-get install chromium)')
    sync_api = pytest.importorskip(
        'playwright.sync_api',
        reason='playwright is missing (pip install playwright; it needs no browsers of its own)')
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox'])
        page = browser.new_page(viewport={'width': 1200, 'height': 800})
        page.set_default_timeout(60_000)
        page.asked, page.dialogs = [], []

        def answer(dialog):
            if dialog.type == 'beforeunload':  # JupyterLab's own question when a page is left
                dialog.accept()
                return
            page.dialogs.append(dialog.message)
            dialog.dismiss()

        page.on('request', lambda request: page.asked.append(request.url))
        page.on('dialog', answer)
        yield page
        browser.close()
