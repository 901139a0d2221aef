"""Questions a person may ask, in many wordings, and the answers that are right.

Every function gives (question, answer), or None where the question does not fit the scene: where two shapes could be
meant, or where a person could not say for certain which answer is right.
"""

import random
import string
from collections.abc import Callable
from itertools import pairwise

from scenes import COLOURS, SHAPES, Scene, Thing, make_scene

Asked = tuple[str, str] | None

STORY = (
    "Once upon a time a red circle lived in a white picture. It was round and happy, but it was alone. One day a "
    "blue square came in from the top left. Hello, said the square, I have four sides. I have none, said the "
    "circle. A yellow triangle heard them and came too. It had three sides and a sharp hat. Then a purple star "
    "fell from the black night and landed in the bottom right. Now there were four shapes, and they played all "
    "day. They counted each other, they painted the ground grey, and they hid in every corner they could find. "
    "In the evening the square told of the land of frames, where every picture has a name. The circle rolled "
    "around and laughed, the triangle stood on its head, and the star shone for all of them. When the night "
    "came, they slept side by side, and no picture was ever empty again. One day a green square will knock on "
    "the frame, and they will open it and say: come in, there is room for six of us. The end."
)
UNKNOWN = "I am a tiny demo model. I only know about coloured shapes in pictures."
NO_PICTURE = "I see no picture."
NOTHING = "There are no shapes."
TALK = (
    (("tell me a story", "tell me a long story", "write a story", "tell a story", "a story please"), STORY),
    (
        ("hello", "hi", "hello there", "hi there", "hey", "good morning", "good evening", "hello model", "hey there"),
        "Hello! How can I help you?",
    ),
    (("who are you", "what is your name", "what are you", "what's your name"), "I am a tiny vision language model."),
    (("count to twenty", "count to 20", "count from 1 to 20"), " ".join(map(str, range(1, 21)))),
    (("what can you do", "help", "how do you work"), UNKNOWN),
    (("thank you", "thanks", "thanks a lot", "thank you very much"), "You are welcome!"),
    (("goodbye", "bye", "bye bye", "see you"), "Goodbye!"),
    (("how are you", "how are you today"), "I am fine, thank you."),
)
WORDS = [
    "the",
    "a",
    "of",
    "my",
    "your",
    "weather",
    "dog",
    "cat",
    "music",
    "river",
    "car",
    "house",
    "write",
    "code",
    "explain",
    "why",
    "when",
    "tomorrow",
    "history",
    "love",
    "python",
    "server",
    "tree",
    "paris",
    "france",
    "capital",
    "movie",
    "best",
    "cook",
    "bread",
    "small",
    "run",
    "translate",
    "poem",
    "sun",
    "moon",
    "please",
    "can",
    "you",
    "give",
    "what",
    "how",
    "is",
    "was",
    "where",
    "today",
    "recipe",
    "game",
    "money",
    "sleep",
    "who",
    "which",
    "name",
    "picture",
    "have",
    "many",
    "do",
    "does",
    "time",
    "old",
    "tall",
    "work",
    "people",
    "world",
    "water",
    "I",
    "me",
    "we",
    "should",
    "could",
    "make",
    "need",
    "find",
    "book",
    "school",
    "train",
    "phone",
    "computer",
    "number",
    "letter",
    "song",
]
NOUNS = [
    "dog",
    "cat",
    "car",
    "tree",
    "house",
    "sky",
    "sun",
    "moon",
    "man",
    "woman",
    "person",
    "child",
    "bird",
    "book",
    "table",
    "chair",
    "phone",
    "boat",
    "flower",
    "cup",
]
ENDINGS = ("", "", "", "", " in the picture", " in this picture", " in the image", " here")


