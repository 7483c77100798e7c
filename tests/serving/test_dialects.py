"""The official clients of other services, unchanged, and recorded requests of programs that use them."""

import base64
import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

import picscribe
from picscribe import Scribe
from picscribe.serving.routes.instructions import is_question

JAVASCRIPT = Path(__file__).with_name("openai_client.mjs")


@pytest.fixture(scope="module")
def scribe(tiny_model: Path) -> Scribe:
    return picscribe.load(tiny_model)


@pytest.fixture(scope="module")
def uri(photo: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(photo).decode()


def chat(uri: str, text: str = "Describe this image.") -> list[dict[str, Any]]:
    return [
        {"role": "user", "content": [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": uri}}]}
    ]


# OpenAI


@pytest.fixture(scope="module")
def openai_client(service: Any) -> Any:
    openai = pytest.importorskip("openai")
    return openai.OpenAI(base_url=f"{service.url}/v1", api_key="any", max_retries=0)


def test_openai_chat(openai_client: Any, uri: str, photo: bytes, scribe: Scribe) -> None:
    said = openai_client.chat.completions.create(
        model="gpt-4o-mini", messages=chat(uri), max_tokens=300, tools=[], metadata={"a": "b"}, presence_penalty=0.1
    )
    expected = scribe.caption(photo, max_new_tokens=24)
    assert said.object == "chat.completion"
    assert said.model == "gpt-4o-mini"
    assert said.choices[0].message.role == "assistant"
    assert said.choices[0].message.content == expected.text
    assert said.choices[0].finish_reason in ("stop", "length")
    assert said.usage.completion_tokens == len(expected.tokens)
    assert said.usage.total_tokens == said.usage.prompt_tokens + said.usage.completion_tokens


def test_openai_several_choices_are_the_best_captions(
    openai_client: Any, uri: str, photo: bytes, scribe: Scribe
) -> None:
    said = openai_client.chat.completions.create(model="tiny", messages=chat(uri), n=3)
    expected = scribe.caption(photo, num_captions=3).alternatives
    assert [choice.message.content for choice in said.choices] == [one.text for one in expected]
    assert [choice.index for choice in said.choices] == [0, 1, 2]


def test_openai_stream(openai_client: Any, uri: str, photo: bytes, scribe: Scribe) -> None:
    chunks = list(
        openai_client.chat.completions.create(
            model="tiny", messages=chat(uri), stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == scribe.caption(photo, beams=1).text
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens > 0
    assert len({chunk.id for chunk in chunks}) == 1


def test_openai_models(openai_client: Any) -> None:
    import openai

    assert {model.id for model in openai_client.models.list()} == {"tiny", "gpt-4o-mini"}
    assert openai_client.models.retrieve("tiny").owned_by == "picscribe"
    with pytest.raises(openai.NotFoundError) as found:
        openai_client.models.retrieve("other")
    assert found.value.code == "model_not_found"


def test_openai_responses(openai_client: Any, uri: str, photo: bytes, scribe: Scribe) -> None:
    content = [
        {"type": "input_text", "text": "Describe this."},
        {"type": "input_image", "image_url": uri, "detail": "low"},
    ]
    given: Any = [{"role": "user", "content": content}]
    said = openai_client.responses.create(model="tiny", input=given, instructions="Be brief.", max_output_tokens=12)
    assert said.status == "completed"
    assert said.output_text == scribe.caption(photo, max_new_tokens=12).text
    assert said.usage.total_tokens == said.usage.input_tokens + said.usage.output_tokens
    events = list(openai_client.responses.create(model="tiny", input=given, stream=True))
    assert [events[0].type, events[-1].type] == ["response.created", "response.completed"]
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == scribe.caption(photo, beams=1).text == events[-1].response.output_text
    assert [event.sequence_number for event in events] == list(range(len(events)))


def test_openai_errors_are_those_that_the_client_knows(openai_client: Any, uri: str) -> None:
    import openai

    create = openai_client.chat.completions.create
    text: Any = [{"role": "user", "content": "Suggest a title for this chat."}]
    unreadable = "data:image/png;base64," + base64.b64encode(b"words, not pixels" * 9).decode()
    for arguments, error, param, code in (
        ({"messages": text}, openai.BadRequestError, "messages", "image_required"),
        ({"messages": chat(uri), "n": 100}, openai.BadRequestError, "n", "invalid_value"),
        ({"messages": chat(uri), "n": 2, "stream": True}, openai.BadRequestError, "n", "invalid_value"),
        ({"messages": chat(uri), "temperature": 9}, openai.BadRequestError, "temperature", "invalid_value"),
        ({"messages": chat(uri), "max_tokens": 0}, openai.BadRequestError, "max_tokens", "invalid_value"),
        ({"messages": chat("data:text/plain,hello")}, openai.BadRequestError, "messages", "invalid_image"),
        ({"messages": chat(unreadable)}, openai.BadRequestError, "image", "invalid_image"),
        ({"messages": chat(unreadable), "stream": True}, openai.BadRequestError, "image", "invalid_image"),
        ({"messages": chat("http://127.0.0.1/a.png")}, openai.BadRequestError, "image_url", "image_url_refused"),
        ({"messages": []}, openai.BadRequestError, "messages", "invalid_value"),
        ({"messages": chat(uri), "model": "other"}, openai.NotFoundError, "model", "model_not_found"),
    ):
        with pytest.raises(error) as found:
            create(**{"model": "tiny"} | arguments)
        assert (found.value.param, found.value.code) == (param, code), arguments
        assert found.value.response.headers["x-should-retry"] == "false"


def test_forms_of_images_that_clients_send(client: httpx.Client, uri: str, photo: bytes, scribe: Scribe) -> None:
    plain = uri.partition(",")[2]
    parts: list[Any] = [
        {"type": "image_url", "image_url": uri},
        {"type": "input_image", "image_url": uri},
        {"image_url": {"url": uri}},
        {"type": "image_url", "image_url": {"url": plain, "detail": "high"}},
        {"type": "image_url", "image_url": {"url": uri.replace("png", "jpg")}},
        {"type": "image_url", "image_url": {"url": " \n".join([uri[:50], uri[50:]])}},
    ]
    for part in parts:
        messages = [{"role": "user", "content": [part]}, {"role": "user", "content": "and this: describe it"}]
        answer = client.post("/v1/chat/completions", json={"model": "tiny", "messages": messages})
        assert answer.status_code == 200, (part, answer.text)
        assert answer.json()["choices"][0]["message"]["content"] == scribe.caption(photo).text


def test_the_latest_image_counts(client: httpx.Client, uri: str, png: Any, scribe: Scribe) -> None:
    later = png((250, 240, 10))
    later_uri = "data:image/png;base64," + base64.b64encode(later).decode()
    messages = [
        *chat(uri),
        {"role": "assistant", "content": "a dog"},
        *chat(later_uri),
        {"role": "user", "content": "go on"},
    ]
    answer = client.post("/v1/chat/completions", json={"model": "tiny", "messages": messages}).json()
    assert answer["choices"][0]["message"]["content"] == scribe.caption(later).text


def test_instructions_are_ignored_and_a_header_says_so(
    client: httpx.Client, uri: str, photo: bytes, scribe: Scribe
) -> None:
    messages = [{"role": "system", "content": "You are a pirate."}, *chat(uri, "Write one sentence.")]
    answer = client.post("/v1/chat/completions", json={"model": "tiny", "messages": messages})
    assert answer.headers["x-picscribe-ignored"] == "system, text"
    assert answer.json()["choices"][0]["message"]["content"] == scribe.caption(photo).text
    answer = client.post("/v1/chat/completions", json={"model": "tiny", "messages": messages, "prefix": "a dog"})
    assert answer.json()["choices"][0]["message"]["content"] == scribe.caption(photo, prompt="a dog").text


@pytest.mark.parametrize(
    ("text", "asks"),
    [
        ("What color is the shirt?", True),
        ("how many people are there", True),
        ("Is there a dog in this picture?", True),
        ("what animal is it", True),
        ("What is in this image?", False),
        ("What's in this image?", False),
        ("what do you see?", False),
        ("Describe this image.", False),
        ("Can you describe this photo?", False),
        (
            "Create a caption with exactly one sentence in the active voice that describes the main visual content.",
            False,
        ),
        ("You are a helpful assistant.\nWhat is this?", False),
        ("", False),
    ],
)
def test_what_counts_as_a_question(text: str, asks: bool) -> None:
    assert is_question(text) is asks


def test_javascript_client(service: Any, uri: str, photo: bytes, scribe: Scribe, tmp_path: Path) -> None:
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm are not installed")
    install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "openai@7"]
    done = subprocess.run(install, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        pytest.skip("npm cannot install openai here")
    script = tmp_path / "client.mjs"
    shutil.copy(JAVASCRIPT, script)
    run = ["node", str(script), f"{service.url}/v1", uri]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["caption"] == found["response"] == scribe.caption(photo).text
    assert found["streamed"] == scribe.caption(photo, beams=1).text
    assert found["models"] == ["tiny", "gpt-4o-mini"]
    assert found["error"] == {"status": 400, "code": "image_required", "param": "messages"}


# Ollama


def test_ollama_client(service: Any, photo: bytes, scribe: Scribe) -> None:
    ollama = pytest.importorskip("ollama")
    client = ollama.Client(service.url)
    said = client.generate("tiny:latest", "Describe this.", images=[photo], options={"num_predict": 20})
    assert said.response == scribe.caption(photo).text
    assert said.done and said.done_reason in ("stop", "length") and said.eval_count > 0 and said.total_duration > 0
    pieces = list(client.generate("tiny", "Describe this.", images=[photo], stream=True))
    assert "".join(piece.response for piece in pieces) == scribe.caption(photo, beams=1).text
    assert [piece.done for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    message = {"role": "user", "content": "Describe this.", "images": [photo]}
    said = client.chat("tiny", [message, {"role": "assistant", "content": "x"}, {"role": "user", "content": "again"}])
    assert said.message.content == scribe.caption(photo).text
    pieces = list(client.chat("tiny", [message], stream=True))
    assert "".join(piece.message.content for piece in pieces) == scribe.caption(photo, beams=1).text
    shown = client.show("tiny:latest")
    assert {"completion", "vision"} <= set(shown.capabilities)
    assert [model.model for model in client.list().models] == ["tiny:latest", "gpt-4o-mini:latest"]
    assert client.ps().models[0].model == "tiny:latest"
    for call in (
        lambda: client.generate("tiny", "Suggest tags."),
        lambda: client.generate("other", "x", images=[photo]),
        lambda: client.chat("tiny", [{"role": "user", "content": "a title"}]),
    ):
        with pytest.raises(ollama.ResponseError) as found:
            call()
        assert found.value.status_code in (400, 404) and len(found.value.error) > 10


def test_ollama_says_that_it_runs(client: httpx.Client) -> None:
    assert client.get("/").text == "Ollama is running"
    assert "<!doctype html>" in client.get("/", headers={"accept": "text/html,*/*"}).text
    assert client.get("/api/version").json()["version"].count(".") == 2


# Moondream


def test_moondream_client(service: Any, photo: bytes, scribe: Scribe) -> None:
    moondream = pytest.importorskip("moondream", reason="pip install --no-deps moondream")
    model = moondream.vl(endpoint=f"{service.url}/v1", api_key="any")
    image = Image.open(io.BytesIO(photo))
    sent = base64.b64decode(model.encode_image(image).image_url.partition(",")[2])
    assert model.caption(image)["caption"] == scribe.caption(sent).text
    short = model.caption(image, length="short", settings={"temperature": 0.0})["caption"]
    assert short == scribe.caption(sent, max_new_tokens=8).text
    assert "".join(model.caption(image, stream=True)["caption"]) == scribe.caption(sent, beams=1).text
    (answer,) = scribe.ask(sent, ["the dog"])
    assert model.query(image, "the dog")["answer"] == answer.text
    streamed = "".join(model.query(image, "the dog", stream=True)["answer"])
    assert streamed == scribe.ask(sent, ["the dog"], beams=1)[0].text


# Hugging Face


def test_hugging_face_client(service: Any, photo: bytes, scribe: Scribe) -> None:
    from huggingface_hub import InferenceClient

    client = InferenceClient(model=f"{service.url}/models/tiny", token="any")
    assert client.image_to_text(photo).generated_text == scribe.caption(photo).text
    (answer,) = client.visual_question_answering(photo, "the dog")
    (expected,) = scribe.ask(photo, ["the dog"])
    assert (answer.answer, answer.score) == (expected.text, pytest.approx(expected.confidence, rel=1e-5))
    assert len(client.visual_question_answering(photo, "the dog", top_k=3)) == 3
    with service.client() as plain:
        inputs = {"image": base64.b64encode(photo).decode(), "question": "the dog"}
        assert plain.post("/models/tiny", json={"inputs": inputs}).json()[0]["answer"] == expected.text
        fields = {"inputs": base64.b64encode(photo).decode(), "parameters": {"max_new_tokens": 3}}
        said = plain.post("/models/tiny", json=fields).json()[0]["generated_text"]
        assert said == scribe.caption(photo, max_new_tokens=3).text


# Programs, by requests of theirs


PROMPT = (
    "Create a caption with exactly one sentence in the active voice that describes the main visual content. "
    "Begin with the main subject and clear action. Avoid text formatting, meta-language, and filler words."
)


def test_photoprism(client: httpx.Client, uri: str, photo: bytes, scribe: Scribe) -> None:
    asked = {"id": "b0db2187", "model": "caption", "version": "latest", "prompt": PROMPT, "images": [uri]}
    said = client.post("/api/v1/vision/caption", json=asked).json()
    expected = scribe.caption(photo)
    assert (said["id"], said["code"], said["model"]["name"]) == ("b0db2187", 200, "tiny")
    caption = said["result"]["caption"]
    assert caption["text"] == expected.text and caption["source"] == "picscribe"
    assert caption["confidence"] == pytest.approx(expected.confidence, rel=1e-5)
    assert client.post("/api/v1/vision/caption/tiny/latest", json=asked).status_code in (200, 404)
    assert client.post("/api/v1/vision/caption/tiny", json=asked).json()["result"] == said["result"]
    labels = client.post("/api/v1/vision/labels", json=asked | {"labels": ["a dog", "a cat"], "model": "labels"}).json()
    names = [one["name"] for one in labels["result"]["labels"]]
    assert names == [one.label for one in scribe.classify(photo, ["a dog", "a cat"]).ranking]
    assert sum(one["confidence"] for one in labels["result"]["labels"]) == pytest.approx(1, abs=0.01)
    wrong = client.post("/api/v1/vision/caption", json={"id": "1", "images": ["data:image/png;base64,AAAA"]})
    assert wrong.status_code == 400 and wrong.json()["code"] == 400 and wrong.json()["error"]
    assert client.post("/api/v1/vision/caption", json={"url": "http://169.254.169.254/"}).status_code == 400


def test_photoprisms_ollama_and_openai_engines(client: httpx.Client, uri: str, photo: bytes, scribe: Scribe) -> None:
    ollama = {
        "id": "d2d2ce81", "model": "tiny:latest", "version": "latest", "suffix": "", "system": "", "prompt": PROMPT,
        "format": "", "stream": False, "images": [uri.partition(",")[2]],
        "options": {"temperature": 0, "top_k": 20, "top_p": 0.9, "repeat_penalty": 1.0, "stop": ["\n\n"]},
    }  # fmt: skip
    said = client.post("/api/generate", json=ollama)
    assert said.json()["response"] == scribe.caption(photo).text
    assert said.headers["x-picscribe-ignored"] == "text"
    content = [{"type": "input_text", "text": PROMPT}, {"type": "input_image", "image_url": uri, "detail": "low"}]
    openai = {
        "model": "tiny", "max_output_tokens": 1024, "text": {"format": {"type": "text"}},
        "input": [{"role": "user", "type": "message", "content": content}],
    }  # fmt: skip
    said = client.post("/v1/responses", json=openai)
    assert said.json()["output"][0]["content"][0]["text"]


def test_frigate(service: Any, client: httpx.Client, uri: str, photo: bytes, scribe: Scribe) -> None:
    # At start, then of a tracked object several thumbnails; the last one counts here.
    shown = client.post("/api/show", json={"model": "tiny"}).json()
    assert "error" not in shown and "vision" in shown["capabilities"]
    asked = {
        "model": "tiny", "prompt": "Analyze the sequence of images containing the person. Focus on likely intent.",
        "images": [uri.partition(",")[2]] * 3, "stream": False, "keep_alive": "1h", "options": {"num_ctx": 4096},
    }  # fmt: skip
    assert client.post("/api/generate", json=asked).json()["response"] == scribe.caption(photo).text
    parts = [{"type": "image_url", "image_url": {"url": uri, "detail": "low"}}] * 2
    messages = [{"role": "user", "content": [*parts, {"type": "text", "text": "Describe the person."}]}]
    assert client.get("/v1/models").json()["data"][0]["max_model_len"] > 0
    said = client.post("/v1/chat/completions", json={"model": "tiny", "messages": messages, "timeout": 60}).json()
    assert said["choices"][0]["message"]["content"] == scribe.caption(photo).text


def test_open_webui(client: httpx.Client, uri: str, photo: bytes, scribe: Scribe) -> None:
    # Its list of models, a message with a photo, and the requests without one that it sends by itself.
    assert client.get("/v1/models").status_code == client.get("/api/tags").status_code == 200
    asked = {
        "stream": True, "model": "tiny", "messages": chat(uri, "what is this?"), "params": {}, "features": {},
        "background_tasks": {"title_generation": True}, "session_id": "x", "stream_options": {"include_usage": True},
    }  # fmt: skip
    with client.stream("POST", "/v1/chat/completions", json=asked) as answer:
        lines = [line for line in answer.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    assert all(line.startswith("data: ") for line in lines)
    task = "### Task:\nGenerate a concise, 3-5 word title with an emoji summarizing the chat history."
    title = {
        "model": "tiny",
        "messages": [{"role": "user", "content": task}],
        "stream": False,
        "max_completion_tokens": 1000,
    }
    refused = client.post("/v1/chat/completions", json=title)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "image_required")
    assert client.post("/api/chat", json=title).status_code == 400


def test_errors_have_the_form_of_their_route(client: httpx.Client) -> None:
    for method, path, status in (
        ("GET", "/v1/caption", 405),
        ("GET", "/v1/nothing", 404),
        ("POST", "/v1/caption", 400),
        ("DELETE", "/v1/models", 405),
    ):
        answer = client.request(method, path)
        assert answer.status_code == status
        assert answer.json()["error"].keys() == {"message", "type", "param", "code"}
    answer = client.post("/v1/caption", content=b"words", headers={"content-type": "text/plain"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_media_type")
    assert isinstance(client.post("/api/generate", json={}).json()["error"], str)
    assert isinstance(client.get("/api/nothing").json()["error"], str)
