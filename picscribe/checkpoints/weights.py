"""From a file's tensors to a network, and back: every tensor there, of the right shape, finite, and nothing else."""

import warnings
from collections.abc import Collection, Mapping, MutableMapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from picscribe.acceleration.mapped_pages import MappedPages
from picscribe.checkpoints.tensor_names import StoredTensor
from picscribe.errors import CheckpointError
from picscribe.model import Git, GitConfig

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
MOST_LISTED = 20


def raise_problems(source: object, problems: Sequence[str]) -> None:
    """Raise one CheckpointError that lists what is wrong with `source`; do nothing where nothing is."""
    if len(problems) == 1:
        raise CheckpointError(f"{source}: {problems[0]}")
    if problems:
        listed = [f"  {problem}" for problem in problems[:MOST_LISTED]]
        if len(problems) > MOST_LISTED:
            listed.append(f"  and {len(problems) - MOST_LISTED} more")
        raise CheckpointError("\n".join([f"{source}: {len(problems)} problems", *listed]))


def differences(tensors: Mapping[str, Tensor], expected: Sequence[StoredTensor], extras: Collection[str]) -> list[str]:
    """What keeps a file's tensors from being the `expected` ones, a sentence a tensor, by shape and type alone."""
    problems = []
    known = set(extras)
    for stored in expected:
        known.update(stored.parts)
        for part in stored.parts:
            if part not in tensors:
                if not stored.tied:
                    problems.append(f"missing tensor {part}, expected shape {stored.part_shape}")
                continue
            shape, dtype = tuple(tensors[part].shape), tensors[part].dtype
            if shape != stored.part_shape:
                problems.append(f"tensor {part} has shape {shape}, expected {stored.part_shape}")
            if dtype not in DTYPES:
                problems.append(f"tensor {part} has type {dtype}, expected a floating-point one")
    for name in tensors:
        if name not in known:
            problems.append(f"unexpected tensor {name} of shape {tuple(tensors[name].shape)}")
    return problems


def _fault(name: str, tensor: Tensor, dtype: torch.dtype) -> str | None:
    """Why the values of a tensor cannot be used as `dtype`, a sentence; None where they can."""
    low, high = tensor.aminmax()  # one pass, no memory; both are NaN where any value is
    if not torch.isfinite(low) & torch.isfinite(high):
        return f"tensor {name} has values that are not finite (NaN or infinite)"
    largest = max(-low.item(), high.item())
    if largest > torch.finfo(dtype).max:
        remedy = "; load it as bfloat16" if dtype == torch.float16 else ""
        return f"tensor {name} has the value {largest:g}, too large for {dtype}{remedy}"
    return None


def gather(
    tensors: MutableMapping[str, Tensor],
    expected: Sequence[StoredTensor],
    extras: Collection[str],
    source: object,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Tensor]:
    """A file's tensors → the network's state in `dtype`; each is taken out of `tensors`, so that its memory can go.

    What needs no change stays memory-mapped, and no page of the file stays in memory for having been looked at. The
    tensors must be as they were read: see `MappedPages.drop`.
    Raises CheckpointError that names every missing, unexpected, wrongly shaped or non-finite tensor of `source`.
    """
    raise_problems(source, differences(tensors, expected, extras))
    pages = MappedPages()
    state, faults = {}, []
    for stored in expected:
        if stored.tied and stored.parts[0] not in tensors:
            continue
        parts = [tensors.pop(part) for part in stored.parts]
        whole = len(parts) == 1 and parts[0].dtype == dtype
        tensor = parts[0].reshape(stored.shape) if whole else torch.empty(stored.shape, dtype=dtype)
        for index, (name, part) in enumerate(zip(stored.parts, parts, strict=True)):
            faults.append(_fault(name, part, dtype))
            if not whole:
                tensor.view(len(parts), -1)[index] = part.reshape(-1)
            pages.drop(part)
        state[stored.name] = tensor
    raise_problems(source, [fault for fault in faults if fault is not None])
    return state


def without_padding(state: dict[str, Tensor], config: GitConfig, words: int | None) -> GitConfig:
    """Take the rows beyond the first `words` out of `state`'s vocabulary; the configuration of what is left.

    Trainers pad a vocabulary to a multiple of 64 for speed. Nothing could be written with such a row.
    """
    rows = config.text_decoder.vocabulary_size
    if words is None or words >= rows:
        return config
    for name in ("text_decoder.word_embedding.weight", "text_decoder.output.weight", "text_decoder.output.bias"):
        if name in state:
            state[name] = state[name][:words]
    warnings.warn(
        f"the vocabulary has {rows} rows for {words} words: the {rows - words} rows of padding are left out",
        stacklevel=2,
    )
    return replace(config, text_decoder=replace(config.text_decoder, vocabulary_size=words))


def fill(model: Git, state: dict[str, Tensor], source: object) -> Git:
    """An empty network with the weights of `state`, taken over without a copy, in evaluation mode."""
    output, words = "text_decoder.output.weight", "text_decoder.word_embedding.weight"
    tied = model.config.text_decoder.tie_output
    if tied:
        if output in state and not torch.equal(state[output], state[words]):
            raise CheckpointError(
                f"{source}: its configuration ties the output weight to the word embedding, but the two differ: untie "
                "them there, or download the checkpoint again"
            )
        state[output] = state[words]
    model.load_state_dict(state, assign=True)
    if tied:
        model.text_decoder.output.weight = model.text_decoder.word_embedding.weight
    return model.eval()


def scatter(model: Git, expected: Sequence[StoredTensor], dtype: torch.dtype, keep_tied: bool) -> dict[str, Tensor]:
    """The network's state → a file's tensors, on the CPU; a tied output weight is written only with `keep_tied`."""
    state = model.state_dict()
    tensors = {}
    for stored in expected:
        if stored.tied and not keep_tied:
            continue
        tensor = state[stored.name].detach().to("cpu", dtype)
        for part, values in zip(stored.parts, tensor.chunk(len(stored.parts)), strict=True):
            tensors[part] = values.reshape(stored.part_shape).contiguous()
    return tensors
