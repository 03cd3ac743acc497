//! The structures of `parquet.thrift` (apache/parquet-format) as far as the library reads them: it takes a field for what its number stands for,
//! whatever type the file states. Fields that are not here are skipped by the type they state.

use Kind::{Byte, Count, Double, Flag, Int, List, Size, Struct, Text};

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Flag,
    /// Eight bits; all other whole numbers are written alike.
    Byte,
    Int,
    /// Bytes that a page becomes.
    Size,
    /// Values of a page.
    Count,
    Double,
    Text,
    List(&'static Kind),
    Struct(Fields),
}

/// Numbers and kinds of a structure's fields.
pub type Fields = &'static [(i16, Kind)];

const NONE: Kind = Struct(&[]);
const LONGS: Kind = List(&Int);

/// The footer.
pub const FILE: Fields = &[
    (1, Int),
    (2, List(&Struct(ELEMENT))),
    (3, Int),
    (4, List(&Struct(ROW_GROUP))),
    (5, List(&Struct(&[(1, Text), (2, Text)]))),
    (6, Text),
    (7, List(&Struct(&[(1, NONE)]))),
];

/// What stands before a page.
pub const PAGE: Fields = &[
    (1, Int),
    (2, Size),
    (3, Int),
    (4, Int),
    (5, Struct(&[(1, Count), (2, Int), (3, Int), (4, Int), (5, Struct(STATISTICS))])),
    (6, NONE),
    (7, Struct(&[(1, Count), (2, Int), (3, Flag)])),
    (8, Struct(&[(1, Count), (2, Int), (3, Int), (4, Int), (5, Int), (6, Int), (7, Flag), (8, Struct(STATISTICS))])),
];

const ELEMENT: Fields = &[(1, Int), (2, Int), (3, Int), (4, Text), (5, Int), (6, Int), (7, Int), (8, Int), (9, Int), (10, Struct(LOGICAL))];

/// Logical types, one of which is set.
const LOGICAL: Fields = &[
    (1, NONE),
    (2, NONE),
    (3, NONE),
    (4, NONE),
    (5, Struct(&[(1, Int), (2, Int)])),
    (6, NONE),
    (7, Struct(TIME)),
    (8, Struct(TIME)),
    (10, Struct(&[(1, Byte), (2, Flag)])),
    (11, NONE),
    (12, NONE),
    (13, NONE),
    (14, NONE),
    (15, NONE),
    (16, Struct(&[(1, Byte)])),
    (17, Struct(&[(1, Text)])),
    (18, Struct(&[(1, Text), (2, Int)])),
];
const TIME: Fields = &[(1, Flag), (2, Struct(&[(1, NONE), (2, NONE), (3, NONE)]))];

const ROW_GROUP: Fields =
    &[(1, List(&Struct(CHUNK))), (2, Int), (3, Int), (4, List(&Struct(&[(1, Int), (2, Flag), (3, Flag)]))), (5, Int), (7, Int)];
const CHUNK: Fields = &[(1, Text), (2, Int), (3, Struct(COLUMN)), (4, Int), (5, Int), (6, Int), (7, Int)];
const COLUMN: Fields = &[
    (1, Int),
    (2, LONGS),
    (4, Int),
    (5, Int),
    (6, Int),
    (7, Int),
    (9, Int),
    (10, Int),
    (11, Int),
    (12, Struct(STATISTICS)),
    (13, List(&Struct(&[(1, Int), (2, Int), (3, Int)]))),
    (14, Int),
    (15, Int),
    (16, Struct(&[(1, Int), (2, LONGS), (3, LONGS)])),
    (17, Struct(&[(1, Struct(BOX)), (2, LONGS)])),
];
const STATISTICS: Fields = &[(1, Text), (2, Text), (3, Int), (4, Int), (5, Text), (6, Text), (7, Flag), (8, Flag)];
const BOX: Fields = &[(1, Double), (2, Double), (3, Double), (4, Double), (5, Double), (6, Double), (7, Double), (8, Double)];
