//! Where the bytes of a tensor's rows stand in what the tensor takes of its file. Rows are written and read by their place among rows; what
//! lies between them is the file format's business.

use std::ops::Range;
use std::sync::Arc;

/// How the rows of a tensor are laid out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Placing {
    /// One after the other.
    #[default]
    Rows,
    /// One after the other, cut into pages that each begin with some bytes of their own.
    Pages(Arc<Pages>),
    /// Transposed: a row's elements stand in as many columns.
    Columns {
        /// Rows of the tensor.
        out: usize,
        /// Elements of a row.
        count: usize,
        /// Bytes of an element.
        size: usize,
    },
    /// Columns of elements packed along the rows: every four bytes of a column are a word, words of one place stand side by side. A row is a
    /// byte of every column, or a part of one.
    Words {
        /// Columns.
        count: usize,
    },
}

/// The pages of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pages {
    /// Bytes of rows in every page but the last.
    pub each: u64,
    /// What each page begins with.
    pub leads: Vec<Vec<u8>>,
}

impl Pages {
    /// Pages of `each` bytes for `len` bytes in all; what one begins with follows from its bytes.
    pub fn cut(len: u64, each: u64, lead: impl Fn(u64) -> Vec<u8>) -> Self {
        let each = each.max(1);
        let count = len.div_ceil(each).max(1);
        let leads = (0..count).map(|page| lead(each.min(len - page * each))).collect();
        Self { each, leads }
    }

    /// Bytes of all leads.
    pub fn overhead(&self) -> u64 {
        self.leads.iter().map(|l| l.len() as u64).sum()
    }

    /// Where each page begins in the tensor, its lead first.
    pub fn starts(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let mut before = 0;
        self.leads.iter().enumerate().map(move |(page, lead)| {
            let start = page as u64 * self.each + before;
            before += lead.len() as u64;
            (start, lead.as_slice())
        })
    }
}

impl Placing {
    /// Bytes that the tensor takes besides those of its rows.
    pub fn overhead(&self) -> u64 {
        if let Self::Pages(pages) = self { pages.overhead() } else { 0 }
    }

    /// The pieces of some bytes of rows: where each begins in the tensor, and which of the bytes it is, in the order of [`Placing::arranged`].
    pub fn pieces(&self, offset: u64, len: usize) -> Vec<(u64, Range<usize>)> {
        match self {
            Self::Rows => vec![(offset, 0..len)],
            Self::Pages(pages) => {
                let (mut list, mut done, mut before) = (Vec::new(), 0, 0);
                for (page, lead) in pages.leads.iter().enumerate() {
                    before += lead.len() as u64;
                    // The last page takes what is left.
                    let end = if page + 1 == pages.leads.len() { u64::MAX } else { (page as u64 + 1) * pages.each };
                    let at = offset + done as u64;
                    if done < len && at < end {
                        let n = (end - at).min((len - done) as u64) as usize;
                        list.push((at + before, done..done + n));
                        done += n;
                    }
                }
                list
            }
            &Self::Columns { out, count, size } => {
                let row = count * size;
                let (first, rows) = (offset as usize / row.max(1), len / row.max(1));
                let column = |j: usize| (((j * out + first) * size) as u64, j * rows * size..(j + 1) * rows * size);
                (0..count).map(column).collect()
            }
            &Self::Words { count } => {
                let count = count.max(1);
                let (first, lines) = (offset as usize / count, len / count);
                let at = |line: usize, column: usize| ((line / 4 * count + column) * 4 + line % 4) as u64;
                let (mut list, mut done) = (Vec::new(), 0);
                let mut line = first;
                while line < first + lines {
                    // Lines of one word: of each column so many neighbouring bytes.
                    let n = (4 - line % 4).min(first + lines - line);
                    if n == 4 {
                        list.push((at(line, 0), done..done + 4 * count));
                    } else {
                        list.extend((0..count).map(|column| (at(line, column), done + column * n..done + (column + 1) * n)));
                    }
                    done += n * count;
                    line += n;
                }
                list
            }
        }
    }

    /// Where the byte of each line and column is among those of the pieces of some lines, line by line.
    fn lines(first: usize, lines: usize, count: usize) -> Vec<usize> {
        let (mut order, mut line) = (vec![0; lines * count], first);
        while line < first + lines {
            let n = (4 - line % 4).min(first + lines - line);
            let done = (line - first) * count;
            for k in 0..n {
                (0..count).for_each(|column| order[(line - first + k) * count + column] = done + column * n + k);
            }
            line += n;
        }
        order
    }

