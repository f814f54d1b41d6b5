"""`run.view()` shows the page in a notebook: a real notebook runs, and its output is opened in the browser."""

from __future__ import annotations

import json
from pathlib import Path

import nbclient
import nbformat
import pytest
from forking import ForkServer
from opened import Open

import attncli

CODE = """
import attncli
attncli.load("demo:encoder").run("The cat sat on the mat.").view(height=500)
"""


@pytest.fixture(scope="module")
def displayed(tmp_path_factory: pytest.TempPathFactory, forks: ForkServer) -> str:
    """The HTML output of the cell of a notebook."""
    folder = tmp_path_factory.mktemp("kernels")
    # the kernel of this interpreter, whatever kernels are installed
    spec = folder / "kernels" / "here"
    spec.mkdir(parents=True)
    argv = [forks.python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "here", "language": "python"}))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CODE)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(folder))
        nbclient.NotebookClient(notebook, kernel_name="here", timeout=600, startup_timeout=600).execute()
    (output,) = (output for output in notebook.cells[0].outputs if output.output_type == "execute_result")
    return str(output["data"]["text/html"])


def test_a_notebook_shows_the_page_in_place(displayed: str, open_page: Open) -> None:
    # as in a notebook: among other elements, with other styles
    opened = open_page(f"<!doctype html><title>notebook</title><style>body {{ color: red }}</style>{displayed}")
    opened.page.goto(opened.url)
    frame = opened.page.frame_locator("iframe")
    frame.locator("body[data-drawn=head]").wait_for(state="attached")
    assert opened.page.locator("iframe").bounding_box()["height"] == 500  # type: ignore[index]
    frame.locator(".tokens.query .token").nth(1).click()
    frame.locator(".status", has_text="the attends to").wait_for()
    frame.get_by_role("tab", name="Matrix").click()
    frame.locator("body[data-drawn=matrix]").wait_for(state="attached")


def test_the_page_is_saved_from_a_notebook(tmp_path: Path) -> None:
    path = attncli.load("demo:encoder").run("The cat sat.").view().save(tmp_path / "view.html")
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
