"""A decoder that is taught by texts alone writes about the words that it is shown."""

import torch

from picscribe.model import ClipVitConfig, Git, GitConfig, TextCache, TextDecoderConfig
from research.text_only_decoder import PseudoImages, TextOnlySettings, draw_batches, learn

WORDS = 40
SENTENCES = [[1, 2, thing, 3, 1, 2, place] for thing, place in ((10, 20), (11, 21), (12, 22), (13, 23))]
SETTINGS = TextOnlySettings(steps=150, batch=4, words=3, common=3, learning_rate=1e-2, label_smoothing=0)


def network() -> Git:
    torch.manual_seed(0)
    image = ClipVitConfig(width=16, layers=1, heads=2, mlp_width=32, patch_size=16, image_size=32)
    text = TextDecoderConfig(
        vocabulary_size=WORDS, width=32, layers=2, heads=2, mlp_width=64, cls_id=38, sep_id=39, dropout=0.0
    )
    return Git(GitConfig(image, text))


@torch.no_grad()
def write(model: Git, shown: list[int]) -> list[int]:
    decoder = model.eval().text_decoder
    pseudo = decoder.embedding_norm(decoder.word_embedding(torch.tensor([shown])))
    cache, token, written = TextCache(decoder.encode_image(pseudo, 10), 1, 10), 38, list[int]()
    while token != 39 and len(written) < 9:
        token = int(model.next_logits(torch.tensor([[token]]), cache, torch.tensor([[len(written)]])).argmax())
        written.append(token)
    return written


def test_it_writes_about_what_it_is_shown() -> None:
    model = network()
    before = [parameter.clone() for parameter in model.image_encoder.parameters()]
    assert learn(model.train(), SENTENCES, SETTINGS, torch.float32) < 0.5
    for sentence in SENTENCES:
        assert write(model, [sentence[2], sentence[6], 0]) == [*sentence, 39]
    assert all(map(torch.equal, before, model.image_encoder.parameters()))


def test_a_pseudo_image_shows_no_common_words() -> None:
    model, show = network(), PseudoImages(SENTENCES, SETTINGS)
    rows = show(model, SENTENCES * 50)
    assert rows.shape == (200, 3, 32) and show.common == {1, 2, 3}
    decoder = model.text_decoder
    common = decoder.embedding_norm(decoder.word_embedding(torch.tensor([1, 2, 3])))
    assert not (rows[:, :, None] - common).abs().sum(-1).eq(0).any()


def test_every_sentence_comes_once_an_epoch() -> None:
    settings = TextOnlySettings(steps=4, batch=2)
    drawn = [one[2] for batch in draw_batches(SENTENCES, settings) for one in batch]
    assert sorted(drawn[:4]) == sorted(drawn[4:]) == [10, 11, 12, 13]
