//! BLAKE3 of a file that is written in any order: its tree is put together from pieces that are hashed while their bytes are at hand.
//!
//! BLAKE3 is a binary tree over chunks of 1 KiB; the node over an aligned run of 2^k chunks does not depend on what stands elsewhere
//! (specification, section 2.1, and the `hazmat` module of the reference crate). Two neighbouring nodes become their parent at once, so that
//! what is kept grows with the number of gaps, not with the file. A piece that is missing or was written over is read again in the end.

use blake3::Hasher;
use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes of a leaf here: enough chunks for the widest vectors, few enough that most of a write is whole pieces.
pub const PIECE: u64 = 16 << 10;

/// Nodes by height above the pieces and place among those of that height.
type Nodes = BTreeMap<(u32, u64), ChainingValue>;

/// The tree of one file.
#[derive(Debug, Default)]
pub struct TreeHash(Mutex<Nodes>);

/// The whole pieces of some bytes of a file.
pub const fn whole_pieces(bytes: &Range<u64>) -> Range<u64> {
    bytes.start.div_ceil(PIECE)..bytes.end / PIECE
}

fn piece_value(piece: u64, bytes: &[u8]) -> ChainingValue {
    Hasher::new().set_input_offset(piece * PIECE).update(bytes).finalize_non_root()
}

impl TreeHash {
    fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that have just been written at `offset`. What was known of the pieces that they touch is forgotten.
    pub fn wrote(&self, offset: u64, bytes: &[u8]) {
        let whole = whole_pieces(&(offset..offset + bytes.len() as u64));
        let value = |p: u64| {
            let start = (p * PIECE - offset) as usize;
            (p, piece_value(p, &bytes[start..start + PIECE as usize]))
        };
        let values: Vec<_> = whole.map(value).collect();
        let mut nodes = self.nodes();
        for piece in offset / PIECE..(offset + bytes.len() as u64).div_ceil(PIECE) {
            forget(&mut nodes, piece);
        }
        values.into_iter().for_each(|(piece, value)| learn(&mut nodes, piece, value));
    }

    /// Reads the whole pieces of a range that are not known, so that its nodes can be joined.
    pub fn settle<E>(&self, bytes: &Range<u64>, read: impl Fn(&mut [u8], u64) -> Result<(), E>) -> Result<(), E> {
        let missing: Vec<u64> = {
            let nodes = self.nodes();
            whole_pieces(bytes).filter(|&p| !known(&nodes, p)).collect()
        };
        let mut buffer = vec![0; PIECE as usize];
        for piece in missing {
            read(&mut buffer, piece * PIECE)?;
            learn(&mut self.nodes(), piece, piece_value(piece, &buffer));
        }
        Ok(())
    }

    /// Of the whole file of `len` bytes; what is not known is read.
    pub fn finish<E>(&self, len: u64, read: impl Fn(&mut [u8], u64) -> Result<(), E>) -> Result<blake3::Hash, E> {
        let mut buffer = vec![0; PIECE as usize];
        if len <= PIECE {
            read(&mut buffer[..len as usize], 0)?;
            return Ok(blake3::hash(&buffer[..len as usize]));
        }
        let nodes = self.nodes();
        let mut leaf = |piece: u64| {
            let bytes = &mut buffer[..PIECE.min(len - piece * PIECE) as usize];
            read(bytes, piece * PIECE)?;
            Ok(piece_value(piece, bytes))
        };
        let pieces = len.div_ceil(PIECE);
        let left = left_of(pieces);
        let (a, b) = (subtree(&nodes, 0..left, &mut leaf)?, subtree(&nodes, left..pieces, &mut leaf)?);
        Ok(merge_subtrees_root(&a, &b, Mode::Hash))
    }
}

/// The left half of a tree over more than one piece: the largest power of two below.
const fn left_of(pieces: u64) -> u64 {
    pieces.next_power_of_two() / 2
}

/// The node over some pieces, the first of which is a multiple of their number's power of two.
fn subtree<E>(nodes: &Nodes, pieces: Range<u64>, leaf: &mut impl FnMut(u64) -> Result<ChainingValue, E>) -> Result<ChainingValue, E> {
    let n = pieces.end - pieces.start;
    let height = n.trailing_zeros();
    if let Some(value) = nodes.get(&(height, pieces.start >> height)).filter(|_| n.is_power_of_two()) {
        return Ok(*value);
    }
    if n == 1 {
        return leaf(pieces.start);
    }
    let middle = pieces.start + left_of(n);
    let (a, b) = (subtree(nodes, pieces.start..middle, leaf)?, subtree(nodes, middle..pieces.end, leaf)?);
    Ok(merge_subtrees_non_root(&a, &b, Mode::Hash))
}

