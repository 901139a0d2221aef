"""What a grammar may cost, wherever it is looked at, and whether one can be enforced at all."""

import re

from llguidance import LLMatcher, LLParserLimits

from omega_server.engine.request import InvalidGrammar

LIMITS = LLParserLimits(
    initial_lexer_fuel=500_000,  # 10 ms
    step_lexer_fuel=100_000,  # 7 ms
    max_items_in_row=5_000,  # 10 ms
    step_max_items=50_000,  # 3 ms
    max_lexer_states=25_000,  # 20 MB
    max_grammar_size=100_000,
    verbose_errors=False,
)


def validate(grammar: str) -> None:
    """Look at a grammar as an engine will. It is users' input for native code: only for processes that may die.

    Raises:
        InvalidGrammar: it cannot be enforced, or would cost too much.
    """
    wrong, errors = LLMatcher.validate_grammar_with_warnings(grammar, limits=LIMITS)
    if wrong:
        raise InvalidGrammar(reason(errors[0]))


def reason(error: str) -> str:
    """What llguidance complains about, as far as it is for users: on one line, and not too long."""
    # After the reason comes the grammar, which users have not written.
    words = " ".join(re.split(r"<non-verbose/>|\n\s*1 \| ", error)[0].split())
    return re.sub(r"^at \d+\(\d+\): (failed to compile JSON schema: )?", "", words)[:300]
