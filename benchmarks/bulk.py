"""Bulk captioning: exactly once through kills, speed against its bounds, memory, and Ray.

    python -m benchmarks.bulk kills --photos FOLDER [--files 20000] [--kills 20] [--inside]
    python -m benchmarks.bulk speed --photos FOLDER [--files 500] [--rounds 3] [--model nano]
    python -m benchmarks.bulk loop --photos FOLDER [--files 500]      # beside a plain loop over transformers
    python -m benchmarks.bulk memory --photos FOLDER
    python -m benchmarks.bulk ray --photos FOLDER [--files 200] [--model nano]

`kills` captions photos of FOLDER under other names, with a hundredth of broken files, a fortieth of byte-identical
copies, one file that hangs its decoder and one that kills it, into every kind of output at once, with a tiny random
model; it is killed with -9 at random moments, a quarter of them right when a shard appears, and resumed; then every
output is read and compared. `speed` measures the model on pixels in memory, decoding alone, and the whole, in turns.
"""

import argparse
import contextlib
import csv
import json
import os
import random
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from picscribe.versions import versions

ROOT = Path(__file__).resolve().parents[1]

SPOILT = """
import os, signal, time
from picscribe.bulk.inputs import decode_worker

read = decode_worker.Reader.read

def spoilt(self, source, where, content):
    if "hangs" in where:
        time.sleep(1000)
    if "kills" in where:
        os.kill(os.getpid(), signal.SIGSEGV)
    return read(self, source, where, content)

decode_worker.Reader.read = spoilt
"""

CHILD = """
import os, sys, time
from picscribe.bulk.work import Work
from picscribe.bulk.running import Run
from picscribe.cli.main import app

log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
results, work = Work.results, Run._work
began = []

def counted(self, scribe, batch):
    if began:
        os.write(log, f"first call after {time.monotonic() - began.pop():.3f}\\n".encode())
    os.write(log, "".join(f"called {entry.path}\\n" for entry, _ in batch).encode())
    return results(self, scribe, batch)

def timed(self, *arguments):
    began.append(time.monotonic())
    return work(self, *arguments)

Work.results, Run._work = counted, timed
app(["bulk", *sys.argv[2:]])
"""
"""Runs `picscribe bulk`, and writes to a file which photos the model was called for, before it is."""


def tiny_model(folder: Path) -> Path:
    """A checkpoint of random weights that captions in a millisecond, nonsense that depends on the photo."""
    from picscribe import checkpoints
    from picscribe.media.preprocessing import Preprocessing
    from picscribe.model import ClipVitConfig, Git, GitConfig, TextDecoderConfig
    from picscribe.text.tokenizer import Tokenizer

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{chr(97 + n)}" for n in range(26))]
    tokenizer = Tokenizer(words)
    torch.manual_seed(3)
    encoder = ClipVitConfig(width=16, layers=1, heads=2, mlp_width=32, patch_size=16, image_size=32)
    decoder = TextDecoderConfig(
        vocabulary_size=len(words),
        width=16,
        layers=1,
        heads=2,
        mlp_width=32,
        max_positions=64,
        pad_id=tokenizer.pad_id,
        cls_id=tokenizer.cls_id,
        sep_id=tokenizer.sep_id,
    )
    model = Git(GitConfig(encoder, decoder)).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.mul_(12)
    checkpoints.save(checkpoints.Checkpoint(model, tokenizer, Preprocessing(size=32), "tiny", folder), folder)
    return folder


def make_photos(folder: Path, source: Path, count: int) -> Counter[str]:
    """Files of every sort in subfolders; how many there are of each."""
    photos = sorted(source.glob("*.jpg"))
    made: Counter[str] = Counter()
    previous = b""
    for number in range(count):
        place = folder / f"{number % 20:02}"
        place.mkdir(parents=True, exist_ok=True)
        if number == count // 3:
            kind, name = "hangs", f"hangs{number:06}.jpg"
        elif number == count // 2:
            kind, name = "kills", f"kills{number:06}.jpg"
        else:
            kind = "broken" if number % 100 == 7 else "copy" if number % 40 == 11 else "photo"
            name = f"{kind}{number:06}.jpg"
        content = photos[number % len(photos)].read_bytes() + b"%06d" % number
        if kind == "copy":
            content = previous
        elif kind == "photo":
            previous = content
        (place / name).write_bytes(content[: len(content) // 3] if kind == "broken" and number % 200 == 7 else
                                   b"no photo %06d" % number if kind == "broken" else content)  # fmt: skip
        made[kind] += 1
    return made


def rows_settled(journal: Path) -> int:
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as base,
    ):
        return int(base.execute("SELECT coalesce(max(number), 0) FROM outcomes").fetchone()[0])
    return 0


