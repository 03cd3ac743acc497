//! Small changes to sound files that readers are likely to stumble over: counts, lengths and offsets out of range, text that does not end.

use aq_testkit::SplitMix;

/// Numbers at the edges of what a field holds.
const EDGES: [u64; 12] = [0, 1, 7, 0x7f, 0x80, 0xff, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 1 << 62, u64::MAX];
/// What JSON, paths and headers may hold.
const WORDS: [&str; 20] = [
    "-1",
    "0",
    "18446744073709551616",
    "1e999",
    "NaN",
    "null",
    "true",
    "[]",
    "{}",
    "[[[[[[[[[[[[[[[[",
    "{\"a\":",
    "\"",
    "\\u0000",
    "\\ud800",
    "../../x",
    "/etc/passwd",
    "F32",
    "I64",
    "[0,0]",
    "99999999999",
];
const MOST_CHANGES: usize = 4;
const LONGEST: usize = 64;

/// A changed copy; `others` are files whose parts may get in.
pub fn mutated(sound: &[u8], others: &[Vec<u8>], random: &mut SplitMix) -> Vec<u8> {
    let mut bytes = sound.to_vec();
    for _ in 0..=random.below(MOST_CHANGES) {
        change(&mut bytes, others, random);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, others: &[Vec<u8>], random: &mut SplitMix) {
    if bytes.is_empty() {
        bytes.extend(random.next_u64().to_le_bytes());
        return;
    }
    let at = place(bytes.len(), random);
    let len = (1 + random.below(LONGEST)).min(bytes.len() - at);
    match random.below(11) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.next_u64() as u8,
        2 => put(bytes, at, &(EDGES[random.below(EDGES.len())] as u32).to_le_bytes()),
        3 => put(bytes, at, &EDGES[random.below(EDGES.len())].to_le_bytes()),
        4 => drop(bytes.drain(at..at + len)),
        5 => {
            let copy = bytes[at..at + len].to_vec();
            let to = random.below(bytes.len() + 1);
            bytes.splice(to..to, copy);
        }
        6 => bytes.truncate(at),
        7 => {
            let word = WORDS[random.below(WORDS.len())];
            let end = if random.below(2) == 0 { at } else { at + len.min(word.len()) };
            bytes.splice(at..end, word.bytes());
        }
        8 => number(bytes, at, random),
        9 => {
            let Some(other) = others.get(random.below(others.len().max(1))).filter(|o| !o.is_empty()) else { return };
            let from = random.below(other.len());
            let end = (from + 8 * LONGEST).min(other.len());
            bytes.splice(at..at + len, other[from..end].iter().copied());
        }
        _ => bytes.iter_mut().skip(at).take(len).for_each(|b| *b = 0xff),
    }
}

/// Headers and ends decide more than what lies between.
fn place(len: usize, random: &mut SplitMix) -> usize {
    match random.below(4) {
        0 => random.below(len.min(64)),
        1 => len - 1 - random.below(len.min(256)),
        2 => random.below(len.min(2048)),
        _ => random.below(len),
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes.iter_mut().skip(at).zip(value).for_each(|(b, v)| *b = *v);
}

/// Puts another number in the place of the next one that is written in digits.
fn number(bytes: &mut Vec<u8>, at: usize, random: &mut SplitMix) {
    let Some(first) = bytes[at..].iter().position(u8::is_ascii_digit).map(|i| at + i) else { return };
    let len = bytes[first..].iter().take_while(|b| b.is_ascii_digit()).count();
    let value = match random.below(3) {
        0 => EDGES[random.below(EDGES.len())].to_string(),
        1 => format!("-{}", random.below(1000)),
        _ => random.below(1 << 20).to_string(),
    };
    bytes.splice(first..first + len, value.bytes());
}
