"""Files of URLs, plain and CSV."""

from __future__ import annotations

import pytest

from training.errors import TrainingError
from training.url_list import read


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffhttp://a.test/1?x=1,2\r\n\r\n# http://a.test/no\r\n  http://b.test/2  \r\n",
        "url\nhttp://b.test/2\n\n#,\n" + '"http://a.test/1?x=1,2"\n',
        "\ufeffClass;URL;note\r\nblack;http://a.test/1?x=1,2;\r\n;http://b.test/2;seen\r\n",
    ],
)
def test_files_of_urls(tmp_path, text):
    (tmp_path / "urls").write_text(text, newline="")
    found = read(tmp_path / "urls", "black")
    assert sorted((one.url, one.label) for one in found.listed) == [
        ("http://a.test/1?x=1,2", "black"),
        ("http://b.test/2", "black"),
    ]
    assert found.problems == ()


@pytest.mark.parametrize(
    ("text", "label", "says"),
    [
        ("", "black", "no URL"),
        ("not one\nnor this", "black", "no URL"),
        ("http://a.test/1", None, "line 1 names no class"),
        ("url,class\nhttp://a.test/1,black\nhttp://a.test/2,", None, "line 3 names no class"),
        ("url,class\nhttp://a.test/1,../black", None, "line 2: a class cannot"),
        ("url,class\nhttp://a.test/1?a,b,black", None, "line 2 has more cells"),
        ('url,class\n"' + "x" * 200_000, None, "line 2 cannot be read"),
        ("url;class\nhttp://a.test/1;B\xe4r", None, "no text in UTF-8"),
    ],
)
def test_files_that_make_no_sense(tmp_path, text, label, says):
    (tmp_path / "urls").write_bytes(text.encode("latin-1"))
    with pytest.raises(TrainingError, match=says):
        read(tmp_path / "urls", label)
