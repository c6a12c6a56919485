from must_tf.report.markup import Html, element, join


def test_text_is_escaped_and_markup_is_not():
    assert join("<&>", Html("<br>"), None, 3, ["a", ("b",)]) == "&lt;&amp;&gt;<br>3ab"
    assert element("p", "<x>", element("b", "&")) == "<p>&lt;x&gt;<b>&amp;</b></p>"


def test_attributes_are_quoted_renamed_and_left_out():
    assert element("img", alt='"<', class_="a", aria_label=None) == '<img alt="&quot;&lt;" class="a">'
    assert element("text", text_anchor="end", x=1 / 3) == '<text text-anchor="end" x="0.333333"></text>'
