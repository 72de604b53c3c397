"""Builds of the native code that look for mistakes, and the tests run with them.

    python tools/sanitize.py address tests          # AddressSanitizer and UndefinedBehaviorSanitizer (gcc)
    python tools/sanitize.py thread tests/test_functional_threads.py   # ThreadSanitizer (clang, libomp, Archer)
    python tools/sanitize.py bounds tests           # Cython's own checks: bounds, None
    python tools/sanitize.py memcheck tests/test_functional_conv.py --geometries=2     # Valgrind

    python tools/sanitize.py address --self-test    # whether faults planted on purpose are found; for every kind

What follows the kind goes to pytest.  Each kind is built in a folder of its own under `build/`, from a copy of the
sources, so the ordinary build stays as it is; only what has changed is built again.  With `--build-only` nothing is
run, with `-c` a script in place of pytest: ``python tools/sanitize.py address -c "import convkit"``.  With
`--plant FAULT` a function of `planted_faults.pyx` is called in place of it, whose fault must end the process.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Leaks are not looked for: an interpreter leaves much behind on purpose.  Asking for too much memory must be a
# MemoryError in these builds, too; 1 GiB at once is, since tests cannot limit the address space of these.
ADDRESS_OPTIONS = "detect_leaks=0:allocator_may_return_null=1:max_allocation_size_mb=1024:halt_on_error=1"
UNDEFINED_OPTIONS = "print_stacktrace=1:halt_on_error=1"
THREAD_OPTIONS = "halt_on_error=1:ignore_noninstrumented_modules=1:history_size=7:die_after_fork=0"
MEMCHECK = [
    "valgrind", "--quiet", "--error-exitcode=99", "--leak-check=no", "--num-callers=12",
    f"--suppressions={ROOT / 'tools' / 'valgrind.supp'}",
]  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """How one kind of build is made, and how Python is run with it."""

    build: dict[str, str]
    folder: str = ""  # where it is built, if not under its own name
    run: dict[str, str] = field(default_factory=dict)
    preload: tuple[str, ...] = ()  # libraries of gcc's that Python must load first
    command: tuple[str, ...] = ()
    faults: dict[str, str] = field(default_factory=dict)  # planted ones, and what is said of them


KINDS = {
    "address": Kind(
        build={"CONVKIT_SANITIZE": "address,undefined,float-cast-overflow"},
        run={"ASAN_OPTIONS": ADDRESS_OPTIONS, "UBSAN_OPTIONS": UNDEFINED_OPTIONS},
        preload=("libasan.so", "libstdc++.so"),  # the second for others' extensions, which may throw
        faults={
            "beyond_the_heap": "heap-buffer-overflow",
            "beyond_scratch": "heap-buffer-overflow",
            "signed_overflow": "signed integer overflow",
            "float_overflow": "outside the range of representable values",
        },
    ),
    # libgomp's barriers are unknown to ThreadSanitizer; LLVM's OpenMP tells it of its own by way of Archer. Of clang's
    # runtime only a part can be preloaded, but gcc's serves its code, too. Of vectors longer than 16 bytes neither
    # sees anything, hence the level.
    "thread": Kind(
        build={"CONVKIT_SANITIZE": "thread", "CC": "clang-14", "LDSHARED": "clang-14 -shared"},
        run={
            "TSAN_OPTIONS": THREAD_OPTIONS,
            "OMP_TOOL_LIBRARIES": "/usr/lib/llvm-14/lib/libarcher.so",
            "CONVKIT_ISA": "baseline",
        },
        preload=("libtsan.so",),
        command=("setarch", "--addr-no-randomize"),  # the sanitizer wants its own map of the address space
        faults={"race": "data race"},
    ),
    "bounds": Kind(
        build={"CONVKIT_BOUNDSCHECK": "1"},
        faults={"beyond_a_sequence": "IndexError", "attribute_of_none": "has no attribute 'value'"},
    ),
    "memcheck": Kind(
        build={"CONVKIT_BOUNDSCHECK": "1"},
        folder="bounds",
        run={"PYTHONMALLOC": "malloc", "CONVKIT_ISA": "avx2"},  # Valgrind knows no AVX-512
        command=tuple(MEMCHECK),
        faults={"unwritten_scratch": "depends on uninitialised value", "beyond_the_heap": "Invalid write"},
    ),
}


def build(kind: str) -> Path:
    """Bring the copy of the sources up to date and build it; return the folder to import convkit from."""
    how = KINDS[kind]
    folder = ROOT / "build" / f"checked-{how.folder or kind}"
    done = folder / "done"
    changed = copy_sources(folder)
    if any(path.suffix != ".py" or path.name == "setup.py" for path in changed) or not done.exists():
        done.unlink(missing_ok=True)
        command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
        subprocess.run(command, cwd=folder, env=os.environ | how.build, check=True)
        done.touch()
    return folder / "src"


def copy_sources(folder: Path) -> list[Path]:
    """Copy to `folder` what has changed of all that a build needs, and return that."""
    made = {path.with_suffix(".c") for path in ROOT.glob("src/**/*.pyx")}
    names = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "LICENSE-bundled.md", "tools/planted_faults.pyx")
    sources = [ROOT / name for name in names]
    sources += [path for path in ROOT.glob("src/**/*") if path.is_file() and path not in made]
    changed = []
    for path in sources:
        target = folder / path.relative_to(ROOT)
        unwanted = path.suffix in (".so", ".pyc") or ".egg-info" in str(path)
        if unwanted or (target.exists() and target.stat().st_mtime >= path.stat().st_mtime):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
        changed.append(path)
    return changed


def environment(kind: str, source: Path) -> dict[str, str]:
    """What Python needs around it to run with this build."""
    how = KINDS[kind]
    paths = [str(source), os.environ.get("PYTHONPATH", "")]
    changes = {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "CONVKIT_CHECKED": kind,
        "OMP_WAIT_POLICY": "passive",
    } | how.run
    if how.preload:
        changes["LD_PRELOAD"] = " ".join(map(library_of_gcc, how.preload))
    return os.environ | changes


def library_of_gcc(name: str) -> str:
    """Where gcc keeps this library."""
    command = ["gcc", f"-print-file-name={name}"]
    return str(Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()).resolve())


def command(kind: str, arguments: list[str]) -> list[str]:
    return [*KINDS[kind].command, sys.executable, *arguments]


def call_of(fault: str) -> list[str]:
    return ["-c", f"import planted_faults; planted_faults.{fault}()"]


def self_test(kind: str, source: Path) -> int:
    """Whether this build finds each fault that is planted for it, and nothing where there is none."""
    silent = 0
    for fault, words in {"nothing": "", **KINDS[kind].faults}.items():
        run = subprocess.run(
            command(kind, call_of(fault)), cwd=ROOT, env=environment(kind, source), capture_output=True, text=True
        )
        as_wanted = run.returncode != 0 and words in run.stderr if words else run.returncode == 0
        said = "as it must" if as_wanted else f"WRONG\n{run.stderr[-2000:]}"
        print(f"{kind}: {fault} ends with status {run.returncode}, {said}", flush=True)
        silent += not as_wanted
    return 1 if silent else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--build-only", action="store_true")
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("--plant", metavar="FAULT")
    options, arguments = parser.parse_known_args()
    source = build(options.kind)
    if options.build_only:
        return 0
    if options.self_test:
        return self_test(options.kind, source)
    # A sanitizer's report is written as the process ends: pytest must not hold it back.
    pytest = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--capture=sys"]
    python = arguments if arguments[:1] == ["-c"] else [*pytest, *arguments]
    if options.plant:
        python = call_of(options.plant)
    return subprocess.run(command(options.kind, python), cwd=ROOT, env=environment(options.kind, source)).returncode


if __name__ == "__main__":
    sys.exit(main())
