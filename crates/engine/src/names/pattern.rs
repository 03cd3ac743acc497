//! Names with numbers in them: `transformer_blocks.{i}.norm1`, and sums such as `{3i+j+1}` where a name is made.

use regex_lite::Regex;
use std::collections::BTreeMap;

/// Numbers by letter.
pub type Values = BTreeMap<char, u64>;

#[derive(Debug)]
enum Piece {
    Text(String),
    /// Multiples of letters, and a number.
    Sum(Vec<(u64, char)>, u64),
}

/// A name with numbers.
#[derive(Debug)]
pub struct Pattern {
    pieces: Vec<Piece>,
    regex: Regex,
}

impl Pattern {
    #[expect(clippy::expect_used, reason = "every character but the groups was escaped")]
    pub fn new(text: &str) -> Self {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, (inside, after))) = rest.split_once('{').and_then(|(b, r)| Some((b, r.split_once('}')?))) {
            pieces.push(Piece::Text(before.into()));
            pieces.push(sum(inside));
            rest = after;
        }
        pieces.push(Piece::Text(rest.into()));
        let mut regex = String::from("^");
        for piece in &pieces {
            match piece {
                Piece::Text(text) => regex.push_str(&regex_lite::escape(text)),
                Piece::Sum(..) => regex.push_str(r"(\d{1,9})"),
            }
        }
        Self { pieces, regex: Regex::new(&format!("{regex}$")).expect("an escaped pattern compiles") }
    }

    /// The numbers of a name that has this form; the same letter must have the same number wherever it stands.
    pub fn matches(&self, name: &str) -> Option<Values> {
        let found = self.regex.captures(name)?;
        let mut values = Values::new();
        let sums = self.pieces.iter().filter_map(|p| if let Piece::Sum(terms, _) = p { terms.first() } else { None });
        for (&(_, letter), text) in sums.zip(found.iter().skip(1).flatten()) {
            let value = text.as_str().parse().ok()?;
            if *values.entry(letter).or_insert(value) != value {
                return None;
            }
        }
        Some(values)
    }

    /// The name with these numbers.
    pub fn with(&self, values: &Values) -> String {
        let piece = |p: &Piece| match p {
            Piece::Text(text) => text.clone(),
            Piece::Sum(terms, number) => {
                let total: u64 = terms.iter().map(|(n, letter)| n * values.get(letter).copied().unwrap_or_default()).sum();
                (total + number).to_string()
            }
        };
        self.pieces.iter().map(piece).collect()
    }
}

/// `3i+j+1`: what stands before a letter is its multiple, what stands alone is added.
fn sum(text: &str) -> Piece {
    let (mut terms, mut number) = (Vec::new(), 0);
    for term in text.split('+') {
        let digits = term.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let value: u64 = digits.parse().unwrap_or(1);
        match term[digits.len()..].chars().next() {
            Some(letter) => terms.push((value, letter)),
            None => number += value,
        }
    }
    Piece::Sum(terms, number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_and_put() {
        let from = Pattern::new("down_blocks.{i}.resnets.{j}");
        let values = from.matches("down_blocks.2.resnets.1").unwrap();
        assert_eq!(Pattern::new("input_blocks.{3i+j+1}.0").with(&values), "input_blocks.8.0");
        assert_eq!(from.with(&values), "down_blocks.2.resnets.1");
        for other in ["down_blocks.2.resnets.1.conv1", "x.down_blocks.2.resnets.1", "down_blocks.a.resnets.1", "down_blocks..resnets.1"] {
            assert_eq!(from.matches(other), None, "{other}");
        }
        let twice = Pattern::new("a.{i}.b.{i}");
        assert!(twice.matches("a.1.b.1").is_some() && twice.matches("a.1.b.2").is_none());
    }
}
