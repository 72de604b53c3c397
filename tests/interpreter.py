"""What differs between interpreters of Python."""

from __future__ import annotations

import sysconfig

# Without a global lock: objects carry locks of their own, and a gigabyte of addresses is reserved as it starts.
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
