//! Parquet archives: what is written is read back from any rows, another library reads the same, and damage of every kind has a name.

use aq_core::{BitWidth, Dtype, Method, ScaleDtype, Scheme, ZeroKind};
use aq_io::Disk;
use aq_io::error::{Damage, Defect, IoError, MetadataProblem};
use aq_io::layout::{EncodedRows, LayerSpec, Layout, OutTensor, Parquet};
use aq_io::output::{Container, Placed, ShardWriter};
use aq_io::parquet::{Closing, Row};
use aq_io::source::{Component, Shard};
use aq_io::weights::weights;
use aq_testkit::SplitMix;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use std::path::Path;
use tempfile::TempDir;

const OUT: usize = 30;
const CHANNELS: usize = 96;

fn spec(bits: BitWidth, zero: ZeroKind) -> LayerSpec {
    let scale_dtype = ScaleDtype::for_bits(bits);
    let scheme = Scheme { bits, group_size: 32, zero, method: Method::Rtn, scale_dtype, rotation: None, blocks: None };
    LayerSpec::new("block.a.weight", &[OUT, CHANNELS], Dtype::Bf16, scheme).expect("a matrix")
}

fn encoded(spec: &LayerSpec) -> EncodedRows {
    let mut rows = EncodedRows::default();
    rows.resize(spec, OUT);
    let mut random = SplitMix::new(7);
    let max = u64::from(spec.scheme.bits.max_code());
    rows.codes.iter_mut().for_each(|c| *c = (random.next_u64() % (max + 1)) as u8);
    rows.scales.iter_mut().for_each(|s| *s = (random.next_u64() % 7 + 1) as f32);
    if !spec.scheme.symmetric() {
        rows.zeros.iter_mut().for_each(|z| *z = (random.next_u64() % 9) as f32 - 4.0);
    }
    rows
}

/// What the engine tells of the layer, and of the float beside it.
fn told(spec: &LayerSpec, at: usize) -> Row {
    let values = if at == 0 {
        json!({
            "layer_name": "block.a", "tensor_name": "block.a.weight", "shape": spec.shape, "dtype": "BF16", "num_params": OUT * CHANNELS,
            "quant_type": format!("int{}", spec.scheme.bits), "symmetric": spec.scheme.symmetric(), "group_size": 32, "quant_axis": 1,
            "meta_dtype": if spec.scheme.bits == BitWidth::Eight { "f16" } else { "bf16" }, "rotation": "none", "method": "rtn",
            "is_diffusion_model": true, "modality": "image", "cosine": 0.5, "time_aware_quant_json": "{\"groups\":[]}",
        })
    } else {
        json!({
            "layer_name": "norm", "tensor_name": "norm.weight", "shape": [5], "dtype": "F32", "num_params": 5, "quant_type": "none",
            "is_diffusion_model": true,
        })
    };
    let Value::Object(values) = values else { unreachable!() };
    Row { values, bias_correction: (at == 0).then(|| vec![1, 2, 3]) }
}

fn write_with(path: &Path, layout: Parquet, spec: &LayerSpec, tell: &(dyn Fn(usize) -> Row + Sync)) {
    let floats: Vec<u8> = (0..5).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let mut out = layout.tensors(spec);
    let info = aq_io::header::TensorInfo::of("norm.weight", Dtype::F32, &[5]);
    out.push(layout.carry(&info).expect("floats are carried"));
    let (writer, placed) = ShardWriter::create(&Disk::default(), path, &Container::Parquet, &out).expect("a new file");
    let rows = encoded(spec);
    let mut bytes = vec![Vec::new(); out.len() - 1];
    layout.write_rows(spec, &rows, &mut bytes);
    for (placed, bytes) in placed.iter().zip(&bytes) {
        writer.write(placed, 0, bytes).expect("rows can be written");
    }
    writer.write(&placed[out.len() - 1], 0, &floats).expect("floats can be written");
    let closing = Closing {
        tensors: vec![out.len() - 1, 1],
        tell: Box::new(|at| Ok(tell(at))),
        metadata: vec![("arrow_quant.version".into(), "0".into())],
    };
    writer.finish::<IoError>(&placed, Some(&closing), || Ok(())).expect("the file can be finished");
}

