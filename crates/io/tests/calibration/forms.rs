//! The same rows written in every form, by the writers of the formats' own libraries.

use aq_testkit::{Float, SafetensorsFile, SplitMix};
use arrow_array::types::{Float32Type, Int32Type};
use arrow_array::{
    ArrayRef, BinaryArray, DictionaryArray, Float32Array, Float64Array, Int32Array, Int64Array, LargeBinaryArray, LargeListArray,
    LargeStringArray, ListArray, RecordBatch, StringArray, StringViewArray,
};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::WriterProperties;
use std::fmt::Write;
use std::sync::Arc;

/// One record.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    pub layer: String,
    pub step: i32,
    pub count: usize,
    pub in_features: usize,
    pub data: Vec<f32>,
    pub weight: f32,
}

/// Three layers at up to four steps, in the order of a capture: step after step, from the noisy end.
pub fn sample() -> Vec<Rows> {
    let mut random = SplitMix::new(7);
    let mut list = Vec::new();
    for (step, weight) in [(980, 0.5), (440, 1.0), (3, 2.25), (0, 1.0)] {
        for (layer, rows, in_features) in [("blocks.1.to_q", 5, 8), ("blocks.0.ff.net.2", 3, 17), ("time_embed", 1, 4)] {
            if layer != "time_embed" || step > 3 {
                // Exact in every float type.
                let data = (0..rows * in_features).map(|_| (random.below(255) as f32 - 127.0) / 64.0).collect();
                list.push(Rows { layer: layer.into(), step, count: rows, in_features, data, weight });
            }
        }
    }
    list
}

pub fn safetensors(list: &[Rows], float: Float) -> Vec<u8> {
    let file = SafetensorsFile::new().metadata("format", "arrow-quant-calibration").metadata("version", "1");
    let add = |file: SafetensorsFile, r: &Rows| file.floats(&format!("{}@{}", r.layer, r.step), float, &[r.count, r.in_features], &r.data);
    list.iter().fold(file, add).bytes()
}

pub fn json_lines(list: &[Rows]) -> Vec<u8> {
    let mut text = String::new();
    for r in list {
        let data: Vec<String> = r.data.iter().map(ToString::to_string).collect();
        let shape = format!("[{}, {}]", r.count, r.in_features);
        let _ = writeln!(
            text,
            r#"{{"layer": "{}", "timestep": {}, "shape": {shape}, "data": [{}], "weight": {}}}"#,
            r.layer,
            r.step,
            data.join(", "),
            r.weight
        );
        text.push('\n');
    }
    text.into_bytes()
}

/// How the columns are typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Typing {
    /// utf8, int32, `large_binary`, float32.
    Documented,
    /// `large_utf8`, int64, binary, float64.
    Other,
    /// Dictionary of utf8, int32, list of float32, float32.
    List,
    /// utf8 view, int64, large list of float64, float32.
    Views,
}

impl Typing {
    pub const ALL: [Self; 4] = [Self::Documented, Self::Other, Self::List, Self::Views];
}

