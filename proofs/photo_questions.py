"""Questions about photos: what colour, how many, which animal, what is it doing, where, is there one.

    python -m proofs.photo_questions  # goes on from runs/nano-cider/best
    python -m proofs.photo_questions --questions  # only makes the questions, for recipes that learn them otherwise

The pairs are made by rules from Flickr8k's captions, in the spirit of COCO-QA (Ren, Kiros and Zemel, 2015, arXiv
1505.02074): a word of a caption becomes the answer, and the caption the question. The captions of a photo must agree,
so that an answer is what most would give. What recipes/nano-cider.yaml ends with learns them here, beside the captions
that it says itself of the photos, so that it goes on saying them; nano learned them beside CIDEr. Reported are its
captions, before and after, and each kind of question beside the training questions' most frequent answer.
"""

import argparse
import itertools
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import picscribe
from picscribe.datasets import Example, load_examples, read_dataset
from proofs.proving import evaluate, make_data, make_folder, train, write_lines

NAME = "photo-questions"
CAPTIONS, PHOTOS = Path("../shared/data/flickr8k/dataset_flickr8k.json"), Path("../shared/data/flickr8k/images")
START = "runs/nano-cider/best"
SPLITS = {"train": "train", "val": "test"}
"""What is asked of Flickr8k's validation photos is the test."""

Pair = tuple[str, str]
"""A question and its answer."""

COLOURS = {
    "red", "blue", "green", "yellow", "orange", "purple", "pink", "black", "white", "brown", "grey", "gray", "tan",
}  # fmt: skip
COLOURED = {
    "dog", "shirt", "jacket", "coat", "hat", "dress", "ball", "car", "bike", "bicycle", "boat", "umbrella", "helmet",
    "cap", "vest", "uniform", "pants", "shorts", "suit", "sweater", "toy", "frisbee", "kayak", "horse", "bird", "slide",
}  # fmt: skip
NUMBERS = {"two": "two", "three": "three", "four": "four", "five": "five", "2": "two", "3": "three", "4": "four"}
COUNTED = {
    "dogs": "dog", "men": "man", "women": "woman", "boys": "boy", "girls": "girl", "children": "child",
    "kids": "kid", "people": "person", "horses": "horse", "players": "player", "bikers": "biker", "adults": "adult",
}  # fmt: skip
ANIMALS = {
    "dog": "dog", "dogs": "dog", "puppy": "dog", "puppies": "dog", "greyhound": "dog", "poodle": "dog",
    "horse": "horse", "horses": "horse", "bird": "bird", "birds": "bird", "seagull": "bird", "seagulls": "bird",
    "cat": "cat", "cats": "cat", "cow": "cow", "cows": "cow", "sheep": "sheep", "camel": "camel", "camels": "camel",
    "elephant": "elephant", "bull": "bull", "goat": "goat", "monkey": "monkey", "pig": "pig", "rabbit": "rabbit",
}  # fmt: skip
PERSONS = ("man", "woman", "boy", "girl", "child", "person", "dog", "biker", "skier", "surfer", "player", "climber")
ACTIONS = {
    "running", "jumping", "standing", "sitting", "playing", "walking", "riding", "climbing", "swimming", "surfing",
    "skiing", "skateboarding", "snowboarding", "sleeping", "eating", "dancing", "singing", "smiling", "swinging",
    "sliding", "fishing", "kayaking", "digging", "splashing", "catching", "throwing", "kicking", "posing",
}  # fmt: skip
PLACES = {
    "water": "in the water", "snow": "in the snow", "grass": "on the grass", "beach": "on the beach",
    "street": "on the street", "pool": "in the pool", "sand": "on the sand", "field": "in a field",
    "park": "in a park", "rock": "on a rock", "mountain": "on a mountain", "bench": "on a bench",
    "ocean": "in the ocean", "lake": "in a lake", "river": "in a river", "sidewalk": "on the sidewalk",
    "forest": "in the woods", "woods": "in the woods", "stage": "on a stage", "court": "on a court",
}  # fmt: skip
THINGS = {
    "dog": {"dog", "dogs", "puppy", "puppies"}, "man": {"man", "men", "guy", "guys", "male"},
    "woman": {"woman", "women", "lady", "ladies", "female"}, "boy": {"boy", "boys"}, "girl": {"girl", "girls"},
    "ball": {"ball", "balls", "football", "soccer", "basketball", "baseball", "volleyball"},
    "horse": {"horse", "horses"}, "bike": {"bike", "bikes", "bicycle", "bicycles", "motorcycle", "biker"},
    "car": {"car", "cars"}, "skateboard": {"skateboard", "skateboarder", "skateboarding"},
    "frisbee": {"frisbee"}, "boat": {"boat", "boats", "kayak", "canoe"}, "bird": {"bird", "birds", "seagull"},
    "hat": {"hat", "hats", "cap", "helmet"}, "tree": {"tree", "trees", "forest", "woods"},
    "bench": {"bench"}, "guitar": {"guitar"}, "camera": {"camera"}, "swing": {"swing", "swings", "swinging"},
    "snow": {"snow", "snowy", "ski", "skier", "skiing", "snowboarder", "snowboarding"},
    "beach": {"beach", "ocean", "sea", "surfer", "surfing", "wave", "waves", "sand"},
    "pool": {"pool"}, "crowd": {"crowd", "group", "people", "audience"},
}  # fmt: skip


