"""make bench: the same requests to this server and to others, on this machine, with the same random weights.

    .venv/bin/python tools/bench [--size small|medium] [--out DIR] ...     on the CPU; see --help
    .venv/bin/python tools/bench gpu [--out DIR]                           on one CUDA GPU

environments   other servers' Python environments, from hash-pinned requirements, in the cache directory
model          checkpoints with random weights
processes      a system's processes: started, their CPU time and memory, ended
systems        what is compared: how each is started, and how it is asked
in_process     child: this engine without HTTP
micro_batches  child: static batches, the original system's way
rounds         the order of measurements; pairs of figures that belong together
bars           what else is promised: pictures beside answers, second turns, overhead of a step, start-up
report         JSON, table, plot
gpu            memory bandwidth and decoding on a GPU
"""
