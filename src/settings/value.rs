//! The types a setting can have, as text.

use std::{net::SocketAddr, time::Duration};

use crate::telemetry::LogFormat;

use super::StoreChoice;

/// A type a setting can have.
pub(super) trait Value: Sized {
    /// What `--help` calls a value of it.
    const NAME: &'static str;

    /// Reads it.
    fn parse(text: &str) -> Result<Self, String>;

    /// Writes it, so that it can be read again.
    fn print(&self) -> String;

    /// Writes it as a TOML value.
    fn toml(&self) -> String {
        format!("{:?}", self.print())
    }
}

macro_rules! plain_values {
    ($($type:ty: $name:literal, $bare:literal;)*) => {$(
        impl Value for $type {
            const NAME: &'static str = $name;

            fn parse(text: &str) -> Result<Self, String> {
                text.parse().map_err(|error| format!("{error}"))
            }

            fn print(&self) -> String {
                self.to_string()
            }

            fn toml(&self) -> String {
                if $bare { self.print() } else { format!("{:?}", self.print()) }
            }
        }
    )*};
}

plain_values! {
    bool: "true|false", true;
    usize: "NUMBER", true;
    u32: "NUMBER", true;
    String: "TEXT", false;
    SocketAddr: "ADDRESS:PORT", false;
    StoreChoice: "STORE", false;
    LogFormat: "text|json|auto", false;
}

impl Value for Duration {
    const NAME: &'static str = "DURATION";

    fn parse(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text).map_err(|error| format!("{error}, as in 15s or 100ms"))
    }

    fn print(&self) -> String {
        humantime::format_duration(*self).to_string()
    }
}

/// `off`, or a value.
impl<V: Value> Value for Option<V> {
    const NAME: &'static str = V::NAME;

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(None),
            text => V::parse(text).map(Some),
        }
    }

    fn print(&self) -> String {
        self.as_ref().map_or_else(|| "off".into(), V::print)
    }
}
