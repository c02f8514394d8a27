"""The ideas of the public JSON test suites: what is taken, and by which name the rest is refused.

As there, `y` must be taken, `n` is no JSON, and `i` is what the standards leave to each reader:
here spoold has decided, and always against what two readers could understand differently.
"""

import json
import math
import random
import time

import orjson
import pytest

from spoold.errors import BadInput
from spoold.strict_json import parse
from tests.conftest import route

DEEP = 100_000

#: Values, as they are written in `{"x": …}`; None where the value is taken.
VALUES = {
    # Numbers that are taken
    "y_zero": (b"0", None),
    "y_minus_zero": (b"-0", None),
    "y_minus_zero_real": (b"-0.0", None),
    "y_exponent_plus": (b"1E+2", None),
    "y_exponent_minus": (b"1e-2", None),
    "y_exponent_zero": (b"0e+1", None),
    "y_fraction": (b"123.456789", None),
    "y_denormal": (b"123.456e-789", None),
    "y_many_decimals": (b"0." + b"3" * 500, None),
    "y_int64_max": (b"9223372036854775807", None),
    "y_int64_min": (b"-9223372036854775808", None),
    "y_large_real": (b"1.7976931348623157e308", None),
    "y_integral_real": (b"1.0", None),
    "y_real_beyond_int64": (b"1e19", None),
    # Strings that are taken
    "y_empty_string": (b'""', None),
    "y_escapes": (rb'"\"\\\/\b\f\n\r\t"', None),
    "y_escaped_nul": (rb'"\u0000"', "nul-character"),
    "y_nul_in_key": (rb'{"a\u0000":1,"a":2}', "nul-character"),
    "y_escaped_colon": (rb'"\u003a:\u003A"', None),
    "y_escaped_backslash": (rb'"\\u0000\\"', None),
    "y_pair": (rb'"\ud83d\ude00\uD83D\uDE00"', None),
    "y_pair_raw": ('"\U0001f600"'.encode(), None),
    "y_noncharacter": (rb'"\uffff\ufdd0\udbff\udfff"', None),
    "y_delete": (b'"\x7f"', None),
    "y_line_separator": ('"\u2028\u2029\x85\u202e\ufeff"'.encode(), None),
    "y_digits_in_string": (b'"99999999999999999999 1e400 NaN"', None),
    "y_brackets_in_string": (b'"' + b"[" * 200 + b"{}:," + b'"', None),
    "y_proto": (b'{"__proto__":{"a":1},"constructor":2,"":3}', None),
    "y_long_string": (b'"' + b"x" * 200_000 + b'"', None),
    "y_nested_to_the_limit": (b"[" * 63 + b"]" * 63, None),
    "y_space": (b" \t\r\n[ \t\r\n] \t\r\n", None),
    "y_same_keys_apart": (b'[{"a":1},{"a":{"a":2}},{"A":1,"a":2}]', None),
    # Numbers that readers differ about
    "i_int64_max_and_one": (b"9223372036854775808", "number-out-of-range"),
    "i_int64_min_and_one": (b"-9223372036854775809", "number-out-of-range"),
    "i_uint64_max": (b"18446744073709551615", "number-out-of-range"),
    "i_uint64_max_and_one": (b"18446744073709551616", "number-out-of-range"),
    "i_minus_a_hundred_digits": (b"-" + b"9" * 100, "number-out-of-range"),
    "i_ten_to_the_400": (b"1" + b"0" * 400, "number-out-of-range"),
    "i_half_a_million_digits": (b"1" * 500_000, "number-out-of-range"),
    "i_integer_in_a_list": (b'[1,"2",[36893488147419103232]]', "number-out-of-range"),
    "i_integer_after_space": (b"\t\n 9223372036854775808 ", "number-out-of-range"),
    "i_1e400": (b"1e400", "not-a-number"),
    "i_minus_1e400": (b"-1e400", "not-a-number"),
    "i_huge_exponent": (b"1e" + b"9" * 50, "not-a-number"),
    "i_real_of_400_digits": (b"1" + b"0" * 400 + b".0", "not-a-number"),
    "i_huge_minus_exponent": (b"1e-" + b"9" * 50, None),
    # Strings and nesting that readers differ about
    "i_high_surrogate": (rb'"\ud800"', "not-utf8"),
    "i_low_surrogate": (rb'"\udc00"', "not-utf8"),
    "i_high_surrogate_and_letter": (rb'"\uD800a"', "not-utf8"),
    "i_two_high_surrogates": (rb'"\ud800\ud800"', "not-utf8"),
    "i_high_surrogate_and_escape": (rb'"\ud800\n"', "not-utf8"),
    "i_pair_reversed": (rb'"\udd1e\ud834"', "not-utf8"),
    "i_surrogate_as_key": (rb'{"\ud800":1}', "not-utf8"),
    "i_surrogate_raw": (b'"\xed\xa0\x80"', "not-utf8"),
    "i_pair_as_two_raw": (b'"\xed\xa0\xbd\xed\xb8\x80"', "not-utf8"),
    "i_overlong_slash": (b'"\xc0\xaf"', "not-utf8"),
    "i_overlong_nul": (b'"\xc0\x80"', "not-utf8"),
    "i_beyond_unicode": (b'"\xf4\xbf\xbf\xbf"', "not-utf8"),
    "i_latin_1": (b'"\xe9"', "not-utf8"),
    "i_lone_continuation": (b'"\x81"', "not-utf8"),
    "i_cut_character": (b'"\xe0\xff"', "not-utf8"),
    "i_invalid_byte": (b"\xff", "not-utf8"),
    "i_repeated_key": (b'{"a":1,"a":1}', "duplicate-key"),
    "i_repeated_key_escaped": (rb'{"a":1,"\u0061":2}', "duplicate-key"),
    "i_repeated_key_and_colon": (rb'{"a":":","a":"","b":"\u003a"}', "duplicate-key"),
    "i_repeated_empty_key": (b'[[{"":0,"b":1,"":2}]]', "duplicate-key"),
    "i_repeated_long_key": (b'{"%s":1,"%s":2}' % (b"k" * 9999, b"k" * 9999), "duplicate-key"),
    "i_nested_beyond_the_limit": (b"[" * 64 + b"]" * 64, "too-deep"),
    "i_objects_beyond_the_limit": (b'{"":' * 64 + b"0" + b"}" * 64, "too-deep"),
    "i_deep": (b"[" * DEEP + b"]" * DEEP, "too-deep"),
    "i_deep_objects": (b'{"":' * DEEP + b"0" + b"}" * DEEP, "too-deep"),
    # What is no number
    "n_nan": (b"NaN", "not-a-number"),
    "n_minus_nan": (b"-NaN", "not-json"),
    "n_nan_lower": (b"nan", "not-json"),
    "n_infinity": (b"Infinity", "not-a-number"),
    "n_minus_infinity": (b"[-Infinity]", "not-a-number"),
    "n_plus_infinity": (b"+Infinity", "not-json"),
    "n_inf": (b"-Inf", "not-json"),
    "n_leading_zero": (b"012", "not-json"),
    "n_minus_leading_zero": (b"-012", "not-json"),
    "n_two_zeros": (b"00", "not-json"),
    "n_plus": (b"+1", "not-json"),
    "n_two_signs": (b"--1", "not-json"),
    "n_minus_space": (b"- 1", "not-json"),
    "n_hexadecimal": (b"0x1F", "not-json"),
    "n_octal": (b"0o17", "not-json"),
    "n_underscore": (b"1_000", "not-json"),
    "n_no_integer": (b".5", "not-json"),
    "n_no_fraction": (b"[1.]", "not-json"),
    "n_no_fraction_but_exponent": (b"2.e3", "not-json"),
    "n_no_exponent": (b"[1e]", "not-json"),
    "n_exponent_of_real": (b"1e2.3", "not-json"),
    "n_letters_after": (b"1a", "not-json"),
    "n_expression": (b"1+2", "not-json"),
    "n_comma_as_point": (b"1,5", "not-json"),
    "n_full_width_digit": ("\uff11".encode(), "not-json"),
    # What is no string
    "n_single_quotes": (b"'a'", "not-json"),
    "n_backticks": (b"`a`", "not-json"),
    "n_raw_newline": (b'"a\nb"', "not-json"),
    "n_raw_tab": (b'"a\tb"', "not-json"),
    "n_raw_nul": (b'"a\0b"', "not-json"),
    "n_raw_escape": (b'"\x1b[2J"', "not-json"),
    "n_hexadecimal_escape": (rb'"\x41"', "not-json"),
    "n_octal_escape": (rb'"\012"', "not-json"),
    "n_escaped_quote_only": (rb'"\'"', "not-json"),
    "n_short_escape": (rb'"\u00A"', "not-json"),
    "n_long_escape": (rb'"\U0001f600"', "not-json"),
    "n_braced_escape": (rb'"\u{1F600}"', "not-json"),
    "n_escaped_newline": (b'"a\\\nb"', "not-json"),
    "n_concatenation": (b'"a" "b"', "not-json"),
    # What is no structure
    "n_trailing_comma": (b"[1,]", "not-json"),
    "n_trailing_comma_in_object": (b'{"a":1,}', "not-json"),
    "n_leading_comma": (b"[,1]", "not-json"),
    "n_double_comma": (b"[1,,2]", "not-json"),
    "n_only_comma": (b"[,]", "not-json"),
    "n_missing_comma": (b"[1 2]", "not-json"),
    "n_colon_in_list": (b'["a":1]', "not-json"),
    "n_comma_for_colon": (b'{"a",1}', "not-json"),
    "n_double_colon": (b'{"a"::1}', "not-json"),
    "n_missing_value": (b'{"a":}', "not-json"),
    "n_missing_key": (b"{:1}", "not-json"),
    "n_number_as_key": (b"{1:1}", "not-json"),
    "n_literal_as_key": (b"{null:1}", "not-json"),
    "n_bare_key": (b"{a:1}", "not-json"),
    "n_wrong_bracket": (b"[1}", "not-json"),
    "n_extra_bracket": (b"[]]", "not-json"),
    "n_capital_literal": (b"True", "not-json"),
    "n_short_literal": (b"[nul]", "not-json"),
    "n_undefined": (b"undefined", "not-json"),
    "n_line_comment": (b"1 // one\n", "not-json"),
    "n_block_comment": (b"/* one */ 1", "not-json"),
    "n_hash_comment": (b"1 # one\n", "not-json"),
    "n_template": (b"${x}", "not-json"),
    "n_form_feed": (b"\x0c1", "not-json"),
    "n_vertical_tab": (b"\x0b1", "not-json"),
    "n_no_break_space": ("\xa01".encode(), "not-json"),
    "n_zero_width_space": ("\u200b1".encode(), "not-json"),
    "n_mark_inside": ("\ufeff1".encode(), "not-json"),
    "n_raw_nul_between": (b"\x001", "not-json"),
}

