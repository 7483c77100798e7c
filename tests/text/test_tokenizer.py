"""The tokenizer equals transformers' over BERT's vocabulary, survives its files, and refuses what it would misread."""

import json
import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from picscribe.errors import CheckpointError, ConfigurationError, InputError
from picscribe.text import Tokenizer
from picscribe.text.vocabulary import SPECIAL_TOKENS

transformers = pytest.importorskip("transformers")

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [*SPECIAL, "[unused0]", "[unused12]", "a", "dog", "##s", "run", "##ning", ".", "'"]
TRICKY = ["a", "dog's", "don't", "'m", "'ve", ".", "! ?", "-", "é", "狗", "🐕", "[SEP]", "[UNK]", "##ing", "skater"]

TEXTS = [
    "",
    " ",
    "A dog runs on the beach.",
    "what color is the dog's collar?",
    "don't  can't  we're   I'm they've she's",
    "Crème brûlée à la façon d'Été",
    "İstanbul ẞ ﬁancé Ωμέγα",
    "两只狗 在沙滩上 run",
    "日本語のテキスト 한국어 텍스트",
    "a 🐕 runs 🏖️👨‍👩‍👧 ok",
    "tab\tnew\nline\rreturn\x00null\x07bell\x7fdel\u200bzero\u00adsoft\ufeffmark\ufffdreplaced",
    "nbsp\u00a0space\u2003em\u2028line\u3000wide",
    "x" * 100 + " " + "y" * 101 + " z" * 3,
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    "1,000.50 $3.99 50% #1 @home a/b \\ ^ _ ` ~ | <tag> {x} [y]",
    "[CLS] a [SEP] b [PAD] [UNK] [MASK] [unused5] [sep] [Sep]",
    "##ing ## # #a",
    "e\u0301 a\u0300\u0301\u0302 \u0301",
    "عربى हिन्दी ไทย עברית",
    "\U000e0041\U0010ffff\ue000",
]


@pytest.fixture(scope="module")
def ours(bert_vocabulary: Path) -> Tokenizer:
    return Tokenizer(bert_vocabulary.read_text(encoding="utf-8").split("\n")[:-1])


@pytest.fixture(scope="module")
def theirs(bert_vocabulary: Path):
    tokenizer = transformers.BertTokenizerFast.from_pretrained(bert_vocabulary.parent, vocab_file=str(bert_vocabulary))
    assert len(tokenizer) == 30522 and tokenizer.cls_token_id == 101
    return tokenizer


def assert_same(ours: Tokenizer, theirs, text: str) -> None:
    ids = ours.encode(text)
    assert ids == theirs.encode(text, add_special_tokens=False)
    assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True)


def test_bert_ids(ours: Tokenizer) -> None:
    assert ours.vocabulary_size == 30522
    assert (ours.pad_id, ours.unk_id, ours.cls_id, ours.sep_id) == (0, 100, 101, 102)
    assert ours.encode("a dog.") == [1037, 3899, 1012]
    assert ours.decode([101, 1037, 3899, 1012, 102, 0]) == "a dog."


@pytest.mark.parametrize("text", TEXTS)
def test_equals_transformers(ours: Tokenizer, theirs, text: str) -> None:
    assert_same(ours, theirs, text)


@given(text=st.text(max_size=80))
@settings(max_examples=300, deadline=None)
def test_equals_transformers_on_any_text(ours: Tokenizer, theirs, text: str) -> None:
    assert_same(ours, theirs, text)


@given(words=st.lists(st.sampled_from(TRICKY)))
@settings(max_examples=200, deadline=None)
def test_equals_transformers_on_word_lists(ours: Tokenizer, theirs, words: list[str]) -> None:
    assert_same(ours, theirs, " ".join(words))
    assert_same(ours, theirs, "".join(words))


@given(ids=st.lists(st.integers(0, 30521), max_size=40))
@settings(max_examples=300, deadline=None)
def test_decodes_any_ids_as_transformers(ours: Tokenizer, theirs, ids: list[int]) -> None:
    assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True)


