"""Archives give back the very bytes that were put in."""

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from skimstream.producer.archive import ArchiveError, messages

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
FILES = {"b/2.avro": b"Obj\x01 two", "a/1.avro": b"Obj\x01 one", "a/10.avro": bytes(range(256)) * 300, "c.avro": b""}


def write_tar(path: Path, files: dict[str, bytes], mode: str) -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        folder = tarfile.TarInfo("a")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        link = tarfile.TarInfo("a/link.avro")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link)
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


@pytest.mark.parametrize(("name", "mode"), [("x.tar.gz", "w:gz"), ("x.tar", "w"), ("x.tgz", "w:gz")])
def test_tar_in_its_own_order(tmp_path: Path, name: str, mode: str) -> None:
    path = write_tar(tmp_path / name, FILES, mode)
    assert list(messages([path])) == list(FILES.items())
    assert [p.name for p in tmp_path.iterdir()] == [name]  # nothing was unpacked


def test_folder_recursively_and_sorted(tmp_path: Path) -> None:
    files = FILES | {f"d/{i}.avro": b"%d" % i for i in range(20)}
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / "README.txt").write_text("not a message")
    assert list(messages([tmp_path])) == sorted(files.items())


def test_paths_in_the_given_order(tmp_path: Path) -> None:
    single = tmp_path / "message.bin"
    single.write_bytes(b"any name will do")
    archive = write_tar(tmp_path / "x.tar", FILES, "w")
    assert list(messages([str(single), archive])) == [("message.bin", b"any name will do"), *FILES.items()]


def test_reading_is_lazy(tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "x.tar", FILES, "w")
    stream = messages([archive, tmp_path / "missing.avro"])
    assert next(stream) == ("b/2.avro", FILES["b/2.avro"])


def test_missing_path(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="No such file") as caught:
        list(messages([tmp_path / "missing.tar.gz"]))
    assert caught.value.path == tmp_path / "missing.tar.gz"
    with pytest.raises(ArchiveError, match="No such file"):
        list(messages([tmp_path / "missing.avro"]))


def test_folder_without_messages(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"no \.avro file"):
        list(messages([tmp_path]))


@pytest.mark.parametrize("damage", ["truncated", "garbage", "flipped", "checksum", "after the end"])
def test_damaged_archive(tmp_path: Path, damage: str) -> None:
    path = write_tar(tmp_path / "x.tar.gz", {"1.avro": bytes(range(256)) * 500}, "w:gz")
    whole = path.read_bytes()
    middle = len(whole) // 2
    if damage == "truncated":
        path.write_bytes(whole[:middle])
    elif damage == "garbage":
        path.write_bytes(b"no archive" * 200)
    elif damage == "after the end":
        path.write_bytes(whole + gzip.compress(b"x")[:10] + b"\xff" * 20)
    elif damage == "checksum":
        path.write_bytes(whole[:-8] + bytes(8))
    else:
        path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 0xFF]) + whole[middle + 1 :])
    with pytest.raises(ArchiveError, match=r"damaged|can't be read"):
        list(messages([path]))


def test_too_large_a_message_is_an_error_that_names_it(tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "x.tar", FILES, "w")
    with pytest.raises(ArchiveError, match="76800 bytes") as caught:
        list(messages([archive], max_bytes=1000))
    assert caught.value.member == "a/10.avro"
    single = tmp_path / "big.avro"
    single.write_bytes(bytes(1001))
    with pytest.raises(ArchiveError, match="more than 1000 bytes"):
        list(messages([single], max_bytes=1000))


def test_a_bomb_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """64 MiB of zeros behind 64 KiB: the size in the header is enough to refuse it."""
    member = tarfile.TarInfo("bomb.avro")
    member.size = 64 * 2**20
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(member.tobuf() + bytes(member.size), compresslevel=1))
    with pytest.raises(ArchiveError, match="more than a message's"):
        list(messages([path]))


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared")
def test_real_alerts() -> None:
    paths = sorted((SHARED / "data" / "ztf").glob("*.tar.gz"))
    read = [(len(data), data[:4]) for _, data in messages(paths)]
    assert len(read) == 358
    assert {magic for _, magic in read} == {b"Obj\x01"}
    assert max(size for size, _ in read) < 100_000
