"""What a built site still needs, whichever program built it: nothing from another host, pictures as
files, links that stay on the site, source folded where its signature stands above it."""
import base64
import configparser
import hashlib
import html
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from PIL import Image

from rlhf_nbdev._modidx import d as modidx

TOP = Path(__file__).resolve().parent.parent
KATEX = '0.16.47'
KATEX_ELSEWHERE = re.compile(r'https://cdn\.jsdelivr\.net/npm/katex@[^/"]+/dist')
FONT_ELSEWHERE = re.compile(r'@import\s+url\(["\']?https?://[^)]+\)[^;]*;')
PICTURE_INSIDE = re.compile(r'<img ((?:alt="[^"]*" )?)src="data:image/(png|jpeg);base64,([^"]+)"')


def fetch_katex(build):
    "KaTeX from the npm registry, kept in build/ for the next time; its folder."
    folder = build/f'katex-{KATEX}'
    if folder.exists():
        return folder
    if not shutil.which('npm'):
        sys.exit('The site needs npm once, to fetch KaTeX (Debian: apt-get install npm).')
    build.mkdir(exist_ok=True)
    subprocess.run(['npm', 'pack', '--silent', f'katex@{KATEX}'], cwd=build, check=True,
                   stdout=subprocess.DEVNULL)
    with tarfile.open(build/f'katex-{KATEX}.tgz') as packed:
        packed.extractall(build/'katex-unpacked', filter='data')
    (build/'katex-unpacked'/'package').rename(folder)
    return folder


def lay_katex_beside(site, build):
    "What a page loads of KaTeX, with its licence: styles, two scripts, fonts for today's browsers."
    source, target = fetch_katex(build), site/'site_libs'/'katex'
    for name in ('katex.min.css', 'katex.min.js', 'contrib/auto-render.min.js'):
        (target/name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source/'dist'/name, target/name)
    shutil.copy(source/'LICENSE', target/'LICENSE')
    (target/'fonts').mkdir(exist_ok=True)
    for font in (source/'dist'/'fonts').glob('*.woff2'):
        shutil.copy(font, target/'fonts')


def way_up(page, site):
    "From a page to the top of the site: '' or '../'."
    return '../'*(len(page.relative_to(site).parts) - 1)


def pictures_as_files(text, page, site):
    "Each picture that stands inside the page becomes a file, loaded when it comes into view."
    folder = site/'pictures'
    folder.mkdir(exist_ok=True)

    def as_file(match):
        alt, kind, encoded = match.groups()
        content = base64.b64decode(encoded)
        width, height = Image.open(io.BytesIO(content)).size
        name = f'{page.stem}-{hashlib.sha256(content).hexdigest()[:12]}.{kind}'
        (folder/name).write_bytes(content)
        size = f'width="{width}" height="{height}"'
        return f'<img {alt}src="{way_up(page, site)}pictures/{name}" loading="lazy" {size}'

    return PICTURE_INSIDE.sub(as_file, text)


def own_address():
    "Where the site is published, as settings.ini says: links to it can be relative."
    settings = configparser.ConfigParser()
    settings.read(TOP/'settings.ini', encoding='utf-8')
    return settings['DEFAULT']['doc_url'] + '/'


def fold_sources(text):
    """The signature of an exported function stands above its source, which can stay folded.

    What a solution prints is folded with it: see styles.css."""
    text = re.sub(r'<details class="code-fold">(\s*<summary>Solution</summary>)',
                  r'<details class="code-fold solution">\1', text)
    return re.sub(r'<details open(?:="")?( class="code-fold">\s*<summary>Exported source)',
                  r'<details\1', text)


def anchors_of(page):
    return set(re.findall(r'\bid="([^"]+)"', page.read_text(encoding='utf-8')))


