"""The server's models answer as the fork's do: same prompt, same logits, same tokens."""

import pytest
import torch

from omega_server.media.picture import Picture
from omega_server.prompt.messages import Turn
from omega_server.prompt.processor import Processor


def test_the_prompt_is_the_forks(case, checkpoint):
    """Token ids and grids are the very same, timestamps and wrappers of videos included."""
    features = checkpoint.process(case)
    assert features["input_ids"][0].tolist() == case.input_ids
    assert {key: value.tolist() for key, value in features.items() if key.endswith("_grid_thw")} == case.grids


@torch.no_grad()
def test_the_logits_are_the_forks(case, checkpoint):
    """In float32, no logit of any answered position is off by more than 1e-4."""
    features = dict(checkpoint.process(case))
    prompt = features["input_ids"]
    # The last token of the answer was chosen from the logits of the one before it.
    answer = torch.tensor([case.tokens[:-1]])
    features["input_ids"] = torch.cat((prompt, answer), 1)
    features["attention_mask"] = torch.ones_like(features["input_ids"])
    features["mm_token_type_ids"] = torch.cat((features["mm_token_type_ids"], torch.zeros_like(answer)), 1)
    logits = checkpoint.model(**features).logits[0, prompt.shape[1] - 1 :]
    expected = checkpoint.logits[f"{case.name}/logits"]
    assert logits.shape == expected.shape == (len(case.tokens), checkpoint.model.config.text_config.vocab_size)
    assert (logits - expected).abs().max() < 1e-4


def test_generate_gives_the_forks_tokens(case, checkpoint):
    """Greedy decoding with transformers' own loop chooses the same tokens."""
    features = checkpoint.process(case)
    output = checkpoint.model.generate(**features, max_new_tokens=len(case.tokens), do_sample=False)
    assert output[0, len(case.input_ids) :].tolist() == case.tokens


@pytest.mark.parametrize("family", ["omega17_vl", "omega17_vl_exp"])
def test_a_chat_becomes_the_forks_prompt(checkpoints, recordings, family):
    """The way of a chat request, from messages and decoded pictures, ends in the same token ids and grids."""
    processor = Processor(str(checkpoints[family].path), max_length=4096)
    cases = [case for case in recordings if case.family == family and not case.videos]
    assert len(cases) == 3
    for case in cases:
        pictures = iter(case.media("image"))
        turns = [Turn(message["role"], tuple(_parts(message["content"], pictures))) for message in case.messages]
        prompt, _ = processor.build(turns)
        assert list(prompt.token_ids) == case.input_ids
        assert [list(medium.grid) for medium in prompt.media] == case.grids.get("image_grid_thw", [])


def _parts(content, pictures):
    """The parts of one message as the media layer hands them on."""
    if isinstance(content, str):
        yield content
        return
    for part in content:
        if part["type"] == "text":
            yield part["text"]
        else:
            picture = next(pictures)
            yield Picture(picture.width, picture.height, picture.convert("RGB").tobytes())
