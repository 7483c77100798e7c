"""The fields of the native routes, as clients send and get them; OpenAPI shows these."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Text = Annotated[str, Field(min_length=1, max_length=100_000)]
Texts = Annotated[list[Text], Field(min_length=1)]
Labels = Annotated[list[Annotated[str, Field(max_length=100_000)]], Field(min_length=1)]


class Plain(BaseModel):
    """Fields; unknown ones are ignored."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())


class Images(Plain):
    """Where a request's images are: a data: URI, base64, or a URL where the server fetches images."""

    image: str | list[str] | None = Field(None, description="One image, or several: data: URI, base64 or URL.")
    images: list[str] | None = Field(None, description="The same as `image` for several.")
    image_url: str | dict[str, Any] | None = Field(None, description="The same as `image`.")
    model: str | None = Field(None, max_length=200, description="A name that /v1/models lists; by default the first.")
    frames: int | None = Field(None, ge=1, le=64, description="Of a video: how many frames to look at.")
    start: float | None = Field(None, ge=0, le=1e6, description="Of a video: where to begin, in seconds.")
    end: float | None = Field(None, gt=0, le=1e6, description="Of a video: where to end, in seconds.")


class Exact(Images):
    """For programs that want results exactly as the library has them."""

    raw: bool = Field(
        False, description="Also give token ids, their log-probabilities, and texts as the original code decodes them."
    )


class Search(Exact):
    """How a text is searched; what is left out is the model's usual."""

    beams: int | None = Field(None, ge=1, description="Texts that grow side by side; 1 is greedy search.")
    num_captions: int | None = Field(None, ge=1, description="How many different texts to return.")
    max_new_tokens: int | None = Field(None, ge=1)
    min_new_tokens: int | None = Field(None, ge=0)
    length_penalty: float | None = Field(None, description="Above 0 favours longer texts.")
    no_repeat_ngram: int | None = Field(None, ge=0)
    repetition_penalty: float | None = None
    banned_words: list[Text] | None = None
    required_words: list[Text] | None = None
    temperature: float | None = Field(None, ge=0, description="Above 0 words are drawn by chance.")
    top_k: int | None = Field(None, ge=0)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = Field(None, ge=0)
    beam_groups: int | None = Field(None, ge=1)
    diversity_penalty: float | None = None

    def options(self) -> dict[str, Any]:
        """The options that were given."""
        names = set(Search.model_fields) - set(Exact.model_fields)
        return self.model_dump(include=names, exclude_none=True)


class CaptionRequest(Search):
    """Describe images."""

    prefix: str | None = Field(None, description="Words that the caption continues from.")
    length: Literal["short", "normal", "long"] | None = Field(None, description="About how long; `normal` by default.")
    stream: bool = Field(False, description="Send the caption word by word, as server-sent events; one image only.")
    settings: dict[str, Any] | None = Field(
        None, description="temperature, top_p and max_tokens, as Moondream's client sends."
    )
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"image": "data:image/png;base64,{photo}", "num_captions": 3}]}
    )


class AskRequest(Search):
    """Ask questions about images."""

    question: Text | None = None
    questions: Texts | None = None
    messages: list[dict[str, Any]] | None = Field(
        None, description="A conversation; the last message of the role user is the question."
    )
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"image": "data:image/png;base64,{photo}", "question": "what color is the shirt?"}]
        }
    )


class ClassifyRequest(Images):
    """Find the likeliest of given labels."""

    labels: Labels | Text = Field(description="The labels; in a form, one a line. Empty ones are left out.")
    top_k: int = Field(5, ge=1, le=1000)
    prefix: str | None = None
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"image": "data:image/png;base64,{photo}", "labels": ["a dog", "a man", "a car"]}]
        }
    )


class ScoreRequest(Exact):
    """How likely given texts are."""

    texts: Texts | Text
    prefix: str | None = None
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"image": "data:image/png;base64,{photo}", "texts": ["a man with a camera", "a dog runs"]}]
        }
    )


class ExplainRequest(Search):
    """Caption an image and show where the model looked for each word."""

    prefix: str | None = None
    method: Literal["gradient", "rollout"] = "gradient"
    model_config = ConfigDict(json_schema_extra={"examples": [{"image": "data:image/png;base64,{photo}"}]})


class PreviewRequest(Images):
    """A photo or video as a JPEG."""

    side: int = Field(1024, ge=16, le=4096, description="Pixels of the longer side at most.")
    model_config = ConfigDict(json_schema_extra={"examples": [{"image": "data:image/png;base64,{photo}", "side": 256}]})


class MetadataRequest(Images):
    """What a photo's metadata says in words."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"image": "data:image/png;base64,{photo}"}]})


class DescriptionRequest(Plain):
    """Texts for an XMP sidecar."""

    alt_text: str | None = Field(None, max_length=10_000, description="What stands for the photo where it is not seen.")
    description: str | None = Field(None, max_length=10_000, description="By default the same as `alt_text`.")
    title: str | None = Field(None, max_length=1000)
    language: str | None = Field(None, pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$", description="Such as en.")
    model_config = ConfigDict(json_schema_extra={"examples": [{"alt_text": "a man with a camera"}]})


class WriteRequest(DescriptionRequest, Images):
    """Texts to be written into a photo."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"image": "data:image/png;base64,{photo}", "alt_text": "a man with a camera"}]}
    )


