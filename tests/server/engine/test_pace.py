"""How many tokens of prompts a step may take, by the times that an imagined machine would need."""

import random

import pytest

from omega_server.engine.pace import LONGEST, STRETCH, Pace


class Machine:
    """Takes `fixed` seconds for each step and `token` seconds for each token of a prompt, give or take some noise."""

    def __init__(self, fixed, token, noise=0.0):
        self.fixed, self.token, self.noise = fixed, token, noise
        self.dice = random.Random(1)

    def run(self, pace, answers, most, prompts=1):
        """One step; returns how many tokens of prompts were in it."""
        tokens = pace.tokens(answers, prompts, most)
        seconds = (self.fixed + self.token * tokens) * (1 + self.noise * self.dice.random())
        pace.learn(answers, tokens, seconds)
        return tokens


@pytest.mark.parametrize(("fixed", "token"), [(0.004, 0.0001), (0.02, 0.0002), (0.01, 0.00005)])
def test_a_step_with_prompts_lasts_as_long_as_it_may(fixed, token):
    """After a few steps, one with prompts lasts STRETCH times as long as one without, on a slow or a fast machine."""
    pace, machine = Pace(), Machine(fixed, token, noise=0.1)
    machine.run(pace, 0, 512)
    taken = [machine.run(pace, 4, 512) for _ in range(100)][20:]
    lasted = [fixed + token * tokens for tokens in taken if tokens]
    assert 0.8 * STRETCH * fixed < sum(lasted) / len(lasted) < 1.2 * STRETCH * fixed
    assert max(lasted) < 1.5 * STRETCH * fixed


def test_the_first_answers_show_what_they_cost_alone():
    """As soon as it is known what a prompt costs, one step goes without, and then prompts go on at once."""
    pace, machine = Pace(), Machine(0.01, 0.0001)
    assert 0 < pace.tokens(1, 1, 512) < 512
    machine.run(pace, 0, 512)
    assert machine.run(pace, 1, 512) == 0
    assert machine.run(pace, 1, 512) > 0


def test_a_batch_that_has_grown_gives_prompts_more_room():
    """What answers cost alone is looked at again while prompts keep coming."""
    pace, machine = Pace(), Machine(0.005, 0.0001)
    machine.run(pace, 0, 512)
    few = [machine.run(pace, 1, 512) for _ in range(60)][-1]
    machine.fixed = 0.02
    many = [machine.run(pace, 32, 512) for _ in range(120)]
    assert many[-1] > 2 * few
    assert 0 < many.count(0) < 12


def test_in_a_rush_prompts_come_first():
    """For each request that waits for its first token, a step may grow by as much again."""
    pace, machine = Pace(), Machine(0.005, 0.0001)
    machine.run(pace, 0, 512)
    taken = {prompts: max([machine.run(pace, 4, 512, prompts) for _ in range(60)][30:]) for prompts in (1, 4, 16)}
    assert taken[1] > 0
    assert taken[4] == pytest.approx(4 * taken[1], rel=0.1)
    assert taken[16] == 512


@pytest.mark.parametrize("fixed", [0.002, 0.05])
@pytest.mark.parametrize("answers", [0, 4])
def test_prompts_make_no_step_long(fixed, answers):
    """However many prompts there are, and from the first on, a step ends soon, for somebody may have hung up."""
    pace, machine = Pace(), Machine(fixed, 0.001)
    taken = [machine.run(pace, answers, 2048, prompts=16) for _ in range(60)]
    assert max(fixed + 0.001 * tokens for tokens in taken) < 1.2 * LONGEST
    assert max(taken[20:]) > 50


def test_answers_that_take_long_themselves_do_not_stop_prompts():
    """Where answers alone take longer than a step should, prompts still get what one of them always gets."""
    pace, machine = Pace(), Machine(0.5, 0.001)
    machine.run(pace, 0, 512)
    taken = [machine.run(pace, 4, 512, prompts=16) for _ in range(60)][20:]
    assert max(taken) == pytest.approx((STRETCH - 1) * 500, rel=0.1)


def test_prompts_always_go_on():
    """However slow they are, prompts get some tokens, and never more than the step has."""
    pace, machine = Pace(), Machine(0.001, 1.0)
    machine.run(pace, 0, 512)
    assert sum(machine.run(pace, 1, 512) for _ in range(100)) >= 1000
    assert max(machine.run(pace, 1, 5) for _ in range(100)) == 5
    pace, machine = Pace(), Machine(0.001, 0.0)
    machine.run(pace, 0, 512)
    assert [machine.run(pace, 1, 512) for _ in range(10)][-1] == 512
