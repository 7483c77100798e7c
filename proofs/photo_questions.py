"""Questions about photos: what colour, how many, which animal, what is it doing, where, is there one.

    python -m proofs.photo_questions  # goes on from runs/nano-cider/best
    python -m proofs.photo_questions --questions  # only makes the questions, for recipes that learn them otherwise
    python -m proofs.photo_questions --questions --photos wide  # the same for the photos of the everyday world

Rules make the pairs from a data set's captions, in the spirit of COCO-QA (Ren, Kiros and Zemel, 2015, arXiv
1505.02074): a word of a caption becomes the answer, and the caption the question. The captions of a photo must agree,
so that an answer is what most people would give. The test is what is asked of Flickr8k's validation photos. The model
that recipes/nano-cider.yaml makes learns them here together with its own captions of the photos, so that it keeps its
captions; the bundled nano learned them during CIDEr optimisation. The proof reports the captions before and after,
and for each kind of question the accuracy and that of the most frequent answer.
"""

import argparse
import itertools
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import picscribe
from picscribe.datasets import Example, load_examples, read_dataset
from proofs.proving import evaluate, make_data, make_folder, train, write_lines

NAME = "photo-questions"
START = "runs/nano-cider/best"
SPLITS = {"train": "train", "val": "test"}
"""What is asked of validation photos is the test."""

Pair = tuple[str, str]
"""A question and its answer."""

COLOURS = {
    "red", "blue", "green", "yellow", "orange", "purple", "pink", "black", "white", "brown", "grey", "gray", "tan",
}  # fmt: skip
NUMBERS = {"two": "two", "three": "three", "four": "four", "five": "five", "2": "two", "3": "three", "4": "four"}


@dataclass(frozen=True)
class World:
    """What the captions of one data set name, and how many captions of a photo must agree.

    coloured: things whose colour is asked. counted: a plural and its singular. animals, places: a caption's word and
    the answer. persons: whose doing is asked; actions: what they do. things: what `is there …` asks, and the words that
    name it. frequent: about how often a thing is named, and so asked for where it is not; 1 for the others.
    """

    captions: Path
    photos: Path
    coloured: frozenset[str]
    counted: Mapping[str, str]
    animals: Mapping[str, str]
    persons: tuple[str, ...]
    actions: frozenset[str]
    places: Mapping[str, str]
    things: Mapping[str, frozenset[str]]
    frequent: Mapping[str, float]
    named: int = 3
    alone: int = 4


def words_in(text: str) -> frozenset[str]:
    """Its words: "dog shirt jacket"."""
    return frozenset(text.split())


def named_by(groups: str) -> dict[str, frozenset[str]]:
    """The first word of each group, such as "dog puppy; man men", and all words of the group."""
    split = [group.split() for group in groups.split(";")]
    return {words[0]: frozenset(words) for words in split}


def answers_of(groups: str) -> dict[str, str]:
    """Every word of the groups, such as "dog puppy; cat cats", and the first of its group."""
    return {word: words[0] for words in map(str.split, groups.split(";")) for word in words}


