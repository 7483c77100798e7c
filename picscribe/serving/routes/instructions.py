"""What the text with a photo is: a question for a model that answers, or an instruction, which captioners ignore."""

import re
from dataclasses import dataclass

from picscribe.serving.engine.model_pool import ModelPool
from picscribe.serving.routes.service import Service

LONGEST_QUESTION = 200
"""Characters; what is longer tells a chat model how to behave."""

QUESTION = re.compile(
    r"(what|which|who|whose|where|when|why|how|is|are|was|were|does|do|did|can|could|has|have|will|would)\b",
    re.IGNORECASE,
)
WANTS_CAPTION = re.compile(
    r"what('s| is| are| do you see| can you see)?\s*(there\s+)?(in|on|this|shown|depicted|happening|going on)\b[^?]*"
    r"(image|picture|photo|photograph|this|it|here|see)?\s*\?*|what do you see\b.*|"
    r"(can|could|would) you (please )?(describe|caption|tell me about)\b.*",
    re.IGNORECASE | re.DOTALL,
)
PICTURE = re.compile(r"\b(image|picture|photo|photograph|here|this|see)\b", re.IGNORECASE)
SPECIFIC = re.compile(
    r"\b(colou?r|many|kind|type|animal|doing|wearing|holding|number|brand|time|name|sport|left|right)\b", re.I
)


@dataclass(frozen=True)
class Asked:
    """What a request comes to: the pool that answers, the question where there is one, what is left out of account."""

    pool: ModelPool
    question: str | None
    ignored: tuple[str, ...]

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the answer that say so."""
        return {"x-picscribe-ignored": ", ".join(self.ignored)} if self.ignored else {}


def is_question(text: str) -> bool:
    """Whether a text asks something about a photo, other than what is in it."""
    text = text.strip()
    if not text or len(text) > LONGEST_QUESTION or "\n" in text:
        return False
    if WANTS_CAPTION.fullmatch(text) and PICTURE.search(text) and not SPECIFIC.search(text):
        return False
    return text.endswith("?") or bool(QUESTION.match(text))


def understand(service: Service, model: str | None, text: str, system: str = "") -> Asked:
    """Questions go to a model that answers them; instructions are ignored, as they are no prefix of a caption."""
    pool = service.engine.pool(model)
    ignored = ("system",) if system.strip() else ()
    if is_question(text) and (answering := service.answering_pool(model)) is not None:
        return Asked(answering, text.strip(), ignored)
    return Asked(pool, None, (*ignored, "text") if text.strip() else ignored)
