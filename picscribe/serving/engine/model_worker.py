"""The process that computes: a model that takes batches of questions about pixels, and answers each when it is done."""

import contextlib
import os
import queue
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from picscribe.errors import ConfigurationError, InputError, PicscribeError
from picscribe.serving.child import Gone, own_streams, read_message, write_message

if TYPE_CHECKING:
    import torch

    from picscribe.results import Caption
    from picscribe.scribe import Scribe
    from picscribe.tasks import Task
    from picscribe.text.labels import Labels


def main() -> None:
    """Load a model, then compute batches until there are no more. Arguments: what to load, as JSON."""
    import json

    settings = json.loads(sys.argv[2])
    coming, going = own_streams()
    if settings["threads"]:
        os.environ["OMP_NUM_THREADS"] = str(settings["threads"])
    answers = Answers(going)
    try:
        worker = ModelWorker(settings, answers)
    except PicscribeError as error:
        answers.send({"failed": str(error)})
        return
    answers.send({"ready": worker.facts(), "batch": worker.batch})
    batches: queue.Queue[tuple[dict[str, Any], bytes] | None] = queue.Queue()
    threading.Thread(target=_listen, args=(coming, batches, worker.gone), daemon=True).start()
    while (message := batches.get()) is not None:
        with contextlib.suppress(BrokenPipeError):
            worker.compute(*message)


def _listen(coming: Any, batches: "queue.Queue[tuple[dict[str, Any], bytes] | None]", gone: set[int]) -> None:
    """Take in batches, and the numbers of batches that nobody waits for any more, while others are computed."""
    try:
        while True:
            header, content = read_message(coming)
            if "gone" in header:
                gone.add(header["gone"])
            else:
                batches.put((header, content))
    except Gone:
        batches.put(None)


class Answers:
    """Where answers go; any thread may send."""

    def __init__(self, going: Any) -> None:
        self._going, self._lock = going, threading.Lock()

    def send(self, header: dict[str, Any]) -> None:
        """Send one."""
        with self._lock:
            write_message(self._going, header)


