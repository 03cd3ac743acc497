//! Whether a footer's own numbers can be true: the library makes room for as many row groups as a file states before it reads the first.
//! Thrift's compact protocol, of which only the bounds matter here.

/// Structures within structures; those of Parquet have six.
const MOST_DEPTH: u32 = 24;

/// Whether every structure ends within the bytes, and no list states more elements than bytes are left.
pub fn is_bounded(bytes: &[u8]) -> bool {
    Walk { bytes, at: 0 }.structure(0).is_some()
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
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

    fn skip(&mut self, bytes: u64) -> Option<()> {
        let end = self.at.checked_add(usize::try_from(bytes).ok()?)?;
        self.at = end;
        (end <= self.bytes.len()).then_some(())
    }

    fn structure(&mut self, depth: u32) -> Option<()> {
        loop {
            let field = self.byte()?;
            if field == 0 {
                return Some(());
            }
            if field >> 4 == 0 {
                self.varint()?; // the field's number, where it is not near the one before
            }
            if !matches!(field & 15, 1 | 2) {
                self.value(field & 15, depth)?; // a flag stands in its type
            }
        }
    }

    fn value(&mut self, kind: u8, depth: u32) -> Option<()> {
        match kind {
            1..=3 => self.skip(1),
            4..=6 => self.varint().map(drop),
            7 => self.skip(8),
            8 => {
                let len = self.varint()?;
                self.skip(len)
            }
            9 | 10 => self.list(depth),
            12 if depth < MOST_DEPTH => self.structure(depth + 1),
            _ => None,
        }
    }

    fn list(&mut self, depth: u32) -> Option<()> {
        let head = self.byte()?;
        let count = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
        if count > (self.bytes.len() - self.at) as u64 || depth >= MOST_DEPTH {
            return None;
        }
        (0..count).try_for_each(|_| self.value(head & 15, depth + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::is_bounded;

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
}
