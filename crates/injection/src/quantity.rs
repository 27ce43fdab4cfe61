//! Kubernetes resource quantities, exactly enough to compare them.
//!
//! Format: <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>.

use std::fmt;
use std::str::FromStr;

/// An amount above zero, kept as its author wrote it and comparable by its value.
#[derive(Clone, Debug)]
pub struct Amount {
    text: String,
    nano: i128,
}

impl Amount {
    /// As written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether this is less than `units` whole units (cores, bytes).
    #[must_use]
    pub fn is_below(&self, units: u64) -> bool {
        self.nano < i128::from(units) * NANO
    }
}

impl PartialEq for Amount {
    fn eq(&self, other: &Amount) -> bool {
        self.nano == other.nano
    }
}

impl PartialOrd for Amount {
    fn partial_cmp(&self, other: &Amount) -> Option<std::cmp::Ordering> {
        self.nano.partial_cmp(&other.nano)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The text is no quantity above zero.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a quantity above zero like 500m, 2, 64Mi or 1Gi")]
pub struct AmountError(String);

const NANO: i128 = 1_000_000_000;

impl FromStr for Amount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Amount, AmountError> {
        match nano(text) {
            Some(nano) if nano > 0 => Ok(Amount {
                text: text.to_owned(),
                nano,
            }),
            _ => Err(AmountError(text.to_owned())),
        }
    }
}

/// The amount in billionths, rounded up as the API server does.
fn nano(text: &str) -> Option<i128> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if number.len() > 18 || fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let mut scaled = digits.checked_mul(factor(suffix)?)?;
    for _ in fraction.chars() {
        scaled = scaled.div_euclid(10) + i128::from(scaled.rem_euclid(10) != 0);
    }
    Some(scaled)
}

/// Billionths in one unit of this suffix.
fn factor(suffix: &str) -> Option<i128> {
    Some(match suffix {
        "n" => 1,
        "u" => 1_000,
        "m" => 1_000_000,
        "" => NANO,
        "k" => NANO * 1_000,
        "M" => NANO * 1_000_000,
        "G" => NANO * 1_000_000_000,
        "T" => NANO * 1_000_000_000_000,
        "Ki" => NANO << 10,
        "Mi" => NANO << 20,
        "Gi" => NANO << 30,
        "Ti" => NANO << 40,
        _ => return exponent(suffix),
    })
}

fn exponent(suffix: &str) -> Option<i128> {
    let power: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    match power {
        -9..=12 => NANO
            .checked_mul(10_i128.pow(u32::try_from(power.max(0)).ok()?))
            .map(|scaled| scaled / 10_i128.pow(power.min(0).unsigned_abs())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(text: &str) -> Amount {
        text.parse().expect(text)
    }

    #[test]
    fn equal_amounts_may_be_written_differently() {
        assert_eq!(amount("1"), amount("1000m"));
        assert_eq!(amount("0.5"), amount("500m"));
        assert_eq!(amount(".5"), amount("5e-1"));
        assert_eq!(amount("1Gi"), amount("1024Mi"));
        assert_eq!(amount("1e3"), amount("1k"));
        assert!(amount("1M") < amount("1Mi"));
        assert!(amount("0.1n") == amount("1n"), "rounded up");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "", "0", "0Mi", "-1", "+1", "1 Gi", "1gb", "Mi", ".", "1.2.3", "1e99", "NaN", "64mi",
            "1Gi ", "٣",
        ] {
            assert!(text.parse::<Amount>().is_err(), "{text:?}");
        }
    }
}