GOOD = b'{"decision_type":"t","decision_id":"%s","x":0}'
#: Whole files.
TEXTS = {
    "y_white_space_around": (b" \r\n\t" + GOOD + b"\n\n \t\r", None),
    "n_nothing": (b"", "empty"),
    "n_white_space": (b" \t\r\n", "empty"),
    "n_zeros": (b"\0" * 4096, "empty"),
    "n_mark": (b"\xef\xbb\xbf" + GOOD, "not-utf8"),
    "n_mark_only": (b"\xef\xbb\xbf", "not-utf8"),
    "n_utf_16": (GOOD.decode().encode("utf-16"), "not-utf8"),
    "n_utf_16_le": (GOOD.decode().encode("utf-16-le"), "not-utf8"),
    "n_utf_16_be": (GOOD.decode().encode("utf-16-be"), "not-utf8"),
    "n_utf_32": (GOOD.decode().encode("utf-32"), "not-utf8"),
    "n_list": (b"[%s]" % GOOD, "not-an-object"),
    "n_string": (b'"asd"', "not-an-object"),
    "n_number": (b"-1.5", "not-an-object"),
    "n_true": (b"true", "not-an-object"),
    "n_null": (b"null", "not-an-object"),
    "n_two_documents": (GOOD + GOOD, "not-json"),
    "n_two_lines": (GOOD + b"\n" + GOOD, "not-json"),
    "n_trailing_letter": (GOOD + b"x", "not-json"),
    "n_trailing_comma": (GOOD + b",", "not-json"),
    "n_trailing_bracket": (GOOD + b"}", "not-json"),
    "n_trailing_comment": (GOOD + b"/**/", "not-json"),
    "n_trailing_nul": (GOOD + b"\0", "not-json"),
    "n_trailing_number": (GOOD + b" 1.", "not-json"),
    "n_callback": (b"f(%s)" % GOOD, "not-json"),
    "n_prefix": (b")]}',\n" + GOOD, "not-json"),
    "n_yaml": (b"---\ndecision_type: t\n", "not-json"),
    "n_xml": (b"<a/>", "not-json"),
    "n_gzip": (b"\x1f\x8b\x08\x00\x00\x00\x00\x00", "not-utf8"),
    "n_cut_after_brace": (b"{", "truncated"),
    "n_cut_in_key": (GOOD[:9], "truncated"),
    "n_cut_after_colon": (GOOD[:17], "truncated"),
    "n_cut_before_brace": (GOOD[:-1], "truncated"),
    "n_cut_after_comma": (b'{"a":[1,', "truncated"),
    "n_cut_in_literal": (b'{"a":fals', "truncated"),
    "n_cut_in_number": (b'{"a":-', "truncated"),
    "n_cut_in_fraction": (b'{"a":1.', "truncated"),
    "n_cut_in_exponent": (b'{"a":1.5e+', "truncated"),
    "n_cut_in_escape": (rb'{"a":"\u00', "truncated"),
    "n_cut_after_backslash": (b'{"a":"\\', "truncated"),
    "n_cut_in_pair": (rb'{"a":"\ud83d', "truncated"),
    "n_cut_in_character": ('{"a":"é'.encode()[:-1], "truncated"),
    "n_cut_deep": (b'{"a":' + b"[" * 500, "truncated"),
    "n_deep_and_open": (b"[" * DEEP, "too-deep"),
    "n_deep_pairs_and_open": (b'[{"":' * DEEP, "too-deep"),
}


