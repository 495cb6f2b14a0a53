"Package metadata, read from settings.ini."
from configparser import ConfigParser
from pathlib import Path
from setuptools import setup, find_packages

config = ConfigParser(delimiters=['='])
config.read('settings.ini', encoding='utf-8')
cfg = config['DEFAULT']
hub, dev = cfg['hub_requirements'].split(), cfg['dev_requirements'].split()

setup(
    name=cfg['lib_name'], version=cfg['version'], description=cfg['description'],
    long_description=Path('README.md').read_text(encoding='utf-8'), long_description_content_type='text/markdown',
    author=cfg['author'], author_email=cfg['author_email'], keywords=cfg['keywords'].split(),
    license='Apache-2.0', python_requires=f">={cfg['min_python']}",
    classifiers=['Development Status :: 4 - Beta', 'Intended Audience :: Developers', 'Intended Audience :: Education',
                 'Programming Language :: Python :: 3', 'Topic :: Scientific/Engineering :: Artificial Intelligence'],
    packages=find_packages(include=[cfg['lib_path'], f"{cfg['lib_path']}.*"]),
    package_data={cfg['lib_path']: ['embedded/*']}, include_package_data=True, zip_safe=False,
    install_requires=cfg['requirements'].split(), extras_require={'dev': dev, 'hub': hub},
    entry_points={'console_scripts': [line.strip() for line in cfg['console_scripts'].splitlines() if line.strip()],
                  'nbdev': [f"{cfg['lib_path']}={cfg['lib_path']}._modidx:d"]},
)