/// Where the node over a piece can be; none but a leaf begins the file.
fn above(piece: u64) -> impl Iterator<Item = (u32, u64)> {
    (0..u64::BITS - piece.leading_zeros()).map(move |height| (height, piece >> height)).chain((piece == 0).then_some((0, 0)))
}

fn known(nodes: &Nodes, piece: u64) -> bool {
    above(piece).any(|node| nodes.contains_key(&node))
}

fn forget(nodes: &mut Nodes, piece: u64) {
    for node in above(piece) {
        nodes.remove(&node);
    }
}

fn learn(nodes: &mut Nodes, piece: u64, value: ChainingValue) {
    let (mut height, mut at, mut value) = (0, piece, value);
    // A node that begins the file may be its root, which is another kind of node: its halves are kept.
    while at > 1
        && let Some(other) = nodes.remove(&(height, at ^ 1))
    {
        let (a, b) = if at % 2 == 0 { (value, other) } else { (other, value) };
        value = merge_subtrees_non_root(&a, &b, Mode::Hash);
        (height, at) = (height + 1, at / 2);
    }
    nodes.insert((height, at), value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use aq_testkit::random::SplitMix;
    use std::cell::Cell;

    fn check(len: usize, writes: &[Range<usize>], settled: &[Range<usize>], most_read: u64) {
        let bytes: Vec<u8> = (0..len).map(|i| (i * 7 + i / 251) as u8).collect();
        let (tree, count) = (TreeHash::default(), Cell::new(0));
        let read = |buffer: &mut [u8], at: u64| {
            count.set(count.get() + buffer.len() as u64);
            buffer.copy_from_slice(&bytes[at as usize..at as usize + buffer.len()]);
            Ok::<(), ()>(())
        };
        for w in writes {
            tree.wrote(w.start as u64, &bytes[w.clone()]);
        }
        for s in settled {
            tree.settle(&(s.start as u64..s.end as u64), read).unwrap();
        }
        assert_eq!(tree.finish(len as u64, read).unwrap(), blake3::hash(&bytes), "{len} {writes:?}");
        assert!(count.get() <= most_read, "{} bytes read of {len}", count.get());
    }

    #[test]
    fn any_length_written_at_once_is_read_only_past_its_last_whole_piece() {
        let p = PIECE as usize;
        for len in [0, 1, 1024, p - 1, p, p + 1, 2 * p, 2 * p + 1, 3 * p, 4 * p, 5 * p + 1023, 64 * p, 65 * p + 7] {
            check(len, std::slice::from_ref(&(0..len)), &[], if len <= p { PIECE } else { PIECE - 1 });
        }
    }

    #[test]
    fn any_order_overlap_and_gap_gives_the_hash_of_the_bytes() {
        let mut random = SplitMix::new(11);
        for _ in 0..50 {
            let len = 1 + random.below(40 * PIECE as usize);
            let part = |random: &mut SplitMix| {
                let (a, b) = (random.below(len + 1), random.below(len + 1));
                a.min(b)..a.max(b)
            };
            let writes: Vec<_> = (0..random.below(12)).map(|_| part(&mut random)).collect();
            let settled: Vec<_> = (0..random.below(4)).map(|_| part(&mut random)).collect();
            check(len, &writes, &settled, 2 * len as u64);
        }
    }

    #[test]
    fn what_was_written_over_is_not_remembered() {
        let tree = TreeHash::default();
        let (old, new) = (vec![1; 4 * PIECE as usize], vec![2; 100]);
        tree.wrote(0, &old);
        tree.wrote(PIECE - 50, &new);
        let mut bytes = old;
        bytes[PIECE as usize - 50..PIECE as usize + 50].copy_from_slice(&new);
        let read = |buffer: &mut [u8], at: u64| {
            buffer.copy_from_slice(&bytes[at as usize..at as usize + buffer.len()]);
            Ok::<(), ()>(())
        };
        assert_eq!(tree.finish(bytes.len() as u64, read).unwrap(), blake3::hash(&bytes));
    }

    #[test]
    fn nodes_are_joined_where_blocks_meet() {
        let (tree, bytes) = (TreeHash::default(), vec![5; 1000]);
        let end = 1000 * 1000;
        (0..end / 1000).for_each(|i| tree.wrote(i * 1000, &bytes));
        assert!(tree.nodes().is_empty(), "no write held a whole piece");
        tree.settle(&(0..end), |buffer, _| {
            buffer.fill(5);
            Ok::<(), ()>(())
        })
        .unwrap();
        assert!(tree.nodes().len() <= 12, "{}", tree.nodes().len());
    }
}
