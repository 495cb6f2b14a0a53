"A changed function, and who noticed."
from dataclasses import dataclass

from functions import Function
from operators import difference, mutate


@dataclass
class Mutant:
    function: Function
    operator: str  # the kind of change, or 'classic'
    new: object  # the function's changed syntax tree
    difference: str  # what stood there, and what stands there now; or the name of a classic bug
    noticed: str = ''  # by which test, or in which cell
    stage: str = ''  # 'test' or 'lesson', if it was noticed

    @property
    def name(self):
        "Of the function."
        return self.function.name

    def show(self):
        found = f'{self.stage:6}' if self.noticed else 'ALIVE '
        return f'{found} {self.name}: {self.difference}  {self.noticed}'


def mutants_of(function, limit=None):
    "The first so many mutants of a function, or all."
    for operator, new in mutate(function.node, limit):
        yield Mutant(function, operator, new, difference(function.node, new))