fn le(data: &[f32]) -> Vec<u8> {
    data.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// Records as a batch; a column that no reader needs stands in the middle.
pub fn batch(list: &[Rows], typing: Typing) -> RecordBatch {
    let names = list.iter().map(|r| r.layer.as_str());
    let integers = |value: fn(&Rows) -> i32| -> ArrayRef {
        match typing {
            Typing::Documented | Typing::List => Arc::new(list.iter().map(value).collect::<Int32Array>()),
            _ => Arc::new(list.iter().map(|r| i64::from(value(r))).collect::<Int64Array>()),
        }
    };
    let layer: ArrayRef = match typing {
        Typing::Documented => Arc::new(StringArray::from_iter_values(names)),
        Typing::Other => Arc::new(LargeStringArray::from_iter_values(names)),
        Typing::List => Arc::new(names.collect::<DictionaryArray<Int32Type>>()),
        Typing::Views => Arc::new(StringViewArray::from_iter_values(names)),
    };
    let data: ArrayRef = match typing {
        Typing::Documented => Arc::new(LargeBinaryArray::from_iter_values(list.iter().map(|r| le(&r.data)))),
        Typing::Other => Arc::new(BinaryArray::from_iter_values(list.iter().map(|r| le(&r.data)))),
        Typing::List => {
            let lists = list.iter().map(|r| Some(r.data.iter().map(|v| Some(*v)).collect::<Vec<_>>()));
            Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(lists))
        }
        Typing::Views => {
            let lists = list.iter().map(|r| Some(r.data.iter().map(|v| Some(f64::from(*v))).collect::<Vec<_>>()));
            Arc::new(LargeListArray::from_iter_primitive::<arrow_array::types::Float64Type, _, _>(lists))
        }
    };
    let weight: ArrayRef = match typing {
        Typing::Other => Arc::new(list.iter().map(|r| f64::from(r.weight)).collect::<Float64Array>()),
        _ => Arc::new(list.iter().map(|r| r.weight).collect::<Float32Array>()),
    };
    let note: ArrayRef = Arc::new(StringArray::from_iter_values(list.iter().map(|r| format!("at {}", r.step))));
    RecordBatch::try_from_iter([
        ("timestep", integers(|r| r.step)),
        ("layer_name", layer),
        ("note", note),
        ("rows", integers(|r| r.count as i32)),
        ("in_features", integers(|r| r.in_features as i32)),
        ("data", data),
        ("weight", weight),
    ])
    .expect("a test's own file can be made")
}

/// In two batches.
pub fn arrow_file(list: &[Rows], typing: Typing, compression: Option<CompressionType>) -> Vec<u8> {
    let options = IpcWriteOptions::default().try_with_compression(compression).expect("a test's own file can be made");
    let whole = batch(list, typing);
    let mut writer = FileWriter::try_new_with_options(Vec::new(), &whole.schema(), options).expect("a test's own file can be made");
    halves(&whole).iter().for_each(|b| writer.write(b).expect("a test's own file can be made"));
    writer.into_inner().expect("a test's own file can be made")
}

pub fn arrow_stream(list: &[Rows], typing: Typing, compression: Option<CompressionType>) -> Vec<u8> {
    let options = IpcWriteOptions::default().try_with_compression(compression).expect("a test's own file can be made");
    let whole = batch(list, typing);
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &whole.schema(), options).expect("a test's own file can be made");
    halves(&whole).iter().for_each(|b| writer.write(b).expect("a test's own file can be made"));
    writer.into_inner().expect("a test's own file can be made")
}

fn halves(whole: &RecordBatch) -> Vec<RecordBatch> {
    let half = whole.num_rows() / 2;
    [(0, half), (half, whole.num_rows() - half)].into_iter().map(|(first, n)| whole.slice(first, n)).filter(|b| b.num_rows() > 0).collect()
}

/// `group`: records of a row group.
pub fn parquet(list: &[Rows], typing: Typing, compression: Compression, group: usize) -> Vec<u8> {
    let whole = batch(list, typing);
    let properties = WriterProperties::builder().set_compression(compression).set_max_row_group_row_count(Some(group)).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), whole.schema(), Some(properties)).expect("a test's own file can be made");
    writer.write(&whole).expect("a test's own file can be made");
    writer.into_inner().expect("a test's own file can be made")
}

/// Every form in every typing and compression: extension, what it is, bytes.
pub fn all(list: &[Rows]) -> Vec<(&'static str, String, Vec<u8>)> {
    let mut files = vec![("jsonl", "json lines".to_owned(), json_lines(list))];
    files.extend(Float::ALL.map(|float| ("safetensors", format!("{float:?}"), safetensors(list, float))));
    for typing in Typing::ALL {
        for compression in [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)] {
            files.push(("arrow", format!("file {typing:?} {compression:?}"), arrow_file(list, typing, compression)));
            files.push(("arrow", format!("stream {typing:?} {compression:?}"), arrow_stream(list, typing, compression)));
        }
        let zstd = Compression::ZSTD(ZstdLevel::default());
        for compression in
            [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::LZ4_RAW, zstd, Compression::GZIP(GzipLevel::default())]
        {
            for group in [3, 1000] {
                files.push(("parquet", format!("{typing:?} {compression:?} {group}"), parquet(list, typing, compression, group)));
            }
        }
    }
    files
}
