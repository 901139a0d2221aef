"""Prompts in, tokens out: continuous batching over an unchanged transformers model.

On the data path this package stands between the prompt and the completion. It knows token ids and pixels, never text or HTTP.

    request        what goes in (Prompt, Sampling) and comes out (Token), and the errors
    router         the front end in the server's process: chooses an engine, restarts a dead one
    process        the router's end of an engine's process, and the messages between them
    pixels         prompts between processes: pixels in a memory_file, which the engine attaches
    worker         the process of one engine
    group          several processes that are one engine
    engine         the loop of one engine: schedule, run, sample, commit
    sequence       one request inside the engine          (no tensors)
    scheduler      what runs in the next step             (pure, no tensors)
    block_manager  who owns which block of the KV cache   (pure, no tensors)
    block_tables   which blocks each sequence has, as an array
    kv_cache       the blocks' tensors
    decodes        what the attention of answering sequences needs, kept from step to step
    attention      the one attention function over the KV cache
    varlen         attention of answering sequences on CUDA, where torch offers it
    runner         one packed forward of everything that the scheduler chose
    pace           how many tokens of prompts a step may take beside running answers
    vision         each picture through the vision tower once, in a thread of its own
    sampler        logits to tokens, each by its sequence's parameters
    edits          penalties, biases and bans on the logits of single tokens
    grammar        which tokens may come next in an answer of a given form
    matcher        that, for grammars in llguidance's language
    grammar_limits what a grammar may cost
    letters        the bytes of tokens
    draw           one token out of a row of logits
"""