def words_of(caption: str) -> list[str]:
    """Lower-case words and numbers."""
    return re.findall(r"[a-z]+|\d+", caption.lower())


def agreed(found: Sequence[str], least: int = 1) -> str:
    """The one answer that all captions with an answer give, and at least so many; "" otherwise."""
    kinds = set(found)
    return found[0] if len(kinds) == 1 and len(found) >= least else ""


def ask_colour(captions: list[list[str]]) -> Iterator[Pair]:
    """A colour word right before a thing."""
    colours: dict[str, list[str]] = {}
    for words in captions:
        for colour, thing in itertools.pairwise(words):
            if colour in COLOURS and thing in COLOURED:
                colours.setdefault(thing, []).append(colour.replace("gray", "grey"))
    mixed = {thing for words in captions for a, b, thing in zip(words, words[1:], words[2:], strict=False)
             if a in (*COLOURS, "and") and b in COLOURS}  # fmt: skip
    for thing, found in colours.items():
        if thing not in mixed and (colour := agreed(found)):
            yield f"what color is the {thing}?", colour


def ask_number(captions: list[list[str]]) -> Iterator[Pair]:
    """A number right before many, or one right before a single one of which no caption says there are many."""
    for many, one in COUNTED.items():
        found = [NUMBERS[a] for words in captions for a, b in itertools.pairwise(words)
                 if b == many and a in NUMBERS]  # fmt: skip
        if found:
            if number := agreed(found, 2):
                yield f"how many {many} are there?", number
        elif sum(one in words for words in captions) >= 4 and not any(many in words for words in captions):
            yield f"how many {many} are there?", "one"


def ask_animal(captions: list[list[str]]) -> Iterator[Pair]:
    """The only kind of animal, named by most."""
    found = [ANIMALS[word] for words in captions for word in set(words) if word in ANIMALS]
    if animal := agreed(found, 3):
        yield "what animal is it?", animal


def ask_doing(captions: list[list[str]]) -> Iterator[Pair]:
    """What somebody is said to be doing, by two captions and no other."""
    for who in PERSONS:
        found = []
        for words in captions:
            if who in words and f"{who}s" not in words:
                after = words[words.index(who) + 1 :]
                found += [word for word in after if word in ACTIONS][:1]
        if doing := agreed(found, 2):
            yield f"what is the {who} doing?", doing


def ask_where(captions: list[list[str]]) -> Iterator[Pair]:
    """The only place that the captions name, named by two."""
    found = [PLACES[word] for words in captions for word in set(words) if word in PLACES]
    if place := agreed(found, 2):
        yield "where was the photo taken?", place


