//! Ranges of network addresses.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

/// A range of addresses: `10.0.0.0/8`, `fd00::/8`. Bits beyond the prefix are zero: `10.0.0.1/8` is more often a slip
/// than a wish. A single address is a range of full length (`10.0.0.1/32`), and must be written so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr {
    address: IpAddr,
    length: u8,
}

/// A text that is not a range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a range of addresses such as 10.0.0.0/8 is expected, with no bits set beyond its length")]
pub struct CidrError;

impl Cidr {
    /// Reads a range.
    pub fn parse(text: &str) -> Result<Self, CidrError> {
        let (address, length) = text.split_once('/').ok_or(CidrError)?;
        let digits = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
        let length: u8 = length.parse().ok().filter(|_| digits).ok_or(CidrError)?;
        let address: IpAddr = address.parse().map_err(|_| CidrError)?;
        let beyond = match address {
            IpAddr::V4(v4) if length <= 32 => {
                u128::from(u32::from(v4).checked_shl(length.into()).unwrap_or(0))
            }
            IpAddr::V6(v6) if length <= 128 => u128::from(v6).checked_shl(length.into()).unwrap_or(0),
            IpAddr::V4(_) | IpAddr::V6(_) => return Err(CidrError),
        };
        if beyond == 0 { Ok(Self { address, length }) } else { Err(CidrError) }
    }

    /// Whether an address lies in the range. An IPv4 address that is written as IPv6 (`::ffff:10.0.0.1`) counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let length = u32::from(self.length);
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (u32::from(own) ^ u32::from(other)).checked_shr(32 - length).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (u128::from(own) ^ u128::from(other)).checked_shr(128 - length).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl std::str::FromStr for Cidr {
    type Err = CidrError;
    fn from_str(text: &str) -> Result<Self, CidrError> {
        Self::parse(text)
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Cidr {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Cidr".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "cidr" })
    }
}
