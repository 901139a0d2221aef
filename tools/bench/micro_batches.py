"""Child: static batches, the original system's way.

A worker takes the first request that waits, waits up to 10 ms for a second one, runs both through the processor and
`generate` together, and answers when the longer of the two is complete; only then does it look at the queue again. Nothing
is streamed. What this does better than the original: a current transformers, no HTTP, and a request whose answer was to be
shorter than its partner's is still counted as complete (its surplus tokens are not).
"""

import queue
import sys
import threading
import time

import torch

from bench import lines
from bench.lines import Job
from omega_server.model.loader import load, load_processor

BATCH = 2
WAIT_SECONDS = 0.010


def main() -> None:
    """Load the model and answer loads until the parent is gone."""
    path, threads = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(threads)
    model = load(path, "float32", "cpu")
    processor = load_processor(path)
    processor.tokenizer.padding_side = "left"
    for asked in lines.requests():
        begin = time.monotonic()
        load_ = lines.jobs(asked["load"], begin)
        waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
        threading.Thread(target=_arrive, args=(load_, waiting), daemon=True).start()
        left = len(load_)
        while left:
            batch = take(waiting)
            _answer(model, processor, batch)
            left -= len(batch)
        lines.reply([job.result() for job in load_])


def take(waiting: "queue.SimpleQueue[Job]") -> list[Job]:
    """The next batch: one request, and those that come within the wait, up to the size of a batch."""
    batch = [waiting.get()]
    end = time.monotonic() + WAIT_SECONDS
    while len(batch) < BATCH:
        try:
            batch.append(waiting.get(timeout=max(0.0, end - time.monotonic())))
        except queue.Empty:
            break
    return batch


def _arrive(load_: list[Job], waiting: "queue.SimpleQueue[Job]") -> None:
    for job in load_:
        time.sleep(max(0.0, job.sent - time.monotonic()))
        waiting.put(job)


def _answer(model: torch.nn.Module, processor: object, batch: list[Job]) -> None:
    conversations = [[_turn(message) for message in job.messages] for job in batch]
    inputs = processor.apply_chat_template(  # type: ignore[attr-defined]
        conversations, add_generation_prompt=True, tokenize=True, padding=True, return_dict=True, return_tensors="pt"
    )
    longest = max(job.tokens for job in batch)
    with torch.inference_mode():
        answers = model.generate(**inputs, max_new_tokens=longest, do_sample=False)  # type: ignore[operator]
    assert answers.shape[1] - inputs["input_ids"].shape[1] == longest, "the model of this benchmark never stops early"
    for job in batch:
        job.pieces.append(time.monotonic())


def _turn(message: dict) -> dict:
    parts = [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": "image", "image": part}
        for part in lines.content(message)
    ]
    return {"role": message["role"], "content": parts}


if __name__ == "__main__":
    main()
