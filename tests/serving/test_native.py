"""The native routes: every form of image, every kind of question, the same answers as the library's."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

import picscribe
from picscribe import Scribe


@pytest.fixture(scope="module")
def scribe(tiny_model: Path) -> Scribe:
    return picscribe.load(tiny_model)


def uri(photo: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(photo).decode()


def test_an_image_comes_in_many_forms_and_has_one_caption(client: httpx.Client, photo: bytes, scribe: Scribe) -> None:
    plain = base64.b64encode(photo).decode()
    wrapped = "\n".join(plain[i : i + 60] for i in range(0, len(plain), 60))
    answers = [
        client.post("/v1/caption", content=photo, headers={"content-type": "image/png"}),
        client.post("/v1/caption", content=photo, headers={"content-type": "image/jpg"}),
        client.post("/v1/caption", content=photo, headers={"content-type": "application/octet-stream"}),
        client.post("/v1/caption", content=photo, headers={"content-type": "application/x-www-form-urlencoded"}),
        client.post("/v1/caption", content=photo),
        client.post("/v1/caption", files={"image": ("a.png", photo)}),
        client.post("/v1/caption", files={"file": ("a.png", photo)}, data={"model": "tiny"}),
        client.post("/v1/caption", json={"image": uri(photo)}),
        client.post("/v1/caption", json={"image_url": uri(photo), "length": "normal", "stream": False}),
        client.post("/v1/caption", json={"image_url": {"url": plain}}),
        client.post("/v1/caption", json={"images": [wrapped]}),
        client.post("/v1/caption", json={"image": "data:image/webp;charset=x;base64," + wrapped, "unknown": [1]}),
    ]
    assert [answer.status_code for answer in answers] == [200] * len(answers), [a.text for a in answers]
    assert {answer.json()["caption"] for answer in answers} == {scribe.caption(photo).text}


def test_results_are_the_librarys(client: httpx.Client, photos: Path, scribe: Scribe) -> None:
    files = [(photos / f"photo{number}.png").read_bytes() for number in range(1, 7)]
    options: dict[str, Any] = {"beams": 3, "num_captions": 2, "max_new_tokens": 6, "length_penalty": 1.0}
    said = client.post("/v1/caption", json={"images": [uri(file) for file in files], **options}).json()["results"]
    for file, one in zip(files, said, strict=True):
        caption = scribe.caption(file, **options)
        assert one["caption"] == caption.text
        assert one["confidence"] == pytest.approx(caption.confidence, rel=1e-5)
        assert one["score"] == pytest.approx(caption.score, rel=1e-5)
        assert [other["caption"] for other in one["alternatives"]] == [other.text for other in caption.alternatives]
        assert len(one["tokens"]) == len(caption.tokens)
    photo = files[0]
    prefixed = client.post("/v1/caption", json={"image": uri(photo), "prefix": "a dog"}).json()
    assert prefixed["caption"] == scribe.caption(photo, prompt="a dog").text
    drawn = client.post("/v1/caption", json={"image": uri(photo), "temperature": 1.0, "seed": 7}).json()
    assert drawn["caption"] == scribe.caption(photo, temperature=1.0, seed=7).text
    asked = client.post("/v1/ask", json={"image": uri(photo), "questions": ["the dog", "a red cat"]}).json()
    assert [one["answer"] for one in asked["answers"]] == [
        one.text for one in scribe.ask(photo, ["the dog", "a red cat"])
    ]
    labels = ["a dog", "a cat", "the grass"]
    found = client.post("/v1/classify", json={"image": uri(photo), "labels": labels, "top_k": 3}).json()
    ranking = scribe.classify(photo, labels, top_k=3).ranking
    assert [one["label"] for one in found["labels"]] == [one.label for one in ranking]
    assert found["probability"] == pytest.approx(ranking[0].probability, rel=1e-4)
    scores = client.post("/v1/score", json={"image": uri(photo), "texts": labels}).json()["scores"]
    expected = scribe.score(photo, labels)
    assert [one["text"] for one in scores] == labels
    assert [one["log_likelihood"] for one in scores] == pytest.approx(
        [one.log_likelihood for one in expected], rel=1e-4
    )


def test_words_come_as_they_are_written(client: httpx.Client, photo: bytes, scribe: Scribe) -> None:
    with client.stream("POST", "/v1/caption", json={"image": uri(photo), "stream": True}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")]
    expected = scribe.caption(photo, beams=1).text
    assert "".join(event["chunk"] for event in events) == expected == events[-1]["caption"]
    assert [event["completed"] for event in events] == [False] * (len(events) - 1) + [True]
    assert len(events) > 2


def test_explanations_have_a_map_a_word(client: httpx.Client, photo: bytes, scribe: Scribe) -> None:
    said = client.post("/v1/explain", files={"image": ("a.png", photo)}, data={"min_new_tokens": "2"}).json()
    expected = scribe.explain(photo, min_new_tokens=2)
    assert said["caption"] == expected.caption.text
    assert [word["word"] for word in said["words"]] == list(expected.words)
    assert said["view"] == scribe.preprocessing.mode
    first = said["words"][0]["maps"][0]
    assert [len(first), len(first[0])] == list(expected.maps.shape[2:])
    assert sum(sum(row) for row in first) == pytest.approx(1, abs=1e-3)
    frame = base64.b64decode(said["frames"][0].partition(",")[2])
    assert Image.open(io.BytesIO(frame)).size == (32, 32)


def test_a_bad_image_harms_only_itself(client: httpx.Client, photo: bytes, scribe: Scribe, png: Any) -> None:
    images = [uri(photo), uri(b"no image at all"), uri(photo[:80]), uri(png((1, 2, 3)))]
    results = client.post("/v1/caption", json={"images": images}).json()["results"]
    assert results[0]["caption"] == scribe.caption(photo).text
    assert results[3]["caption"] == scribe.caption(png((1, 2, 3))).text
    for one in results[1:3]:
        assert one.keys() == {"error"}
        assert "image" in one["error"]["message"]


@pytest.mark.parametrize(
    ("route", "fields"),
    [
        ("/v1/caption", {}),
        ("/v1/ask", {"question": "the dog"}),
        ("/v1/classify", {"labels": ["a dog", "a cat"]}),
        ("/v1/score", {"texts": ["a dog"]}),
        ("/v1/explain", {}),
        ("/v1/preview", {}),
        ("/v1/metadata/write", {"alt_text": "a dog"}),
    ],
)
def test_where_the_image_is_at_fault_the_error_names_it(
    client: httpx.Client, photo: bytes, route: str, fields: dict[str, Any]
) -> None:
    for content in (b"no image at all", photo[:80], b""):
        ways: list[tuple[str, dict[str, Any]]] = [
            ("image", {"json": {"image": uri(content), **fields}}),
            ("image_url", {"json": {"image_url": {"url": uri(content)}, **fields}}),
            ("image", {"files": {"image": ("a.png", content)}, "data": fields}),
            ("file", {"files": {"file": ("a.png", content)}, "data": fields}),
        ]
        for field, body in ways:
            answer = client.post(route, **body)
            if answer.status_code == 501:
                pytest.skip("exiftool is not installed")
            error = answer.json()["error"]
            assert answer.status_code == 400, (content, field, error)
            assert (error["param"] in ("image", field), error["code"]) == (True, "invalid_image"), (
                content,
                field,
                error,
            )


def test_errors_name_the_field_and_the_remedy(client: httpx.Client, photo: bytes) -> None:
    image = uri(photo)
    cases: list[tuple[str, dict[str, Any], str, str]] = [
        ("/v1/caption", {}, "image", "image_required"),
        ("/v1/caption", {"image": "/etc/passwd"}, "image", "invalid_image"),
        ("/v1/caption", {"image": "file:///etc/passwd"}, "image", "invalid_image"),
        ("/v1/caption", {"image": 7}, "image", "invalid_value"),
        ("/v1/caption", {"image": image, "beams": 0}, "beams", "invalid_value"),
        ("/v1/caption", {"image": image, "beams": 1000}, "beams", "invalid_value"),
        ("/v1/caption", {"image": image, "num_captions": 3, "beams": 2}, "num_captions", "invalid_option"),
        ("/v1/caption", {"image": image, "model": "other"}, "model", "model_not_found"),
        ("/v1/caption", {"images": [image, image], "stream": True}, "stream", "invalid_value"),
        ("/v1/caption", {"image": "http://example.org/a.jpg"}, "image_url", "image_url_refused"),
        ("/v1/ask", {"image": image}, "question", "invalid_value"),
        ("/v1/classify", {"image": image}, "labels", "invalid_value"),
        ("/v1/score", {"image": image, "texts": []}, "texts", "invalid_value"),
    ]
    for route, fields, param, code in cases:
        answer = client.post(route, json=fields)
        error = answer.json()["error"]
        assert answer.status_code in (400, 404), (fields, error)
        assert ((error["param"] or "").split(".")[0], error["code"]) == (param, code), (route, fields, error)
        assert error["type"] in ("invalid_request_error", "not_found_error")
        assert len(error["message"]) > 10


def test_a_video_is_seen_in_its_middle_frame_where_one_is_asked_for(client: httpx.Client, scribe: Scribe) -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=100)
    video = buffer.getvalue()
    said = client.post("/v1/caption", json={"image": uri(video), "frames": 1}).json()
    assert said["caption"] == scribe.caption(picscribe.Video(video, frames=1)).text


def test_models_and_limits(client: httpx.Client) -> None:
    models = {model["id"]: model for model in client.get("/v1/models").json()["data"]}
    assert models.keys() == {"tiny", "gpt-4o-mini"}
    assert models["gpt-4o-mini"]["alias_of"] == "tiny"
    assert {"caption", "ask", "classify", "score", "explain", "stream"} <= set(models["tiny"]["capabilities"])
    assert client.get("/v1/models/tiny").json() == models["tiny"]
    assert client.get("/v1/models/none").json()["error"]["code"] == "model_not_found"
    assert client.get("/v1/limits").json()["images"] == 32


def test_a_preview_is_upright_small_and_holds_no_metadata(client: httpx.Client) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a secret place"
    buffer = io.BytesIO()
    Image.new("RGB", (400, 200), (200, 30, 30)).save(buffer, "JPEG", exif=exif)
    answer = client.post("/v1/preview", files={"image": ("a.jpg", buffer.getvalue())}, data={"side": "100"})
    assert answer.headers["content-type"] == "image/jpeg"
    preview = Image.open(io.BytesIO(answer.content))
    assert preview.size == (50, 100)
    assert not preview.getexif()
    assert b"secret" not in answer.content


def test_heic_is_read(client: httpx.Client) -> None:
    heif = pytest.importorskip("pillow_heif", reason="needs the extra serve")
    buffer = io.BytesIO()
    heif.from_pillow(Image.new("RGB", (64, 64), (10, 200, 40))).save(buffer)
    photo = buffer.getvalue()
    answer = client.post("/v1/preview", content=photo, headers={"content-type": "image/heic"})
    assert answer.status_code == 200, answer.text
    red, green, blue = Image.open(io.BytesIO(answer.content)).resize((1, 1)).getpixel((0, 0))  # type: ignore[misc]
    assert green > 150 > 100 > red and blue < 100
    assert client.post("/v1/caption", content=photo).status_code == 200


def test_equal_images_are_encoded_once(service: Any, client: httpx.Client, png: Any) -> None:
    def encoded() -> float:
        return service.service.metrics.encoded.labels("tiny")._value.get()

    photo = png((9, 8, 7))
    service.wait_until(lambda: service.service.engine.pool(None).idle)  # counts come once a batch is done
    before = encoded()
    for route, fields in (
        ("/v1/caption", {}),
        ("/v1/caption", {"beams": 2}),
        ("/v1/ask", {"question": "a dog"}),
        ("/v1/classify", {"labels": ["a dog", "a cat"]}),
        ("/v1/caption", {"stream": True}),
    ):
        assert client.post(route, json={"image": uri(photo), **fields}).status_code == 200
    service.wait_until(lambda: encoded() == before + 1)
    client.post("/v1/caption", json={"images": [uri(png((9, 8, 6)))] * 5})
    service.wait_until(lambda: encoded() == before + 2)