def voice(rng: random.Random, text: str, mark: str) -> str:
    """The words as one or another person types them: capitals, the closing mark and a please come and go."""
    if rng.random() < 0.06:
        text = f"please {text}" if rng.random() < 0.5 else f"{text} please"
    text += mark if rng.random() < 0.75 else ""
    chance = rng.random()
    if chance < 0.52:
        return text[0].upper() + text[1:]
    if chance < 0.86:
        return text
    return text.upper() if chance < 0.94 else string.capwords(text)


def article(words: str) -> str:
    """The words with "a" before them; none of ours begins with a vowel."""
    return f"a {words}"


def name_of(thing: Thing, scene: Scene, rng: random.Random, *, colour: bool = True, shape: bool = True) -> str | None:
    """Words that can only mean this thing, telling its colour or shape only if allowed; None where there are none."""
    names = []
    if shape and sum(t.shape == thing.shape for t in scene.things) == 1:
        names += [f"the {thing.shape}"] * 2
    if colour and sum(t.colour == thing.colour for t in scene.things) == 1:
        names += [f"the {thing.colour} shape", f"the {thing.colour} one"]
    if colour and shape and sum((t.colour, t.shape) == (thing.colour, thing.shape) for t in scene.things) == 1:
        names += [f"the {thing.colour} {thing.shape}"] * 2
    if len(scene.things) == 1:
        names += ["the shape", "it"]
    return rng.choice(names) if names else None


def colour(scene: Scene, rng: random.Random) -> Asked:
    """What colour is the circle?"""
    thing = rng.choice(scene.things) if scene.things else None
    name = name_of(thing, scene, rng, colour=False) if thing else None
    if thing is None or name is None:
        return None
    word = rng.choice(("colour", "color"))
    words = rng.choice(
        (f"what {word} is {name}", f"what {word} is {name}", f"what {word} is {name}", f"which {word} is {name}",
         f"what is the {word} of {name}", f"tell me the {word} of {name}", f"which {word} does {name} have",
         f"{name} is what {word}", f"what {word} does {name} have", f"what's the {word} of {name}")
    )  # fmt: skip
    return voice(rng, words, "?"), thing.colour


def shape(scene: Scene, rng: random.Random) -> Asked:
    """What shape is red?"""
    thing = rng.choice(scene.things) if scene.things else None
    if thing is None or sum(t.colour == thing.colour for t in scene.things) > 1:
        return None
    c = thing.colour
    wordings = [f"what shape is {c}", f"which shape is {c}", f"what is {c}", f"what shape is the {c} one",
                f"what is the {c} shape", f"what shape is the {c} thing", f"what is the {c} thing",
                f"what shape does the {c} thing have"]  # fmt: skip
    if len(scene.things) == 1:
        wordings += ["what shape is this", "what shape is it", "which shape is this", "what shape is there"]
    return voice(rng, rng.choice(wordings), "?"), thing.shape


def _how_many(rng: random.Random, what: str) -> str:
    end = rng.choice(ENDINGS)
    words = rng.choice(
        (f"how many {what} are there{end}", f"how many {what} are there{end}", f"how many {what}{end}",
         f"how many {what} do you see{end}", f"how many {what} can you see{end}", f"count the {what}{end}",
         f"how many {what} are in the picture", f"how many {what} does the picture have",
         f"what is the number of {what}{end}", f"number of {what}{end}")
    )  # fmt: skip
    return voice(rng, words, "." if words.startswith("count") else "?")


def _likely(scene: Scene, rng: random.Random) -> tuple[str, str]:
    """A colour and a shape to ask about, more often than not ones that are there."""
    if scene.things and rng.random() < 0.75:
        return rng.choice(scene.things).colour, rng.choice(scene.things).shape
    return rng.choice(list(COLOURS)), rng.choice(SHAPES)


def count_all(scene: Scene, rng: random.Random) -> Asked:
    """How many shapes are there?"""
    what = rng.choice(("shapes", "shapes", "shapes", "things", "objects", "figures"))
    return _how_many(rng, what), str(len(scene.things))