FLICKR8K = World(
    captions=Path("flickr8k/dataset_flickr8k.json"),
    photos=Path("flickr8k/images"),
    coloured=words_in(
        "dog shirt jacket coat hat dress ball car bike bicycle boat umbrella helmet cap vest uniform pants shorts suit"
        " sweater toy frisbee kayak horse bird slide"
    ),
    counted={
        "dogs": "dog", "men": "man", "women": "woman", "boys": "boy", "girls": "girl", "children": "child",
        "kids": "kid", "people": "person", "horses": "horse", "players": "player", "bikers": "biker",
        "adults": "adult",
    },
    animals=answers_of(
        "dog dogs puppy puppies greyhound poodle; horse horses; bird birds seagull seagulls; cat cats; cow cows; sheep;"
        " camel camels; elephant; bull; goat; monkey; pig; rabbit"
    ),
    persons=(
        "man", "woman", "boy", "girl", "child", "person", "dog", "biker", "skier", "surfer", "player", "climber",
    ),
    actions=words_in(
        "running jumping standing sitting playing walking riding climbing swimming surfing skiing skateboarding"
        " snowboarding sleeping eating dancing singing smiling swinging sliding fishing kayaking digging splashing"
        " catching throwing kicking posing"
    ),
    places={
        "water": "in the water", "snow": "in the snow", "grass": "on the grass", "beach": "on the beach",
        "street": "on the street", "pool": "in the pool", "sand": "on the sand", "field": "in a field",
        "park": "in a park", "rock": "on a rock", "mountain": "on a mountain", "bench": "on a bench",
        "ocean": "in the ocean", "lake": "in a lake", "river": "in a river", "sidewalk": "on the sidewalk",
        "forest": "in the woods", "woods": "in the woods", "stage": "on a stage", "court": "on a court",
    },
    things=named_by(
        "dog dogs puppy puppies; man men guy guys male; woman women lady ladies female; boy boys; girl girls;"
        " ball balls football soccer basketball baseball volleyball; horse horses;"
        " bike bikes bicycle bicycles motorcycle biker; car cars; skateboard skateboarder skateboarding; frisbee;"
        " boat boats kayak canoe; bird birds seagull; hat hats cap helmet; tree trees forest woods; bench; guitar;"
        " camera; swing swings swinging; snow snowy ski skier skiing snowboarder snowboarding;"
        " beach ocean sea surfer surfing wave waves sand; pool; crowd group people audience"
    ),
    frequent={
        "man": 12.0, "dog": 14.0, "crowd": 8.0, "woman": 6.0, "boy": 6.0, "girl": 5.0, "beach": 5.0, "snow": 4.0,
        "ball": 4.0, "hat": 3.0, "bike": 3.0,
    },
)  # fmt: skip
WIDE = World(
    captions=Path("wide/dataset_wide.json"),
    photos=Path("wide/images"),
    coloured=FLICKR8K.coloured
    | words_in(
        "cat bus truck train plane motorcycle couch sofa chair bed vase cup bowl plate clock kite cow sign bear tie"
        " phone refrigerator toilet surfboard skateboard laptop house building flower"
    ),
    counted={
        **FLICKR8K.counted,
        "cats": "cat", "giraffes": "giraffe", "zebras": "zebra", "elephants": "elephant", "cows": "cow",
        "birds": "bird", "bears": "bear", "skiers": "skier", "surfers": "surfer", "beds": "bed", "pizzas": "pizza",
        "cars": "car", "boats": "boat", "buses": "bus", "trains": "train", "planes": "plane", "chairs": "chair",
    },
    animals=answers_of(
        "dog dogs puppy puppies; cat cats kitten kittens; horse horses; bird birds seagull seagulls parrot owl pigeon"
        " duck ducks; cow cows bull cattle; sheep lamb lambs; elephant elephants; giraffe giraffes; zebra zebras;"
        " bear bears; goat goats; monkey monkeys; pig; rabbit; camel; fish; lion; tiger; snake; turtle; frog; butterfly"
    ),
    persons=(*FLICKR8K.persons, "cat", "skateboarder", "snowboarder", "baby", "rider"),
    actions=FLICKR8K.actions
    | words_in("lying flying grazing talking cooking cutting reading drinking resting hitting working"),
    places={
        **FLICKR8K.places,
        "kitchen": "in a kitchen", "bathroom": "in a bathroom", "bedroom": "in a bedroom", "living": "in a living room",
        "office": "in an office", "restaurant": "in a restaurant", "airport": "at an airport", "zoo": "at a zoo",
        "station": "at a station", "slope": "in the snow", "sea": "in the ocean", "store": "in a store",
        "classroom": "in a classroom", "church": "in a church", "garden": "in a garden", "desert": "in a desert",
    },
    things={
        **FLICKR8K.things,
        **named_by(
            "cat cats kitten kittens; cup cups mug mugs; plate plates dish; table tables desk; chair chairs armchair;"
            " bed beds; couch couches sofa sofas; pizza pizzas; cake cakes; sandwich sandwiches; fruit banana bananas"
            " apple apples orange; bus buses; train trains locomotive; plane planes airplane airplanes jet;"
            " truck trucks; motorcycle motorcycles scooter; clock clocks; phone phones telephone; laptop laptops;"
            " television tv screen; keyboard; toilet toilets; sink sinks; window windows; mirror; lamp lamps;"
            " umbrella umbrellas; kite kites; giraffe giraffes; zebra zebras; elephant elephants; bear bears; cow cows;"
            " flower flowers; surfboard surfboards; racket; bottle bottles; book books; bridge; building buildings"
            " house houses tower; mountain mountains hill hills; sign signs"
        ),
    },
    frequent={
        "man": 6.0, "building": 4.0, "table": 4.0, "woman": 3.0, "crowd": 4.0, "dog": 2.0, "cat": 2.0, "tree": 3.0,
    },
    named=2,
    alone=2,
)  # fmt: skip
WORLDS = {"flickr8k": FLICKR8K, "wide": WIDE}