fn write(path: &Path, layout: Parquet, spec: &LayerSpec) {
    write_with(path, layout, spec, &|at| told(spec, at));
}

fn open(path: &Path) -> Result<Shard, IoError> {
    Shard::open(&Disk::default(), path, None)
}

fn reopened(bytes: &[u8]) -> Result<Shard, IoError> {
    let dir = TempDir::new().expect("a temporary folder");
    let path = dir.path().join("x.arrow-quant.parquet");
    std::fs::write(&path, bytes).expect("the file can be written");
    open(&path)
}

fn component(shard: Shard) -> Component {
    let dir = shard.path.parent().expect("a folder").to_path_buf();
    Component { name: String::new(), dir, declared: None, config: None, quantization: None, shards: vec![shard], index: None }
}

/// Reads every weight, some rows of each.
fn read_all(shard: Shard) -> Result<(), IoError> {
    let component = component(shard);
    for weight in weights(&component)? {
        let rows = weight.shape[0].min(3);
        weight.read_rows(&component, weight.shape[0] - rows, &mut vec![0.0; rows * weight.row()])?;
    }
    component.shards[0]
        .header
        .tensors
        .iter()
        .filter(|t| t.dtype.is_float())
        .try_for_each(|t| component.shards[0].read_tensor(t, &mut vec![0; t.len as usize], 0))
}

fn damage(error: IoError) -> Damage {
    let IoError::Corrupt(damage) = error else { unreachable!("{error:?}") };
    *damage
}

/// A sound file's bytes.
fn sound() -> Vec<u8> {
    let dir = TempDir::new().expect("a temporary folder");
    let path = dir.path().join("x.parquet");
    write(&path, Parquet { most: 1 << 20 }, &spec(BitWidth::Four, ZeroKind::Float));
    std::fs::read(&path).expect("the file is there")
}

#[test]
fn any_rows_come_back_however_many_parts_they_are_in() {
    for (bits, zero) in [(BitWidth::Two, ZeroKind::Float), (BitWidth::Four, ZeroKind::None), (BitWidth::Eight, ZeroKind::Float)] {
        let spec = spec(bits, zero);
        let mut wanted = vec![0.0; OUT * CHANNELS];
        encoded(&spec).decode(&spec, &mut wanted);
        for most in [1, 200, 500, 1 << 20] {
            let dir = TempDir::new().unwrap();
            let path = dir.path().join("x.parquet");
            write(&path, Parquet { most }, &spec);
            let component = component(open(&path).unwrap());
            let header = &component.shards[0].header;
            assert_eq!(header.tensor("norm.weight").map(|t| (t.dtype, t.shape.clone())), Some((Dtype::F32, vec![5])));
            let mut floats = vec![0; 20];
            component.shards[0].read_tensor(header.tensor("norm.weight").unwrap(), &mut floats, 0).unwrap();
            assert_eq!(floats[16..], 4f32.to_le_bytes());
            let all = weights(&component).unwrap();
            let weight = &all[0];
            let coded = weight.coded().expect("codes");
            assert_eq!((weight.name.as_str(), coded.spec.scheme, coded.spec.dtype), ("block.a.weight", spec.scheme, Dtype::Bf16));
            for first in 0..OUT {
                for rows in [1, 2, 7, OUT].into_iter().filter(|n| first + n <= OUT) {
                    let mut out = vec![0.0; rows * CHANNELS];
                    weight.read_rows(&component, first, &mut out).unwrap();
                    assert!(out == wanted[first * CHANNELS..(first + rows) * CHANNELS], "{bits} bits, {most}: {rows} rows at {first}");
                }
            }
        }
    }
}

