"""Whole objects by path, in a folder and in a store of the S3 API alike."""

from dataclasses import dataclass

import pytest

from mlops_lab.data.artifacts import ArtifactError, Artifacts
from mlops_lab.errors import LabError

S3 = [pytest.mark.process, pytest.mark.xdist_group("object store")]
STORES = ["folder", pytest.param("s3", marks=S3)]
# Larger than what one request of a stored object holds.
LARGE = bytes(range(256)) * 50_000


@dataclass(frozen=True)
class Bucket:
    """`raw` writes as another program would, past the rule of whole objects."""

    artifacts: Artifacts
    folder: str

    def leave_a_part(self) -> str:
        path = f"{self.folder}/killed.json.part"
        self.artifacts._write(path, b"half")
        return path


@pytest.fixture(params=STORES)
def bucket(request, tmp_path) -> Bucket:
    """The store, and a folder in it for this test alone."""
    if request.param == "folder":
        return Bucket(Artifacts(str(tmp_path / "bucket")), "payloads")
    store = request.getfixturevalue("s3_store")
    return Bucket(Artifacts("s3://api-artifacts", store.s3()), tmp_path.name)


def test_an_object_is_stored_listed_read_replaced_and_deleted(bucket):
    store, path = bucket.artifacts, f"{bucket.folder}/flats/one.json"
    assert store.list(f"{bucket.folder}/flats") == []
    assert store.size(path) == 0
    for content in (b"first", LARGE, b"", "ñ".encode()):
        assert store.put(path, content) == path
        assert store.get(path) == content
        assert store.size(path) == len(content)
    store.put(f"{bucket.folder}/flats/another.json", b"1")
    store.put(f"{bucket.folder}/flats/deeper/third.json", b"1")
    assert store.list(f"{bucket.folder}/flats") == [f"{bucket.folder}/flats/another.json", path]

    store.delete_object(path)
    store.delete_object(path)
    assert store.list(f"{bucket.folder}/flats") == [f"{bucket.folder}/flats/another.json"]
    with pytest.raises(ArtifactError, match=f"can't read {path}"):
        store.get(path)
    store.delete(bucket.folder)
    store.delete(bucket.folder)
    assert store.list(f"{bucket.folder}/flats") == store.list(f"{bucket.folder}/flats/deeper") == []


def test_a_packed_object_stays_as_it_is(bucket):
    bucket.artifacts.put(f"{bucket.folder}/rows.csv.gz", b"not packed at all")
    assert bucket.artifacts.get(f"{bucket.folder}/rows.csv.gz") == b"not packed at all"


def test_a_file_is_uploaded_and_downloaded_and_replaces_an_earlier_one_whole(bucket, tmp_path):
    store, path, file = bucket.artifacts, f"{bucket.folder}/uploads/rows.csv", tmp_path / "rows.csv"
    for content in (b"old", LARGE):
        file.write_bytes(content)
        assert store.upload(file, path) == path
    assert store.list(f"{bucket.folder}/uploads") == [path]
    store.download(path, tmp_path / "copy.csv")
    assert (tmp_path / "copy.csv").read_bytes() == LARGE

    with pytest.raises(ArtifactError, match="Is a directory"):
        store.upload(tmp_path, path)
    assert store.get(path) == LARGE
    with pytest.raises(LabError, match=f"there is no object {bucket.folder}/none"):
        store.download(f"{bucket.folder}/none", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_room_is_tried_and_leaves_nothing(bucket):
    bucket.artifacts.check_room(bucket.folder, 3_000_000)
    assert bucket.artifacts.list(bucket.folder) == []
    assert bucket.artifacts.size(f"{bucket.folder}/room.part") == 0


def test_what_a_killed_process_left_never_counts_and_is_removed(bucket):
    whole = bucket.artifacts.put(f"{bucket.folder}/whole.json", b"1")
    part = bucket.leave_a_part()
    assert bucket.artifacts.size(part) == 4
    assert bucket.artifacts.list(bucket.folder) == [whole]
    bucket.artifacts.delete_parts(bucket.folder)
    assert bucket.artifacts.size(part) == 0
    assert bucket.artifacts.get(whole) == b"1"


def test_a_folder_that_nobody_may_write_to_is_said_in_one_line(tmp_path):
    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket" / "payloads").write_text("a file where a folder has to be")
    with pytest.raises(ArtifactError, match="the object store can't store payloads/one") as fault:
        Artifacts(str(tmp_path / "bucket")).put("payloads/one", b"1")
    assert "\n" not in str(fault.value)
