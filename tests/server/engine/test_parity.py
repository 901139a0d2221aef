"""Whatever runs together, each request gets exactly what model.generate() gives it alone."""

from omega_server.engine.request import Sampling


def test_a_hundred_mixed_requests_equal_generate(workshop, cases, mixed):
    """100 requests of all kinds that run together, with prefix cache hits, equal generate()."""
    engine = workshop.engine()
    mixed(engine, cases, 100, seed=1)
    assert engine.scheduler.preemptions == 0


def test_chunked_prefill_equals_generate(workshop, cases, mixed):
    """Prompts in chunks of a few tokens, through the middle of pictures, equal generate()."""
    mixed(workshop.engine(token_budget=13, patches=1), cases, 2 * len(cases), seed=2)


def test_preemption_equals_generate(workshop, cases, mixed):
    """Sequences that lose their blocks and are computed again equal generate()."""
    needed = max(len(case.prompt.token_ids) for case in cases) + 16
    engine = workshop.engine(blocks=-(-needed // 16) + 2, max_length=needed)
    mixed(engine, cases, 10 * len(cases), seed=3)
    assert engine.scheduler.preemptions > 0


def test_small_vision_cache_equals_generate(workshop, cases, mixed):
    """With no room to keep a picture's embeddings, answers equal generate()."""
    engine = workshop.engine(vision_bytes=1, token_budget=24)
    mixed(engine, cases, len(cases), seed=4)
    assert engine.vision.nbytes == 0


def test_second_turn_takes_the_prefix_from_the_cache(workshop, run):
    """A follow-up about the same picture computes only what is new, says so, and equals generate()."""
    engine = workshop.engine()
    inputs = workshop.inputs("What is it? " * 8, [(7, 160, 160)])
    first = workshop.case("first", 4, inputs)
    engine.submit(1, first.prompt, Sampling(4))
    (cold, *_), runs = run(engine)[1], engine.vision.runs
    engine.submit(2, first.prompt, Sampling(4))
    (warm, *rest) = run(engine)[2]
    assert cold.cached_tokens == 0
    assert warm.cached_tokens == (len(first.prompt.token_ids) - 1) // 16 * 16
    assert all(token.cached_tokens == 0 for token in rest)
    assert tuple(token.id for token in (warm, *rest)) == first.expected
    assert engine.vision.runs == runs


def test_equal_tokens_with_another_picture_share_nothing_of_it(workshop, run):
    """Two pictures of one size have the same tokens; the second prompt shares no block that depends on the picture."""
    engine = workshop.engine()
    one = workshop.case("one", 8, workshop.inputs("What is it?", [(8, 128, 128)]))
    other = workshop.case("other", 8, workshop.inputs("What is it?", [(9, 128, 128)]))
    assert one.prompt.token_ids == other.prompt.token_ids
    engine.submit(1, one.prompt, Sampling(8))
    run(engine)
    engine.submit(2, other.prompt, Sampling(8))
    tokens = run(engine)[2]
    start = one.prompt.token_ids.index(workshop.model.config.image_token_id)
    assert tokens[0].cached_tokens == start // 16 * 16
    assert tuple(token.id for token in tokens) == other.expected