def test_equals_the_python_implementation(ours: Tokenizer, bert_vocabulary: Path) -> None:
    """BERT's own algorithm in plain Python, an implementation that shares no code with ours.

    Texts with a special token in them or whose code points the two Unicode tables see differently are left out.
    """
    module = pytest.importorskip("transformers.models.bert.tokenization_bert_legacy")
    legacy = module.BertTokenizerLegacy(str(bert_vocabulary))
    compared = [text for text in TEXTS if "[" not in text and "\u2028" not in text and "\U0010ffff" not in text]
    assert len(compared) >= 15
    for text in compared:
        assert ours.encode(text) == legacy.convert_tokens_to_ids(legacy.tokenize(text)), text


def test_batch_equals_one_by_one(ours: Tokenizer) -> None:
    assert ours.encode_batch(TEXTS) == [ours.encode(text) for text in TEXTS]
    assert ours.encode_batch([]) == []


def test_never_written() -> None:
    tokenizer = Tokenizer(WORDS)
    banned = [WORDS[index] for index in tokenizer.never_written]
    assert banned == ["[PAD]", "[UNK]", "[CLS]", "[MASK]", "[unused0]", "[unused12]"]


def test_never_written_of_bert(ours: Tokenizer) -> None:
    # BERT has [unused0] … [unused993] and four special tokens that a caption must not hold.
    assert len(ours.never_written) == 994 + 4
    assert ours.sep_id not in ours.never_written


@pytest.mark.parametrize("files", [["tokenizer.json"], ["vocab.txt"], ["tokenizer.json", "tokenizer_config.json"]])
def test_saved_files_give_the_same_tokenizer(ours: Tokenizer, tmp_path: Path, files: list[str]) -> None:
    ours.save(tmp_path / "all")
    (tmp_path / "some").mkdir()
    for name in files:
        (tmp_path / "all" / name).rename(tmp_path / "some" / name)
    read = Tokenizer.from_folder(tmp_path / "some")
    assert read.vocabulary == ours.vocabulary
    assert read.never_written == ours.never_written
    assert read.encode_batch(TEXTS) == ours.encode_batch(TEXTS)


@pytest.mark.parametrize("loader", ["BertTokenizer", "BertTokenizerFast", "AutoTokenizer"])
def test_transformers_loads_what_is_saved(tmp_path: Path, loader: str) -> None:
    learned = Tokenizer.learn(["two dogs run along the beach", "a man's red kite!"], 300)
    for tokenizer in (learned, Tokenizer(WORDS)):
        tokenizer.save(tmp_path)
        loaded = getattr(transformers, loader).from_pretrained(tmp_path)
        for text in ("two dogs run.", "a man's dog is running", "[SEP] Kites!"):
            ids = tokenizer.encode(text)
            assert loaded.encode(text, add_special_tokens=False) == ids
            assert loaded.decode(ids, skip_special_tokens=True) == tokenizer.decode(ids)
            assert loaded.encode(text) == [tokenizer.cls_id, *ids, tokenizer.sep_id]
        assert loaded.pad_token_id == tokenizer.pad_id and len(loaded) == tokenizer.vocabulary_size


def test_reads_what_transformers_saves(ours: Tokenizer, theirs, tmp_path: Path) -> None:
    theirs.save_pretrained(tmp_path)
    read = Tokenizer.from_folder(tmp_path)
    assert read.vocabulary == ours.vocabulary
    assert read.encode_batch(TEXTS) == ours.encode_batch(TEXTS)


def test_windows_line_ends(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes("\r\n".join([*WORDS, ""]).encode())
    assert Tokenizer.from_folder(tmp_path).vocabulary == tuple(WORDS)


def test_pickles() -> None:
    tokenizer = Tokenizer(WORDS)
    assert pickle.loads(pickle.dumps(tokenizer)).encode("dogs running.") == tokenizer.encode("dogs running.")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], r"has no \[PAD\], \[UNK\], \[CLS\], \[SEP\]"),
        ([word for word in WORDS if word != "[SEP]"], r"has no \[SEP\]"),
        ([*WORDS, "dog"], "'dog' is there twice, as id 8 and as id 14"),
        ([*WORDS, 5], "word 14 must be a str"),
    ],
)
def test_unusable_vocabulary(words: list[str], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        Tokenizer(words)


def saved(folder: Path) -> dict:
    Tokenizer(WORDS).save(folder)
    return json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))