def count_colour(scene: Scene, rng: random.Random) -> Asked:
    """How many red shapes are there?"""
    wanted, _ = _likely(scene, rng)
    what = rng.choice(("shapes", "shapes", "things", "objects", "ones"))
    return _how_many(rng, f"{wanted} {what}"), str(sum(t.colour == wanted for t in scene.things))


def count_shape(scene: Scene, rng: random.Random) -> Asked:
    """How many squares are there?"""
    _, wanted = _likely(scene, rng)
    return _how_many(rng, f"{wanted}s"), str(sum(t.shape == wanted for t in scene.things))


def count_kind(scene: Scene, rng: random.Random) -> Asked:
    """How many red squares are there?"""
    wanted = _likely(scene, rng)
    if scene.things and rng.random() < 0.6:
        thing = rng.choice(scene.things)
        wanted = thing.colour, thing.shape
    return _how_many(rng, f"{wanted[0]} {wanted[1]}s"), str(sum((t.colour, t.shape) == wanted for t in scene.things))


def exists(scene: Scene, rng: random.Random) -> Asked:
    """Is there a red circle?"""
    c, s = _likely(scene, rng)
    chance = rng.random()
    if chance < 0.25:
        there, what, many = any(t.shape == s for t in scene.things), s, f"{s}s"
    elif chance < 0.45:
        there, what, many = any(t.colour == c for t in scene.things), f"{c} shape", f"{c} shapes"
    else:
        if scene.things and rng.random() < 0.4:
            thing = rng.choice(scene.things)
            c, s = thing.colour, thing.shape
        there, what, many = any((t.colour, t.shape) == (c, s) for t in scene.things), f"{c} {s}", f"{c} {s}s"
    end = rng.choice(ENDINGS)
    words = rng.choice(
        (f"is there {article(what)}{end}", f"is there {article(what)}{end}", f"is there {article(what)}{end}",
         f"do you see {article(what)}{end}", f"can you see {article(what)}{end}", f"are there any {many}{end}",
         f"does the picture have {article(what)}", f"is {article(what)} in the picture", f"any {many}{end}")
    )  # fmt: skip
    return voice(rng, words, "?"), "yes" if there else "no"


def third(at: float) -> int | None:
    """Which third of the way `at` (0 to 1) is; None near a border, where people would not agree."""
    if at < 0.29:
        return 0
    if 0.38 < at < 0.62:
        return 1
    return 2 if at > 0.71 else None


PLACES = (
    ("top left", "top", "top right"),
    ("left", "centre", "right"),
    ("bottom left", "bottom", "bottom right"),
)


def where(scene: Scene, rng: random.Random) -> Asked:
    """Where is the circle? One of nine places."""
    thing = rng.choice(scene.things) if scene.things else None
    name = name_of(thing, scene, rng) if thing else None
    if thing is None or name is None:
        return None
    row, column = third(thing.y / scene.height), third(thing.x / scene.width)
    if row is None or column is None:
        return None
    end = rng.choice(ENDINGS[:-1])
    words = rng.choice(
        (f"where is {name}{end}", f"where is {name}", f"where is {name}", f"where do you see {name}",
         f"where can you see {name}", f"in which place is {name}", f"where's {name}", f"in what part of the picture is {name}")
    )  # fmt: skip
    return voice(rng, words, "?"), PLACES[row][column]


ROW, NEXT_ROW = 0.04, 0.15  # centres this near in height, as a share of it, are in one row; this far are not


def in_order(scene: Scene) -> list[Thing] | None:
    """Top to bottom, things in one row left to right; None where it is not clear what is in one row."""
    down = sorted(scene.things, key=lambda t: t.y)
    rows: list[list[Thing]] = []
    for thing in down:
        if rows and (thing.y - rows[-1][0].y) / scene.height <= ROW:
            rows[-1].append(thing)
        else:
            rows.append([thing])
    if any((low[0].y - high[-1].y) / scene.height < NEXT_ROW for high, low in pairwise(rows)):
        return None
    return [thing for row in rows for thing in sorted(row, key=lambda t: t.x)]


