"""The official client drives /v1/files over a real socket."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from fakes.retrieval_server import Server, serving
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from serving.errors import NotFound
from serving.vector_stores.files import new_file_id
from serving.vector_stores.files_api import file_routes
from serving.vector_stores.uploads import RESULTS


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path, max_bytes=100_000) as running:
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the tests that leave nothing."""
    with serving(tmp_path_factory.mktemp("files"), max_bytes=100_000) as running:
        yield running


def kept(server: Server, home: Path) -> list[str]:
    # os.walk passes over a folder that the server removes meanwhile, where rglob raises.
    walked = os.walk(home / "files")
    return sorted(
        str(Path(folder, name).relative_to(home / "files"))
        for folder, folders, files in walked
        for name in (*folders, *files)
    )


def test_a_file_is_uploaded_read_and_deleted(server: Server, tmp_path: Path) -> None:
    files = server.client.files
    made = files.create(file=("hours.txt", b"The desk opens at nine."), purpose="assistants")
    assert (made.object, made.bytes, made.filename, made.purpose) == ("file", 23, "hours.txt", "assistants")
    assert made.id.startswith("file-")
    assert made.status == "processed"
    assert files.retrieve(made.id).to_dict() == made.to_dict()
    content = files.content(made.id)
    assert content.read() == b"The desk opens at nine."
    assert content.response.headers["content-disposition"] == "attachment; filename*=utf-8''hours.txt"
    assert content.response.headers["x-content-type-options"] == "nosniff"
    gone = files.delete(made.id)
    assert (gone.id, gone.deleted, gone.object) == (made.id, True, "file")
    assert kept(server, tmp_path) == []
    for call in (files.retrieve, files.content, files.delete):
        with pytest.raises(openai.NotFoundError, match="no file"):
            call(made.id)


def test_a_file_that_is_deleted_while_it_is_asked_for_is_whole_or_not_there(server: Server, tmp_path: Path) -> None:
    first, second = server.uploaded("nine"), server.uploaded("ten")
    (content,) = (
        route.endpoint
        for route in file_routes(server.stores).routes
        if isinstance(route, APIRoute) and route.path.endswith("/content")
    )
    begun = content(first)
    server.client.files.delete(first)
    assert TestClient(begun).get("/").content == b"nine"
    # The bytes go before the row does.
    (tmp_path / "files" / second / "content").unlink()
    with pytest.raises(openai.NotFoundError, match="no file"):
        server.client.files.content(second)
    with pytest.raises(NotFound):
        content(second)


def test_files_are_listed_newest_first_by_purpose_and_in_pages(server: Server) -> None:
    ids = [server.uploaded("x", purpose=purpose) for purpose in ("assistants", "evals", "user_data", "fine-tune")]
    files = server.client.files
    assert [file.id for file in files.list()] == ids[::-1]
    assert [file.id for file in files.list(order="asc", limit=3)] == ids
    assert [file.id for file in files.list(purpose="evals")] == [ids[1]]
    body = server.http.get("/files", params={"limit": 2, "after": ids[3]}).json()
    assert ([file["id"] for file in body["data"]], body["has_more"]) == ([ids[2], ids[1]], True)
    assert server.http.get("/files", params={"limit": 10_000}).status_code == 200
    for name, value in (("limit", "10001"), ("purpose", "vision"), ("after", "file-x"), ("before", ids[0])):
        reply = server.http.get("/files", params={name: value})
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, name)


def test_a_name_is_shown_and_never_a_path(server: Server, tmp_path: Path) -> None:
    reply = server.http.post("/files", files={"file": ("../../../up\x07.html", b"<b>x</b>")}, data={"purpose": "evals"})
    made = reply.json()
    assert made["filename"] == "up%07.html"
    assert kept(server, tmp_path) == [made["id"], f"{made['id']}/content"]
    content = server.http.get(f"/files/{made['id']}/content")
    assert content.headers["content-type"] == "application/octet-stream"
    assert server.http.get("/files/..%2Farbiter.db/content").status_code == 404


def part(name: str, value: bytes, filename: str | None = None) -> bytes:
    given = f'; filename="{filename}"' if filename is not None else ""
    return f'--cut\r\nContent-Disposition: form-data; name="{name}"{given}\r\n\r\n'.encode() + value + b"\r\n"