def change(content: dict, *keys: str, value: object) -> str:
    inner = content
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    return json.dumps(content)


@pytest.mark.parametrize(
    ("break_it", "complaint"),
    [
        (lambda c: "{", "is not valid JSON"),
        (lambda c: "[]", "must contain a JSON object, found a list"),
        (lambda c: "[" * 100_000, "is not valid JSON"),
        (lambda c: "{}", "no WordPiece vocabulary"),
        (lambda c: change(c, "model", "type", value="BPE"), "no WordPiece vocabulary"),
        (lambda c: change(c, "model", "vocab", value=WORDS), "no WordPiece vocabulary"),
        (lambda c: change(c, "model", "vocab", "dog", value="8"), "no WordPiece vocabulary"),
        (lambda c: change(c, "model", "vocab", "dog", value=99), r"no word with the id 8: the next one, '##s', has 9"),
        (lambda c: change(c, "normalizer", "lowercase", value=False), "BERT's uncased"),
        (lambda c: change(c, "normalizer", value=None), "BERT's uncased"),
        (lambda c: change(c, "added_tokens", value=[{"id": 14, "content": "<img>"}]), "adds .*<img>"),
    ],
)
def test_unusable_tokenizer_json(tmp_path: Path, break_it, complaint: str) -> None:
    (tmp_path / "tokenizer.json").write_text(break_it(saved(tmp_path)), encoding="utf-8")
    with pytest.raises(CheckpointError, match=complaint) as caught:
        Tokenizer.from_folder(tmp_path)
    assert "tokenizer.json" in str(caught.value)


def test_unusable_vocab_txt(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"neither tokenizer\.json nor vocab\.txt"):
        Tokenizer.from_folder(tmp_path)
    (tmp_path / "vocab.txt").write_bytes(b"\xff\xfe[PAD]\n")
    with pytest.raises(CheckpointError, match=r"vocab\.txt: is UTF-16 text"):
        Tokenizer.from_folder(tmp_path)
    (tmp_path / "vocab.txt").write_text("")
    with pytest.raises(CheckpointError, match=r"vocab\.txt: the vocabulary of 0 words has no"):
        Tokenizer.from_folder(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    with pytest.raises(CheckpointError, match="do_lower_case to false"):
        Tokenizer.from_folder(tmp_path)


def test_unusable_input() -> None:
    tokenizer = Tokenizer(WORDS)
    with pytest.raises(InputError, match="not valid Unicode"):
        tokenizer.encode("a \ud800 dog")
    with pytest.raises(InputError, match="text must be a str, not bytes"):
        tokenizer.encode_batch(["a", b"dog"])
    for index in (-1, len(WORDS)):
        with pytest.raises(InputError, match=f"token id {index} is not in the vocabulary of {len(WORDS)} words"):
            tokenizer.decode([7, index])


def test_spellings_are_all_the_ways_to_write_a_word() -> None:
    words = [*SPECIAL_TOKENS, "dog", "do", "d", "##o", "##g", "##og", "##s", "hot", "h", "##ot"]
    tokenizer = Tokenizer(words)
    written = [[words[index] for index in pieces] for pieces in tokenizer.spellings("Dog")]
    assert written == [["dog"], ["do", "##g"], ["d", "##og"], ["d", "##o", "##g"]]
    assert len(tokenizer.spellings("hot dog")) == 2 * 4
    assert all(tokenizer.decode(pieces) == "hot dog" for pieces in tokenizer.spellings("hot dog"))
    assert tokenizer.spellings("hot dog", most=1) == tokenizer.spellings("hot dog")[:1]
    assert len(tokenizer.spellings("dog dog dog", most=30)) == 3**3
    assert tokenizer.spellings("") == []
    assert tokenizer.spellings("cat") == []