    /// Bytes of rows in the order of the pieces; `None` where that is the order they have.
    pub fn arranged(&self, offset: u64, rows: &[u8]) -> Option<Vec<u8>> {
        match *self {
            Self::Rows | Self::Pages(_) => None,
            Self::Columns { count, size, .. } => Some(transposed(rows, count, size)),
            Self::Words { count } => {
                let mut pieces = vec![0; rows.len()];
                let order = Self::lines(offset as usize / count.max(1), rows.len() / count.max(1), count);
                order.into_iter().zip(rows).for_each(|(at, byte)| pieces[at] = *byte);
                Some(pieces)
            }
        }
    }

    /// The inverse: bytes of pieces in the order of rows.
    pub fn by_rows(&self, offset: u64, pieces: Vec<u8>) -> Vec<u8> {
        match *self {
            Self::Rows | Self::Pages(_) => pieces,
            Self::Columns { count, size, .. } => transposed(&pieces, pieces.len() / (count * size).max(1), size),
            Self::Words { count } => {
                let order = Self::lines(offset as usize / count.max(1), pieces.len() / count.max(1), count);
                order.into_iter().map(|at| pieces[at]).collect()
            }
        }
    }
}

/// Elements of rows of `count`, column after column.
fn transposed(rows: &[u8], count: usize, size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(rows.len());
    for j in 0..count {
        for row in rows.chunks_exact(count * size) {
            out.extend_from_slice(&row[j * size..(j + 1) * size]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_hold_every_byte_once_behind_their_leads() {
        let pages = Pages::cut(25, 10, |n| vec![0xff; n as usize % 4 + 1]);
        assert_eq!(pages.leads.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 2]);
        assert_eq!(pages.starts().map(|(at, _)| at).collect::<Vec<_>>(), [0, 13, 26]);
        let placing = Placing::Pages(Arc::new(pages));
        assert_eq!(placing.overhead(), 8);
        assert_eq!(placing.pieces(0, 25), [(3, 0..10), (16, 10..20), (28, 20..25)]);
        assert_eq!(placing.pieces(8, 4), [(11, 0..2), (16, 2..4)]);
        assert_eq!(placing.pieces(20, 5), [(28, 0..5)]);
    }

    #[test]
    fn an_empty_tensor_has_one_page() {
        let pages = Pages::cut(0, 10, |n| vec![n as u8]);
        assert_eq!(pages, Pages { each: 10, leads: vec![vec![0]] });
    }

    #[test]
    fn columns_are_rows_transposed() {
        let placing = Placing::Columns { out: 5, count: 3, size: 2 };
        let rows: Vec<u8> = (0..12).collect(); // two rows of three elements
        let turned = placing.arranged(12, &rows).expect("another order");
        assert_eq!(turned, [0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11]);
        assert_eq!(placing.by_rows(12, turned), rows);
        assert_eq!(placing.pieces(12, 12), [(4, 0..4), (14, 4..8), (24, 8..12)]); // rows 2 and 3
    }

    #[test]
    fn words_stand_side_by_side() {
        let placing = Placing::Words { count: 3 };
        // Byte `b` of column `c` in word `w` is 100 w + 10 c + b.
        let file: Vec<u8> = (0..2).flat_map(|w| (0..3).flat_map(move |c| (0..4).map(move |b| 100 * w + 10 * c + b))).collect();
        let line = |l: u8| (0..3).map(move |c| 100 * (l / 4) + 10 * c + l % 4);
        for first in 0..8_u8 {
            for lines in 1..=8 - first {
                let rows: Vec<u8> = (first..first + lines).flat_map(line).collect();
                let offset = u64::from(first) * 3;
                let arranged = placing.arranged(offset, &rows).expect("another order");
                let mut found = Vec::new();
                for (at, part) in placing.pieces(offset, rows.len()) {
                    assert!(file[at as usize..].starts_with(&arranged[part.clone()]), "{first} {lines}");
                    found.extend_from_slice(&arranged[part]);
                }
                assert_eq!(placing.by_rows(offset, found), rows);
            }
        }
    }
}