class ModelWorker:
    """A loaded model with its cache of encoded images."""

    def __init__(self, settings: dict[str, Any], answers: Answers) -> None:
        """Raises CheckpointError and the like where the model cannot be loaded."""
        import torch

        from picscribe.checkpoints.registry import answers_questions
        from picscribe.scribe import SMALL_BATCH, load
        from picscribe.serving.engine.image_cache import EncoderCache

        if settings["threads"]:
            torch.set_num_threads(settings["threads"])
        self.scribe: Scribe = load(
            settings["source"],
            device=settings["device"],
            dtype=settings["dtype"],
            quantize=settings["quantize"],
            precision=settings["precision"],
        )
        # On a CPU a large batch is hardly faster, and its first caption would wait for its last.
        fitting = self.scribe.fitting_batch_size() if settings["device"].startswith("cuda") else SMALL_BATCH
        self.batch = settings["batch"] or fitting
        self.answers, self.gone = answers, set[int]()
        self.asks = answers_questions(settings["source"])
        self._kept_labels: dict[tuple[str, ...], Labels] = {}
        self.encoder = self.scribe.wrap_encoder(lambda encoder: EncoderCache(encoder, settings["cache"]))

    def facts(self) -> dict[str, Any]:
        """What the service has to know of the model, and tells of it."""
        from dataclasses import asdict

        from picscribe.checkpoints.registry import find_released
        from picscribe.checkpoints.tensor_names import count_parameters

        scribe, config = self.scribe, self.scribe.config
        released = find_released(scribe.name)
        preprocessing = asdict(scribe.preprocessing)
        return {
            "fingerprint": scribe.fingerprint(),
            "precision": scribe.precision,
            "loading": scribe.loading,
            "preprocessing": preprocessing,
            "frames": config.frames,
            "asks": self.asks,
            "task": released.task if released else None,
            "parameters": count_parameters(config),
            "bytes": sum(weight.nbytes for _, weight in scribe.weights()),
            "positions": config.text_decoder.max_positions,
            "image_tokens": self._warm_up(),
        }

    def _warm_up(self) -> int:
        """Caption a grey picture, so that the first client does not wait for what happens once; the image tokens."""
        import torch

        size, frames = self.scribe.preprocessing.size, self.scribe.config.frames
        pixels = torch.zeros((frames, 3, size, size) if frames else (3, size, size))
        for _ in self.scribe.captions([pixels], errors="return"):
            pass
        with torch.inference_mode():
            return self.encoder(pixels[None]).shape[1]

    def compute(self, header: dict[str, Any], content: bytes) -> None:
        """Answer a batch: `questions` with their numbers, shapes and settings, `content` their pixels in a row."""
        started = time.perf_counter()
        images = self._images(header["questions"], content)
        questions = [q for q in header["questions"] if q["number"] not in self.gone]
        before, spent = self.encoder.encoded, self.encoder.seconds
        streams = [q for q in questions if q["kind"] == "words"]
        if streams:
            with self.encoder.holding():
                with contextlib.suppress(Exception):  # what is wrong with one shows when it is alone
                    self._encode(images, questions)
                self._stream(streams, images)
                self._run([q for q in questions if q["kind"] != "words"], images)
        else:
            self._run(questions, images)
        self.gone.difference_update(q["number"] for q in header["questions"])
        spent = self.encoder.seconds - spent
        cache = self.encoder.cache
        self.answers.send(
            {
                "done": header["batch"],
                "seconds": {"encode": spent, "generate": time.perf_counter() - started - spent},
                "encoded": self.encoder.encoded - before,
                "cache": {"bytes": cache.bytes, "hits": cache.hits, "misses": cache.misses},
            }
        )

    def _images(self, questions: list[dict[str, Any]], content: bytes) -> "dict[int, torch.Tensor]":
        """Each question's pixels, (3, height, width) or (F, 3, height, width); equal ones are one tensor."""
        import numpy as np
        import torch

        parts: list[torch.Tensor] = []
        levels = np.frombuffer(content, np.uint8)
        start = 0
        images: dict[int, torch.Tensor] = {}
        for question in questions:
            if question["image"] == len(parts):
                end = start + int(np.prod(question["shape"]))
                array = levels[start:end].reshape(question["shape"])
                parts.append(torch.from_numpy(self.scribe.preprocessing.normalise(array)))
                start = end
            images[question["number"]] = parts[question["image"]]
        return images

    def _encode(self, images: "dict[int, torch.Tensor]", questions: list[dict[str, Any]]) -> None:
        """Encode the images of all questions at once: streams, which are made one by one, find them in the cache."""
        import torch

        wanted = {id(image): image for q in questions if (image := images[q["number"]]) is not None}
        shapes: dict[Any, list[torch.Tensor]] = {}
        for image in wanted.values():
            shapes.setdefault(image.shape, []).append(image)
        with torch.inference_mode():
            for same in shapes.values():
                self.encoder(torch.stack(same))

    def _run(self, questions: list[dict[str, Any]], images: "dict[int, torch.Tensor]") -> None:
        if not questions:
            return
        tasks: list[Task[Any]] = []
        numbers: list[int] = []
        notes: list[list[str]] = []
        for question in questions:
            try:
                tasks.append(self._task(question, images[question["number"]]))
                numbers.append(question["number"])
                notes.append(self._notes(question))
            except PicscribeError as error:
                self._answer(question["number"], error)
        sent: set[int] = set()

        def finished(place: int, result: Any) -> None:
            sent.add(place)
            self._answer(numbers[place], result, notes[place])

        try:
            for _ in self.scribe.run(
                tasks,
                batch_size=self.batch,
                errors="return",
                cancelled=lambda place: numbers[place] in self.gone,
                finished=finished,
            ):
                pass
        except Exception as error:  # one task must not take the others with it: each is tried alone
            left = [numbers[place] for place in range(len(tasks)) if place not in sent]
            for question in questions:
                if question["number"] not in left:
                    continue
                if len(questions) == 1:
                    self._answer(question["number"], error)
                else:
                    self._run([question], images)

    def _stream(self, questions: list[dict[str, Any]], images: "dict[int, torch.Tensor]") -> None:
        """Captions word by word, a piece of each in turn."""
        from picscribe.generation import GenerationOptions

        running: dict[int, Iterator[str]] = {}
        for question in questions:
            number = question["number"]
            try:
                options = GenerationOptions(**{"beams": 1, **question["options"]})
                running[number] = self.scribe.stream(images[number], prompt=question["prompt"], options=options)
            except Exception as error:
                self._answer(number, error)
        while running:
            for number in list(running):
                try:
                    if number in self.gone:
                        raise StopIteration
                    self.answers.send({"piece": next(running[number]), "number": number})
                except StopIteration:
                    del running[number]
                    self.answers.send({"number": number, "answer": {}})
                except Exception as error:
                    del running[number]
                    self._answer(number, error)

    def _task(self, question: dict[str, Any], image: "torch.Tensor") -> "Task[Any]":
        from picscribe import tasks
        from picscribe.generation import GenerationOptions

        kind, prompt = question["kind"], question["prompt"]
        if kind == "classify":
            return tasks.ClassifyTask(image, self._labels(tuple(question["texts"])), question["top_k"], prompt)
        if kind == "score":
            return tasks.ScoreTask(image, tuple(question["texts"]), prompt)
        options = GenerationOptions(**question["options"])
        if kind == "ask":
            return tasks.AskTask(image, tuple(question["texts"]), options)
        if kind == "explain":
            return tasks.ExplainTask(image, prompt, question["method"], options)
        return tasks.CaptionTask(image, prompt, options)

    def _notes(self, question: dict[str, Any]) -> list[str]:
        """What of a question's texts the model does not get to read. What is wrong with one is left to its task."""
        from picscribe.text.prompts import Prompt

        notes: list[str] = []
        texts = [(question["prompt"], "prompt"), *((text, "question") for text in question["texts"])]
        for text, kind in texts if question["kind"] == "ask" else texts[:1]:
            with contextlib.suppress(InputError):
                notes += Prompt.of(self.scribe.tokenizer, text, kind).notes
        if question["kind"] == "classify":
            notes += self._labels(tuple(question["texts"])).notes
        if question["kind"] == "score":
            notes += self._notes_of_texts(question["texts"])
        return notes

    def _notes_of_texts(self, texts: Sequence[str]) -> list[str]:
        from picscribe.text.prompts import unknown_note
        from picscribe.text.tokenizer import quote

        tokenizer = self.scribe.tokenizer
        read = ((text, tokenizer.encode(text)) for text in texts)
        return [
            unknown_note(tokenizer, f"the text {quote(text)}", text, ids)
            for text, ids in read
            if tokenizer.unk_id in ids and any(index != tokenizer.unk_id for index in ids)
        ]

    def _labels(self, names: tuple[str, ...]) -> "Labels":
        """Labels as the tokenizer sees them; the last ones are kept. Raises InputError where none can be used."""
        from picscribe.text.labels import Labels

        if names not in self._kept_labels:
            self._kept_labels = {names: Labels.of(self.scribe.tokenizer, names)}
        return self._kept_labels[names]

    def _answer(self, number: int, result: Any, notes: Sequence[str] = ()) -> None:
        self.answers.send({"number": number, "notes": notes} | self._said(result))

    def _said(self, result: Any) -> dict[str, Any]:
        """A result as plain data."""
        import traceback

        if isinstance(result, ConfigurationError):
            return {"error": str(result), "fault": "option"}
        if isinstance(result, PicscribeError):
            return {"error": str(result), "fault": "input"}
        if isinstance(result, Exception):
            print("".join(traceback.format_exception(result)), file=sys.stderr, flush=True)
            return {"error": type(result).__name__, "fault": "server"}
        return {"answer": self._plain(result)}

    def _plain(self, result: Any) -> Any:
        from picscribe.results import Caption, Classification, Explanation, TextScore

        if isinstance(result, list):
            return [{"error": str(one)} if isinstance(one, PicscribeError) else self._plain(one) for one in result]
        if isinstance(result, Caption):
            plain = self._caption(result)
            return plain | {"alternatives": [self._caption(one) for one in result.alternatives]}
        if isinstance(result, Classification):
            names = ("label", "log_likelihood", "probability")
            return [{name: getattr(one, name) for name in names} for one in result.ranking]
        if isinstance(result, TextScore):
            names = ("text", "log_likelihood", "confidence")
            raw = {"tokens": result.tokens, "log_probabilities": result.log_probabilities}
            return {name: getattr(result, name) for name in names} | {"raw": raw}
        if isinstance(result, Explanation):
            return self._explained(result)
        raise TypeError(f"a result of type {type(result).__name__}")

    def _caption(self, caption: "Caption") -> dict[str, Any]:
        import math

        vocabulary = self.scribe.tokenizer.vocabulary
        probabilities = [math.exp(min(0.0, value)) for value in caption.log_probabilities]
        words = [
            {"token": vocabulary[token], "probability": probability}
            for token, probability in zip(caption.tokens, probabilities, strict=False)
        ]
        ended = len(caption.log_probabilities) > len(caption.tokens)
        return {
            "text": caption.text,
            "score": caption.score,
            "confidence": caption.confidence,
            "tokens": words,
            "ended": ended,
            "raw": {
                "tokens": caption.tokens,
                "log_probabilities": caption.log_probabilities,
                "decoded": caption.decoded,
            },
        }

    def _explained(self, explanation: Any) -> dict[str, Any]:
        import base64
        import io

        frames = []
        for frame in explanation.frames:
            buffer = io.BytesIO()
            frame.save(buffer, "JPEG", quality=85)
            frames.append(base64.b64encode(buffer.getvalue()).decode())
        maps = [[frame.round(6).tolist() for frame in of_word] for of_word in explanation.maps]
        words = [{"word": word, "maps": of_word} for word, of_word in zip(explanation.words, maps, strict=True)]
        view = self.scribe.preprocessing.mode
        return {"caption": self._plain(explanation.caption), "words": words, "frames": frames, "view": view}
