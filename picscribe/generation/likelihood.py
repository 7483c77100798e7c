"""How likely given texts and labels are, exactly: token log-probabilities over the shared image prefix, no search.

Labels are walked along their trie, so that what they share is computed once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from picscribe.errors import ConfigurationError, InputError
from picscribe.generation.decoding import check_finite, pad_prompts
from picscribe.generation.label_trie import LabelTrie
from picscribe.model import Git, ImagePrefix, TextCache
from picscribe.model.attention import PADDING_POSITION, sees_image

ROWS = 512
"""Tokens computed at a time: enough for products at full speed."""

TOKENS_AN_IMAGE = 256
"""Of which so many, or one text's, over one image: each is compared with all others there."""

LOGITS = 2**22
"""Logits made at a time: 16 MiB, which mostly stay in a cache until they are summed up."""

IMAGES = 8
"""How many images are searched together; of each the ROWS / IMAGES likeliest beginnings continue at a time."""


def following_log_probs(model: Git, hidden: Tensor, row: Tensor, token: Tensor) -> Tensor:
    """Log-probability of `token[m]` after the hidden state `hidden[row[m]]`: (R, D), (M,), (M,) → (M,).

    `row` must not decrease. The vocabulary is gone through once a hidden state, however many tokens follow it.
    """
    step = max(1, LOGITS // model.config.text_decoder.vocabulary_size)
    starts = torch.arange(0, len(hidden) + step, step, device=row.device)
    ends = torch.searchsorted(row.contiguous(), starts).tolist()
    found = []
    for start, first, last in zip(range(0, len(hidden), step), ends, ends[1:], strict=False):
        logits = model.logits(hidden[start : start + step]).float()
        place = row[first:last] - start
        found.append(logits[place, token[first:last]] - logits.logsumexp(-1)[place])
    log_probs = torch.cat(found)
    check_finite(model, log_probs)
    return log_probs


def check_prompts(model: Git, prefix: ImagePrefix, prompts: Sequence[Sequence[int]]) -> None:
    """Raises InputError unless there is a prompt an image, each at least [CLS], of words that the model has."""
    if len(prompts) != len(prefix) or not prompts:
        raise InputError(f"{len(prefix)} images but prompts for {len(prompts)}")
    words = model.config.text_decoder.vocabulary_size
    for image, prompt in enumerate(prompts):
        if not prompt or not all(0 <= token < words for token in prompt):
            raise InputError(
                f"the prompt of image {image}, {list(prompt)}, must have at least [CLS], and only tokens below {words}"
            )


@torch.inference_mode()
def compute_log_probabilities(
    model: Git,
    prefix: ImagePrefix,
    prompts: Sequence[Sequence[int]],
    texts: Sequence[Sequence[Sequence[int]]],
) -> list[list[tuple[float, ...]]]:
    """Log-probability of each token of each text, given image, prompt and the tokens before it.

    prompts: one an image, [CLS] first. texts: for each image any number of token lists, which continue from its prompt;
    end one with [SEP] to count how likely it is that it ends there.
    Raises InputError for a text that is empty, longer than the model's positions, or of words that the model lacks.
    """
    check_prompts(model, prefix, prompts)
    if len(texts) != len(prompts):
        raise InputError(f"{len(prompts)} images but texts for {len(texts)}")
    for image, (prompt, of_image) in enumerate(zip(prompts, texts, strict=True)):
        for number, text in enumerate(of_image):
            _check_text(model, prompt, text, f"text {number} of image {image}")
    # Longest first, so that texts computed together are of about one length.
    orders = [sorted(range(len(of_image)), key=lambda i: -len(of_image[i])) for of_image in texts]
    scores: list[list[tuple[float, ...]]] = [[()] * len(of_image) for of_image in texts]
    begun = [0] * len(texts)
    while waiting := [image for image, order in enumerate(orders) if begun[image] < len(order)]:
        longest = max(len(texts[image][orders[image][begun[image]]]) for image in waiting)
        count = min(max(1, TOKENS_AN_IMAGE // longest), max(len(orders[image]) - begun[image] for image in waiting))
        waiting = waiting[: max(1, ROWS // (count * longest))]
        chosen = [orders[image][begun[image] : begun[image] + count] for image in waiting]
        selected = prefix.select(torch.tensor(waiting, device=prefix.keys[0].device))
        found = _score_together(
            model,
            selected,
            [prompts[image] for image in waiting],
            [[texts[image][number] for number in numbers] for image, numbers in zip(waiting, chosen, strict=True)],
        )
        for image, numbers, scored in zip(waiting, chosen, found, strict=True):
            begun[image] += len(numbers)
            for number, log_probs in zip(numbers, scored, strict=True):
                scores[image][number] = log_probs
    return scores


def _check_text(model: Git, prompt: Sequence[int], text: Sequence[int], name: str) -> None:
    decoder = model.config.text_decoder
    if not text:
        raise InputError(f"{name} is empty: it needs at least one token, such as [SEP]")
    if not all(0 <= token < decoder.vocabulary_size for token in text):
        raise InputError(f"{name} has a token outside the model's vocabulary of {decoder.vocabulary_size} words")
    if len(prompt) + len(text) > decoder.max_positions:
        raise InputError(
            f"{name} is {len(text)} tokens after a prompt of {len(prompt)}, but the model has "
            f"{decoder.max_positions} positions: shorten it"
        )


def decode_prompts(
    model: Git, prefix: ImagePrefix, prompts: Sequence[Sequence[int]], slots: int
) -> tuple[TextCache, Tensor, Tensor]:
    """A cache that holds one prompt an image and has room for `slots` tokens more; the hidden states (B, D) of the
    prompts' last tokens; their lengths (B,)."""
    tokens, position, lengths = pad_prompts([[prompt] for prompt in prompts], prefix.keys[0].device)
    cache = TextCache(prefix, 1, tokens.shape[2] + slots)
    hidden = model.decode_next(tokens, cache, position)[:, 0]
    return cache, hidden[torch.arange(len(hidden), device=hidden.device), lengths[:, 0] - 1], lengths[:, 0]


def _score_together(
    model: Git, prefix: ImagePrefix, prompts: Sequence[Sequence[int]], texts: Sequence[Sequence[Sequence[int]]]
) -> list[list[tuple[float, ...]]]:
    """`compute_log_probabilities` of as many texts as fit side by side; an image may have fewer than others."""
    most = max(len(of_image) for of_image in texts)
    longest = max(len(text) for of_image in texts for text in of_image)
    padded = [
        [[*text, *[-1] * (longest - len(text))] for text in [*of_image, *[()] * (most - len(of_image))]]
        for of_image in texts
    ]
    cache, last, lengths = decode_prompts(model, prefix, prompts, most * (longest - 1))
    tokens = torch.tensor(padded, device=last.device)
    real = tokens >= 0
    states, image = [last], torch.arange(len(texts), device=last.device)
    first = image[:, None].expand(-1, most)[real[..., 0]]
    if longest > 1:
        cache.reorder(torch.zeros((len(texts), most), dtype=torch.long, device=last.device))
        position = lengths[:, None, None] + torch.arange(longest - 1, device=last.device)
        position = torch.where(real[..., 1:], position, PADDING_POSITION)
        hidden = model.decode_next(tokens[..., :-1].clamp(min=0), cache, position)
        states.append(hidden[real[..., 1:]])
    later = torch.arange(int(real[..., 1:].sum()), device=last.device) + len(last)
    target = torch.cat([tokens[..., 0][real[..., 0]], tokens[..., 1:][real[..., 1:]]])
    log_probs = following_log_probs(model, torch.cat(states), torch.cat([first, later]), target)
    table = torch.zeros(tokens.shape, device=last.device)
    table[..., 0][real[..., 0]] = log_probs[: len(first)]
    table[..., 1:][real[..., 1:]] = log_probs[len(first) :]
    return [
        [tuple(row[: len(text)]) for row, text in zip(rows, of_image, strict=False)]
        for rows, of_image in zip(table.tolist(), texts, strict=True)
    ]


@dataclass(frozen=True)
class LabelRanking:
    """The K best labels of B images: `label` (B, K) by index and `log_likelihood` (B, K), [SEP]'s included, best first.

    `known` (B,) is the log of the summed probability of all labels that were computed, `open` (B,) a bound on that of
    all others (-inf where there are none). So the probability of label k among the labels lies between
    exp(log_likelihood - log(exp(known) + exp(open))) and exp(log_likelihood - known).
    """

    label: Tensor
    log_likelihood: Tensor
    known: Tensor
    open: Tensor

    def probability(self) -> Tensor:
        """The least that each label's probability among all labels can be, (B, K); exact where nothing is open."""
        return (self.log_likelihood - torch.logaddexp(self.known, self.open)[:, None]).exp()


class _TrieWalk:
    """What is known of B images' labels: `log_prob` (B, N) of the trie's nodes that were reached, else -inf, and which
    of them are `open`: reached, but not what follows them."""

    def __init__(self, model: Git, prefix: ImagePrefix, prompts: Sequence[Sequence[int]], trie: LabelTrie) -> None:
        self.model, self.trie = model, trie
        cache, last, self.lengths = decode_prompts(model, prefix, prompts, 0)
        seen = prefix.tokens + cache.slots
        self.keys = [keys[:, :, :seen] for keys in cache.prefix.keys]
        self.values = [values[:, :, :seen] for values in cache.prefix.values]
        visible = sees_image(cache.visible[:, None], prefix.tokens)
        self.mask = torch.zeros((), dtype=last.dtype, device=last.device).where(visible, -torch.inf)
        shape, device = (len(last), trie.nodes), last.device
        self.log_prob = torch.full(shape, -torch.inf, device=device)
        self.log_prob[:, 0] = 0
        self.open = torch.zeros(shape, dtype=torch.bool, device=device)
        # Nodes that others will look back on keep their keys and values, each in a slot: (layers, 2, slots, H, D/H).
        self.slot = torch.zeros(shape, dtype=torch.long, device=device)
        self.looked_at = torch.zeros(trie.nodes, dtype=torch.bool, device=device)
        self.looked_at[trie.parent[1:][trie.token[1:] != trie.sep_id]] = True
        batch, heads, _, width = self.keys[0].shape
        self.kept = last.new_empty((len(self.keys), 2, 0, heads, width))
        self.slots = 0
        images = torch.arange(batch, device=device)
        self._reach_children(last, images, torch.zeros_like(images))

    def _reach_children(self, hidden: Tensor, image: Tensor, node: Tensor) -> None:
        """From the hidden states (R, D) of nodes to the log-probabilities of what follows them."""
        child, of = self.trie.children(node)
        log_prob = following_log_probs(self.model, hidden, of, self.trie.token[child])
        self.log_prob[image[of], child] = self.log_prob[image, node][of] + log_prob
        self.open[image[of], child] = self.trie.token[child] != self.trie.sep_id
        self.open[image, node] = False

    def go_on(self, wanted: Tensor) -> None:
        """Compute what follows the likeliest of the nodes `wanted` (B, N), all open, up to ROWS of them."""
        counts = wanted.sum(1)
        image = counts.nonzero()[:, 0]
        count = min(max(1, ROWS // len(image)), int(counts.max()))
        order = self.log_prob[image].nan_to_num(nan=0.0).masked_fill(~wanted[image], -torch.inf)
        node = order.topk(count, dim=1).indices
        valid = wanted[image].gather(1, node)
        node = torch.where(valid, node, 1)  # any node that is a word
        hidden = self._decode(image, node, valid)
        self._reach_children(hidden[valid], image[:, None].expand_as(node)[valid], node[valid])

    def _decode(self, image: Tensor, node: Tensor, valid: Tensor) -> Tensor:
        """Hidden states (b, n, D) of nodes (b, n) of some of the images, all nodes above them computed before."""
        depth = self.trie.depth[node]
        above = self.trie.ancestors(node, int(depth.max()) - 1)
        slot = self.slot[image[:, None, None], above]
        seen = torch.cat([above > 0, torch.ones_like(node, dtype=torch.bool)[..., None]], dim=2)
        keep = valid & self.looked_at[node]
        new = self._new_slots(int(keep.sum()))
        self.slot[image[:, None].expand_as(node)[keep], node[keep]] = torch.arange(
            new.start, new.stop, device=node.device
        )
        x = self.model.text_decoder.embed(self.trie.token[node], self.lengths[image][:, None] + depth - 1)
        everyone = len(image) == len(self.mask)
        mask = self.mask if everyone else self.mask[image]

        def attend_line(number: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            query, key, value = (part.transpose(1, 2) for part in (query, key, value))
            self.kept[number, 0, new], self.kept[number, 1, new] = key[keep], value[keep]
            line_key, line_value = (
                torch.cat([kept[slot], own[:, :, None]], dim=2)
                for kept, own in zip(self.kept[number], (key, value), strict=True)
            )
            keys, values = self.keys[number], self.values[number]
            if not everyone:
                keys, values = keys[image], values[image]
            return _attend(query, keys, values, mask, line_key, line_value, seen)

        return self.model.text_decoder.walk(x, attend_line)

    def _new_slots(self, count: int) -> slice:
        """So many slots more, in memory that doubles where it is full."""
        new = slice(self.slots, self.slots + count)
        if new.stop > self.kept.shape[2]:
            layers, two, room, heads, width = self.kept.shape
            wider = self.kept.new_empty((layers, two, max(new.stop, 2 * room), heads, width))
            wider[:, :, :room] = self.kept
            self.kept = wider
        self.slots = new.stop
        return new


def _attend(
    query: Tensor, keys: Tensor, values: Tensor, mask: Tensor, line_keys: Tensor, line_values: Tensor, line_mask: Tensor
) -> Tensor:
    """Attention of nodes over what all of an image see and over their own line: (b, n, D).

    `query` (b, n, H, d); `keys`, `values` (b, H, K, d) and what is added to their scores, `mask` (b, 1, 1, K);
    `line_*` (b, n, A, H, d), themselves last, `line_mask` (b, n, A), True where seen.
    """
    query = query * query.shape[-1] ** -0.5
    scores = query.transpose(1, 2) @ keys.transpose(2, 3) + mask
    line = torch.einsum("bnhd,bnahd->bhna", query, line_keys).masked_fill(~line_mask[:, None], -torch.inf)
    weight = torch.cat([scores, line], dim=3).softmax(-1)
    seen = (weight[..., : keys.shape[2]] @ values).transpose(1, 2)
    return (seen + torch.einsum("bhna,bnahd->bnhd", weight[..., keys.shape[2] :], line_values)).flatten(2)


def _check(model: Git, prefix: ImagePrefix, prompts: Sequence[Sequence[int]], trie: LabelTrie) -> None:
    check_prompts(model, prefix, prompts)
    decoder, longest = model.config.text_decoder, max(map(len, prompts))
    if int(trie.token.max()) >= decoder.vocabulary_size:
        raise InputError(f"a label has a token outside the model's vocabulary of {decoder.vocabulary_size} words")
    if longest + trie.longest > decoder.max_positions:
        number = int(trie.depth[trie.end].argmax())
        raise InputError(
            f"label {number} is {trie.longest} tokens with [SEP], after a prompt of {longest}, but the model has "
            f"{decoder.max_positions} positions: shorten or leave out the label"
        )


def _walks(
    model: Git, prefix: ImagePrefix, prompts: Sequence[Sequence[int]], trie: LabelTrie, size: int
) -> Iterator[_TrieWalk]:
    """Walks, not begun, over `size` images each."""
    for start in range(0, len(prompts), size):
        images = torch.arange(start, min(start + size, len(prompts)), device=trie.token.device)
        yield _TrieWalk(model, prefix.select(images), prompts[start : start + size], trie)


@torch.inference_mode()
def compute_label_likelihoods(
    model: Git, prefix: ImagePrefix, prompts: Sequence[Sequence[int]], trie: LabelTrie
) -> Tensor:
    """Log-likelihood of every label, [SEP] included, for every image: (B, L). `prompts`: one an image, [CLS] first.

    Raises InputError for a label longer than the model's positions or of words that the model lacks.
    """
    _check(model, prefix, prompts, trie)
    trie = trie.to(prefix.keys[0].device)
    scores = []
    # Images one after the other where one fills a pass, so that fewer keys and values wait.
    for walk in _walks(model, prefix, prompts, trie, max(1, ROWS // trie.nodes)):
        while walk.open.any():
            walk.go_on(walk.open)
        scores.append(walk.log_prob[:, trie.end])
    return torch.cat(scores)


@torch.inference_mode()
def rank_labels(
    model: Git,
    prefix: ImagePrefix,
    prompts: Sequence[Sequence[int]],
    trie: LabelTrie,
    top_k: int = 5,
    tolerance: float = 1.0,
) -> LabelRanking:
    """The `top_k` likeliest labels of every image, exactly, all of them where there are fewer.

    No label is likelier than its beginning, so a beginning less likely than the k-th best label is left there. What
    is left may hold at most the share `tolerance` of the labels' summed probability: 1 ranks alone, 0 leaves nothing,
    0.001 gives probabilities to three digits. On a trained model a few beginnings hold nearly all of it.
    Raises as `compute_label_likelihoods`, and ConfigurationError for a `top_k` below 1 or a `tolerance` outside 0 to 1.
    """
    _check(model, prefix, prompts, trie)
    if top_k < 1:
        raise ConfigurationError(f"top_k must be at least 1, not {top_k!r}")
    if not 0 <= tolerance <= 1:
        raise ConfigurationError(f"tolerance must be from 0 to 1, not {tolerance!r}")
    trie = trie.to(prefix.keys[0].device)
    parts = []
    for walk in _walks(model, prefix, prompts, trie, IMAGES):
        parts.append(_rank(walk, min(top_k, len(trie)), tolerance))
    label, log_likelihood, known, left = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    return LabelRanking(label, log_likelihood, known, left)


def _rank(walk: _TrieWalk, top_k: int, tolerance: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The fields of a `LabelRanking` of the walk's images."""
    log_odds = torch.tensor(tolerance).logit().item()
    while True:
        scores = walk.log_prob[:, walk.trie.end]
        best, label = scores.topk(top_k, dim=1)
        known = scores.logsumexp(1)
        left = walk.log_prob.masked_fill(~walk.open, -torch.inf).logsumexp(1)
        unsettled = left > known + log_odds
        wanted = walk.open & ((walk.log_prob > best[:, -1:]) | unsettled[:, None])
        if not wanted.any():
            return label, best, known, left
        walk.go_on(wanted)
