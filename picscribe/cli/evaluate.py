"""`picscribe evaluate`: caption a data set's images and print the scores."""

import json
from pathlib import Path
from typing import Annotated

import typer

from picscribe.cli.terminal import Bar, report, write_line


def evaluate(
    model: Annotated[str, typer.Argument(help="A name that `picscribe models` lists, or a folder.")],
    annotations: Annotated[Path, typer.Argument(help="A data set in Karpathy's form: dataset_*.json.")],
    images: Annotated[Path, typer.Argument(help="The folder of its images.")],
    split: Annotated[str, typer.Option(help="Which split: train, val, test …")] = "val",
    beams: Annotated[int, typer.Option(min=1, help="Beams of the search; 1 is greedy.")] = 4,
    length_penalty: Annotated[float, typer.Option(help="Higher favours longer captions.")] = 0.6,
    max_words: Annotated[int, typer.Option(min=1, help="Longest caption, in tokens.")] = 20,
    batch_size: Annotated[int, typer.Option(min=1, help="Photos computed at a time.")] = 32,
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1, mps.")] = "cpu",
    revision: Annotated[
        str | None, typer.Option(show_default=False, help="Branch, tag or commit of a model on the hub.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            show_default=False, help='Write the captions here, in COCO\'s results form: [{"image_id", "caption"}].'
        ),
    ] = None,
) -> None:
    """Caption every image of a split; print CIDEr (1.0 is 100 points), BLEU, ROUGE-L, distinct captions per image."""
    from picscribe.datasets import read_karpathy
    from picscribe.errors import ConfigurationError
    from picscribe.evaluation.captioning import evaluate_captions
    from picscribe.generation.options import GenerationOptions
    from picscribe.scribe import load

    if output and not output.absolute().parent.is_dir():
        raise ConfigurationError(f"--output {output}: there is no folder {output.parent}")
    options = GenerationOptions(beams=beams, length_penalty=length_penalty, max_new_tokens=max_words)
    examples = read_karpathy(annotations, images, split)
    scribe = load(model, device=device, revision=revision)
    done = 0
    with Bar(len(examples)) as bar:

        def advance(now: int) -> None:
            nonlocal done
            with bar.advance(now - done):
                done = now

        result = evaluate_captions(scribe, examples, options, batch_size, advance)
    for name, error in result.errors.items():
        report(f"{name}: {error}")
    for metric, score in result.scores.items():
        write_line(f"{metric:9} {score:.4f}")
    write_line(f"{len(examples)} images of {split}, {beams} beams, {result.seconds:.0f} s")
    if output:
        # COCO's ids are numbers; its evaluation code does not know them as text.
        results = [
            {"image_id": int(name) if name.isdecimal() else name, "caption": caption}
            for name, caption in result.predictions.items()
        ]
        output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if result.errors:
        raise typer.Exit(1)