def _document(name, value):
    return b'{"decision_type":"t","decision_id":"%s","x":%s}' % (name.encode(), value)


CORPUS = {f"value_{name}": (_document(name, raw), code) for name, (raw, code) in VALUES.items()} | {
    f"text_{name}": (raw.replace(b"%s", name.encode()), code) for name, (raw, code) in TEXTS.items()
}


def _typed(value):
    """The value with every number's type, so that 1 and 1.0 and true are not equal."""
    if isinstance(value, dict):
        return {key: _typed(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_typed(inner) for inner in value]
    return type(value).__name__, value


@pytest.mark.parametrize("name", CORPUS)
def test_each_text_has_its_answer(name):
    """A text is taken as the strictest reader understands it, or refused by its right name."""
    raw, code = CORPUS[name]
    if code is None:
        assert _typed(parse(raw)) == _typed(json.loads(raw))
        return
    with pytest.raises(BadInput) as caught:
        parse(raw)
    assert caught.value.code == code


def test_each_file_has_its_answer(make_lab):
    """End to end: each file of the corpus is a request with its value unchanged, or quarantined."""
    lab = make_lab(route(more="[params]\nsay = '=record.body.x'"))
    for name, (raw, _) in CORPUS.items():
        lab.drop("decisions", f"{name}.json", raw)
    lab.clock.advance(60)
    assert lab.drain() == 0
    aside = {path.stem: lab.reason(path)["code"] for path in lab.files("quarantine")}
    answers = {name: code for name, (_, code) in CORPUS.items()}
    assert aside == {name: code for name, code in answers.items() if code}
    made = [orjson.loads(path.read_bytes()) for path in lab.files("awaiting-approval")]
    said = {one["source"]["file"]: one["params"]["say"] for one in made}
    taken = {name: CORPUS[name][0] for name, code in answers.items() if code is None}
    assert said.keys() == {f"{name}.json" for name in taken}
    for name, raw in taken.items():
        assert _typed(said[f"{name}.json"]) == _typed(json.loads(raw)["x"]), name


_SIZE = 1 << 18
#: What a large hostile file is made of, and where it goes wrong: at its very end, if at all.
UNITS = {
    "lists": b"[],",
    "objects": b"{},",
    "strings": b'"",',
    "digits": b"0,",
    "reals": b"1e19,",
    "large_reals": b"1e300,",
    "long_integers": b"1000000000000000000,",
    "members": b'{"a":1},',
    "escapes": rb'"\n",',
    "colons": rb'"\u003a",',
    "nested": b"[" * 60 + b"]" * 60 + b",",
    "members_nested": b'{"":[{"":0}]},',
}
ENDS = {
    "taken": (b"0]}", None),
    "taken_late": (rb'"\u003a",1e19]}', None),
    "nan": (b"NaN]}", "not-a-number"),
    "half_a_pair": (rb'"\ud800"]}', "not-utf8"),
    "too_large": (b"9223372036854775808]}", "number-out-of-range"),
    "repeated": (b'0],"a":0,"a":0}', "duplicate-key"),
    "open": (b"0", "truncated"),
    "garbage": (b"0]}x", "not-json"),
    "deep": (b"[" * 64 + b"]" * 64 + b"]}", "too-deep"),
}


def seconds(read, raw):
    """The processor's time for a reading, however it ends, and the code that it ends with."""
    start = time.process_time()
    try:
        read(raw)
        code = None
    except BadInput as problem:
        code = problem.code
    return time.process_time() - start, code


def code_within(limit, raw):
    """How `parse` ends, which has to take less than `limit` seconds.

    The quickest of a few counts: a busy neighbour makes a reading longer, nothing makes it shorter.
    """
    for _ in range(4):
        spent, code = seconds(parse, raw)
        if spent < limit:
            return code
    return f"too slow: {spent:.3f} s instead of {limit:.3f} s"


@pytest.mark.parametrize("unit", UNITS)
def test_a_large_hostile_file_is_answered_soon(unit):
    """Wherever a large file goes wrong, finding that takes little longer than reading it."""
    start = b'{"x":[' + UNITS[unit] * ((_SIZE - 100) // len(UNITS[unit]))
    plain = min(seconds(json.loads, start + b"0]}")[0] for _ in range(3))
    for end, wanted in ENDS.values():
        assert code_within(8 * plain + 0.1, start + end) == wanted


def test_many_keys_are_looked_through_soon():
    """Fifty thousand keys, one of which comes again, take little longer than reading them."""
    keys = [b'"%d":0' % number for number in range(50_000)]
    random.Random(0).shuffle(keys)
    plain = seconds(json.loads, b"{" + b",".join(keys) + b"}")[0]
    raw = b"{" + b",".join([*keys, b'"7":0']) + b"}"
    assert code_within(8 * plain + 0.1, raw) == "duplicate-key"


def test_the_largest_numbers_are_exact():
    """An integer of 64 bits keeps all its digits, and a real stays the same real."""
    document = parse(
        b'{"a":9223372036854775807,"b":-9223372036854775808,"c":9223372036854775808.0}'
    )
    assert _typed(document) == _typed({"a": 2**63 - 1, "b": -(2**63), "c": 2.0**63})
    assert math.copysign(1, parse(b'{"a":-0.0}')["a"]) == -1
