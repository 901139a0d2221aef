"""What a fault may cost: the rest of an answer elsewhere, the reason why engines die, memory that is not there."""

import pytest

from omega_server.engine.request import Sampling

DRAWN = Sampling(
    24,
    temperature=1.3,
    top_p=0.95,
    seed=11,
    presence_penalty=0.7,
    frequency_penalty=0.4,
    repetition_penalty=1.2,
    min_tokens=10,
    logit_bias={20: 3.0},
    logprobs=2,
)


@pytest.mark.parametrize("sampling", [Sampling(16), DRAWN], ids=["greedy", "drawn"])
@pytest.mark.parametrize("name", ["text 1", "three pictures", "video"])
def test_an_answer_goes_on_exactly_in_another_engine(dense, dense_cases, run, sampling, name):
    """Prompt, sampling with its seed and the tokens so far are enough for the rest, wherever it was cut."""
    prompt = next(case for case in dense_cases if case.name == name).prompt
    engine = dense.engine()
    engine.submit(0, prompt, sampling)
    whole = run(engine)[0]
    for cut in {1, len(whole) // 2, len(whole) - 1} - {0}:
        other = dense.engine()
        other.submit(5, prompt, sampling, [token.id for token in whole[:cut]])
        rest = run(other)[5]
        assert [(t.id, t.finish_reason) for t in rest] == [(t.id, t.finish_reason) for t in whole[cut:]]
        assert [t.logprob for t in rest] == [pytest.approx(t.logprob, abs=1e-4) for t in whole[cut:]]
        assert all(token.cached_tokens == 0 for token in rest)
        assert other.blocks.used == 0
