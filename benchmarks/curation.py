"""Curation on a made set of pairs with planted faults: precision and recall a rule, pairs a second, kills and all.

    python -m benchmarks.curation [--pairs 20000] [--processes 2] [--photos FOLDER] [--captions DATASET_JSON]

Photos and captions come from a data set in Karpathy's form (Flickr8k); a fifth of the pairs is spoilt, each in one way:
tags, addresses and sellers' phrases, too short or long, offensive words (some in leetspeak), another language, the same
photo smaller, recompressed or brightened, the same text under many photos, broken, tiny and blank photos. Precision is
the share of a rule's drops in which a fault was planted; recall is that of the rule that looks for the fault. What the
duplicate rules find in the data set itself counts as wrong.
"""

import argparse
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from PIL import Image, ImageEnhance

from picscribe.datasets import load_examples
from picscribe.versions import versions

FOREIGN = {
    "de": ["ein hund läuft schnell über die grüne wiese", "zwei kinder spielen mit einem ball am strand"],
    "fr": ["un homme avec un chapeau rouge marche dans la rue", "deux chiens jouent ensemble dans la neige"],
    "es": ["una mujer sentada en un banco del parque", "dos niños juegan con una pelota en la playa"],
    "it": ["un cane corre sul prato vicino alla casa", "una ragazza con il vestito rosso sorride"],
    "pl": ["dwa psy biegają po zielonej trawie", "mężczyzna jedzie na rowerze po ulicy"],
    "ru": ["собака бежит по зелёной траве", "мальчик играет с мячом на пляже"],
}
TAGS = ["<PERSON> and {}", "{} <br/>", "{} with <person>", "[NAME] {}", "{} &amp; more", "<start> {}"]
SELLERS = [
    "{} http://photos.example/4711", "{} stock photo", "IMG_20394 {}", "buy now {}", "{} © studio", "www.a.example {}",
]  # fmt: skip
RUDE = ["shit", "sh1t", "bitch", "b1tch", "fuck", "a$$hole", "bullshit"]
FAULTS = [
    "tag", "boilerplate", "length", "offensive", "language", "text-duplicate", "image-duplicate", "broken", "small",
    "blank",
]  # fmt: skip


