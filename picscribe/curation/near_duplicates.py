"""Images that differ from an earlier one by no more than scaling, compression or a watermark would change."""

from itertools import pairwise

from PIL import Image

from picscribe.errors import MissingPackageError

BITS = 64


def perceptual_hash(image: Image.Image) -> int:
    """64 bits of an image's lowest frequencies (pHash). Raises MissingPackageError without the package imagehash."""
    try:
        import imagehash
    except ImportError as error:
        raise MissingPackageError('curating needs the package ImageHash: pip install "picscribe[curate]"') from error
    return int(str(imagehash.phash(image)), 16)


class NearDuplicates:
    """Finds the first hash seen that is within `distance` bits.

    Hashes are cut into one piece more than bits may differ, so that one piece at least is the same in both: only what
    shares a piece is compared.
    """

    def __init__(self, distance: int) -> None:
        self.distance = distance
        edges = [BITS * k // (distance + 1) for k in range(distance + 2)]
        self._pieces = [(low, (1 << (high - low)) - 1) for low, high in pairwise(edges)]
        self._tables: list[dict[int, list[int]]] = [{} for _ in self._pieces]
        self._seen: list[int] = []

    def find(self, value: int) -> int | None:
        """The place, from 0 on, of the earliest hash that was added and is near; None where there is none."""
        places = {
            place
            for (low, ones), table in zip(self._pieces, self._tables, strict=True)
            for place in table.get(value >> low & ones, ())
            if (self._seen[place] ^ value).bit_count() <= self.distance
        }
        return min(places, default=None)

    def add(self, value: int) -> int:
        """Remember a hash; its place."""
        place = len(self._seen)
        self._seen.append(value)
        for (low, ones), table in zip(self._pieces, self._tables, strict=True):
            table.setdefault(value >> low & ones, []).append(place)
        return place