def words_of(caption: str) -> list[str]:
    """Lower-case words and numbers."""
    return re.findall(r"[a-z]+|\d+", caption.lower())


def agreed(found: Sequence[str], least: int = 1) -> str:
    """The one answer that all captions with an answer give, and at least so many; "" otherwise."""
    kinds = set(found)
    return found[0] if len(kinds) == 1 and len(found) >= least else ""


def ask_colour(world: World, captions: list[list[str]]) -> Iterator[Pair]:
    """A colour word right before a thing."""
    colours: dict[str, list[str]] = {}
    for words in captions:
        for colour, thing in itertools.pairwise(words):
            if colour in COLOURS and thing in world.coloured:
                colours.setdefault(thing, []).append(colour.replace("gray", "grey"))
    mixed = {thing for words in captions for a, b, thing in zip(words, words[1:], words[2:], strict=False)
             if a in (*COLOURS, "and") and b in COLOURS}  # fmt: skip
    for thing, found in colours.items():
        if thing not in mixed and (colour := agreed(found)):
            yield f"what color is the {thing}?", colour


def ask_number(world: World, captions: list[list[str]]) -> Iterator[Pair]:
    """A number right before many, or one right before a single one of which no caption says there are many."""
    for many, one in world.counted.items():
        found = [NUMBERS[a] for words in captions for a, b in itertools.pairwise(words)
                 if b == many and a in NUMBERS]  # fmt: skip
        if found:
            if number := agreed(found, 2):
                yield f"how many {many} are there?", number
        elif sum(one in words for words in captions) >= world.alone and not any(many in words for words in captions):
            yield f"how many {many} are there?", "one"


def ask_animal(world: World, captions: list[list[str]]) -> Iterator[Pair]:
    """The only kind of animal, named by most."""
    found = [world.animals[word] for words in captions for word in set(words) if word in world.animals]
    if animal := agreed(found, world.named):
        yield "what animal is it?", animal


def ask_doing(world: World, captions: list[list[str]]) -> Iterator[Pair]:
    """What somebody is said to be doing, by two captions and no other."""
    for who in world.persons:
        found = []
        for words in captions:
            if who in words and f"{who}s" not in words:
                after = words[words.index(who) + 1 :]
                found += [word for word in after if word in world.actions][:1]
        if doing := agreed(found, 2):
            yield f"what is the {who} doing?", doing


def ask_where(world: World, captions: list[list[str]]) -> Iterator[Pair]:
    """The only place that the captions name, named by two."""
    found = [world.places[word] for words in captions for word in set(words) if word in world.places]
    if place := agreed(found, 2):
        yield "where was the photo taken?", place


def ask_whether(world: World, captions: list[list[str]], draw: random.Random) -> Iterator[Pair]:
    """Something that most captions name, and something that none does."""
    said = [set(words) for words in captions]
    there = [
        thing for thing, names in world.things.items() if sum(bool(words & names) for words in said) >= world.named
    ]
    absent = [thing for thing, names in world.things.items() if not any(words & names for words in said)]
    if there and absent:
        # As many of each, and things as often absent as there, so that the thing alone tells nothing.
        weights = [world.frequent.get(thing, 1.0) for thing in absent]
        for thing, answer in ((draw.choice(there), "yes"), (draw.choices(absent, weights)[0], "no")):
            article = "" if thing == "snow" else "an " if thing[0] in "aeiou" else "a "
            yield f"is there {article}{thing}?", answer


