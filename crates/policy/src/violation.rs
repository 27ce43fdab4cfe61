//! What is wrong with a policy object, told so that its author can repair it.
//!
//! Decides how a complaint reads. Knows neither the rules that find it nor the file that the
//! object came from.

use std::fmt;

use serde_json::Value;

use crate::crd::Invariant;

/// One thing wrong with an object: where, what, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which rule was broken.
    pub code: Code,
    /// Where in the object.
    pub path: FieldPath,
    /// What is wrong, without a full stop.
    pub message: String,
    /// What to do about it, as an instruction without a full stop.
    pub remedy: String,
}

impl Violation {
    /// Whether the value at the path is itself misshapen, not only a part of it.
    pub(crate) fn is_of(&self, path: &FieldPath) -> bool {
        match self.code {
            Code::UnknownField | Code::MissingField => {
                self.path.0.split_last().map(|(_, parent)| parent) == Some(&path.0)
            }
            _ => self.path == *path,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation {
            code,
            path,
            message,
            remedy,
        } = self;
        write!(f, "{path}: {message}; {remedy} [{code}]")
    }
}

/// The rule that an object broke. Its text form is stable: metrics and reports use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The object is of another kind, or of a version that is not known.
    WrongKind,
    /// A field that does not exist.
    UnknownField,
    /// A field that must be there is not.
    MissingField,
    /// A text where a number belongs, and the like.
    WrongType,
    /// A word that is none of the field's values.
    UnsupportedValue,
    /// A number outside the field's range.
    OutOfRange,
    /// An empty list where something must be said.
    Empty,
    /// A text, list or map beyond the field's limit.
    TooLong,
    /// Two items of a list that are, or are named, the same.
    Duplicate,
    /// A text that is not written in the field's format.
    Malformed,
    /// One of the rules that the resource definition states in CEL.
    Invariant(Invariant),
}

impl Code {
    /// The stable text form, in kebab case.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Code::WrongKind => "wrong-kind",
            Code::UnknownField => "unknown-field",
            Code::MissingField => "missing-field",
            Code::WrongType => "wrong-type",
            Code::UnsupportedValue => "unsupported-value",
            Code::OutOfRange => "out-of-range",
            Code::Empty => "empty",
            Code::TooLong => "too-long",
            Code::Duplicate => "duplicate",
            Code::Malformed => "malformed",
            Code::Invariant(invariant) => invariant.id(),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

/// The way from an object's root to one of its fields: `spec.rules[0].from[1]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldPath(Vec<Segment>);

/// One step of a [`FieldPath`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// A field that the schema names.
    Field(String),
    /// A key of a map whose keys are the author's, such as a label.
    Key(String),
    /// An item of a list, counted from 0.
    Item(usize),
}

impl FieldPath {
    /// The object itself.
    #[must_use]
    pub fn root() -> FieldPath {
        FieldPath::default()
    }

    /// The path to one of this one's parts.
    #[must_use]
    pub fn to(&self, segment: Segment) -> FieldPath {
        let mut segments = self.0.clone();
        segments.push(segment);
        FieldPath(segments)
    }

    /// The path to a field of this one.
    #[must_use]
    pub fn field(&self, name: &str) -> FieldPath {
        self.to(Segment::Field(name.to_owned()))
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("the object");
        }
        for (depth, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Field(name) if depth == 0 => f.write_str(name)?,
                Segment::Field(name) => write!(f, ".{name}")?,
                Segment::Key(key) => write!(f, "[{}]", clip(key))?,
                Segment::Item(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// A value as a message shows it: scalars as written, clipped; the rest by their type.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("\"{}\"", clip(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        scalar => scalar.to_string(),
    }
}

/// A name or word of the author's, made fit to stand in a message of one line.
pub(crate) fn clip(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut start: String = text.escape_debug().take(LONGEST).collect();
    if text.chars().nth(LONGEST).is_some() {
        start.push('…');
    }
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_reads_as_one_line_however_odd_its_object() {
        let path = FieldPath::root()
            .field("spec")
            .field("rules")
            .to(Segment::Item(3))
            .to(Segment::Key("a\nb".to_owned()));
        let violation = Violation {
            code: Code::UnknownField,
            path,
            message: format!("{} is wrong", shown(&Value::from("x\n".repeat(200)))),
            remedy: "remove it".to_owned(),
        };
        let line = violation.to_string();
        assert!(
            line.starts_with("spec.rules[3][a\\nb]: \"x\\nx\\n"),
            "{line}"
        );
        assert!(
            line.ends_with("…\" is wrong; remove it [unknown-field]"),
            "{line}"
        );
        assert!(
            line.lines().count() == 1 && line.chars().count() < 200,
            "{line}"
        );
    }
}
