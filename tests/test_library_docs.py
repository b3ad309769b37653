"""Every block of code in docs/library.md runs, in order, as a reader would paste it."""

import doctest
import re
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "library.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FEWEST_BLOCKS = 8


def run(text: str) -> int:
    """Run the Python blocks of a Markdown text in one namespace, those with prompts as doctests; how many ran."""
    names: dict[str, object] = {}
    blocks = BLOCK.findall(text)
    for language, code in blocks:
        assert language == "python"
        if code.startswith(">>>"):
            test = doctest.DocTestParser().get_doctest(code, names, "block", None, None)
            assert doctest.DocTestRunner().run(test, clear_globs=False).failed == 0
        else:
            exec(compile(code, "block", "exec"), names)  # noqa: S102 - our own document
    return len(blocks)


def test_the_document_runs() -> None:
    assert run(DOCUMENT.read_text()) >= FEWEST_BLOCKS


def test_a_block_that_fails_is_noticed() -> None:
    for code in ("assert False", ">>> 1 + 1\n3"):
        try:
            run(f"```python\n{code}\n```\n")
        except AssertionError:
            continue
        raise RuntimeError(code)
