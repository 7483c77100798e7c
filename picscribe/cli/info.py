"""`picscribe info`: what a checkpoint is, or everything that is wrong with it."""

from typing import TYPE_CHECKING, Annotated

import typer

from picscribe.cli.options.loading import Revision
from picscribe.cli.output.terminal import report, write_line

if TYPE_CHECKING:
    from picscribe.checkpoints import Description
    from picscribe.checkpoints.registry import Released
    from picscribe.media.preprocessing import Preprocessing
    from picscribe.model import GitConfig

MOST_LISTED = 20


def info(
    model: Annotated[str, typer.Argument(help="A name that `picscribe models` lists, or a folder.")],
    revision: Revision = None,
) -> None:
    """Show what a model is: sizes, input, tokens, files. Nothing is downloaded.

    Problems are listed on standard error, and the exit code is then 1.
    """
    from picscribe.checkpoints import describe

    found = describe(model, revision=revision)
    lines = [("name", found.name), *_origin(found), *_network(found.config)]
    lines += _published(found.released) if found.released and not found.folder else _input(found)
    lines += _precision(found)
    lines += [("note", note) for note in found.notes]
    if found.layout:
        lines += [("file", f"{name}, {size / 1e6:.2f} MB") for name, size in found.files[:MOST_LISTED]]
        if len(found.files) > MOST_LISTED:
            lines.append(("file", f"and {len(found.files) - MOST_LISTED} more"))
    width = max(len(label) for label, _ in lines)
    for label, text in lines:
        write_line(f"{label.ljust(width)}  {text}")
    for problem in found.problems[:MOST_LISTED]:
        report(problem)
    if len(found.problems) > MOST_LISTED:
        report(f"and {len(found.problems) - MOST_LISTED} more problems")
    # What has not been downloaded yet is not broken.
    if found.problems and found.folder is not None:
        raise typer.Exit(1)


def _origin(found: "Description") -> list[tuple[str, str]]:
    lines = [("folder", str(found.folder))] if found.folder else []
    if found.layout:
        lines.append(("layout", found.layout))
    if found.released:
        lines += [("task", found.released.task), ("licence", found.released.licence)]
        if found.released.score:
            score = found.released.score
            lines.append(("published", f"{score.metric} {score.value} on {score.data} ({score.where})"))
    return lines


def _network(config: "GitConfig | None") -> list[tuple[str, str]]:
    if config is None:
        return []
    from picscribe.model import ClipVitConfig

    encoder, decoder = config.image_encoder, config.text_decoder
    seen = (
        f"CLIP ViT, {encoder.layers} layers, width {encoder.width}, {encoder.heads} heads, patch {encoder.patch_size}"
        if isinstance(encoder, ClipVitConfig)
        else f"EfficientNet-Lite{encoder.variant}, width {encoder.width}"
    )
    written = f"{decoder.layers} layers, width {decoder.width}, {decoder.heads} heads"
    return [("image encoder", seen), ("text decoder", written)]


def _precision(found: "Description") -> list[tuple[str, str]]:
    """What `--precision fast` computes in on this machine's CPU, as far as that is known without measuring."""
    if found.config is None:
        return []
    from picscribe.acceleration.precision import candidates, recall_fast_precision
    from picscribe.checkpoints.int8_weights import holds_int8

    if found.folder and holds_int8(found.folder):
        return [("precision", "int8: the weights are stored in it")]
    chosen = recall_fast_precision(found.config)
    if chosen is None:
        others = " and ".join(candidates())
        return [("precision", f"float32; fast: not measured yet, will compare {others} with float32 when first used")]
    return [("precision", f"float32; fast: {chosen}")]


def _published(released: "Released") -> list[tuple[str, str]]:
    """What is known of a released model that is not on this machine."""
    size, longer = released.image_size, released.longer_edge
    lines = [
        ("parameters", f"{released.parameters / 1e6:.0f} M"),
        ("input", f"shorter edge {size} px, longer edge at most {longer} px" if longer else f"{size}×{size} px"),
    ]
    if released.frames:
        lines.append(("frames", f"at most {released.frames}"))
    lines.append(("image tokens", str(released.image_tokens * max(released.frames, 1))))
    return lines


def _input(found: "Description") -> list[tuple[str, str]]:
    lines = []
    if found.parameters:
        stored = f", stored as {', '.join(found.stored_as)}" if found.stored_as else ""
        lines.append(("parameters", f"{found.parameters / 1e6:.1f} M{stored}"))
    if found.preprocessing:
        lines.append(("input", _pixels(found.preprocessing)))
        if found.unlike_model_size:
            lines.append(("note", f"the model itself is for {found.unlike_model_size} px"))
    if found.config and found.config.frames:
        lines.append(("frames", f"at most {found.config.frames}"))
    if found.image_tokens:
        lines.append(("image tokens", str(found.image_tokens)))
    if found.vocabulary_size:
        lines.append(("vocabulary", f"{found.vocabulary_size} words"))
    return lines


def _pixels(preprocessing: "Preprocessing") -> str:
    size = preprocessing.size
    if preprocessing.mode == "keep_aspect":
        return f"shorter edge {size} px, longer edge at most {preprocessing.longer_edge} px"
    return f"{size}×{size} px, " + ("cut from the centre" if preprocessing.mode == "center_crop" else "stretched")