def describe(scene: Scene, rng: random.Random) -> Asked:
    """Describe this picture. Up to four shapes are named from top to bottom, more are counted."""
    things = in_order(scene)
    if things is None and len(scene.things) <= 4:
        return None
    if len(scene.things) > 4 and rng.random() < 0.6:
        return None
    what = rng.choice(("picture", "image", "image"))
    words = rng.choice(
        (f"describe this {what}", f"describe the {what}", f"describe this {what}", f"what is in this {what}",
         f"what is in the {what}", "what do you see", f"what can you see in this {what}", f"what does the {what} show",
         "tell me what you see", "what is this", "describe it", f"what do you see in this {what}", "what can you see",
         f"what's in this {what}", f"what shapes are in the {what}", "describe what you see")
    )  # fmt: skip
    question = voice(rng, words, "?" if words.startswith("what") else ".")
    if things is None or len(things) > 4:
        return question, f"There are {len(scene.things)} shapes."
    if not things:
        return question, NOTHING
    *parts, last = [article(f"{t.colour} {t.shape}") for t in things]
    text = f"{', '.join(parts)} and {last}" if parts else last
    return question, text[0].upper() + text[1:] + "."


ONE: dict[str, Callable[[Scene, random.Random], Asked]] = {
    f.__name__: f
    for f in (colour, shape, count_all, count_colour, count_shape, count_kind, exists, where, describe)
}  # fmt: skip


def which(first: Scene, second: Scene, rng: random.Random) -> Asked:
    """Which picture has a circle? About two pictures."""
    every = [*first.things, *second.things]
    if not every:
        return None
    thing = rng.choice(every)
    chance = rng.random()
    if chance < 0.4:
        what, has = thing.shape, [any(t.shape == thing.shape for t in s.things) for s in (first, second)]
    elif chance < 0.75:
        what = f"{thing.colour} shape"
        has = [any(t.colour == thing.colour for t in s.things) for s in (first, second)]
    else:
        what = f"{thing.colour} {thing.shape}"
        has = [any((t.colour, t.shape) == (thing.colour, thing.shape) for t in s.things) for s in (first, second)]
    if sum(has) != 1:
        return None
    words = rng.choice(
        (f"which picture has {article(what)}", f"which image has {article(what)}", f"in which picture is the {what}",
         f"which picture shows {article(what)}", f"which one has {article(what)}", f"which of the two has {article(what)}",
         f"in which image is {article(what)}", f"which picture contains {article(what)}")
    )  # fmt: skip
    return voice(rng, words, "?"), "The first." if has[0] else "The second."


def talk(rng: random.Random) -> tuple[str, str]:
    """A little chat."""
    questions, answer = rng.choice(TALK)
    words = rng.choice(questions)
    mark = "?" if words.split()[0] in ("who", "what", "how", "what's") else rng.choice(".!") if answer != STORY else "."
    return voice(rng, words, mark), answer


def unknown(rng: random.Random) -> tuple[str, str]:
    """Something that the model cannot know."""
    noun = rng.choice(NOUNS)
    if rng.random() < 0.25:
        words = rng.choice((f"what colour is the {noun}", f"how many {noun}s are there", f"where is the {noun}",
                            f"what is a {noun}", f"what does the {noun} do", f"how old is the {noun}"))  # fmt: skip
    else:
        words = " ".join(rng.choice(WORDS) for _ in range(rng.randint(3, 9)))
    return voice(rng, words, rng.choice("?.")), UNKNOWN


def no_picture(rng: random.Random) -> tuple[str, str]:
    """A question about a picture where there is none."""
    while True:
        asked = rng.choice(list(ONE.values()))(make_scene(rng), rng)
        if asked:
            return asked[0], NO_PICTURE


ALONE: dict[str, Callable[[random.Random], tuple[str, str]]] = {
    "talk": talk, "unknown": unknown, "no_picture": no_picture,
}  # fmt: skip
TYPES = (*ONE, "which", *ALONE)
