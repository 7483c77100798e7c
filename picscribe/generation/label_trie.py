"""Labels as a trie of tokens, so that common beginnings occur once, and the filter that allows only labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from picscribe.errors import InputError
from picscribe.generation.constraints import Filter

KEY = 2**32
"""Of a child in the sorted list of all children: parent · KEY + token."""


@dataclass(frozen=True)
class LabelTrie:
    """N nodes, level by level, those of a parent side by side and sorted by token; node 0 is where labels begin.

    Every label ends in a node of [SEP], so one label may begin another. `token` and `parent` (N,), -1 at node 0;
    `first_child` (N + 1,): node i's children are `first_child[i]` up to `first_child[i + 1]`; `depth` (N,), how many
    tokens it takes; `end` (L,), the [SEP] node of each label.
    """

    token: Tensor
    parent: Tensor
    depth: Tensor
    first_child: Tensor
    end: Tensor
    sep_id: int

    @classmethod
    def of(cls, labels: Sequence[Sequence[int]], sep_id: int) -> "LabelTrie":
        """The trie of labels, each a list of tokens with [SEP] at the end or without.

        Raises InputError for no labels, an empty one, [SEP] within one, and two of the same tokens.
        """
        if not labels:
            raise InputError("there are no labels: give at least one")
        tokens, parents, depths, first_child = [-1], [-1], [0], [1]
        end = [0] * len(labels)
        # Each node's labels wait, sorted, for their next tokens: (what is left of the label, its index).
        level = [(0, sorted((_checked(label, index, sep_id), index) for index, label in enumerate(labels)))]
        while level:
            below = []
            for node, waiting in level:
                begun: dict[int, list[tuple[tuple[int, ...], int]]] = {}
                for left, index in waiting:
                    begun.setdefault(left[0], []).append((left[1:], index))
                for token, longer in begun.items():
                    if token == sep_id:
                        _check_alone([index for _, index in longer])
                        end[longer[0][1]] = len(tokens)
                    below.append((len(tokens), [] if token == sep_id else longer))
                    tokens.append(token)
                    parents.append(node)
                    depths.append(depths[node] + 1)
                first_child.append(len(tokens))
            level = below
        arrays = [torch.tensor(array) for array in (tokens, parents, depths, first_child, end)]
        return cls(arrays[0], arrays[1], arrays[2], arrays[3], arrays[4], sep_id)

    def __len__(self) -> int:
        """Labels."""
        return len(self.end)

    @property
    def nodes(self) -> int:
        """All nodes, the first and the [SEP] ones included."""
        return len(self.token)

    @property
    def longest(self) -> int:
        """Tokens of the longest label, [SEP] included."""
        return int(self.depth[-1])

    def to(self, device: torch.device) -> "LabelTrie":
        """The same on a device; itself where it is there."""
        if self.token.device == torch.device(device):
            return self
        tensors = (self.token, self.parent, self.depth, self.first_child, self.end)
        token, parent, depth, first_child, end = (tensor.to(device) for tensor in tensors)
        return LabelTrie(token, parent, depth, first_child, end, self.sep_id)

    def children(self, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """For nodes (n,): their children, one after the other (m,), and which of the n each belongs to (m,)."""
        start, counts = self.first_child[nodes], self.first_child[nodes + 1] - self.first_child[nodes]
        of = torch.arange(len(nodes), device=nodes.device).repeat_interleave(counts)
        before = counts.cumsum(0) - counts
        return torch.arange(len(of), device=nodes.device) + (start - before)[of], of

    def ancestors(self, nodes: Tensor, levels: int) -> Tensor:
        """Of nodes (…): the `levels` above each, the farthest first, (…, levels); node 0 where there are no more."""
        line: list[Tensor] = []
        for _ in range(levels):
            nodes = self.parent[nodes].clamp(min=0)
            line.append(nodes)
        return torch.stack(line[::-1], dim=-1) if line else nodes.new_zeros((*nodes.shape, 0))

    def reached(self, tokens: Tensor) -> Tensor:
        """The node that tokens (…, T) lead to from node 0: (…), or -1 where they are the beginning of no label."""
        keys = self.parent[1:] * KEY + self.token[1:]
        node = torch.zeros(tokens.shape[:-1], dtype=torch.long, device=tokens.device)
        for step in range(tokens.shape[-1]):
            key = node * KEY + tokens[..., step]
            place = torch.searchsorted(keys, key).clamp(max=len(keys) - 1)
            node = torch.where(keys[place] == key, place + 1, -1)
        return node


def _checked(label: Sequence[int], index: int, sep_id: int) -> tuple[int, ...]:
    """The label's tokens, [SEP] at the end."""
    tokens = tuple(label)
    tokens = tokens if tokens[-1:] == (sep_id,) else (*tokens, sep_id)
    if len(tokens) < 2 or min(tokens) < 0 or sep_id in tokens[:-1]:
        raise InputError(f"label {index} is the tokens {list(label)}: it needs one at least, and [SEP] only at its end")
    return tokens


def _check_alone(indices: Sequence[int]) -> None:
    if len(indices) > 1:
        raise InputError(f"labels {indices[0]} and {indices[1]} have the same tokens: leave one out")


def continue_labels(trie: LabelTrie, repeat_last: bool = False) -> Filter:
    """Only tokens that continue with some label; where none does, [SEP].

    As in the original code, a token just produced comes again only where nothing else continues; with `repeat_last`
    always, so that a label like "cous cous" can be written. Not for use with filters that forbid a label's tokens.
    """

    here = trie

    def apply(scores: Tensor, history: Tensor, new_tokens: int) -> None:
        nonlocal here
        here = here.to(scores.device)  # once
        begun = history[..., history.shape[-1] - new_tokens :].flatten(0, 1)
        node = here.reached(begun)
        known = node.clamp(min=0)
        child, of = here.children(known)
        allowed = (node >= 0)[of]
        if new_tokens and not repeat_last:
            choices = (here.first_child[known + 1] - here.first_child[known])[of]
            allowed &= (choices == 1) | (here.token[child] != begun[of, -1])
        of, token = of[allowed], here.token[child[allowed]]
        forbidden = torch.ones((len(node), scores.shape[-1]), dtype=torch.bool, device=scores.device)
        # Where no label continues, such as after [SEP].
        forbidden[:, here.sep_id] = torch.ones_like(node, dtype=torch.bool).index_fill_(0, of, False).logical_not()
        forbidden[of, token] = False
        scores.masked_fill_(forbidden.view_as(scores), -torch.inf)

    return apply
