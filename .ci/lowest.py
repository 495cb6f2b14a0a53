"Print the lowest version of each library that settings.ini admits, as pip wants it."
from configparser import ConfigParser
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent


def lowest():
    parser = ConfigParser(delimiters=['='])
    parser.read(TOP/'settings.ini', encoding='utf-8')
    requirements = parser['DEFAULT']['requirements'].split()
    return [requirement.split(',')[0].replace('>=', '==') for requirement in requirements]


if __name__ == '__main__':
    print(*lowest())
