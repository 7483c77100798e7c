"""From a file's tensors to a network, and back: every tensor there, of the right shape, finite, and nothing else."""

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from picscribe.checkpoints.tensor_names import StoredTensor, empty_model
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


def _is_finite(tensor: Tensor) -> bool:
    low, high = tensor.aminmax()  # one pass, no memory; both are NaN where any value is
    return bool(torch.isfinite(low) & torch.isfinite(high))


def gather(
    tensors: Mapping[str, Tensor], expected: Sequence[StoredTensor], extras: Collection[str], source: object
) -> dict[str, Tensor]:
    """A file's tensors → the network's state, float32. What needs no change stays memory-mapped.

    Raises CheckpointError that names every missing, unexpected, wrongly shaped or non-finite tensor of `source`.
    """
    raise_problems(source, differences(tensors, expected, extras))
    broken = [
        f"tensor {part} holds values that are not finite (NaN or infinite)"
        for stored in expected
        for part in stored.parts
        if part in tensors and not _is_finite(tensors[part])
    ]
    raise_problems(source, broken)
    state = {}
    for stored in expected:
        if stored.tied and stored.parts[0] not in tensors:
            continue
        parts = [tensors[part].float() for part in stored.parts]
        state[stored.name] = (torch.cat(parts) if len(parts) > 1 else parts[0]).reshape(stored.shape)
    return state


def build(config: GitConfig, state: dict[str, Tensor], source: object) -> Git:
    """The network of `config` with the weights of `state`, taken over without a copy, in evaluation mode."""
    output, words = "text_decoder.output.weight", "text_decoder.word_embedding.weight"
    if config.text_decoder.tie_output:
        if output in state and not torch.equal(state[output], state[words]):
            raise CheckpointError(f"{source}: the output weight should be the word embedding, but the file has another")
        state[output] = state[words]
    model = empty_model(config)
    model.load_state_dict(state, assign=True)
    if config.text_decoder.tie_output:
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