#[test]
fn another_library_reads_the_same() {
    let (spec, layout) = (spec(BitWidth::Four, ZeroKind::Float), Parquet { most: 500 });
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("x.parquet");
    write(&path, layout, &spec);
    let mut bytes = vec![Vec::new(); 3];
    layout.write_rows(&spec, &encoded(&spec), &mut bytes);
    let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(&path).unwrap()).unwrap().build().unwrap();
    let batches: Vec<_> = reader.map(Result::unwrap).collect();
    let rows: usize = batches.iter().map(arrow_array::RecordBatch::num_rows).sum();
    assert_eq!(rows, 5, "8 rows of 48 bytes to a part");
    let batch = arrow_select::concat::concat_batches(&batches[0].schema(), &batches).unwrap();
    let column = |name: &str| batch.column_by_name(name).unwrap_or_else(|| unreachable!("{name}"));
    for (name, bytes) in ["data", "scales", "zero_points"].into_iter().zip(&bytes) {
        let parts: Vec<u8> = (0..4).flat_map(|i| column(name).as_binary::<i64>().value(i).to_vec()).collect();
        assert!(parts == *bytes, "{name}");
    }
    assert!(column("scales").is_null(4) && column("zero_points").is_null(4) && column("cosine").is_null(4));
    assert_eq!(column("part").as_primitive::<Int32Type>().values(), &[0, 1, 2, 3, 0]);
    assert_eq!(column("parts").as_primitive::<Int32Type>().values(), &[4, 4, 4, 4, 1]);
    assert_eq!(column("num_params").as_primitive::<Int64Type>().values(), &[768, 768, 768, 576, 5]);
    assert_eq!(column("cosine").as_primitive::<Float64Type>().value(3), 0.5);
    assert_eq!(column("bias_correction").as_binary::<i32>().value(1), [1, 2, 3]);
    for i in 0..4 {
        let value = |name: &str| column(name).as_binary::<i64>().value(i);
        let crc = crc32c::crc32c(&[value("data"), value("scales"), value("zero_points")].concat());
        assert_eq!(column("crc32c").as_primitive::<Int64Type>().value(i), i64::from(crc));
    }
}

#[test]
fn cut_anywhere_it_is_refused() {
    let bytes = sound();
    for len in (0..bytes.len()).rev().step_by(7) {
        assert!(reopened(&bytes[..len]).is_err(), "{len}");
    }
    assert!(read_all(reopened(&bytes).unwrap()).is_ok());
}

#[test]
fn a_flip_in_a_tensor_is_seen_when_it_is_read() {
    let bytes = sound();
    let shard = reopened(&bytes).unwrap();
    let begins = shard.header.tensors[0].offset as usize;
    let lead = OutTensor::body(&Parquet { most: 1 << 20 }.tensors(&spec(BitWidth::Four, ZeroKind::Float))[0]);
    for at in [begins + 40, begins + lead as usize] {
        let mut flipped = bytes.clone();
        flipped[at] ^= 4;
        let error = damage(read_all(reopened(&flipped).unwrap()).unwrap_err());
        assert_eq!((error.defect, error.tensor.as_deref()), (Defect::Checksum, Some("block.a.weight")), "{at}");
    }
    // Of the page's own header nothing may be other than it is written here.
    for at in begins..begins + 20 {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        assert!(matches!(reopened(&flipped), Err(IoError::Unsupported { .. })), "{at}");
    }
}

#[test]
fn flips_anywhere_neither_panic_nor_pass_unseen_in_bytes() {
    let bytes = sound();
    let mut random = SplitMix::new(3);
    for _ in 0..4000 {
        let mut flipped = bytes.clone();
        for _ in 0..=random.next_u64() % 3 {
            let at = random.next_u64() as usize % bytes.len();
            flipped[at] =
                if random.next_u64().is_multiple_of(2) { flipped[at] ^ (1 << (random.next_u64() % 8)) } else { random.next_u64() as u8 };
        }
        if let Ok(shard) = reopened(&flipped) {
            drop(read_all(shard));
        }
    }
}

