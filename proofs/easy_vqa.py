"""Questions about coloured shapes: the data set of the package easy-vqa, 38,575 questions to learn and 9,673 to answer.

python -m proofs.easy_vqa
"""

import shutil
from pathlib import Path

import easy_vqa

from proofs.proving import evaluate, make_data, train, write_lines

NAME = "easy-vqa"


def write(folder: Path) -> None:
    """Photos in train/ and test/, and a row for each question."""
    rows = []
    for split, photos, questions in (
        ("train", easy_vqa.get_train_image_paths(), easy_vqa.get_train_questions()),
        ("test", easy_vqa.get_test_image_paths(), easy_vqa.get_test_questions()),
    ):
        (folder / split).mkdir()
        for number, path in photos.items():
            shutil.copy(path, folder / split / f"{number}.png")
        for place, (question, answer, photo) in enumerate(zip(*questions, strict=True)):
            rows.append(
                {
                    "file_name": f"{split}/{photo}.png",
                    "question_id": f"{split}-{place}",
                    "question": question,
                    "answer": answer,
                    "split": split,
                }
            )
    write_lines(folder / "metadata.jsonl", rows)


if __name__ == "__main__":
    data = make_data(NAME, write)
    evaluate(NAME, train(NAME), data, "answers", "--beams", "1")
