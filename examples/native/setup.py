"""Compile `frames.pyx` against the convkit of this environment: ``python setup.py build_ext --inplace``."""

from __future__ import annotations

from Cython.Build import cythonize
from setuptools import Extension, setup

import convkit

frames = Extension("frames", ["frames.pyx"], include_dirs=[convkit.get_include()])
directives = {"language_level": 3, "boundscheck": False, "freethreading_compatible": True}

setup(ext_modules=cythonize([frames], compiler_directives=directives))
