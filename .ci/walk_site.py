"""Walk every page of the built site in Chromium, and say what a reader would stumble on.

On each page, wide and narrow: code or tables that are cut off, a page that scrolls sideways,
formulas that are not drawn, pictures that are missing or have no alternative text, links and
anchors that lead nowhere, anything asked of another host, messages on the console, text that one
cannot read in dark mode, no way to the next page. Then the search is tried."""
import contextlib
import functools
import http.server
import shutil
import sys
import threading
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin

WIDTHS = (1280, 390)
LARGEST = 6e6  # bytes until a page stands
CONTRAST = 4.5  # of text against what lies behind it: WCAG 2, level AA
SAMPLE = 'sample'  # folder of a run's report, which is no page of the site
BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')

OPEN_ALL = """() => document.querySelectorAll('details').forEach(d => { d.open = true; })"""

CUT_OFF = """() => [...document.querySelectorAll('main pre, main pre > code')]
    .filter(e => e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0)
    .map(e => e.innerText.slice(0, 60))"""

SIDEWAYS = """() => document.documentElement.scrollWidth - window.innerWidth"""

WIDE = """() => [...document.querySelectorAll('main table, main .katex-display, main img')]
    .filter(e => {
        let box = e.parentElement;
        while (box.tagName !== 'MAIN' && !/auto|scroll/.test(getComputedStyle(box).overflowX)
               && !/auto|scroll/.test(getComputedStyle(e).overflowX)) box = box.parentElement;
        const main = document.querySelector('main').getBoundingClientRect();
        return box.tagName === 'MAIN' && e.getBoundingClientRect().right > main.right + 1;
    }).map(e => e.tagName + ' ' + e.innerText.slice(0, 40))"""

UNDRAWN = """() => {
    const bad = [...document.querySelectorAll('.katex-error')].map(e => e.title);
    const texts = document.createTreeWalker(document.querySelector('main'), NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const text = texts.currentNode;
        if (/\\\\[([]/.test(text.data) && !text.parentElement.closest('pre, code, annotation'))
            bad.push(text.data.slice(0, 60));
    }
    return bad;
}"""

PICTURES = """async () => {
    const bad = [];
    for (const picture of document.querySelectorAll('main img')) {
        picture.loading = 'eager';
        await picture.decode().catch(() => bad.push('does not load: ' + picture.src.slice(0, 80)));
        if (!picture.alt.trim()) bad.push('no alt text: ' + picture.src.split('/').pop());
    }
    return bad;
}"""

LINKS = """() => ({
    links: [...document.querySelectorAll('a[href]')].map(a => a.href),
    anchors: [...document.querySelectorAll('[id]')].map(e => e.id),
    next: document.querySelectorAll('.nav-page a').length,
    formulas: document.querySelectorAll('.katex').length,
    codes: document.querySelectorAll('main pre').length,
    pictures: document.querySelectorAll('main img').length,
})"""

FAINT = """least => {
    const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    const over = (colours) => {
        canvas.fillStyle = 'white';
        canvas.fillRect(0, 0, 1, 1);
        for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
        return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const light = rgb => {
        const [r, g, b] = rgb.map(v => v/255).map(
            v => v <= 0.03928 ? v/12.92 : ((v + 0.055)/1.055)**2.4);
        return 0.2126*r + 0.7152*g + 0.0722*b;
    };
    const bad = new Map();
    for (const e of document.querySelectorAll('body *')) {
        const own = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
        if (!own || !e.checkVisibility() || e.closest('.katex-mathml, .visually-hidden')) continue;
        const behind = [];
        for (let box = e; box; box = box.parentElement)
            behind.unshift(getComputedStyle(box).backgroundColor);
        const back = light(over(behind));
        const front = light(over([...behind, getComputedStyle(e).color]));
        const contrast = (Math.max(back, front) + 0.05)/(Math.min(back, front) + 0.05);
        const kind = e.tagName + '.' + e.className;
        if (contrast < least && !bad.has(kind))
            bad.set(kind, contrast.toFixed(1) + ' ' + kind + ' ' + e.innerText.slice(0, 30));
    }
    return [...bad.values()];
}"""

SEARCHES = {'clip fraction': 'loss.html', 'IMDBDataset': 'dataset.html', 'β': 'advantage.html',
            'model own': 'yours.html', 'memory gpu': 'scale.html'}


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def copyfile(self, source, outputfile):
        with contextlib.suppress(BrokenPipeError):  # a page was closed before all of it was sent
            super().copyfile(source, outputfile)


@contextlib.contextmanager
def served(site):
    "The address at which the site can be asked for, on this machine alone."
    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_address[1]}/'
        server.shutdown()


