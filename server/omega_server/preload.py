"""What the fork server imports before it forks: all that engines and prompt processes need. Never import it elsewhere.

It must leave the process with one thread and without a CUDA context, because neither survives a fork.
"""

import atexit
import gc
import os
import signal

# numpy's linear algebra starts threads when it is imported, and nothing here uses it.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Hardly anything of what is imported is ever freed, and looking for it takes a fifth of the time.
gc.disable()

# Some who stop a server tell all of its processes. What that means for work that is begun, the server's own decides.
# What is forked takes this over.
signal.signal(signal.SIGTERM, signal.SIG_IGN)

import omega_server.engine.worker  # noqa: E402
import omega_server.model.omega  # noqa: E402
import omega_server.prompt.worker  # noqa: E402, F401

# A later collection would write to each object that it looks at, and a page that is written to is shared no more.
gc.freeze()
gc.enable()
# The fork server has nothing to clean up at its end, and extensions would complain about what stays.
atexit.register(os._exit, 0)
