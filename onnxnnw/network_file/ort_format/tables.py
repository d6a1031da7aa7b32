"""A flatbuffer read where it lies: tables, texts, lists of numbers, every place checked, a few pages in memory.

A table begins with the distance to a list of where its fields are; what is larger than a number is the distance to where that is
[FlatBuffers, "Internals"]. Distances may lead twice to one place, so everything that is read is counted.
"""

import struct
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onnxnnw.errors import UnreadableNetwork
from onnxnnw.network_file.source import will_need
from onnxnnw.network_file.wire import read_exactly

if TYPE_CHECKING:
    from onnxnnw.sources.remote import RemoteHandle

__all__ = ["Buffer", "Table"]

_PAGE, _PAGES, _KEPT = 4096, 4096, 2**16
_WORD = struct.Struct("<I").unpack_from
MAX_TABLES = 5_000_000
"""Tables that are visited at most; also no more than the file has room for distances, four bytes each."""

MAX_BYTES = 64 * 2**20
"""What may come out of it, tensors that stay in the file left out: as much as of an ONNX file."""


class Buffer:
    """An open file that is one flatbuffer."""

    def __init__(self, descriptor: "int | RemoteHandle", size: int) -> None:
        self.descriptor, self.size = descriptor, size
        self._pages: OrderedDict[int, bytes] = OrderedDict()
        self._fields: dict[int, tuple[int, tuple[int, ...]]] = {}
        self._texts: dict[int, bytes] = {}
        self._tables, self._bytes = min(MAX_TABLES, 1000 + size // 4), MAX_BYTES

    def root(self) -> "Table":
        """The table that everything else hangs on."""
        return self.table(self.distance(0))

    def table(self, place: int) -> "Table":
        """The table at a place."""
        self._tables -= 1
        if self._tables < 0:
            raise UnreadableNetwork("its tables lead to each other again and again, or are too many")
        back = self.word(place)
        fields_at = place - (back - 2**32 if back >= 2**31 else back)
        size, places = self._fields.get(fields_at) or self._listed_fields(fields_at)
        if place + size > self.size:
            raise UnreadableNetwork(f"a table at byte {place:,} goes on behind the end of the file, at {self.size:,}")
        return Table(self, place, size, places)

    def _listed_fields(self, place: int) -> tuple[int, tuple[int, ...]]:
        """The size of a table, and where its fields are in it; many tables share such a list."""
        length, size = struct.unpack("<HH", self.take(place, 4))
        if length < 4 or length % 2 or size < 4:
            raise UnreadableNetwork(f"a list of fields at byte {place:,} is damaged")
        found = size, struct.unpack(f"<{length // 2 - 2}H", self.take(place + 4, length - 4))
        if len(self._fields) < _KEPT:
            self._fields[place] = found
        return found

    def word(self, place: int) -> int:
        """A number of four bytes."""
        page = self._pages.get(place // _PAGE)
        at = place % _PAGE
        if page is None or at + 4 > len(page):
            return int.from_bytes(self.take(place, 4), "little")
        return int(_WORD(page, at)[0])

    def distance(self, place: int) -> int:
        """Where the distance at a place leads to; always further on."""
        distance = self.word(place)
        if not 4 <= distance <= self.size - place:
            raise UnreadableNetwork(f"a distance at byte {place:,} leads nowhere")
        return place + distance

    def extent(self, place: int, itemsize: int) -> tuple[int, int]:
        """Of a list: where its first item lies, and how many there are."""
        count = self.word(place)
        if count * itemsize > self.size - place - 4:
            raise UnreadableNetwork(f"a list at byte {place:,} goes on behind the end of the file, at {self.size:,}")
        return place + 4, count

    def content(self, place: int) -> bytes:
        """The bytes of a text; writers write a name once, wherever it is used."""
        known = self._texts.get(place)
        if known is None:
            at, length = self.extent(place, 1)
            self.charge(length)
            known = self.take(at, length)
            if length < _PAGE and len(self._texts) < _KEPT:
                self._texts[place] = known
            return known
        self.charge(len(known))
        return known

    def charge(self, length: int) -> None:
        """Count bytes that will be kept.

        Raises:
            UnreadableNetwork: They are too many.
        """
        self._bytes -= length
        if self._bytes < 0:
            raise UnreadableNetwork(f"more than {MAX_BYTES // 2**20} MiB outside large tensors")

    def take(self, place: int, length: int) -> bytes:
        """Some bytes."""
        if place < 0 or place + length > self.size:
            raise UnreadableNetwork(f"it leads to byte {place:,}, outside of its {self.size:,}")
        if length > _PAGE:
            return read_exactly(self.descriptor, length, place)
        number, at = divmod(place, _PAGE)
        page = self._pages.get(number)
        if page is None:
            page = self._read_page(number)
        piece = page[at : at + length]
        if len(piece) < length:
            piece += self.take(place + len(piece), length - len(piece))
        return piece

    def _read_page(self, number: int) -> bytes:
        start = number * _PAGE
        page = read_exactly(self.descriptor, min(_PAGE, self.size - start), start)
        self._pages[number] = page
        if len(self._pages) > _PAGES:
            self._pages.popitem(last=False)
        return page

    def ahead(self, places: Sequence[int]) -> None:
        """Have pages fetched together that are read one after the other; of a file on this disk, nothing."""
        if isinstance(self.descriptor, int):
            return
        wanted = sorted({place // _PAGE for place in places if place < self.size})[: _PAGES // 2]
        pages = [number for number in wanted if number not in self._pages]
        starts = [number * _PAGE for number in pages]
        will_need(self.descriptor, starts, [min(_PAGE, self.size - start) for start in starts])


class Table:
    """One table; fields are numbered as in the schema, and one that is not there is empty, or 0."""

    __slots__ = ("_buffer", "_place", "_places", "_size")

    def __init__(self, buffer: Buffer, place: int, size: int, places: tuple[int, ...]) -> None:
        self._buffer, self._place, self._size, self._places = buffer, place, size, places

    def _at(self, field: int, length: int) -> int:
        """Where a field is; 0 where it is not there."""
        at = self._places[field] if field < len(self._places) else 0
        if at and not 4 <= at <= self._size - length:
            raise UnreadableNetwork(f"a field of the table at byte {self._place:,} lies outside of it")
        return self._place + at if at else 0

    def number(self, field: int, form: str = "i") -> Any:
        """A number, as ``struct`` has it."""
        length = struct.calcsize("<" + form)
        at = self._at(field, length)
        return struct.unpack("<" + form, self._buffer.take(at, length))[0] if at else 0

    def has(self, field: int) -> bool:
        """Whether a field is there."""
        return self._at(field, 1) != 0

    def table(self, field: int) -> "Table | None":
        """The table that a field leads to."""
        at = self._at(field, 4)
        return self._buffer.table(self._buffer.distance(at)) if at else None

    def tables(self, field: int) -> "Iterator[Table]":
        """The tables of a list."""
        places = self._listed(field)
        self._buffer.ahead(places)
        return (self._buffer.table(place) for place in places)

    def text(self, field: int) -> str:
        """A text."""
        at = self._at(field, 4)
        return self._text(self._buffer.distance(at)) if at else ""

    def texts(self, field: int) -> list[str]:
        """The texts of a list."""
        return [self._text(place) for place in self._listed(field)]

    def raw_texts(self, field: int) -> list[bytes]:
        """The texts of a list that may be any bytes."""
        return [self._buffer.content(place) for place in self._listed(field)]

    def raw_text(self, field: int) -> bytes:
        """A text that may be any bytes."""
        at = self._at(field, 4)
        return self._buffer.content(self._buffer.distance(at)) if at else b""

    def numbers(self, field: int, form: str) -> NDArray[Any]:
        """A list of numbers, as NumPy has them."""
        itemsize = np.dtype(form).itemsize
        at, count = self.extent(field, itemsize)
        self._buffer.charge(count * itemsize)
        return np.frombuffer(self._buffer.take(at, count * itemsize), form)

    def extent(self, field: int, itemsize: int = 1) -> tuple[int, int]:
        """Where a list begins, and its length; (0, 0) where it is not there."""
        at = self._at(field, 4)
        return self._buffer.extent(self._buffer.distance(at), itemsize) if at else (0, 0)

    def _listed(self, field: int) -> list[int]:
        """Where the distances of a list lead to."""
        at, count = self.extent(field, 4)
        self._buffer.charge(4 * count)
        distances = struct.unpack(f"<{count}I", self._buffer.take(at, 4 * count)) if count else ()
        return [at + 4 * number + distance for number, distance in enumerate(distances)]

    def _text(self, place: int) -> str:
        try:
            return self._buffer.content(place).decode("utf-8")
        except UnicodeDecodeError:
            raise UnreadableNetwork(f"the text at byte {place:,} is no readable text") from None
