"""What lies in the feedback folder must not lead out of it; two who send one photo at once leave one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from app.errors import Refusal
from app.feedback import FeedbackFolder
from tests.test_feedback import ROOM, hash_of, kept

SENDERS = 8


@pytest.mark.parametrize(("label", "name"), [("black", "black"), ("none of these", "_none of these")])
@pytest.mark.parametrize("there", [True, False])
def test_a_label_folder_that_is_a_link_is_not_followed(tmp_path: Path, label: str, name: str, there: bool) -> None:
    elsewhere = tmp_path / "elsewhere"
    if there:
        elsewhere.mkdir()
    folder = FeedbackFolder(tmp_path / "feedback", ROOM)
    (folder.folder / name).symlink_to(elsewhere)
    with pytest.raises(Refusal) as caught:
        folder.keep(b"photo", "JPEG", label)
    assert (caught.value.code, caught.value.status) == ("not_kept", 507)
    assert kept(tmp_path) == {}
    assert elsewhere.exists() is there
    (folder.folder / name).unlink()
    assert folder.keep(b"photo", "JPEG", label), "it recovers"


def test_a_photo_is_not_moved_through_a_link(tmp_path: Path) -> None:
    folder = FeedbackFolder(tmp_path / "feedback", ROOM)
    folder.keep(b"photo", "JPEG", "black")
    (tmp_path / "elsewhere").mkdir()
    (folder.folder / "grizzly").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refusal):
        folder.keep(b"photo", "JPEG", "grizzly")
    assert list(kept(tmp_path)) == [f"feedback/black/{hash_of(b'photo')}.jpg"]


@pytest.mark.parametrize("labels", [("black",), ("black", "grizzly")])
def test_one_photo_sent_by_many_at_once_is_there_once(tmp_path: Path, labels: tuple[str, ...]) -> None:
    folder = FeedbackFolder(tmp_path, ROOM)
    together = Barrier(SENDERS)

    def send(number: int) -> bool:
        together.wait(60)
        return folder.keep(b"photo" * 1000, "JPEG", labels[number % len(labels)])

    with ThreadPoolExecutor(SENDERS) as pool:
        new = sum(pool.map(send, range(SENDERS)))
    assert list(kept(tmp_path).values()) == [b"photo" * 1000]
    assert new == 1 if len(labels) == 1 else new >= 2
