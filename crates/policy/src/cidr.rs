//! IP networks in CIDR notation, as policies and exclusions name them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// An IPv4 or IPv6 network whose host bits are all zero, for example `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr(IpNet);

impl Cidr {
    /// The network itself.
    #[must_use]
    pub fn network(&self) -> IpNet {
        self.0
    }

    /// Whether every address of `other` is in this network.
    #[must_use]
    pub fn covers(&self, other: &Cidr) -> bool {
        self.0.contains(&other.0)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// Not `address/length`.
    #[error("`{0}` is not a network like 10.0.0.0/8 or 2001:db8::/32")]
    Malformed(String),
    /// Bits are set behind the prefix: the author may have meant another network.
    #[error("`{given}` has bits set behind its prefix; write `{network}`")]
    HostBits {
        /// What was written.
        given: String,
        /// The network that contains it.
        network: IpNet,
    },
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Cidr, CidrError> {
        let net: IpNet = text
            .parse()
            .map_err(|_| CidrError::Malformed(text.to_owned()))?;
        if net.trunc() == net {
            Ok(Cidr(net))
        } else {
            Err(CidrError::HostBits {
                given: text.to_owned(),
                network: net.trunc(),
            })
        }
    }
}

/// The API server knows the format but lets host bits pass.
impl JsonSchema for Cidr {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Cidr".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "format": "cidr", "maxLength": 49,
            "description": "An IPv4 or IPv6 network, for example 10.0.0.0/8.",
        })
    }
}

impl TryFrom<String> for Cidr {
    type Error = CidrError;

    fn try_from(text: String) -> Result<Cidr, CidrError> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> String {
        cidr.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_bits_are_refused_with_the_network_meant() {
        let error = "10.1.2.3/8".parse::<Cidr>().expect_err("has host bits");
        assert!(error.to_string().contains("write `10.0.0.0/8`"), "{error}");
        assert!("10.0.0.0/8".parse::<Cidr>().is_ok());
        assert!("2001:db8::/32".parse::<Cidr>().is_ok());
        for text in ["10.0.0.0", "10.0.0.0/33", "all", "", "10.0.0.0/-1"] {
            assert!(text.parse::<Cidr>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_network_covers_its_parts_only() {
        let wide: Cidr = "10.0.0.0/8".parse().expect("valid");
        let part: Cidr = "10.1.0.0/16".parse().expect("valid");
        assert!(wide.covers(&part) && !part.covers(&wide));
    }
}
