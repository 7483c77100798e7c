"""What a `Scribe` says: captions and answers, classes, scores of given texts."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Caption:
    """One caption or answer: `text` is what comes after the prompt.

    score: what the search ranked by, a length-normalised log-probability; higher is better.
    confidence: exp of the mean token log-probability, from 0 to 1.
    tokens: ids without [SEP].
    log_probabilities: one a token, and [SEP]'s after them where the caption ended by itself.
    alternatives: where several captions were asked for, all of them, best first, this one included; else empty.
    """

    text: str
    score: float
    confidence: float
    tokens: tuple[int, ...]
    log_probabilities: tuple[float, ...]
    alternatives: tuple["Caption", ...] = ()


@dataclass(frozen=True)
class RankedLabel:
    """A label with its log-likelihood, [SEP] included, and its probability among all labels that were given."""

    label: str
    log_likelihood: float
    probability: float


@dataclass(frozen=True)
class Classification:
    """The class of an image: `label`, and the likeliest ones, best first, in `ranking`."""

    ranking: tuple[RankedLabel, ...]

    @property
    def label(self) -> str:
        """The likeliest label."""
        return self.ranking[0].label


@dataclass(frozen=True)
class TextScore:
    """How likely a checkpoint finds a given text for an image.

    log_likelihood: the sum of `log_probabilities`, one a token and [SEP]'s last. confidence: exp of their mean, which
    compares texts of different lengths.
    """

    text: str
    log_likelihood: float
    confidence: float
    tokens: tuple[int, ...]
    log_probabilities: tuple[float, ...]