class Walk:
    "One browser that goes through the pages, and what it noticed."

    def __init__(self, browser, address, site):
        self.browser = browser
        self.address = address
        self.site = site
        self.faults = []
        self.links = {}
        self.anchors = {}
        self.counts = dict(pages=0, formulas=0, codes=0, pictures=0)
        self.heaviest = (0, '')

    def fault(self, name, kind, what):
        self.faults.append(f'{name}: {kind}: {what}')

    def open(self, name, width, scheme='light'):
        page = self.browser.new_page(
            viewport={'width': width, 'height': 900}, color_scheme=scheme)
        page.on('console', lambda message: self.fault(name, 'console', message.text))
        page.on('request', lambda request: self.noticed_request(name, request.url))
        page.loaded = 0
        page.on('response', lambda response: self.weigh(page, response))
        page.goto(self.address + name)
        page.evaluate('document.fonts.ready.then(() => true)')
        return page

    def noticed_request(self, name, url):
        if not url.startswith((self.address, 'data:', 'blob:')):
            self.fault(name, 'asks another host', url)

    def weigh(self, page, response):
        page.loaded += int(response.headers.get('content-length', 0))

    def look(self, name, width):
        "All that can be seen on a page of this width."
        page = self.open(name, width)
        self.heaviest = max(self.heaviest, (page.loaded, name))
        if page.loaded > LARGEST:
            self.fault(name, 'heavy', f'{page.loaded/1e6:.1f} MB until it stands')
        page.evaluate(OPEN_ALL)
        for kind, script in (('cut off', CUT_OFF), ('too wide', WIDE), ('not drawn', UNDRAWN)):
            for what in page.evaluate(script):
                self.fault(name, f'{kind} at {width}', repr(what))
        beyond = page.evaluate(SIDEWAYS)
        if beyond > 0:
            self.fault(name, f'scrolls sideways at {width}', f'{beyond} pixels')
        return page

    def look_closely(self, name):
        "What does not hang on the width: pictures, links, dark mode."
        page = self.look(name, WIDTHS[0])
        for what in page.evaluate(PICTURES):
            self.fault(name, 'picture', what)
        seen = page.evaluate(LINKS)
        self.links[name] = seen['links']
        self.anchors[name] = set(seen['anchors'])
        if not seen['next']:
            self.fault(name, 'no next or previous page', '')
        self.counts['pages'] += 1
        for kind in ('formulas', 'codes', 'pictures'):
            self.counts[kind] += seen[kind]
        page.close()
        dark = self.open(name, WIDTHS[0], 'dark')
        dark.evaluate(OPEN_ALL)
        for what in dark.evaluate(FAINT, CONTRAST):
            self.fault(name, 'faint in dark mode', what)
        dark.close()
        self.look(name, WIDTHS[1]).close()

    def follow_links(self):
        "Each link that stays on the site ends at a page, and at an anchor that is there."
        for name, links in self.links.items():
            for link in sorted(set(links)):
                target, anchor = urldefrag(urljoin(self.address + name, link))
                if not target.startswith(self.address):
                    continue
                path = unquote(target.removeprefix(self.address)) or 'index.html'
                if not (self.site/path).is_file():
                    self.fault(name, 'dead link', path)
                elif anchor and path in self.anchors and unquote(anchor) not in self.anchors[path]:
                    self.fault(name, 'dead anchor', f'{path}#{anchor}')

    def try_search(self):
        page = self.open('index.html', WIDTHS[0])
        for words, expected in SEARCHES.items():
            box = page.locator('#quarto-search input').first
            box.fill(words)
            page.wait_for_timeout(600)
            found = page.locator('#quarto-search a').evaluate_all('them => them.map(a => a.href)')
            if not any(expected in link for link in found):
                self.fault('index.html', 'search', f'{words!r} does not find {expected}')
        page.close()


def walk(site):
    "Print what is wrong; 1 if anything is."
    browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser_path is None:
        print('The site was not walked: no Chromium on this machine '
              '(Debian: apt-get install chromium).')
        return 0
    from playwright.sync_api import sync_playwright
    pages = [page.relative_to(site) for page in site.rglob('*.html')]
    names = sorted(str(page) for page in pages if page.parts[0] != SAMPLE)
    with served(site) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=browser_path, args=['--no-sandbox', '--disable-background-networking'])
        walk = Walk(browser, address, site)
        for name in names:
            walk.look_closely(name)
        walk.follow_links()
        walk.try_search()
        browser.close()
    for fault in walk.faults:
        print(fault)
    counts = ', '.join(f'{number} {kind}' for kind, number in walk.counts.items())
    weight, heaviest = walk.heaviest
    print(f'Walked {counts}; the heaviest page, {heaviest}, loads {weight/1e6:.1f} MB. '
          f'{len(walk.faults)} faults.')
    return int(bool(walk.faults))


if __name__ == '__main__':
    sys.exit(walk(Path(sys.argv[1]).resolve()))