#[test]
fn what_the_columns_say_is_held_against_the_file() {
    let spec = spec(BitWidth::Four, ZeroKind::Float);
    let with = |column: &'static str, value: Value| {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("x.parquet");
        let tell = |at| {
            let mut row = told(&spec, at);
            if at == 0 {
                row.values.insert(column.into(), value.clone());
            }
            row
        };
        write_with(&path, Parquet { most: 1 << 20 }, &spec, &tell);
        open(&path).map(|_| ()).unwrap_err()
    };
    for (column, value) in [
        ("quant_type", json!("int3")),
        ("meta_dtype", json!("f64")),
        ("rotation", json!("hadamard7")),
        ("rotation", json!("hadamard1024")),
        ("group_size", json!(0)),
        ("group_size", json!(36)),
        ("quant_axis", json!(0)),
        ("shape", json!([-1, 96])),
        ("time_aware_quant_json", json!("{")),
        ("activation_stats_json", json!("[1,")),
    ] {
        let error = with(column, value.clone());
        let IoError::Metadata { field: Some(field), problem: MetadataProblem::FieldType { .. }, .. } = &error else {
            unreachable!("{column} {value}: {error:?}")
        };
        assert!(field.starts_with(column) || column == "quant_axis", "{column}: {field}");
    }
    assert_eq!(damage(with("quant_type", json!("int8"))).defect, Defect::SizeMismatch);
    assert_eq!(damage(with("meta_dtype", json!("f32"))).defect, Defect::SizeMismatch);
    assert_eq!(damage(with("shape", json!([u32::MAX, u32::MAX]))).defect, Defect::ArithmeticOverflow);
    assert!(matches!(with("dtype", json!("Q9")), IoError::Dtype { dtype, .. } if dtype == "Q9"));
    assert_eq!(damage(with("tensor_name", json!("norm.weight"))).defect, Defect::DuplicateName);
}

#[test]
fn other_versions_and_other_files() {
    let bytes = sound();
    let key = b"arrow_quant.format_version";
    let at = bytes.windows(key.len()).position(|w| w == key).unwrap() + key.len() + 2;
    assert_eq!(bytes[at], b'2');
    let version = |digit: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = digit;
        reopened(&bytes).unwrap_err()
    };
    let newer = version(b'3');
    assert!(matches!(newer, IoError::Metadata { problem: MetadataProblem::Version { found: 3, newest: 2 }, .. }), "{newer:?}");
    assert!(matches!(version(b'1'), IoError::Unsupported { .. }));
    let mut other = bytes.clone();
    other[at - 3] ^= 1; // the key is another
    assert!(matches!(reopened(&other), Err(IoError::Unsupported { detected, .. }) if detected.contains("no archive")));
    // A footer that states more than two thousand million row groups must not be believed.
    let footer = [&[0x15, 4, 0x29, 0xfc, 0xff, 0xff, 0xff, 0xff, 7][..], &[9, 0, 0, 0], b"PAR1"].concat();
    let hostile = [b"PAR1", footer.as_slice()].concat();
    assert_eq!(damage(reopened(&hostile).unwrap_err()).defect, Defect::ParquetFooter);
    let long = [b"PAR1".as_slice(), &u32::MAX.to_le_bytes(), b"PAR1"].concat();
    assert_eq!(damage(reopened(&long).unwrap_err()).defect, Defect::ParquetFooter);
}

/// `placed` of a layer that was replaced goes where there is room; the end of the file speaks of what counts.
#[test]
fn a_layer_that_was_replaced_is_read_from_its_new_place() {
    let (four, eight) = (spec(BitWidth::Four, ZeroKind::Float), spec(BitWidth::Eight, ZeroKind::Float));
    let layout = Parquet { most: 1 << 20 };
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("x.parquet");
    let (writer, _) = ShardWriter::create(&Disk::default(), &path, &Container::Parquet, &layout.tensors(&four)).unwrap();
    let placed: Vec<Placed> = writer.append(&layout.tensors(&eight)).unwrap();
    let mut bytes = vec![Vec::new(); 3];
    layout.write_rows(&eight, &encoded(&eight), &mut bytes);
    placed.iter().zip(&bytes).for_each(|(p, b)| writer.write(p, 0, b).unwrap());
    let closing = Closing { tensors: vec![3], tell: Box::new(|at| Ok(told(&eight, at))), metadata: vec![] };
    let written = writer.finish::<IoError>(&placed, Some(&closing), || Ok(())).unwrap();
    let file = std::fs::read(&path).unwrap();
    assert_eq!((written.len, written.hash), (file.len() as u64, blake3::hash(&file).to_hex().to_string()));
    let component = component(open(&path).unwrap());
    let (mut wanted, mut found) = (vec![0.0; OUT * CHANNELS], vec![0.0; OUT * CHANNELS]);
    encoded(&eight).decode(&eight, &mut wanted);
    weights(&component).unwrap()[0].read_rows(&component, 0, &mut found).unwrap();
    assert!(found == wanted);
}
