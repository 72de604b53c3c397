"""Native extensions: Cython drivers, and one object of C micro-kernels for each instruction set.

Everything else about the package stands in pyproject.toml.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, LinkError

KERNELS = "src/convkit/_kernels"
DRIVERS = [
    "core", "conv", "depthwise", "direct", "gemm", "pool", "lanes", "wide", "winograd", "row_winograd", "phases",
    "elementwise", "norm", "loss", "update", "ceiling",
]  # fmt: skip
HEADERS = [str(path) for path in sorted(Path(KERNELS).glob("*.h"))]

# Flags of each level for compilers of the GCC family. The drivers, the dispatch and the baseline get none:
# they must run on any machine of the architecture.
X86_LEVELS = {
    "baseline": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": [
        "-mavx2", "-mfma", "-mavx512f", "-mavx512vl", "-mavx512dq", "-mavx512bw", "-mprefer-vector-width=512",
    ],
}  # fmt: skip
OTHER_LEVELS: dict[str, list[str]] = {"baseline": []}

# Never -ffast-math: it would switch the whole process to flush-to-zero when the module is loaded.
OPTIMISE = ["-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-Wno-psabi"]

# Python's own flags ask for debug information, which is six times as large as the code; CFLAGS=-g keeps it.
if not any(flag.startswith("-g") for flag in os.environ.get("CFLAGS", "").split()):
    OPTIMISE += ["-g0"]
    if sys.platform != "win32":  # which unwinds by these tables whenever it handles an exception
        OPTIMISE += ["-fno-asynchronous-unwind-tables"]

# Builds that look for mistakes (CONTRIBUTING.md): compiled with gcc's or clang's sanitizers, or with Cython's checks.
SANITIZERS = os.environ.get("CONVKIT_SANITIZE", "")
CYTHON_CHECKS = os.environ.get("CONVKIT_BOUNDSCHECK", "") == "1"

# Python's own flags let signed integers wrap silently, which would hide overflow from the sanitizers.
CHECKED = ["-O1", "-g1", "-fno-omit-frame-pointer", "-fno-wrapv", "-DCK_FRESH_SCRATCH"]
INSTRUMENTED = [f"-fsanitize={SANITIZERS}"] if SANITIZERS else []
CHECKS = [*CHECKED, *INSTRUMENTED] if SANITIZERS or CYTHON_CHECKS else []

# A build that counts what runs: lines of Cython by way of the C made of them (tools/coverage.sh).
COVERAGE = os.environ.get("CONVKIT_COVERAGE", "") == "1"
if COVERAGE:
    CHECKS, INSTRUMENTED = ["--coverage", "-fprofile-update=atomic"], ["--coverage"]

# Without bindings functions are C's own kind, whose code is Python's and not once more in each module: 6 KB of a wheel.
# What Python's threads share is atomic or behind a lock, so the interpreter may run without its own.
DIRECTIVES = {"language_level": 3, "cdivision": True, "binding": False, "freethreading_compatible": True}
if CYTHON_CHECKS:
    # Not overflowcheck, which takes the difference of two pointers for one in bytes (Cython 3.3); a sanitizer does it.
    DIRECTIVES |= {"boundscheck": True, "initializedcheck": True, "nonecheck": True}

OPENMP_CANDIDATES = [
    (["-fopenmp"], ["-fopenmp"]),
    (["-Xpreprocessor", "-fopenmp"], ["-lomp"]),  # Apple clang with libomp beside it
]
OPENMP_PROBE = """
#include <omp.h>
int main(void) {
    int sum = 0;
    #pragma omp parallel for reduction(+:sum)
    for (int i = 0; i < 4; i++) sum += i + 0 * omp_get_thread_num();
    return sum != 6;
}
"""


def levels() -> dict[str, list[str]]:
    """The levels of the architecture that is built for, which need not be this machine's."""
    return X86_LEVELS if sysconfig.get_platform().endswith(("x86_64", "amd64")) else OTHER_LEVELS


