"Package metadata, read from settings.ini."
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

parser = ConfigParser(delimiters=['='])
parser.read('settings.ini', encoding='utf-8')
settings = parser['DEFAULT']
package = settings['lib_name']
commands = [line.strip() for line in settings['console_scripts'].splitlines() if line.strip()]
data_folders = [f'{package}.embedded', f'{package}.results']  # setuptools calls them packages

setup(
    name=package,
    version=settings['version'],
    description=settings['description'],
    long_description=Path('README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    author=settings['author'],
    author_email=settings['author_email'],
    keywords=settings['keywords'].split(),
    license='Apache-2.0',
    python_requires=f">={settings['min_python']}",
    classifiers=[
        'Development Status :: 4 - Beta',
        'Intended Audience :: Developers',
        'Intended Audience :: Education',
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
    packages=find_packages(include=[package, f'{package}.*']) + data_folders,
    package_data={folder: ['*'] for folder in data_folders},
    include_package_data=True,
    zip_safe=False,
    install_requires=settings['requirements'].split(),
    extras_require={
        'dev': settings['dev_requirements'].split(),
        'chat': settings['chat_requirements'].split(),
        'hub': settings['hub_requirements'].split(),
        'processes': settings['processes_requirements'].split(),
        'loggers': settings['loggers_requirements'].split(),
    },
    entry_points={
        'console_scripts': commands,
        'nbdev': [f'{package}={package}._modidx:d'],
    },
)
