//! Shares: a job's work cut into parts that several machines do.

use serde::{Serialize, Serializer};
use std::fmt;

/// The largest number of shares.
const MOST: u32 = 65_536;

/// One of several shares of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share {
    /// Which one, from 1.
    pub number: u32,
    /// How many there are.
    pub count: u32,
}

impl Share {
    /// Reads `2/8`: the second of eight.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit()) && !part.starts_with('0');
        let (number, count) = text.split_once('/').filter(|(n, c)| digits(n) && digits(c))?;
        let share = Self { number: number.parse().ok()?, count: count.parse().ok()? };
        (share.number <= share.count && share.count <= MOST).then_some(share)
    }

    /// The share that each piece of work falls to, by its size: neighbours stay together, and every share has about the same amount. It follows
    /// from the sizes alone, so machines that do not know of each other agree.
    pub fn owners(sizes: &[u64], count: u32) -> Vec<u32> {
        let total: u128 = sizes.iter().map(|&s| u128::from(s)).sum();
        let mut before = 0u128;
        let owner = |size: &u64| {
            // By where its middle lies, in halves so that no piece of one byte is lost.
            let middle = 2 * before + u128::from(*size);
            before += u128::from(*size);
            let nth = (middle * u128::from(count)).checked_div(2 * total).unwrap_or(0);
            nth.min(u128::from(count) - 1) as u32 + 1
        };
        sizes.iter().map(owner).collect()
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.count)
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(Share::parse("2/8"), Some(Share { number: 2, count: 8 }));
        assert_eq!(Share::parse("65536/65536").map(|s| s.to_string()).as_deref(), Some("65536/65536"));
        for wrong in ["", "2", "/8", "2/", "0/8", "9/8", "1/65537", "01/8", "+1/8", "1/8/2", " 1/8", "1/99999999999"] {
            assert_eq!(Share::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn neighbours_stay_together_and_shares_are_alike() {
        let sizes: Vec<u64> = (0..1000).map(|i| 1 + (i * 7919) % 1000).collect();
        let total: u64 = sizes.iter().sum();
        for count in [1, 2, 3, 7, 16] {
            let owners = Share::owners(&sizes, count);
            assert!(owners.is_sorted() && owners.iter().all(|o| (1..=count).contains(o)));
            for share in 1..=count {
                let of_share: u64 = sizes.iter().zip(&owners).filter(|(_, o)| **o == share).map(|(s, _)| s).sum();
                assert!(of_share.abs_diff(total / u64::from(count)) <= 1000, "{share}/{count}: {of_share}");
            }
        }
        assert_eq!(Share::owners(&[0, 0], 3), [1, 1]);
        assert_eq!(Share::owners(&[5], 3), [2]);
        assert_eq!(Share::owners(&[u64::MAX, u64::MAX], 2), [1, 2]);
    }
}
