from tests import stylesheet


def test_the_trimmed_bootstrap_has_the_classes_of_the_templates() -> None:
    assert stylesheet.TRIMMED.read_text() == stylesheet.trimmed(), "Run python -m tests.stylesheet"


def test_a_rule_that_no_template_uses_is_left_out_and_others_stay() -> None:
    css = stylesheet.trimmed()

    assert ".btn-primary{" in css
    assert ".accordion" not in css
    assert "@keyframes progress" not in css
    assert "button,input,optgroup,select,textarea{" in css