def methods_to_classes(text, page, anchors):
    "A method without a heading of its own is found under its class."
    def shorter(match):
        path, anchor = match.groups()
        target = (page.parent/path).resolve() if path else page
        known = anchors.get(target)
        if known is None or anchor in known or anchor.partition('.')[0] not in known:
            return match.group()
        return f'href="{path}#{anchor.partition(".")[0]}"'

    return re.sub(r'href="([^":#]*)#([^"]+)"', shorter, text)


def without_main(text):
    "In a lesson's signature a class is of `__main__`: its name will do."
    return re.sub(r'__main__(?:<span class="op">\.</span>|\.)(?=[A-Z])', '', text)


def names_of_code():
    "Of all functions, classes and methods that the package exports."
    return {path.removeprefix(f'{module}.')
            for module, paths in modidx['syms'].items() for path in paths}


def contents_of_prose(text, names):
    "On a lesson's page the list of contents has its headings, without the names of code."
    def kept(match):
        return '' if html.unescape(match[1]).strip() in names else match[0]

    for _ in range(2):  # first the methods, then their classes
        text = re.sub(r'<li><a href="#[^"]*" id="toc-[^"]*"[^>]*>([^<]*)</a></li>', kept, text)
        text = text.replace('<ul></ul>', '')
    return text


def finish_page(page, site, anchors):
    text = page.read_text(encoding='utf-8')
    up = way_up(page, site)
    text = KATEX_ELSEWHERE.sub(f'{up}site_libs/katex', text)
    text = text.replace(f'href="{own_address()}', f'href="{up}')
    text = methods_to_classes(text, page, anchors)
    text = pictures_as_files(text, page, site)
    text = without_main(text)
    if page.parent == site:
        text = contents_of_prose(text, names_of_code())
    page.write_text(fold_sources(text), encoding='utf-8')


def is_name_of_code(section):
    "A heading that is the name of a function, method or class, and no prose."
    return bool(re.fullmatch(r'\w+\.\w+|[a-z]\w*_\w*|[A-Z][a-z]+[A-Z]\w*', section))


OF_SEARCH = {  # it takes 'epoch_windows' for 'windows', long texts last, and knows no order but one
    'threshold: 0.3,': 'threshold: 0.0, ignoreFieldNorm: true, useExtendedSearch: true,',
    'minMatchCharLength: 2': 'minMatchCharLength: 1',
    'q.length < 2': 'q.length < 1',  # β
    'fuse.search(q, { limit }).map((h) => h.item)':
        # the phrase first, then sections with all of its words; each section once
        '[...new Set([`\'"${q}"`, q.split(/\\s+/).map((word) => "\'" + word).join(" ")]'
        '.flatMap((asked) => fuse.search(asked, { limit }).map((hit) => hit.item)))]'
        '.slice(0, limit)',
}


def improve_search(site):
    "Prose first, then names of code, and no solutions; words as they were typed, in any order."
    index = site/'search.json'
    entries = json.loads(index.read_text(encoding='utf-8'))
    kept = [entry for entry in entries if not entry['href'].startswith('exercises/')]
    kept.sort(key=lambda entry: is_name_of_code(entry['section']))  # else as they were
    index.write_text(json.dumps(kept, ensure_ascii=False), encoding='utf-8')
    script = site/'site_libs'/'smalldocs.js'
    if script.is_file():
        text = script.read_text(encoding='utf-8')
        for before, after in OF_SEARCH.items():
            assert before in text, f'another version of smalldocs: look at its search ({before})'
            text = text.replace(before, after)
        script.write_text(text, encoding='utf-8')


def finish(site, build):
    lay_katex_beside(site, build)
    for style in site.rglob('*.css'):
        text = style.read_text(encoding='utf-8')
        without = FONT_ELSEWHERE.sub('', text)
        if without != text:
            style.write_text(without, encoding='utf-8')
    improve_search(site)
    anchors = {page: anchors_of(page) for page in site.rglob('*.html')}
    for page in anchors:
        finish_page(page, site, anchors)


if __name__ == '__main__':
    finish(Path(sys.argv[1]).resolve(), TOP/'build')