class BuildKernels(build_ext):
    """build_ext that finds OpenMP and compiles micro.c once for each instruction set."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or True  # as many extensions at a time as there are cores

    def build_extensions(self) -> None:
        self.openmp_candidates = OPENMP_CANDIDATES
        if self.compiler.compiler_type == "msvc":
            self.use_clang_cl()
        compile_args, link_args = self.openmp_flags()
        for extension in self.extensions:
            flags = ["-O2", *OPTIMISE, *compile_args, *CHECKS]  # -O3: larger, no faster
            extension.extra_compile_args = self.spelled(flags)
            extension.extra_link_args = [*link_args, *INSTRUMENTED]
        core = next(e for e in self.extensions if e.name.endswith(".core"))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            core.extra_objects = list(pool.map(self.compile_level, levels().keys(), levels().values()))
        super().build_extensions()

    def use_clang_cl(self) -> None:
        """Put LLVM's compiler into the place of Microsoft's, which has no vector types; the linker stays."""
        folders = [os.environ["PATH"], os.path.join(os.environ.get("PROGRAMFILES", ""), "LLVM", "bin")]
        found = shutil.which("clang-cl", path=os.pathsep.join(folders))
        if found is None:
            raise CompileError("on Windows convkit is compiled by clang-cl, a part of LLVM, which is not in PATH")
        if not self.compiler.initialized:
            self.compiler.initialize()
        self.compiler.cc = found
        # Given as arguments, as they are, Microsoft's headers would hide LLVM's of the same names.
        headers = type(self.compiler).include_dirs
        os.environ["INCLUDE"] = ";".join(headers)
        headers.clear()
        self.openmp_candidates = [(["-fopenmp"], [f"/LIBPATH:{Path(found).parents[1] / 'lib'}", "libomp.lib"])]

    def spelled(self, flags: list[str]) -> list[str]:
        """Flags of the GCC family as this compiler takes them."""
        if self.compiler.compiler_type != "msvc":
            return flags
        return ["-Wno-unused-command-line-argument", *(f"/clang:{flag}" for flag in flags)]  # Microsoft's /GL is unused

    def openmp_flags(self) -> tuple[list[str], list[str]]:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "probe.c"
            source.write_text(OPENMP_PROBE)
            for compile_args, link_args in self.openmp_candidates:
                try:
                    flags = self.spelled(compile_args)
                    objects = self.compiler.compile([str(source)], output_dir=folder, extra_postargs=flags)
                    self.compiler.link_executable(objects, "probe", output_dir=folder, extra_postargs=link_args)
                except (CompileError, LinkError):
                    continue
                return compile_args, link_args
        self.warn("the compiler has no OpenMP: building the serial version of convkit")
        return [], []

    def compile_level(self, name: str, flags: list[str]) -> str:
        folder = Path(self.build_temp) / f"level-{name}"
        [path] = self.compiler.compile(
            [f"{KERNELS}/micro.c"],
            output_dir=str(folder),
            macros=[("CK_LEVEL", name)],
            extra_postargs=self.spelled(["-O3", *OPTIMISE, *flags, *CHECKS]),
            depends=HEADERS,
        )
        return path


def extension(driver: str) -> Extension:
    sources = [f"{KERNELS}/{driver}.pyx"]
    macros = []
    if driver == "core":
        sources.append(f"{KERNELS}/runtime.c")
        macros = [("CK_X86_LEVELS", "1")] if levels() is X86_LEVELS else []
    return Extension(
        f"convkit._kernels.{driver}",
        sources,
        define_macros=macros,
        libraries=["m"] if driver == "core" and os.name == "posix" else [],
        depends=HEADERS,
    )


extensions = [extension(driver) for driver in DRIVERS]
if SANITIZERS or CYTHON_CHECKS:  # with faults on purpose, to see that they are found
    planted = Extension("planted_faults", ["tools/planted_faults.pyx"], include_dirs=[KERNELS], depends=HEADERS)
    extensions.append(planted)

setup(
    ext_modules=cythonize(
        extensions,
        include_path=["src"],
        compiler_directives=DIRECTIVES,
        emit_linenums=COVERAGE,
    ),
    cmdclass={"build_ext": BuildKernels},
)
