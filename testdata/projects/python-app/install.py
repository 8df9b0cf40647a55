"""Installs what a requirements file names from a directory of packages, without a network."""

import compileall
import pathlib
import py_compile
import shutil
import sys

requirements, source, target = map(pathlib.Path, sys.argv[1:])

for line in requirements.read_text().split():
    name, version = line.split("==")
    package = source / name
    found = (package / "VERSION").read_text().strip()
    if found != version:
        sys.exit(f"{name}: want {version}, {source} has {found}")
    shutil.copytree(package, target / name)
    print(f"installed {name} {version}")

mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
compileall.compile_dir(target, quiet=1, invalidation_mode=mode)
