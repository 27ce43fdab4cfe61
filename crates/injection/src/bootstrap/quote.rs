//! Text that somebody else chose, as one string of the configuration and nothing more.
//!
//! Between us and Envoy stand two readers: Kubernetes, which expands `$(NAME)` in container
//! arguments, and a YAML parser. What is written here comes out of both as it went in.

use std::fmt::Write;

/// Appends `text` as a double-quoted YAML scalar. Every character that could end the scalar, start
/// an expansion or not be printable is escaped.
pub(super) fn push_quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '$' => out.push_str("$$"),
            _ if needs_escape(c) => {
                write!(out, "\\u{:04x}", u32::from(c)).expect("a String takes every write");
            }
            _ => out.push(c),
        }
    }
    out.push('"');
}

/// What YAML calls unprintable or takes for a line break. All of it lies below U+10000, so four
/// digits hold it.
fn needs_escape(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quoted(text: &str) -> String {
        let mut out = String::new();
        push_quoted(&mut out, text);
        out
    }

    #[test]
    fn nothing_ends_the_string_or_starts_an_expansion() {
        for (text, expected) in [
            ("plain", r#""plain""#),
            ("a\"\nadmin: {}", r#""a\"\nadmin: {}""#),
            ("back\\slash", r#""back\\slash""#),
            ("$(POD_IP)", r#""$$(POD_IP)""#),
            ("$$", r#""$$$$""#),
            ("\0\r\t\u{7f}\u{85}", r#""\u0000\u000d\u0009\u007f\u0085""#),
            ("\u{2028}\u{feff}", r#""\u2028\ufeff""#),
            ("héllo ☃ 𝄞", r#""héllo ☃ 𝄞""#),
        ] {
            assert_eq!(quoted(text), expected, "{text:?}");
        }
    }

    proptest! {
        // JSON's escapes are a part of YAML's, so a JSON parser can say what the scalar means.
        #[test]
        fn every_text_comes_out_as_it_went_in(text in any::<String>()) {
            let read: String = serde_json::from_str(&quoted(&text).replace("$$", "$")).expect("one string");
            prop_assert_eq!(read, text);
        }
    }
}
