//! Whether a file's own structures can be true: the library makes room for as many row groups as a footer states before it reads the first,
//! skips flags in lists and maps without reading a byte for any of them, and takes known fields for what they are without a look at
//! their type. So few bytes can cost hours, unless they are walked first. Thrift's compact protocol, of which only the bounds matter here.

use super::fields::{Fields, Kind};

/// Structures within structures; those of Parquet have six.
const MOST_DEPTH: u32 = 24;

/// What pages state of themselves, all that was walked together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stated {
    /// Bytes that they become.
    pub size: u64,
    /// Values.
    pub count: u64,
}

/// What a structure of these fields states; `None` unless it ends within the bytes, every known field is of its kind, and no list states more
/// elements than bytes are left.
pub fn walked(bytes: &[u8], fields: Fields) -> Option<Stated> {
    let mut walk = Walk { bytes, at: 0, stated: Stated::default() };
    walk.structure(fields, 0).map(|()| walk.stated)
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    stated: Stated,
}

impl Walk<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn number(&mut self) -> Option<i64> {
        let zigzag = self.varint()?;
        Some((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
    }

    fn skip(&mut self, bytes: u64) -> Option<()> {
        let end = self.at.checked_add(usize::try_from(bytes).ok()?)?;
        self.at = end;
        (end <= self.bytes.len()).then_some(())
    }

    fn structure(&mut self, fields: Fields, depth: u32) -> Option<()> {
        let mut number = 0i16;
        loop {
            let field = self.byte()?;
            if field == 0 {
                return Some(());
            }
            number = match field >> 4 {
                0 => self.number()? as i16, // the library takes as many bits of it
                further => number.checked_add(i16::from(further))?,
            };
            let known = fields.iter().find(|(n, _)| *n == number).map(|(_, kind)| kind);
            if known.is_some_and(|kind| !kind.is(field & 15)) {
                return None;
            }
            // A flag stands in its type.
            if !matches!(field & 15, 1 | 2) {
                self.value(field & 15, known, depth)?;
            }
        }
    }

    fn value(&mut self, stated: u8, known: Option<&Kind>, depth: u32) -> Option<()> {
        match stated {
            3 => self.skip(1),
            4..=6 => {
                // Of sizes and counts the library takes 32 bits.
                let number = u64::try_from(self.number()? as i32).unwrap_or(0);
                match known {
                    Some(Kind::Size) => self.stated.size = self.stated.size.saturating_add(number),
                    Some(Kind::Count) => self.stated.count = self.stated.count.saturating_add(number),
                    _ => {}
                }
                Some(())
            }
            7 => self.skip(8),
            8 => {
                let len = self.varint()?;
                self.skip(len)
            }
            9 | 10 => self.list(known, depth),
            12 if depth < MOST_DEPTH => {
                let fields = if let Some(Kind::Struct(fields)) = known { *fields } else { &[] };
                self.structure(fields, depth + 1)
            }
            // Flags in lists, and maps, which no structure of Parquet has.
            _ => None,
        }
    }

    fn list(&mut self, known: Option<&Kind>, depth: u32) -> Option<()> {
        let head = self.byte()?;
        let count = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
        if count > (self.bytes.len() - self.at) as u64 || depth >= MOST_DEPTH {
            return None;
        }
        let element = if let Some(Kind::List(element)) = known { Some(*element) } else { None };
        if count > 0 && element.is_some_and(|kind| !kind.is(head & 15)) {
            return None;
        }
        (0..count).try_for_each(|_| self.value(head & 15, element, depth + 1))
    }
}

impl Kind {
    /// Whether this is what a type of the protocol stands for.
    const fn is(&self, stated: u8) -> bool {
        match self {
            Self::Flag => matches!(stated, 1 | 2),
            Self::Byte => stated == 3,
            Self::Int | Self::Size | Self::Count => matches!(stated, 4..=6),
            Self::Double => stated == 7,
            Self::Text => stated == 8,
            Self::List(_) => matches!(stated, 9 | 10),
            Self::Struct(_) => stated == 12,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fields::{FILE, PAGE};
    use super::{Stated, walked};

    fn is_bounded(bytes: &[u8]) -> bool {
        walked(bytes, &[]).is_some()
    }

    #[test]
    fn lists_cannot_state_more_than_there_is() {
        assert!(is_bounded(&[0x19, 0x38, 1, b'a', 0, 0, 0])); // field 1: a list of three texts
        assert!(!is_bounded(&[0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 7, 0])); // of 2^31 structures
        assert!(!is_bounded(&[0x18, 5, b'a', 0])); // a text that is longer than the rest
        assert!(!is_bounded(&[0x15]) && !is_bounded(&[]));
        assert!(!is_bounded(&[0x1c; 100])); // structures without end
    }

    #[test]
    fn numbers_of_more_bytes_than_64_bits_have_are_refused() {
        assert!(is_bounded(&[0x16, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0]));
        assert!(!is_bounded(&[0x16, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0]));
    }

    #[test]
    fn what_is_skipped_without_a_byte_is_refused() {
        let many = [0xff, 0xff, 0xff, 0xff, 7];
        for list in [0xf1, 0xf2, 0xfd] {
            assert!(!is_bounded(&[&[0x19, list][..], &many, &[0; 64]].concat())); // 2^31 flags, or identifiers at the end
            assert!(!is_bounded(&[0x19, list & 0x1f, 1, 0])); // one of them
        }
        assert!(!is_bounded(&[&[0x1b][..], &many, &[0x11], &[0; 64]].concat())); // a map of them
    }

    #[test]
    fn known_fields_are_what_they_are() {
        assert!(walked(&[0x15, 2, 0], FILE).is_some());
        // The version as a text that is a list of flags when its length is taken for the number.
        assert!(walked(&[0x18, 3, 0xf9, 0xf2, 7, 0], FILE).is_none());
        assert!(walked(&[0x39, 0x15, 2, 0], FILE).is_none()); // the number of rows as a list
        assert!(walked(&[0x29, 0x15, 2, 0], FILE).is_none()); // a schema of numbers
        assert!(walked(&[0x08, 1, 2, b'a', b'b', 0], FILE).is_some()); // field -1, which nobody knows
        let page = [0x15, 0, 0x15, 8, 0x15, 8, 0x2c, 0x15, 2, 0x15, 0, 0x15, 6, 0x15, 6, 0, 0];
        assert_eq!((walked(&page, PAGE), walked(&page[..16], PAGE)), (Some(Stated { size: 4, count: 1 }), None));
        // Of more than 32 bits the lower ones count.
        assert_eq!(walked(&[0x26, 0x8e, 0x80, 0x80, 0x80, 0x20, 0], PAGE), Some(Stated { size: 7, count: 0 }));
        assert!(walked(&[0x15, 0, 0x15, 8, 0x15, 8, 0x25, 2, 0], PAGE).is_none()); // its own header as a number
    }
}
