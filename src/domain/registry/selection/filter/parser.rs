//! From text to meaning.

use std::collections::BTreeSet;

use super::{
    FilterError, MAX_BYTES, MAX_DEPTH, MAX_TERMS,
    expression::{Expression, Field, Test},
    token::{Kind, Token, Tokens},
};

/// The words that mean something by themselves.
const KEYWORDS: [&str; 5] = ["and", "or", "not", "in", "has"];
const METADATA: &str = "metadata";

struct Parser<'a> {
    tokens: Tokens<'a>,
    next: Token<'a>,
    depth: usize,
    terms: usize,
}

pub(super) fn parse(text: &str) -> Result<Expression, FilterError> {
    if text.len() > MAX_BYTES {
        let problem = format!("must be at most {MAX_BYTES} bytes, is {}", text.len());
        return Err(FilterError::new(MAX_BYTES, problem));
    }
    let mut tokens = Tokens::of(text);
    let mut parser = Parser {
        next: tokens.next()?,
        tokens,
        depth: 0,
        terms: 0,
    };
    let expression = parser.any()?;
    match parser.next.kind {
        Kind::End => Ok(expression),
        _ => Err(parser.expected("`and`, `or` or the end")),
    }
}

// === impl Parser ===

impl<'a> Parser<'a> {
    fn any(&mut self) -> Result<Expression, FilterError> {
        let mut parts = vec![self.all()?];
        while self.took(&Kind::Word("or"))? {
            parts.push(self.all()?);
        }
        Ok(Expression::any(parts))
    }

    fn all(&mut self) -> Result<Expression, FilterError> {
        let mut parts = vec![self.not()?];
        while self.took(&Kind::Word("and"))? {
            parts.push(self.not()?);
        }
        Ok(Expression::all(parts))
    }

    fn not(&mut self) -> Result<Expression, FilterError> {
        let at = self.next.at;
        if self.took(&Kind::Word("not"))? {
            Ok(self.deeper(at, Self::not)?.not())
        } else if self.took(&Kind::Sign("("))? {
            let inner = self.deeper(at, Self::any)?;
            self.take(")")?;
            Ok(inner)
        } else {
            self.comparison()
        }
    }