def spoil(fault: str, photo: Image.Image, caption: str, draw: random.Random, earlier: list[bytes]) -> tuple[bytes, str]:
    """A pair with one fault: a photo's file and a text."""
    content = encode(photo)
    if fault == "tag":
        return content, draw.choice(TAGS).format(caption)
    if fault == "boilerplate":
        return content, draw.choice(SELLERS).format(caption)
    if fault == "length":
        return content, draw.choice([caption.split()[-1], " ".join([caption] * 12)])
    if fault == "offensive":
        words = caption.split()
        words.insert(draw.randrange(len(words)), draw.choice(RUDE))
        return content, " ".join(words)
    if fault == "language":
        return content, draw.choice(draw.choice(list(FOREIGN.values())))
    if fault == "text-duplicate":
        return content, "a photo that was taken on a sunny day"
    if fault == "image-duplicate":
        return spoil_copy(draw.choice(earlier), draw), caption
    if fault == "broken":
        return content[: draw.randrange(20, len(content) // 2)], caption
    if fault == "small":
        return encode(photo.resize((draw.randrange(8, 60), draw.randrange(8, 60)))), caption
    return encode(Image.new("RGB", photo.size, tuple(draw.randrange(256) for _ in range(3)))), caption


def spoil_copy(content: bytes, draw: random.Random) -> bytes:
    """The same photo as another site would have it."""
    image = Image.open(io.BytesIO(content))
    share = draw.uniform(0.5, 0.9)
    smaller = image.resize((round(image.width * share), round(image.height * share)))
    return encode(ImageEnhance.Brightness(smaller).enhance(draw.uniform(0.9, 1.1)), draw.randrange(40, 90))


def encode(image: Image.Image, quality: int = 90) -> bytes:
    """A JPEG."""
    stream = io.BytesIO()
    image.convert("RGB").save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def make(folder: Path, pairs: int, captions: Path, photos: Path) -> dict[str, str]:
    """Write the set; the planted fault of each id, "" for none. Photos of a few thousand are cut anew for each pair."""
    examples = load_examples(captions, photos, "train")[1]
    draw, planted, rows, earlier = random.Random(3), {}, [], list[bytes]()
    (folder / "photos").mkdir(parents=True)
    for number in range(pairs):
        example = examples[number % len(examples)]
        photo = cut(Image.open(example.source), number // len(examples), draw)  # type: ignore[arg-type]
        caption = example.texts[number // len(examples) % len(example.texts)]
        fault = draw.choice(FAULTS) if draw.random() < 0.2 and number > 100 else ""
        content, text = spoil(fault, photo, caption, draw, earlier) if fault else (encode(photo), caption)
        if not fault:
            earlier.append(content)
        name = f"{number:06}.jpg"
        (folder / "photos" / name).write_bytes(content)
        rows.append({"file_name": name, "id": name, "caption": text})
        planted[name] = fault
    with (folder / "photos" / "metadata.jsonl").open("w") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)
    return planted


def cut(photo: Image.Image, turn: int, draw: random.Random) -> Image.Image:
    """Another photo made of the same one: a quarter of it, no two of which are alike, mirrored at random."""
    width, height = photo.size
    if turn:
        left, top = ((turn - 1) % 2) * width // 2, ((turn - 1) // 2 % 2) * height // 2
        photo = photo.crop((left, top, left + width // 2, top + height // 2)).resize((width, height))
    return photo


def run(folder: Path, output: Path, processes: int, kills: int = 0) -> float:
    """Curate, killed so many times on the way; seconds of all runs."""
    command = [sys.executable, "-m", "picscribe", "curate", str(folder / "photos"), str(output)]
    command += ["--num-processes", str(processes)]
    draw, started = random.Random(4), time.perf_counter()
    for _ in range(kills):
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(draw.uniform(5, 15))

        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def same(one: Path, other: Path) -> bool:
    """Whether two folders hold the same files."""
    names = [sorted(file.name for file in folder.iterdir()) for folder in (one, other)]
    return names[0] == names[1] and all((one / name).read_bytes() == (other / name).read_bytes() for name in names[0])


def main() -> None:
    """Print a line a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--captions", type=Path, default=Path("flickr8k/dataset_flickr8k.json"))
    parser.add_argument("--photos", type=Path, default=Path("flickr8k/images"))
    arguments = parser.parse_args()
    print(versions(), {name: str(value) for name, value in vars(arguments).items()})
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        planted = make(folder, arguments.pairs, arguments.captions, arguments.photos)
        seconds = run(folder, folder / "out", arguments.processes)
        lines = [json.loads(line) for line in (folder / "out" / "dropped.jsonl").read_text().splitlines()]
        found = {line["id"]: line["rule"] for line in lines}
        dropped, faults = Counter(found.values()), Counter(planted.values())
        print(f"{'rule':16}{'planted':>8}{'dropped':>8}{'precision':>10}{'recall':>8}")
        for rule in FAULTS:
            right = sum(planted[identity] == rule for identity, by in found.items() if by == rule)
            any_fault = sum(bool(planted[identity]) for identity, by in found.items() if by == rule)
            print(
                f"{rule:16}{faults[rule]:8}{dropped[rule]:8}{any_fault / max(1, dropped[rule]):10.4f}"
                f"{right / max(1, faults[rule]):8.4f}"
            )
        print(f"{arguments.pairs / seconds:.0f} pairs a second, {arguments.processes} processes, start-up included")
        for wrong in [line for line in lines if not planted[line["id"]]][:10]:
            print("wrongly dropped:", wrong["rule"], wrong["what"], "|", wrong["text"][:60])
        if arguments.kills:
            run(folder, folder / "killed", arguments.processes, arguments.kills)
            equal = same(folder / "out", folder / "killed")
            print(f"killed {arguments.kills} times and resumed, the same output: {equal}")
        shutil.rmtree(folder / "photos")


if __name__ == "__main__":
    main()
