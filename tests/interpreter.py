"""What differs between interpreters of Python, and between builds, that tests run with."""

from __future__ import annotations

import os
import sysconfig

# Without a global lock: objects carry locks of their own, and a gigabyte of addresses is reserved as it starts.
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))

# A build of `tools/sanitize.py` with a sanitizer in it: it reserves terabytes of addresses, and takes its time.
SANITIZED = os.environ.get("CONVKIT_CHECKED") in ("address", "thread")
PATIENCE = 10 if SANITIZED else 1
