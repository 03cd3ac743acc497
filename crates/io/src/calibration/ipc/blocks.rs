//! The messages of an Arrow file or stream: where each stands. Every length is checked against the file before anything is read by it.

use super::Bytes;
use crate::calibration::CalibrationError;
use arrow_ipc::convert::fb_to_schema;
use arrow_ipc::{Block, MessageHeader, MetadataVersion};
use arrow_schema::{ArrowError, SchemaRef};
use std::sync::Arc;

const MAGIC: &[u8; 6] = b"ARROW1";
/// Footer length and magic.
const TRAILER_BYTES: u64 = 10;
/// Continuation mark and length before every message.
const PREFIX_BYTES: u64 = 8;
const CONTINUATION: [u8; 4] = [0xff; 4];

/// What a message holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Values of a dictionary.
    Dictionary,
    /// Records.
    Batch,
}

/// A file or stream.
pub struct Blocks {
    pub schema: SchemaRef,
    pub version: MetadataVersion,
    /// Dictionaries stand before the batches that need them.
    pub list: Vec<(Kind, Block)>,
}

impl Blocks {
    /// Finds the messages; which of the two formats it is shows at the start.
    pub fn of(bytes: &Bytes) -> Result<Self, CalibrationError> {
        let start = bytes.get(0, MAGIC.len().min(bytes.len() as usize))?;
        if start == MAGIC { Self::of_file(bytes) } else { Self::of_stream(bytes) }
    }

    fn of_file(bytes: &Bytes) -> Result<Self, CalibrationError> {
        let end = bytes.len().checked_sub(TRAILER_BYTES).ok_or_else(|| bytes.bad("the file ends before its footer"))?;
        let trailer = bytes.get(end, TRAILER_BYTES as usize)?;
        let (length, magic) = trailer.split_at(4);
        if magic != MAGIC {
            return Err(bytes.bad("the file does not end as an Arrow file does"));
        }
        let length = length.try_into().map_or(-1, i32::from_le_bytes);
        let begin = u64::try_from(length).ok().and_then(|length| end.checked_sub(length));
        let begin = begin.ok_or_else(|| bytes.bad("the length of the footer is wrong"))?;
        let footer = bytes.get(begin, (end - begin) as usize)?;
        bytes.call(|| {
            let footer = arrow_ipc::root_as_footer(&footer).map_err(|e| ArrowError::ParseError(format!("footer: {e}")))?;
            let schema = footer.schema().ok_or_else(|| ArrowError::ParseError("the footer has no schema".into()))?;
            let mut list = Vec::new();
            for (kind, blocks) in [(Kind::Dictionary, footer.dictionaries()), (Kind::Batch, footer.recordBatches())] {
                list.extend(blocks.iter().flatten().map(|block| (kind, *block)));
            }
            if list.iter().any(|(_, block)| !lies_before(block, begin)) {
                return Err(ArrowError::ParseError("a message lies outside the file".into()));
            }
            Ok(Self { schema: native(&schema)?, version: footer.version(), list })
        })
    }

    /// A stream must end with its mark: one that merely stops cannot be told from one that was cut off.
    fn of_stream(bytes: &Bytes) -> Result<Self, CalibrationError> {
        let (mut at, mut schema, mut list) = (0, None, Vec::new());
        loop {
            let prefix = bytes.get(at, PREFIX_BYTES as usize)?;
            let (mark, length) = prefix.split_at(4);
            if mark != CONTINUATION {
                return Err(bytes.bad(if at == 0 { "this is no Arrow file or stream" } else { "a message does not begin as it must" }));
            }
            let length = length.try_into().map_or(-1, i32::from_le_bytes);
            if length == 0 {
                break;
            }
            let length = usize::try_from(length).map_err(|_| bytes.bad("a message has a negative length"))?;
            let message = bytes.get(at + PREFIX_BYTES, length)?;
            let (offset, header) = (at as i64, PREFIX_BYTES + length as u64);
            let (kind, body) = bytes.call(|| {
                let message = arrow_ipc::root_as_message(&message).map_err(|e| ArrowError::ParseError(format!("message: {e}")))?;
                let kind = match (message.header_type(), schema.is_some()) {
                    (MessageHeader::Schema, false) => {
                        let found = message.header_as_schema().ok_or_else(|| ArrowError::ParseError("a message is empty".into()))?;
                        schema = Some((native(&found)?, message.version()));
                        None
                    }
                    (MessageHeader::DictionaryBatch, true) => Some(Kind::Dictionary),
                    (MessageHeader::RecordBatch, true) => Some(Kind::Batch),
                    (other, _) => return Err(ArrowError::ParseError(format!("a message is {other:?} where it cannot be"))),
                };
                Ok((kind, message.bodyLength()))
            })?;
            let block = Block::new(offset, header as i32, body);
            if header > i32::MAX as u64 || !lies_before(&block, bytes.len()) {
                return Err(bytes.bad("a message reaches beyond the end of the file"));
            }
            list.extend(kind.map(|kind| (kind, block)));
            at += header + body as u64;
        }
        if at + PREFIX_BYTES != bytes.len() {
            return Err(bytes.bad("something follows the end of the stream"));
        }
        let (schema, version) = schema.ok_or_else(|| bytes.bad("the stream has no schema"))?;
        Ok(Self { schema, version, list })
    }
}

/// Whether a message with its prefix lies before `end`.
fn lies_before(block: &Block, end: u64) -> bool {
    let sizes = [block.offset(), block.metaDataLength().into(), block.bodyLength()];
    let total = sizes.iter().try_fold(0u64, |sum, &n| sum.checked_add(u64::try_from(n).ok()?));
    u64::try_from(block.metaDataLength()).is_ok_and(|n| n >= PREFIX_BYTES) && total.is_some_and(|total| total <= end)
}

fn native(schema: &arrow_ipc::Schema<'_>) -> Result<SchemaRef, ArrowError> {
    if schema.endianness().equals_to_target_endianness() {
        Ok(Arc::new(fb_to_schema(*schema)))
    } else {
        Err(ArrowError::IpcError("the file is of a machine with another byte order".into()))
    }
}
