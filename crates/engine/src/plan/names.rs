//! Names and globs that users give for layers: `*` stands for any characters, dots included, `?` for one; with `.weight` or without.

use aq_core::error::{ConfigIssue, ErrorCode};
use regex_lite::Regex;

/// A compiled name or glob.
pub struct NamePattern {
    text: String,
    regex: Regex,
}

impl NamePattern {
    /// Compiles a name or glob; every other character stands for itself.
    pub fn new(text: &str) -> Self {
        let body: String = text
            .chars()
            .map(|c| match c {
                '*' => ".*".to_owned(),
                '?' => ".".to_owned(),
                c => regex_lite::escape(&c.to_string()),
            })
            .collect();
        #[expect(clippy::expect_used, reason = "every character was escaped; the option table bounds the length")]
        let regex = Regex::new(&format!("(?s)^{body}$")).expect("an escaped pattern compiles");
        Self { text: text.into(), regex }
    }

    /// Whether it is a plain name.
    pub fn is_exact(&self) -> bool {
        !self.text.contains(['*', '?'])
    }

    /// The text it was made from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it means this tensor. `component` is empty for models that are one component.
    pub fn matches(&self, component: &str, tensor: &str) -> bool {
        let module = tensor.strip_suffix(".weight").unwrap_or(tensor);
        let bare = self.regex.is_match(tensor) || self.regex.is_match(module);
        bare || (!component.is_empty() && [tensor, module].iter().any(|n| self.regex.is_match(&format!("{component}/{n}"))))
    }

    /// The issue for a pattern that means nothing, with the nearest names.
    pub fn unmatched<'a>(&self, path: String, code: ErrorCode, names: impl Iterator<Item = &'a str>) -> ConfigIssue {
        let cut: String = self.text.chars().take(60).collect();
        let mut issue = ConfigIssue::new(code, path, "the name of a tensor of the model", format!("\"{cut}\" (string)"));
        let mut near: Vec<(usize, &str)> = names.map(|n| (strsim::levenshtein(&cut, n.strip_suffix(".weight").unwrap_or(n)), n)).collect();
        near.sort_unstable();
        let near: Vec<&str> = near.iter().take(3).map(|(_, n)| *n).collect();
        if !near.is_empty() {
            issue.message += &format!(" The nearest are {}.", near.join(", "));
        }
        issue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_cross_dots_and_accept_both_forms() {
        let p = NamePattern::new("blocks.*.to_q");
        assert!(p.matches("", "blocks.0.attn.to_q.weight") && !p.matches("", "blocks.0.attn.to_k.weight"));
        assert!(NamePattern::new("unet/conv_in").matches("unet", "conv_in.weight"));
        assert!(!NamePattern::new("a.c").matches("", "abc"));
        assert!(NamePattern::new("a.weight").matches("", "a.weight"));
    }
}