class Token(Plain):
    """A piece of a text, as the model's vocabulary has it; `##` begins one that continues a word."""

    token: str
    probability: float


class Raw(Plain):
    """A text as the library has it; one that ended by itself has a log-probability more than tokens."""

    tokens: list[int]
    log_probabilities: list[float]
    decoded: str | None = None


class Alternative(Plain):
    """Another caption of the same image."""

    caption: str
    confidence: float = Field(description="Geometric mean of the tokens' probabilities, from 0 to 1.")
    score: float = Field(description="What the search ranked by; higher is better.")
    tokens: list[Token]
    raw: Raw | None = None


class ImageError(Plain):
    """Why one image of several has no result."""

    code: str
    message: str


class CaptionOfImage(Plain):
    """What was found for one image; `error` where nothing was."""

    caption: str | None = None
    confidence: float | None = None
    score: float | None = None
    tokens: list[Token] | None = None
    raw: Raw | None = None
    alternatives: list[Alternative] | None = Field(
        None, description="All captions, best first, where several were asked for."
    )
    error: ImageError | None = None


class Answered(Plain):
    """What every answer says of itself."""

    request_id: str
    model: str
    fingerprint: str = Field(description="Tells this model from others: a hash of its weights and settings.")
    notes: list[str] | None = Field(None, description="What of the request's texts the model does not get to read.")


class CaptionResponse(CaptionOfImage, Answered):
    """Of one image its caption at the top; of several `results`, in the order of the images."""

    results: list[CaptionOfImage] | None = None


class Answer(Plain):
    """The answer to one question; `error` where there is none."""

    question: str
    answer: str | None = None
    confidence: float | None = None
    score: float | None = None
    raw: Raw | None = None
    alternatives: list[Alternative] | None = None
    error: ImageError | None = None


class AnswersOfImage(Plain):
    """The answers about one image: `answer` is the first."""

    answer: str | None = None
    confidence: float | None = None
    answers: list[Answer] | None = None
    error: ImageError | None = None


class AskResponse(AnswersOfImage, Answered):
    """Of one image its answers at the top; of several `results`."""

    results: list[AnswersOfImage] | None = None


class LabelOfImage(Plain):
    """A label and its probability among all that were given."""

    label: str
    probability: float
    log_likelihood: float


class LabelsOfImage(Plain):
    """The likeliest labels of one image, best first."""

    label: str | None = None
    probability: float | None = None
    labels: list[LabelOfImage] | None = None
    error: ImageError | None = None


class ClassifyResponse(LabelsOfImage, Answered):
    """Of one image its labels at the top; of several `results`."""

    results: list[LabelsOfImage] | None = None


class Score(Plain):
    """How likely a text is; `confidence` compares texts of different lengths."""

    text: str
    log_likelihood: float | None = None
    confidence: float | None = None
    raw: Raw | None = None
    error: str | None = None


class ScoresOfImage(Plain):
    """The scores of one image, in the order of the texts."""

    scores: list[Score] | None = None
    error: ImageError | None = None


class ScoreResponse(ScoresOfImage, Answered):
    """Of one image its scores at the top; of several `results`."""

    results: list[ScoresOfImage] | None = None


class Word(Plain):
    """A word and where the model looked for it: a map a frame, rows of numbers whose sum over all frames is 1."""

    word: str
    maps: list[list[list[float]]]


class ExplainResponse(Plain):
    """A caption, its words' maps, and the frames as the model saw them, JPEG in data: URIs."""

    request_id: str
    model: str
    caption: str
    confidence: float
    score: float
    words: list[Word]
    view: Literal["center_crop", "keep_aspect", "square"] = Field(
        description="What the model saw of the photo: its central square, all of it, or all of it made square."
    )
    frames: list[str]


class MetadataResponse(Plain):
    """Texts of a photo's metadata."""

    alt_text: str | None = None
    extended_description: str | None = None
    description: str | None = None
    title: str | None = None
    format: str | None = None
    width: int | None = None
    height: int | None = None


class Model(Plain):
    """A model that is served. `max_model_len` is its longest text in tokens."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "picscribe"
    capabilities: list[str] = []
    alias_of: str | None = None
    fingerprint: str = Field("", description="Tells this model from others: a hash of its weights and settings.")
    parameters: int = 0
    frames: int = Field(0, description="Frames of a video that it looks at; 0 for a model of photos.")
    max_model_len: int = 0
    architecture: dict[str, Any] = {}


class ModelList(Plain):
    """The models and their aliases."""

    object: Literal["list"] = "list"
    data: list[Model]


class LimitsResponse(Plain):
    """What one request may hold, and what this server can do."""

    body_bytes: int
    image_bytes: int
    image_pixels: int
    images: int
    texts: int
    labels: int
    beams: int
    captions: int
    new_tokens: int
    deadline: float
    needs_key: bool
    fetches_urls: bool
    writes_metadata: bool
    heic: bool
    videos: bool


class ErrorBody(Plain):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorResponse(Plain):
    """An error in OpenAI's form."""

    error: ErrorBody
