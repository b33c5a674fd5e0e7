"""A plugin that lets a module be the mutant MUTANT names, `path:number`, from its import on."""

import os
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType

from .mutants import Module

path, _, number = os.environ["MUTANT"].rpartition(":")
module = Module(Path(path))
code = module.code(module.mutants[int(number)])
get_code = SourceFileLoader.get_code


def mutated(self: SourceFileLoader, name: str) -> CodeType | None:
    return code if self.path == path else get_code(self, name)


setattr(SourceFileLoader, get_code.__name__, mutated)
