# SPDX-License-Identifier: Apache-2.0
"""The registry of networks: found by name, refused when wrong, fetched whole or not at all."""

import hashlib
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mtl_perception import models
from mtl_perception.download import DownloadFailed, download, fetch
from mtl_perception.inference.runtimes import RUNTIMES
from mtl_perception.labels import LABEL_SETS
from mtl_perception.models import (
    MODELS,
    ModelCorrupt,
    ModelEntry,
    ModelMissing,
    entry_of_file,
    find_model,
    list_models,
    packaged_folder,
    user_folder,
    verify,
)
from mtl_perception.predictor import PredictorConfig

NAME = "deeplab-ade20k"
ENTRY = MODELS[NAME]
CONTENT = bytes(range(256)) * 1000


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees the user's folders; returns the one that DENSE_SLAM_MODELS names."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv(models.FOLDERS_VARIABLE, str(tmp_path / "models"))
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


@pytest.fixture
def served() -> str:
    """Address of a local server: /whole, /half, /longer, /other; anything else is 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            bodies = {
                "/whole": CONTENT,
                "/half": CONTENT[: len(CONTENT) // 2],
                "/longer": CONTENT * 40,
                "/other": CONTENT[::-1],
            }
            if self.path not in bodies:
                self.send_error(404)
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(bodies[self.path])

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def served_entry(url: str) -> ModelEntry:
    digest = hashlib.sha256(CONTENT).hexdigest()
    return ModelEntry(
        "tiny", "tiny.tflite", url, len(CONTENT), digest, "MIT", "", "litert", "ade20k32", "", ""
    )


def test_every_entry_can_be_had_checked_and_run() -> None:
    for entry in list_models():
        if entry.url:
            assert entry.url.startswith("https://") and entry.url.endswith(entry.file)
        else:
            verify(packaged_folder() / entry.file, entry)
            assert (packaged_folder() / entry.file).with_suffix(".md").is_file()
        assert len(entry.sha256) == 64 and entry.sha256 == entry.sha256.lower()
        assert entry.size_bytes > 0 and entry.licence
        assert entry.runtime in (*RUNTIMES, "auto") and entry.label_set in LABEL_SETS


def test_the_registered_network_is_the_one_that_was_measured(shared_data: Path) -> None:
    verify(shared_data / "models" / ENTRY.file, ENTRY)


def test_the_default_network_is_part_of_the_package_and_small() -> None:
    entry = MODELS[PredictorConfig().model]
    assert find_model(entry.name) == packaged_folder() / entry.file
    assert download(entry.name) == packaged_folder() / entry.file
    assert entry.size_bytes <= 8e6


def test_a_file_of_the_name_of_a_packaged_network_is_the_users_own(own_folders: Path) -> None:
    entry = MODELS[PredictorConfig().model]
    own = own_folders / entry.file
    own.write_bytes(CONTENT)
    assert find_model(str(own)) == own and entry_of_file(own) is None
    assert find_model(entry.name) == packaged_folder() / entry.file


def test_a_damaged_packaged_network_is_refused(
    own_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "packaged_folder", lambda: own_folders)
    entry = MODELS[PredictorConfig().model]
    (own_folders / entry.file).write_bytes(CONTENT)
    with pytest.raises(ModelCorrupt, match="install that again"):
        find_model(entry.name)


def test_a_network_is_found_by_name_in_the_listed_folders(
    shared_data: Path, own_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shared_data / "models"
    monkeypatch.setenv(models.FOLDERS_VARIABLE, f"{own_folders}:{folder}")
    assert find_model(NAME) == folder / ENTRY.file


def test_a_network_is_found_in_the_users_cache(shared_data: Path) -> None:
    user_folder().mkdir(parents=True)
    shutil.copyfile(shared_data / "models" / ENTRY.file, user_folder() / ENTRY.file)
    assert find_model(NAME) == user_folder() / ENTRY.file


def test_a_copy_under_another_name_is_recognised_by_its_bytes(
    shared_data: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "mine.tflite"
    shutil.copyfile(shared_data / "models" / ENTRY.file, copy)
    assert find_model(str(copy)) == copy
    assert entry_of_file(copy) == ENTRY


def test_a_file_of_the_users_own_needs_no_entry(tmp_path: Path) -> None:
    own = tmp_path / "own.tflite"
    own.write_bytes(CONTENT)
    assert find_model(str(own)) == own
    assert entry_of_file(own) is None


def test_a_missing_network_says_what_to_type() -> None:
    with pytest.raises(ModelMissing, match=f"dense-semantic-slam models download {NAME}"):
        find_model(NAME)


def test_an_unknown_name_lists_the_near_ones() -> None:
    with pytest.raises(ModelMissing, match=f"deeplab-ade.*known: {NAME}"):
        find_model("deeplab-ade")


def test_a_truncated_network_is_refused_with_both_sizes(
    shared_data: Path, own_folders: Path
) -> None:
    whole = (shared_data / "models" / ENTRY.file).read_bytes()
    (own_folders / ENTRY.file).write_bytes(whole[:1000])
    with pytest.raises(ModelCorrupt, match=f"1000 bytes.*{ENTRY.size_bytes}"):
        find_model(NAME)
    with pytest.raises(ModelCorrupt, match="1000 bytes"):
        find_model(str(own_folders / ENTRY.file))


def test_a_changed_network_is_refused_with_both_checksums(
    shared_data: Path, own_folders: Path
) -> None:
    content = bytearray((shared_data / "models" / ENTRY.file).read_bytes())
    content[len(content) // 2] ^= 1
    (own_folders / ENTRY.file).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    with pytest.raises(ModelCorrupt, match=f"{digest}.*{ENTRY.sha256}"):
        find_model(NAME)


def test_a_file_that_changes_is_checked_again(tmp_path: Path) -> None:
    file, entry = tmp_path / "tiny.tflite", served_entry("")
    file.write_bytes(CONTENT)
    verify(file, entry)
    file.write_bytes(CONTENT[::-1])
    with pytest.raises(ModelCorrupt, match="sha256"):
        verify(file, entry)


def test_a_download_is_checked_and_kept(served: str, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = fetch(
        served_entry(f"{served}/whole"), tmp_path / "new" / "folder", lambda *n: seen.append(n)
    )
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert list(path.parent.iterdir()) == [path]


def test_a_right_copy_is_not_fetched_again(tmp_path: Path) -> None:
    (tmp_path / "tiny.tflite").write_bytes(CONTENT)
    assert fetch(served_entry("https://nowhere.invalid/x"), tmp_path).read_bytes() == CONTENT


def test_a_wrong_copy_is_replaced(served: str, tmp_path: Path) -> None:
    (tmp_path / "tiny.tflite").write_bytes(CONTENT[:10])
    assert fetch(served_entry(f"{served}/whole"), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("what", ["half", "longer", "other"])
def test_a_wrong_download_leaves_nothing_behind(served: str, tmp_path: Path, what: str) -> None:
    with pytest.raises(ModelCorrupt):
        fetch(served_entry(f"{served}/{what}"), tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []


def test_a_refused_download_names_the_address(served: str, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match=f"{served}/gone.*404"):
        fetch(served_entry(f"{served}/gone"), tmp_path)


def test_a_folder_that_cannot_be_made_is_said(served: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DownloadFailed, match="file"):
        fetch(served_entry(f"{served}/whole"), tmp_path / "file" / "models")


def test_an_unknown_network_cannot_be_downloaded() -> None:
    with pytest.raises(ModelMissing, match=NAME):
        download("no-such-net")
