"""Words from files, made plain: nothing of them is obeyed by a terminal, a page or a renderer of markdown."""

import io
import unicodedata
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mindiffusion.runtime.plain_text import for_html, for_markdown, plain, plain_lines, plain_values
from mindiffusion.runtime.terminal import error_text

EVIL = "\x1b[2J\x9b31m\u202egnp.\u2066<script>alert(1)</script>\r\nA\tB\0\ud800 [x](http://evil) ![i](a) `c` | *b* _i_"


def test_an_escape_a_turn_of_direction_and_half_a_character_are_seen_as_question_marks():
    assert plain("a\x1b[31m\u202eb\ud800\u200b") == "a?[31m?b??"
    assert plain(" two\r\n lines\t") == "two lines"
    assert plain("x" * 900, 10) == "x" * 9 + "…"
    assert plain_lines("one\n  two  blanks\x1b") == "one\n  two  blanks?"
    assert plain("Grüße 你好 stage1_high_noise") == "Grüße 你好 stage1_high_noise"
    assert error_text(ValueError("a\x1b]0;title\x07"), io.StringIO()) == "error: a?]0;title?"


@given(st.text())
def test_whatever_is_written_comes_out_as_one_line_that_can_be_seen_and_encoded(text):
    for made in (plain(text), for_html(text), for_markdown(text)):
        made.encode()
        assert not {unicodedata.category(letter) for letter in made} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


def test_html_and_markdown_read_no_tag_in_it():
    for made in (for_html(EVIL), for_markdown(EVIL)):
        tags = []
        parser = HTMLParser()
        parser.handle_starttag = lambda tag, attrs, tags=tags: tags.append(tag)
        parser.feed(made)
        assert tags == []
    assert for_html('"') == "&quot;"


def test_markdown_has_no_link_cell_or_emphasis_and_names_stay_readable():
    assert for_markdown("[a](http://b) | `c` *d* __e__ &#35; # www.f") == (
        r"\[a\](http\://b) \| \`c\` \*d\* \_\_e\_\_ \&#35; \# www\.f"
    )


def test_values_keep_their_form_and_what_is_no_plain_value_is_refused():
    assert plain_values({"a\x1b": [1, True, None, "b\x1b", 0.5]}) == {"a?": [1, True, None, "b?", 0.5]}
    deep = value = []
    for _ in range(99):
        value.append([])
        value = value[0]
    for wrong in (deep, [float("nan")], {"a": float("-inf")}):
        with pytest.raises(ValueError, match=r"nested too deeply|is no number"):
            plain_values(wrong)
