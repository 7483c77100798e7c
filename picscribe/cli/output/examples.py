"""The examples that `--help` shows below the options of each command. A test runs them."""

EXAMPLES = {
    "caption": (
        "picscribe caption photo.jpg",
        "picscribe caption --json photos/ > captions.jsonl",
        "picscribe caption --model git-base-coco --num-captions 3 photo.jpg",
    ),
    "ask": (
        'picscribe ask photo.jpg "what color is the shirt?"',
        "picscribe ask --questions questions.jsonl --output answers.json",
    ),
    "classify": (
        "picscribe classify --labels names.txt photo.jpg",
        "picscribe classify --labels names.txt --top-k 3 photos/",
    ),
    "score": (
        'picscribe score photo.jpg "a dog runs" "a cat sleeps"',
        "picscribe score --pairs pairs.jsonl",
    ),
    "explain": (
        "picscribe explain photo.jpg -o looked.png",
        "picscribe explain photo.jpg -o looked.png -o looked.json",
    ),
    "models": ("picscribe models",),
    "info": ("picscribe info nano",),
    "convert": (
        "picscribe convert git-base-coco original/ --to original",
        "picscribe convert git-base-coco int8/ --quantize int8",
    ),
    "train": (
        "picscribe train --data photos/ --from nano --dry-run",
        "picscribe train --data photos/ --from nano --output runs/mine",
        "picscribe train --resume --output runs/mine",
        "picscribe train recipes/fine-tune.yaml optimisation.epochs=5",
    ),
    "evaluate": (
        "picscribe evaluate nano photos/ --output run/",
        "picscribe evaluate nano flickr8k/ --split val --beams 1",
    ),
    "compare": (
        "picscribe compare run/ other-run/",
        "picscribe compare run/ other-run/ --output comparison.html",
    ),
    "score-captions": ("picscribe score-captions results.json captions_val2014.json",),
    "score-answers": ("picscribe score-answers answers.json v2_OpenEnded_mscoco_val2014_questions.json",),
    "curate": ("picscribe curate pairs/ curated/",),
    "serve": (
        "picscribe serve",
        "picscribe serve --model nano --model coco=git-base-coco",
        "picscribe serve --new-key",
    ),
    "data inspect": (
        "picscribe data inspect photos/",
        "picscribe data inspect flickr8k/ --split val --contact-sheet sheet.png",
    ),
    "data frequencies": ("picscribe data frequencies flickr8k/ frequencies.json --split train",),
    "bulk run": (
        "picscribe bulk photos/ --to txt --to captions.jsonl",
        "picscribe bulk photos/ --to xmp --existing machine",
        'picscribe bulk photos/ --ask "is there a dog?" --to answers.csv',
    ),
    "bulk status": (
        "picscribe bulk photos/ --to txt",
        "picscribe bulk status photos/",
    ),
    "bulk apply": ("picscribe bulk apply photos/ edits.json",),
}


def epilog(command: str) -> str:
    """The examples of a command, for its `--help`; \\b keeps their lines as they are."""
    return "\b\nExamples:\n" + "\n".join(f"  {example}" for example in EXAMPLES[command])