    fn deeper(
        &mut self,
        at: usize,
        inner: fn(&mut Self) -> Result<Expression, FilterError>,
    ) -> Result<Expression, FilterError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let problem = format!("must be at most {MAX_DEPTH} `(` and `not` deep");
            return Err(FilterError::new(at, problem));
        }
        let expression = inner(self)?;
        self.depth -= 1;
        Ok(expression)
    }

    fn comparison(&mut self) -> Result<Expression, FilterError> {
        self.terms += 1;
        if self.terms > MAX_TERMS {
            let problem = format!("must have at most {MAX_TERMS} comparisons");
            return Err(FilterError::new(self.next.at, problem));
        }
        if self.took(&Kind::Word("has"))? {
            return match self.metadata()? {
                Some(field) => Ok(Expression::term(field, Test::Present, false)),
                None => Err(self.expected("`metadata.KEY` or `metadata[\"KEY\"]`")),
            };
        }
        let field = self.field()?;
        let (values, negated) = if self.took(&Kind::Sign("=="))? {
            (BTreeSet::from([self.value(&field)?]), false)
        } else if self.took(&Kind::Sign("!="))? {
            (BTreeSet::from([self.value(&field)?]), true)
        } else {
            let negated = self.took(&Kind::Word("not"))?;
            if !self.took(&Kind::Word("in"))? {
                let what = if negated {
                    "`in`"
                } else {
                    "`==`, `!=`, `in` or `not in`"
                };
                return Err(self.expected(what));
            }
            (self.values(&field)?, negated)
        };
        Ok(Expression::term(field, Test::In(values), negated))
    }

    fn field(&mut self) -> Result<Field, FilterError> {
        if let Some(field) = self.metadata()? {
            return Ok(field);
        }
        let named = match self.next.kind {
            Kind::Word(word) => Field::named(word),
            _ => None,
        };
        let field = named.ok_or_else(|| {
            self.expected(
                "`health`, `state`, `version`, `region`, `zone`, `metadata.KEY`, `has`, `not` or `(`",
            )
        })?;
        self.advance()?;
        Ok(field)
    }

    /// A key of the metadata, if that is what comes next.
    fn metadata(&mut self) -> Result<Option<Field>, FilterError> {
        let Kind::Word(word) = self.next.kind else {
            return Ok(None);
        };
        if word == METADATA {
            self.advance()?;
            self.take("[")?;
            let key = self
                .quoted()?
                .ok_or_else(|| self.expected("a key in quotes"))?;
            self.take("]")?;
            return Ok(Some(Field::Metadata(key)));
        }
        let key = word
            .strip_prefix(METADATA)
            .and_then(|rest| rest.strip_prefix('.'));
        match key {
            None => Ok(None),
            Some("") => Err(self.expected("`metadata.KEY` or `metadata[\"KEY\"]`")),
            Some(key) => {
                self.advance()?;
                Ok(Some(Field::Metadata(key.into())))
            }
        }
    }

    fn values(&mut self, field: &Field) -> Result<BTreeSet<String>, FilterError> {
        self.take("(")?;
        let mut values = BTreeSet::from([self.value(field)?]);
        while self.took(&Kind::Sign(","))? {
            values.insert(self.value(field)?);
        }
        if !self.took(&Kind::Sign(")"))? {
            return Err(self.expected("`,` or `)`"));
        }
        Ok(values)
    }

    fn value(&mut self, field: &Field) -> Result<String, FilterError> {
        let at = self.next.at;
        let value = match self.next.kind {
            Kind::Word(word) if !KEYWORDS.contains(&word) => {
                self.advance()?;
                Some(word.to_owned())
            }
            _ => self.quoted()?,
        };
        let value =
            value.ok_or_else(|| self.expected("a value (quote what is not a plain word)"))?;
        match field.values() {
            Some(values) if !values.contains(&value.as_str()) => {
                let problem = format!("`{field}` is one of {}", values.join(", "));
                Err(FilterError::new(at, problem))
            }
            _ => Ok(value),
        }
    }

    fn quoted(&mut self) -> Result<Option<String>, FilterError> {
        let Kind::Quoted(text) = &mut self.next.kind else {
            return Ok(None);
        };
        let text = std::mem::take(text);
        self.advance()?;
        Ok(Some(text))
    }

    /// Takes a sign that must come next.
    fn take(&mut self, sign: &'static str) -> Result<(), FilterError> {
        if self.took(&Kind::Sign(sign))? {
            Ok(())
        } else {
            Err(self.expected(&format!("`{sign}`")))
        }
    }

    /// Takes what comes next if it is this.
    fn took(&mut self, kind: &Kind<'_>) -> Result<bool, FilterError> {
        let is_next = self.next.kind == *kind;
        if is_next {
            self.advance()?;
        }
        Ok(is_next)
    }

    fn advance(&mut self) -> Result<(), FilterError> {
        self.next = self.tokens.next()?;
        Ok(())
    }

    fn expected(&self, what: &str) -> FilterError {
        let problem = format!("expected {what}, found {}", self.next.kind);
        FilterError::new(self.next.at, problem)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Filter;

    #[track_caller]
    fn refused(text: &str, at: usize, problem: &str) {
        let error = Filter::parse(text).unwrap_err();
        assert_eq!(error.at, at, "{error}");
        assert!(error.problem.contains(problem), "{error}");
    }

    #[test]
    fn an_error_says_where_it_is_and_what_was_expected() {
        refused("", 0, "expected `health`, `state`");
        refused("  ", 2, "found the end");
        refused(
            "zone",
            4,
            "expected `==`, `!=`, `in` or `not in`, found the end",
        );
        refused("zone = a", 5, "'=' has no meaning");
        refused("zone == ", 8, "expected a value");
        refused("zone == and", 8, "expected a value");
        refused(
            "zone == a b",
            10,
            "expected `and`, `or` or the end, found `b`",
        );
        refused("zone == a AND zone == b", 10, "found `AND`");
        refused("zone == \"a", 8, "no end");
        refused("zone == \"\\n\"", 8, "`\\`");
        refused("zone in a", 8, "expected `(`");
        refused("zone in ()", 9, "expected a value");
        refused("zone in (a b)", 11, "expected `,` or `)`");
        refused("zone not a", 9, "expected `in`");
        refused("(zone == a", 10, "expected `)`");
        refused("zone == a)", 9, "found `)`");
        refused("has zone", 4, "expected `metadata.KEY`");
        refused("metadata == a", 9, "expected `[`");
        refused("metadata. == a", 0, "expected `metadata.KEY`");
        refused("metadata[a] == b", 9, "a key in quotes");
        refused("colour == red", 0, "found `colour`");
        refused("health == sick", 10, "healthy, unhealthy, suspect, unknown");
        refused(
            "zone == a or state in (active, gone)",
            31,
            "active, draining, isolated",
        );
        refused("zone == é", 8, "'é' has no meaning");
        refused("zone == \"é\" !", 13, "'!' has no meaning");
    }

    #[test]
    fn a_filter_is_bounded_in_length_depth_and_terms() {
        let of_terms = |count: usize| vec!["zone == a"; count].join(" and ");
        Filter::parse(&of_terms(64)).unwrap();
        refused(&of_terms(65), 64 * 14, "at most 64 comparisons");
        let deep = |depth: usize| format!("{}zone == a{}", "(".repeat(depth), ")".repeat(depth));
        Filter::parse(&deep(32)).unwrap();
        refused(&deep(33), 32, "at most 32");
        refused(&"not ".repeat(1000), 32 * 4, "at most 32");
        let long = |length: usize| format!("zone == {}", "a".repeat(length - 8));
        Filter::parse(&long(4096)).unwrap();
        refused(&long(4097), 4096, "at most 4096 bytes, is 4097");
    }
}