FILE, PURPOSE, END = part("file", b"text", "a.txt"), part("purpose", b"assistants"), b"--cut--\r\n"


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        (FILE + END, 400, "purpose"),
        (FILE + part("purpose", b"vision") + END, 400, "purpose"),
        (FILE + part("purpose", b"") + END, 400, "purpose"),
        (FILE + PURPOSE + PURPOSE + END, 400, "purpose"),
        (FILE + part("purpose", b"a" * 5_000) + END, 400, "purpose"),
        (PURPOSE + END, 400, "file"),
        (PURPOSE + part("file", b"text") + END, 400, "file"),
        (PURPOSE + part("file", b"", "a.txt") + END, 400, "file"),
        (PURPOSE + part("file", b"text", "") + END, 400, "file"),
        (PURPOSE + part("file", b"text", "..") + END, 400, "file"),
        (PURPOSE + FILE + FILE + END, 400, "file"),
        (PURPOSE + FILE, 400, "file"),
        (PURPOSE + FILE + part("expires_after[anchor]", b"created_at") + END, 400, "expires_after[anchor]"),
        (PURPOSE + part("file", b"x" * 100_001, "a.txt") + END, 413, "file"),
        (b"no parts at all", 400, "file"),
        (b"", 400, "file"),
    ],
)
def test_a_bad_form_names_its_field_and_leaves_nothing(shared: Server, body: bytes, status: int, param: str) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=cut"}
    reply = shared.http.post("/files", content=body, headers=headers)
    assert (reply.status_code, reply.json()["error"]["param"]) == (status, param), reply.text
    assert shared.client.files.list().data == []
    assert list(shared.stores.files.path("x").parent.parent.glob("*")) == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/json"},
        {"Content-Type": "multipart/form-data"},
        {"Content-Type": "multipart/form-data; boundary="},
        {},
    ],
)
def test_a_body_that_is_no_form_is_400(shared: Server, headers: dict[str, str]) -> None:
    reply = shared.http.post("/files", content=b'{"file": "x"}', headers=headers)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "file")


def test_a_file_far_over_the_limit_is_told_so(shared: Server) -> None:
    with pytest.raises(openai.APIStatusError, match="over the limit of 100,000 bytes") as refused:
        shared.client.files.create(file=("big.txt", b"x" * 150_000), purpose="assistants")
    assert refused.value.status_code == 413


def test_an_upload_that_breaks_off_leaves_nothing(server: Server, tmp_path: Path) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        head = "POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=cut\r\n"
        client.sendall(f"{head}Content-Length: 90000\r\n\r\n".encode() + FILE[:-8] + b"x" * 2_000)
        until(lambda: kept(server, tmp_path) != [])
    until(lambda: kept(server, tmp_path) == [])
    assert server.client.files.list().data == []


def test_a_disk_that_cannot_be_written_is_503_and_the_server_goes_on(tmp_path: Path) -> None:
    (tmp_path / "files").write_text("in the way")
    with serving(tmp_path) as server:
        with pytest.raises(openai.InternalServerError, match="cannot be written") as refused:
            server.uploaded("x")
        assert refused.value.status_code == 503
        (tmp_path / "files").unlink()
        assert server.client.files.retrieve(server.uploaded("x")).bytes == 1


def test_the_key_is_asked_for(tmp_path: Path) -> None:
    with serving(tmp_path, api_key="secret") as server:
        assert server.client.files.list().data == []
        for client in (server.client.with_options(api_key="guess"),):
            with pytest.raises(openai.AuthenticationError):
                client.files.list()
            with pytest.raises(openai.AuthenticationError):
                client.vector_stores.search("docs", query="x")


def test_what_a_killed_server_left_is_swept_away_after_a_day(tmp_path: Path) -> None:
    import os

    old, fresh = tmp_path / "files/file-1.part", tmp_path / "files/file-2.part"
    for folder in (old, fresh):
        folder.mkdir(parents=True)
        (folder / "content").write_text("x")
    yesterday = time.time() - 100_000
    os.utime(old, (yesterday, yesterday))
    with serving(tmp_path) as server:
        assert kept(server, tmp_path) == ["file-2.part", "file-2.part/content"]


def until(happened: Any, *, limit_s: float = 10) -> None:
    deadline = time.monotonic() + limit_s
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_file_of_our_own_is_kept_once_and_can_be_read(server: Server, tmp_path: Path) -> None:
    files, file_id = server.stores.files, new_file_id()
    (tmp_path / "files" / file_id).mkdir(parents=True)  # by a server that was killed before its row was there
    files.keep(file_id, "metrics.csv", RESULTS, b"step\n1\n")
    files.keep(file_id, "metrics.csv", RESULTS, b"other")
    assert server.client.files.content(file_id).read() == b"step\n1\n"
    (found,) = server.client.files.list(purpose=RESULTS)
    assert (found.id, found.purpose, found.bytes) == (file_id, RESULTS, 7)
    for _ in range(2):
        server.stores.files.discard(file_id)
        assert kept(server, tmp_path) == []
    with pytest.raises(openai.BadRequestError, match="purpose"):
        server.client.files.create(file=("a.csv", b"1"), purpose=RESULTS)  # type: ignore[arg-type]