def kills(arguments: argparse.Namespace, folder: Path) -> None:
    """The test of exactly once; raises AssertionError where an output is wrong."""
    photos, out, log = folder / "photos", folder / "out", folder / "calls.log"
    made = make_photos(photos, arguments.photos, arguments.files)
    print("files:", dict(made))
    model = tiny_model(folder / "tiny")
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(SPOILT, encoding="utf-8")
    outputs = [f"txt:{out}/txt", f"caption:{out}/caption", f"json:{out}/json", f"xmp:{out}/xmp", f"jsonl:{out}/o.jsonl"]
    outputs += [f"csv:{out}/o.csv", f"coco:{out}/o.json", f"metadata:{photos}/metadata.jsonl", f"sqlite:{out}/o.sqlite"]
    outputs += [f"parquet:{out}/parquet", f"webdataset:{out}/tars"] + ["inside"] * arguments.inside
    command = [sys.executable, "-c", CHILD, str(log), str(photos), *(part for o in outputs for part in ("--to", o))]
    command += [
        "--model",
        str(model),
        "--job",
        str(folder / "job"),
        "--shard",
        str(max(20, arguments.files // 40)),
        "--max-seconds",
        "5",
    ]
    # A model so small waits for its threads longer than it computes.
    environment = {**os.environ, "PYTHONPATH": f"{folder / 'site'}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    one, other = start(), start()
    ended = None
    while ended is None:
        ended = next((process for process in (one, other) if process.poll() is not None), None)
        time.sleep(0.05)
    assert (
        ended.returncode == 1 and ended.stderr is not None and b"another run works on this job" in ended.stderr.read()
    )
    print("two runs at once: one says that another run works on this job, and ends")
    process, generator = (one if ended is other else other), random.Random(arguments.seed)
    begin, journal = time.monotonic(), folder / "job" / "journal.sqlite"
    most = arguments.files * 0.7 / max(1, arguments.kills)
    for kill in range(arguments.kills):
        at = rows_settled(journal) + generator.uniform(0.3, 1) * most
        while rows_settled(journal) < at and process.poll() is None:
            time.sleep(0.2)
        if kill % 4 == 0:  # right when a shard appears, or is about to
            tars = len(list((out / "tars").glob("*.tar"))) if (out / "tars").exists() else 0
            while len(list((out / "tars").glob("*.tar"))) == tars and process.poll() is None:
                time.sleep(0.001)
        else:
            time.sleep(generator.uniform(0, 1))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "it had ended before it was killed: more files, or fewer kills"
        process = start()
    said = process.communicate()[1].decode()
    seconds = time.monotonic() - begin
    print(said.strip().replace("\n", "; "))
    check(folder, photos, out, log, made, arguments)
    firsts = [float(line.rpartition(" ")[2]) for line in log.read_text().splitlines() if line.startswith("first")]
    print(f"{seconds:.0f} s in all; from the loaded model to its first call, run by run: {firsts} s")


def check(folder: Path, photos: Path, out: Path, log: Path, made: Counter[str], arguments: argparse.Namespace) -> None:
    """Every kind of output has each file once and says the same; failures are named; the model's calls are counted."""
    import pyarrow.parquet

    from picscribe.bulk.sinks.photos import PACKET
    from picscribe.bulk.sinks.xmp import Packet

    good = {str(p): p for p in photos.rglob("*.jpg") if p.name.startswith(("photo", "copy"))}
    rows = [json.loads(line) for line in (out / "o.jsonl").read_text("utf-8").splitlines()]
    said = {row["path"]: row["caption"] for row in rows}
    assert len(rows) == len(said) == len(good) and set(said) == set(good), "jsonl"
    relative = {str(Path(path).relative_to(photos)): text for path, text in said.items()}
    with (out / "o.csv").open(encoding="utf-8", newline="") as stream:
        tables = {"csv": list(csv.DictReader(stream))}
    with contextlib.closing(sqlite3.connect(out / "o.sqlite")) as base:
        tables["sqlite"] = [
            dict(zip(("path", "caption"), row, strict=True))
            for row in base.execute("SELECT path, caption FROM picscribe")
        ]
    tables["parquet"] = pyarrow.parquet.read_table(out / "parquet").to_pylist()
    tables["webdataset"] = list(samples(out / "tars"))
    for name, found in tables.items():
        assert len(found) == len(good) and {row["path"]: row["caption"] for row in found} == said, name
    metadata = [json.loads(line) for line in (photos / "metadata.jsonl").read_text("utf-8").splitlines()]
    assert len(metadata) == len(good) and {row["file_name"]: row["caption"] for row in metadata} == relative, "metadata"
    coco = json.loads((out / "o.json").read_text("utf-8"))
    assert len(coco) == len({row["image_id"] for row in coco}) == len(good), "coco"
    for kind in ("txt", "caption", "json", "xmp"):
        found = {}
        for path in (out / kind).rglob(f"*.{kind}"):
            name = str(path.relative_to(out / kind)).removesuffix(f".{kind}").removesuffix(".jpg") + ".jpg"
            content = path.read_bytes()
            if kind == "xmp":
                found[name] = Packet(content).text("AltText")
            else:
                found[name] = json.loads(content)["caption"] if kind == "json" else content.decode().removesuffix("\n")
        assert found == relative, kind
    if arguments.inside:
        for path, text in said.items():
            assert Packet(PACKET.findall(Path(path).read_bytes())[0]).text("Description") == text, path
    failures = [json.loads(line) for line in (folder / "job" / "failures.jsonl").read_text().splitlines()]
    classes = Counter(row["class"] for row in failures)
    assert classes == {"unreadable": made["broken"], "timed-out": 1, "decoder-died": 1}, classes
    assert len({row["path"] for row in failures}) == len(failures)
    assert not list(folder.rglob("*.partial")), "something is left of a kill"
    calls = [line.removeprefix("called ") for line in log.read_text().splitlines() if line.startswith("called")]
    distinct = len(set(calls))
    print(
        f"{len(good)} results, each once in {11 + arguments.inside} kinds of output; {dict(classes)}; the model was"
        f" called for {distinct} photos of different bytes, and again for {len(calls) - distinct} that were in hand at"
        f" {arguments.kills} kills"
    )


def samples(folder: Path) -> Iterator[dict[str, Any]]:
    shards = sorted(folder.glob("*.tar"))
    assert [path.name for path in shards] == [f"{n:05}.tar" for n in range(len(shards))]
    for path in shards:
        count = 0
        with tarfile.open(path) as archive:
            for member in archive:
                if member.name.endswith(".json"):
                    stream = archive.extractfile(member)
                    assert stream is not None
                    count += 1
                    yield json.load(stream)
        assert json.loads(path.with_name(path.stem + "_stats.json").read_bytes())["successes"] == count


def speed(arguments: argparse.Namespace, folder: Path) -> None:
    """Files a second: the model alone, decoding alone, and the whole, in turns."""
    import picscribe
    from picscribe.bulk import Engine, Limits, Options, Run
    from picscribe.bulk.entries import Entry

    photos = folder / "photos"
    photos.mkdir()
    for path in sorted(arguments.photos.glob("*.jpg"))[: arguments.files]:
        shutil.copy(path, photos)
    scribe = picscribe.load(arguments.model)
    paths = sorted(photos.iterdir())
    entries = [Entry(str(p), p.name, str(p), number=n) for n, p in enumerate(paths, 1)]
    limits = Limits(workers=arguments.workers)
    options = Options((str(photos),), ("",), limits=limits)
    figures: dict[str, list[float]] = {"model": [], "decoding": [], "bulk": []}
    for turn in range(arguments.rounds):
        engine = Engine(scribe, options.work, limits)
        with engine:
            done = threading.Semaphore(0)
            for entry in entries[: 2 * arguments.workers]:  # workers come up when they are first needed
                engine.decoders.submit(entry, lambda _: done.release())  # noqa: B023
            for _ in entries[: 2 * arguments.workers]:
                done.acquire()
            decoded: list[Any] = []

            def keep(result: Any) -> None:
                decoded.append(result)  # noqa: B023 - used up within the turn
                done.release()  # noqa: B023

            begin = time.perf_counter()
            for entry in entries:
                engine.decoders.submit(entry, keep)
            for _ in entries:
                done.acquire()
            figures["decoding"].append(len(entries) / (time.perf_counter() - begin))
            begin = time.perf_counter()
            for start in range(0, len(decoded), engine.batch_size):
                batch = decoded[start : start + engine.batch_size]
                list(options.work.results(scribe, [(one.entry, one.pixels) for one in batch]))
            figures["model"].append(len(entries) / (time.perf_counter() - begin))
            out = folder / f"out{turn}.jsonl"
            chosen = Options((str(photos),), (str(out), f"txt:{folder}/txt{turn}"), limits=limits)
            clock = Clock()
            Run(chosen, lambda _: engine, clock).go()  # noqa: B023
            figures["bulk"].append(len(entries) / clock.seconds)
    show(figures)
    whole, least = statistics.median(figures["bulk"]), min(statistics.median(figures[n]) for n in ("model", "decoding"))
    print(f"bulk is {whole / least:.2f} of the lower bound; with files written, journal and all")


class Clock:
    """Takes the time from the plan to the last outcome."""

    begin = seconds = 0.0

    def planned(self, counts: Any) -> None:
        self.begin = self.begin or time.perf_counter()

    def settled(self, outcomes: Any) -> None:
        self.seconds = time.perf_counter() - self.begin

    def note(self, text: str) -> None:
        print(text)


def show(figures: dict[str, list[float]]) -> None:
    for name, values in figures.items():
        each = ", ".join(f"{value:.1f}" for value in values)
        print(f"{name:24} {statistics.median(values):8.1f} files a second ({each})")


def memory(arguments: argparse.Namespace, folder: Path) -> None:
    """The most memory that a run takes with 1,000 and with 100,000 planned entries, of which it settles 400."""
    model, photo = tiny_model(folder / "tiny"), sorted(arguments.photos.glob("*.jpg"))[0].read_bytes()
    found = []
    for count in (1_000, 100_000):
        photos = folder / f"photos{count}"
        for number in range(count):
            place = photos / f"{number // 1000:03}"
            if number % 1000 == 0:
                place.mkdir(parents=True)
                (place / "first.jpg").write_bytes(photo + b"%d" % number)
            else:
                os.link(place / "first.jpg", place / f"{number:06}.jpg")
        code = (
            "import resource, sys; from picscribe.cli.main import app\n"
            "try: app(sys.argv[1:])\n"
            "finally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        command = [sys.executable, "-c", code, "bulk", str(photos), "--model", str(model), "--limit", "400"]
        command += ["--to", f"txt:{folder}/txt{count}", "--to", str(folder / f"{count}.jsonl"), "--workers", "1"]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        found.append(int(done.stdout.split()[-1]) / 1024)
        print(f"{count:>9,} planned: {found[-1]:.0f} MiB; {done.stderr.strip()}".replace("\n", "; "))
    print(f"{found[1] - found[0]:+.0f} MiB for 99,000 more")


def with_ray(arguments: argparse.Namespace, folder: Path) -> None:
    """One actor and two, each of one CPU; and the same work by Ray Data."""
    import ray

    from picscribe.bulk import Limits, Options, Run
    from picscribe.bulk.cluster import Actors, Cluster

    photos = folder / "photos"
    photos.mkdir()
    for path in sorted(arguments.photos.glob("*.jpg"))[: arguments.files]:
        shutil.copy(path, photos)
    os.environ["OMP_NUM_THREADS"] = "1"
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}},
    )
    figures: dict[str, list[float]] = {}
    for turn in range(arguments.rounds):
        for count in (1, 2):
            options = Options((str(photos),), (str(folder / f"{turn}-{count}.jsonl"),), limits=Limits(workers=1))
            actors = Actors(Cluster(actors=count), arguments.model, {}, options.work, options.limits, 8)
            ray.get([seat.actor.identity.remote() for seat in actors.seats])
            clock = Clock()
            Run(options, lambda _: actors, clock).go()  # noqa: B023
            figures.setdefault(f"actors, {count}", []).append(arguments.files / clock.seconds)
        figures.setdefault("Ray Data, 2 actors", []).append(by_ray_data(photos, arguments))
    show(figures)
    one, two = (statistics.median(figures[f"actors, {count}"]) for count in (1, 2))
    print(f"two actors are {two / one:.2f} times one")


def by_ray_data(photos: Path, arguments: argparse.Namespace) -> float:
    """Files a second of the same actors under Ray Data, without any output."""
    import ray.data

    from picscribe.bulk import Limits, Work
    from picscribe.bulk.cluster import Settler
    from picscribe.bulk.entries import Entry

    class Mapper:
        def __init__(self) -> None:
            self.settler = Settler(arguments.model, {}, Work(), Limits(workers=1), 8, False)

        def __call__(self, batch: Any) -> Any:
            begin = time.time()
            entries = [Entry(str(p), str(p), str(p), number=n) for n, p in enumerate(batch["path"], 1)]
            values = {o.entry.path: (o.value or {}).get("caption", "") for o in self.settler.settle(entries)}
            count = len(batch["path"])
            captions = [values[str(p)] for p in batch["path"]]
            return {"caption": captions, "begin": [begin] * count, "end": [time.time()] * count}

    ray.data.DataContext.get_current().enable_progress_bars = False
    rows = ray.data.from_items(
        [{"path": str(path)} for path in sorted(photos.iterdir())],
        override_num_blocks=len(list(photos.iterdir())) // 32 + 1,
    )
    results = rows.map_batches(Mapper, batch_size=32, concurrency=2, num_cpus=1)
    found = results.take_all()  # from the first batch that is begun, as actors take their time to come up
    return len(found) / (max(row["end"] for row in found) - min(row["begin"] for row in found))


def loop(arguments: argparse.Namespace, folder: Path) -> None:
    """The same photos, weights and search by a plain loop over transformers, and by bulk."""
    from PIL import Image
    from transformers import AutoProcessor, GitConfig, GitForCausalLM, GitVisionConfig

    import picscribe
    from picscribe.bulk import Engine, Limits, Options, Run

    photos, model = folder / "photos", folder / "model"
    photos.mkdir()
    for path in sorted(arguments.photos.glob("*.jpg"))[: arguments.files]:
        shutil.copy(path, photos)
    torch.manual_seed(1)
    vision = GitVisionConfig(
        hidden_size=192,
        intermediate_size=768,
        num_hidden_layers=6,
        num_attention_heads=6,
        image_size=224,
        patch_size=16,
    )
    config = GitConfig(
        vision_config=vision.to_dict(),
        vocab_size=30522,
        hidden_size=192,
        intermediate_size=768,
        num_hidden_layers=3,
        num_attention_heads=6,
    )
    network = GitForCausalLM(config).eval()
    network.save_pretrained(model)
    save_processor(model, arguments.vocabulary)
    processor = AutoProcessor.from_pretrained(model)
    figures: dict[str, list[float]] = {"transformers, a loop": [], "picscribe bulk": []}
    for turn in range(arguments.rounds):
        begin = time.perf_counter()
        with torch.inference_mode():
            for path in sorted(photos.iterdir()):
                pixels = processor(images=Image.open(path).convert("RGB"), return_tensors="pt").pixel_values
                ids = network.generate(pixel_values=pixels, max_length=20, num_beams=4)
                (folder / f"{path.stem}.txt").write_text(processor.batch_decode(ids, skip_special_tokens=True)[0])
        figures["transformers, a loop"].append(arguments.files / (time.perf_counter() - begin))
        options = Options((str(photos),), (f"txt:{folder}/txt{turn}",), limits=Limits(workers=arguments.workers))
        engine, clock = Engine(picscribe.load(model), options.work, options.limits), Clock()
        Run(options, lambda _: engine, clock).go()  # noqa: B023
        figures["picscribe bulk"].append(arguments.files / clock.seconds)
    show(figures)


def save_processor(folder: Path, vocabulary: Path) -> None:
    from transformers import BertTokenizerFast, CLIPImageProcessor, GitProcessor

    tokenizer = BertTokenizerFast(str(vocabulary), model_input_names=["input_ids", "attention_mask"])
    GitProcessor(CLIPImageProcessor(), tokenizer).save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("kills", "speed", "loop", "memory", "ray"))
    parser.add_argument("--photos", type=Path, default=Path("flickr8k/images"))
    parser.add_argument("--files", type=int)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--inside", action="store_true", help="also write into the photos, by ExifTool")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--vocabulary", type=Path, default=Path("bert-base-uncased-vocab.txt"))
    arguments = parser.parse_args()
    what = {
        "kills": (kills, 20_000),
        "speed": (speed, 500),
        "loop": (loop, 500),
        "memory": (memory, 0),
        "ray": (with_ray, 200),
    }
    act, files = what[arguments.what]
    arguments.files = arguments.files or files
    print(versions(), {name: str(value) for name, value in vars(arguments).items()})
    with tempfile.TemporaryDirectory(prefix="bulk-") as temporary:
        act(arguments, Path(temporary))


if __name__ == "__main__":
    main()