KINDS: dict[str, Callable[[World, list[list[str]], random.Random], Iterator[Pair]]] = {
    "colour": lambda world, captions, _: ask_colour(world, captions),
    "number": lambda world, captions, _: ask_number(world, captions),
    "animal": lambda world, captions, _: ask_animal(world, captions),
    "doing": lambda world, captions, _: ask_doing(world, captions),
    "where": lambda world, captions, _: ask_where(world, captions),
    "whether": ask_whether,
}


def write_questions(world: World, folder: Path) -> None:
    """The questions of each kind, in a folder of that name."""
    dataset = read_dataset(world.captions, world.photos)
    for kind, ask in KINDS.items():
        rows = []
        for example in dataset.examples:
            if example.split not in SPLITS:
                continue
            pairs = ask(world, [words_of(text) for text in example.texts], random.Random(f"{kind}/{example.id}"))
            for place, (question, answer) in enumerate(pairs):
                identity = f"{kind}-{example.id}-{place}"
                row = {"file_name": name_of(example), "question_id": identity, "question": question, "answer": answer}
                rows.append({**row, "split": SPLITS[example.split]})
        write_lines(folder / kind / "metadata.jsonl", rows)


def write_said(world: World, folder: Path) -> None:
    """The captions that the model which training starts from gives the training photos."""
    learned = read_dataset(world.captions, world.photos).select("train")
    said = picscribe.load(START).captions([example.image() for example in learned], batch_size=32)
    rows = [{"file_name": name_of(e), "caption": c.text, "split": "train"} for e, c in zip(learned, said, strict=True)]
    write_lines(folder / "metadata.jsonl", rows)


def name_of(example: Example) -> str:
    """The photo's file."""
    assert isinstance(example.source, Path)
    return example.source.name


def baseline(world: World, data: Path, kind: str) -> float:
    """Accuracy of always giving the training questions' most frequent answer."""
    _, learned = load_examples(data / kind, world.photos, "train")
    _, asked = load_examples(data / kind, world.photos, "test")
    ((answer, _),) = Counter(example.texts[0] for example in learned).most_common(1)
    return sum(example.texts[0] == answer for example in asked) / len(asked)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the questions, train, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", action="store_true", help="make the questions and end")
    parser.add_argument("--photos", choices=WORLDS, default="flickr8k", help="whose questions --questions makes")
    chosen = parser.parse_args(arguments)
    if chosen.photos != "flickr8k" and not chosen.questions:
        parser.error("--photos goes with --questions: the proof itself is about Flickr8k")
    world = WORLDS[chosen.photos]
    data = make_data(NAME if world is FLICKR8K else f"{NAME}-{chosen.photos}", partial(write_questions, world))
    if chosen.questions:
        print(f"{', '.join(KINDS)}: in {data}")
        return
    if not Path(START).exists():
        parser.error(f"{START} is not here: picscribe train recipes/nano-cider.yaml --output {Path(START).parent}")
    make_folder(data / "said", partial(write_said, world))
    best = train(NAME)
    for name, model in (("before", Path(START)), ("after", best)):
        evaluate(NAME, model, world.captions, f"captions-{name}", "--images", str(world.photos), split="val")
    rows = []
    for kind in KINDS:
        score = evaluate(NAME, best, data / kind, kind, "--images", str(world.photos), "--beams", "1")["exact-match"]
        rows.append((kind, score, baseline(world, data, kind)))
    for kind, score, most_frequent in rows:
        print(f"{kind:10}{score:.3f}, the most frequent answer {most_frequent:.3f}")
    print(f"mean gain {sum(score - most_frequent for _, score, most_frequent in rows) / len(rows):.3f}")


if __name__ == "__main__":
    main()