def ask_whether(captions: list[list[str]], draw: random.Random) -> Iterator[Pair]:
    """Something that three captions name, and something that none does."""
    said = [set(words) for words in captions]
    there = [thing for thing, names in THINGS.items() if sum(bool(words & names) for words in said) >= 3]
    absent = [thing for thing, names in THINGS.items() if not any(words & names for words in said)]
    if there and absent:
        # As many of each, and things as often absent as there, so that the thing alone tells nothing.
        weights = [FREQUENT.get(thing, 1.0) for thing in absent]
        for thing, answer in ((draw.choice(there), "yes"), (draw.choices(absent, weights)[0], "no")):
            article = "" if thing == "snow" else "an " if thing[0] in "aeiou" else "a "
            yield f"is there {article}{thing}?", answer


FREQUENT = {"man": 12.0, "dog": 14.0, "crowd": 8.0, "woman": 6.0, "boy": 6.0, "girl": 5.0, "beach": 5.0, "snow": 4.0,
            "ball": 4.0, "hat": 3.0, "bike": 3.0}  # fmt: skip
"""How often things are named, about: how often they are asked for where they are not."""

KINDS: dict[str, Callable[[list[list[str]], random.Random], Iterator[Pair]]] = {
    "colour": lambda captions, _: ask_colour(captions),
    "number": lambda captions, _: ask_number(captions),
    "animal": lambda captions, _: ask_animal(captions),
    "doing": lambda captions, _: ask_doing(captions),
    "where": lambda captions, _: ask_where(captions),
    "whether": ask_whether,
}


def write_questions(folder: Path) -> None:
    """The questions of each kind, in a folder of that name."""
    dataset = read_dataset(CAPTIONS, PHOTOS)
    for kind, ask in KINDS.items():
        rows = []
        for example in dataset.examples:
            if example.split not in SPLITS:
                continue
            pairs = ask([words_of(text) for text in example.texts], random.Random(f"{kind}/{example.id}"))
            for place, (question, answer) in enumerate(pairs):
                identity = f"{kind}-{example.id}-{place}"
                row = {"file_name": name_of(example), "question_id": identity, "question": question, "answer": answer}
                rows.append({**row, "split": SPLITS[example.split]})
        write_lines(folder / kind / "metadata.jsonl", rows)


def write_said(folder: Path) -> None:
    """What the model that the training starts from says of the training photos."""
    learned = read_dataset(CAPTIONS, PHOTOS).select("train")
    said = picscribe.load(START).captions([example.image() for example in learned], batch_size=32)
    rows = [{"file_name": name_of(e), "caption": c.text, "split": "train"} for e, c in zip(learned, said, strict=True)]
    write_lines(folder / "metadata.jsonl", rows)


def name_of(example: Example) -> str:
    """The photo's file."""
    assert isinstance(example.source, Path)
    return example.source.name


def baseline(data: Path, kind: str) -> float:
    """Accuracy of always giving the training questions' most frequent answer."""
    _, learned = load_examples(data / kind, PHOTOS, "train")
    _, asked = load_examples(data / kind, PHOTOS, "test")
    ((answer, _),) = Counter(example.texts[0] for example in learned).most_common(1)
    return sum(example.texts[0] == answer for example in asked) / len(asked)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the questions, train, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", action="store_true", help="make the questions and end")
    only_questions = parser.parse_args(arguments).questions
    data = make_data(NAME, write_questions)
    if only_questions:
        print(f"{', '.join(KINDS)}: in {data}")
        return
    if not Path(START).exists():
        parser.error(f"{START} is not here: picscribe train recipes/nano-cider.yaml --output {Path(START).parent}")
    make_folder(data / "said", write_said)
    best = train(NAME)
    for name, model in (("before", Path(START)), ("after", best)):
        evaluate(NAME, model, CAPTIONS, f"captions-{name}", "--images", str(PHOTOS), split="val")
    rows = []
    for kind in KINDS:
        score = evaluate(NAME, best, data / kind, kind, "--images", str(PHOTOS), "--beams", "1")["exact-match"]
        rows.append((kind, score, baseline(data, kind)))
    for kind, score, most_frequent in rows:
        print(f"{kind:10}{score:.3f}, the most frequent answer {most_frequent:.3f}")
    print(f"mean gain {sum(score - most_frequent for _, score, most_frequent in rows) / len(rows):.3f}")


if __name__ == "__main__":
    main()
