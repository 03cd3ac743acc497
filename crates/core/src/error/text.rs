//! Texts from files and paths, made safe to show: no control, bidirectional or zero-width character survives.

use std::fmt::Write;

const MOST: usize = 200;

/// `text` with control, bidirectional and zero-width characters as `\u{…}`, cut in the middle at 200 characters.
pub fn visible(text: &str) -> String {
    let count = text.chars().count();
    let mut out = String::with_capacity(text.len().min(4 * MOST));
    for (i, c) in text.chars().enumerate() {
        if count > MOST && (MOST / 2..count - MOST / 2).contains(&i) {
            if i == MOST / 2 {
                out.push('…');
            }
            continue;
        }
        let hidden = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}');
        if c.is_control() || hidden {
            let _ = write!(out, "\\u{{{:x}}}", c as u32);
        } else {
            out.push(c);
        }
    }
    out
}

/// [`visible`], in double quotes.
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", visible(text))
}

/// Bytes as people read them: `1.5 GiB`.
pub fn bytes_text(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_hidden_survives() {
        assert_eq!(visible("a\u{1b}[31mb\u{202e}c"), "a\\u{1b}[31mb\\u{202e}c");
        let long = "x".repeat(1000);
        assert_eq!(visible(&long).chars().count(), 201);
        assert_eq!(bytes_text(3 * 512 * 1024 * 1024), "1.5 GiB");
    }
}
