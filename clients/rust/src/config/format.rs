//! Contents as types of the program, by what they are written in.

use serde::de::{
    DeserializeOwned, IntoDeserializer,
    value::{Error as ValueError, StrDeserializer},
};

use super::bind::BoxError;
use crate::proto::{Config, ContentType};

/// Decodes a config by its content type.
pub(super) fn decode<T: DeserializeOwned>(config: &Config) -> Result<T, BoxError> {
    let content = &config.content[..];
    match config.content_type() {
        ContentType::Json => json(content),
        ContentType::Yaml => yaml(content),
        ContentType::Toml => toml(content),
        ContentType::Text | ContentType::Unspecified => text(content),
        other @ (ContentType::Properties | ContentType::Xml | ContentType::Binary) => {
            Err(format!("{} cannot be bound: see `bind_with`", other.as_str_name()).into())
        }
    }
}

/// A text is a string, and else what it is in JSON: a number, for example.
fn text<T: DeserializeOwned>(content: &[u8]) -> Result<T, BoxError> {
    let text = std::str::from_utf8(content)?;
    let string: StrDeserializer<'_, ValueError> = text.into_deserializer();
    match T::deserialize(string) {
        Ok(value) => Ok(value),
        #[cfg(feature = "json")]
        Err(_) => json(content),
        #[cfg(not(feature = "json"))]
        Err(error) => Err(error.into()),
    }
}

#[cfg(feature = "json")]
fn json<T: DeserializeOwned>(content: &[u8]) -> Result<T, BoxError> {
    Ok(serde_json::from_slice(content)?)
}

#[cfg(feature = "yaml")]
fn yaml<T: DeserializeOwned>(content: &[u8]) -> Result<T, BoxError> {
    Ok(serde_saphyr::from_slice(content)?)
}

#[cfg(feature = "toml")]
fn toml<T: DeserializeOwned>(content: &[u8]) -> Result<T, BoxError> {
    Ok(toml::from_slice(content)?)
}

macro_rules! left_out {
    ($($format:ident $feature:literal)*) => {$(
        #[cfg(not(feature = $feature))]
        fn $format<T>(_: &[u8]) -> Result<T, BoxError> {
            Err(concat!("stanchion-client was built without its feature `", $feature, "`").into())
        }
    )*};
}

left_out! { json "json" yaml "yaml" toml "toml" }

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn of<T: DeserializeOwned>(content_type: ContentType, content: &'static str) -> Option<T> {
        let config = Config {
            content: content.into(),
            content_type: content_type.into(),
            ..Config::default()
        };
        decode(&config).ok()
    }

    #[test]
    fn a_text_is_a_string_as_it_stands() {
        assert_eq!(of(ContentType::Text, "\"1\""), Some("\"1\"".to_owned()));
        assert_eq!(of(ContentType::Text, "1"), Some("1".to_owned()));
        assert_eq!(of::<String>(ContentType::Binary, "1"), None);
    }

    #[cfg(feature = "json")]
    #[test]
    fn a_text_is_a_number_where_one_is_wanted() {
        assert_eq!(of(ContentType::Text, "1\n"), Some(1));
        assert_eq!(of::<i32>(ContentType::Text, "one"), None);
    }

    #[cfg(all(feature = "json", feature = "yaml", feature = "toml"))]
    #[test]
    fn the_content_type_says_how_to_read() {
        let map = Some(BTreeMap::from([("a".to_owned(), 1)]));
        assert_eq!(of(ContentType::Json, "{\"a\": 1}"), map);
        assert_eq!(of(ContentType::Yaml, "a: 1"), map);
        assert_eq!(of(ContentType::Toml, "a = 1"), map);
        assert_eq!(of::<BTreeMap<String, i32>>(ContentType::Json, "a: 1"), None);
    }
}
