//! TCP port numbers, and the four that the proxy keeps for itself.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A TCP port, 1 to 65535. Port 0 cannot be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Port(NonZeroU16);

impl Port {
    /// Where the pod's outbound connections are redirected to.
    pub const OUTBOUND: Port = Port::fixed(15001);
    /// Where connections to the pod are redirected to.
    pub const INBOUND: Port = Port::fixed(15006);
    /// Health of the proxy, and the probes rewritten to pass through it.
    pub const HEALTH: Port = Port::fixed(15021);
    /// The proxy's metrics.
    pub const METRICS: Port = Port::fixed(15090);
    /// The ports no workload may listen on.
    pub const RESERVED: [Port; 4] = [Port::OUTBOUND, Port::INBOUND, Port::HEALTH, Port::METRICS];

    const fn fixed(number: u16) -> Port {
        match NonZeroU16::new(number) {
            Some(number) => Port(number),
            None => panic!("a port is at least 1"),
        }
    }

    /// The port of this number, or nothing for 0.
    #[must_use]
    pub const fn new(number: u16) -> Option<Port> {
        match NonZeroU16::new(number) {
            Some(number) => Some(Port(number)),
            None => None,
        }
    }

    /// The number, 1 to 65535.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0.get()
    }

    /// Whether the proxy keeps this port for itself.
    #[must_use]
    pub fn is_reserved(self) -> bool {
        Port::RESERVED.contains(&self)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// By hand, because the API server does not know the format `uint16`.
impl JsonSchema for Port {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Port".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "integer", "format": "int32", "minimum": 1, "maximum": 65535,
            "description": "A TCP port.",
        })
    }
}

/// The text is no port number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a port number from 1 to 65535")]
pub struct PortError(String);

impl FromStr for Port {
    type Err = PortError;

    /// Digits only: no sign, no leading zero, no space.
    fn from_str(text: &str) -> Result<Port, PortError> {
        let plain = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
        plain
            .then(|| text.parse().ok().and_then(Port::new))
            .flatten()
            .ok_or_else(|| PortError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_numbers_in_range_are_ports() {
        assert_eq!("7077".parse(), Ok(Port::fixed(7077)));
        assert_eq!("65535".parse(), Ok(Port::fixed(65535)));
        for text in ["0", "65536", "-1", "+80", "080", " 80", "", "http", "8_0"] {
            assert!(text.parse::<Port>().is_err(), "{text:?}");
        }
    }
}
