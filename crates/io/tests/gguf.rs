//! GGUF files: what a sound one holds, and what every damage of one is called.

use aq_core::{BlockType, Dtype};
use aq_io::error::{Damage, Defect, IoError, MetadataProblem};
use aq_io::gguf::Keys;
use aq_io::layout::OutTensor;
use aq_io::output::{Container, ShardWriter};
use aq_io::source::Shard;
use aq_io::{Disk, TensorInfo};
use aq_testkit::GgufFile;
use tempfile::TempDir;

const F32: u32 = 0;
const F16: u32 = 1;
const Q4_0: u32 = 2;
const Q4_K: u32 = 12;
const BF16: u32 = 30;

fn sound() -> GgufFile {
    GgufFile::new()
        .text("general.architecture", "llada")
        .texts("tokenizer.ggml.tokens", &["<s>", "", "é"])
        .key("llada.flag", 7, &[1])
        .key("llada.list", 9, &[&4u32.to_le_bytes()[..], &2u64.to_le_bytes(), &[1, 0, 0, 0, 2, 0, 0, 0]].concat())
        .f32("norm.weight", &[3], &[1.0, 2.0, 3.0])
        .tensor("blk.0.attn_q.weight", Q4_K, &[2, 256], &[5; 288])
        .tensor("blk.0.attn_k.weight", BF16, &[2, 3], &[9; 12])
        .tensor("blk.0.old.weight", Q4_0, &[1, 32], &[1; 18])
}

fn open(bytes: &[u8]) -> Result<Shard, IoError> {
    let dir = TempDir::new().expect("a temporary folder");
    let path = dir.path().join("model.gguf");
    std::fs::write(&path, bytes).expect("the file can be written");
    Shard::open(&Disk::default(), &path, None)
}

fn damage(bytes: &[u8]) -> Damage {
    match open(bytes) {
        Err(IoError::Corrupt(damage)) => *damage,
        other => unreachable!("{other:?}"),
    }
}

fn content(shard: &Shard, t: &TensorInfo) -> Vec<u8> {
    let mut bytes = vec![0; t.len as usize];
    shard.read(&mut bytes, t.offset).expect("a checked tensor can be read");
    bytes
}

#[test]
fn a_sound_file_is_read_whole() {
    let shard = open(&sound().bytes()).unwrap();
    let found: Vec<_> = shard.header.tensors.iter().map(|t| (t.name.as_str(), t.dtype, t.shape.clone(), content(&shard, t))).collect();
    let floats: Vec<u8> = [1f32, 2.0, 3.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    assert_eq!(found[0], ("norm.weight", Dtype::F32, vec![3], floats));
    assert_eq!(found[1], ("blk.0.attn_q.weight", Dtype::Blocks(BlockType::Q4K), vec![2, 256], vec![5; 288]));
    assert_eq!(found[2], ("blk.0.attn_k.weight", Dtype::Bf16, vec![2, 3], vec![9; 12]));
    assert_eq!(found[3], ("blk.0.old.weight", Dtype::Blocks(BlockType::Q4_0), vec![1, 32], vec![1; 18]));
    let keys = shard.header.keys.as_ref().unwrap();
    assert_eq!((keys.text("general.architecture"), keys.text("llada.flag"), keys.number("absent")), (Some("llada"), None, None));
    // Version 2 has the same bytes; a file without tensors is a file.
    let mut second = sound().bytes();
    second[4] = 2;
    assert_eq!(open(&second).unwrap().header, shard.header);
    assert!(open(&GgufFile::new().bytes()).unwrap().header.tensors.is_empty());
}

#[test]
fn keys_go_to_a_new_file_as_they_are() {
    let old = open(&sound().number("general.alignment", 64).bytes());
    // Tensors of that file stand at multiples of 32.
    assert!(matches!(old, Err(IoError::Corrupt(d)) if d.defect == Defect::OffsetOrder));
    let shard = open(&sound().bytes()).unwrap();
    let mut keys = shard.header.keys.clone().unwrap();
    keys.set_quantized(BlockType::Q4K, true);
    let out: Vec<OutTensor> = shard.header.tensors.iter().map(|t| OutTensor::carried(&t.name, t.dtype, &t.shape, t.len)).collect();
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("out.gguf");
    let (writer, placed) = ShardWriter::create(&Disk::default(), &path, &Container::Gguf(keys), &out).unwrap();
    for (place, t) in placed.iter().zip(&shard.header.tensors) {
        writer.write(place, 0, &content(&shard, t)).unwrap();
    }
    let written = writer.finish::<IoError>(&placed, None, || Ok(())).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!((written.len, written.hash), (bytes.len() as u64, blake3::hash(&bytes).to_hex().to_string()));
    // The same file by hand, with the keys that say what it is.
    let wanted = GgufFile::new()
        .text("general.architecture", "llada")
        .texts("tokenizer.ggml.tokens", &["<s>", "", "é"])
        .key("llada.flag", 7, &[1])
        .key("llada.list", 9, &[&4u32.to_le_bytes()[..], &2u64.to_le_bytes(), &[1, 0, 0, 0, 2, 0, 0, 0]].concat())
        .number("general.quantization_version", 2)
        .number("general.file_type", 15)
        .f32("norm.weight", &[3], &[1.0, 2.0, 3.0])
        .tensor("blk.0.attn_q.weight", Q4_K, &[2, 256], &[5; 288])
        .tensor("blk.0.attn_k.weight", BF16, &[2, 3], &[9; 12])
        .tensor("blk.0.old.weight", Q4_0, &[1, 32], &[1; 18]);
    assert!(bytes == wanted.bytes());
}

#[test]
fn other_versions_and_types() {
    let version = |n: u32| {
        let mut bytes = sound().bytes();
        bytes[4..8].copy_from_slice(&n.to_le_bytes());
        open(&bytes).unwrap_err()
    };
    assert!(matches!(version(1), IoError::Unsupported { .. }));
    for newer in [4, 3 << 24] {
        let found = u64::from(newer);
        assert!(
            matches!(version(newer), IoError::Metadata { problem: MetadataProblem::Version { found: f, newest: 3 }, .. } if f == found)
        );
    }
    let error = open(&sound().tensor("blk.1.weight", 23, &[1, 256], &[0; 136]).bytes()).unwrap_err();
    assert!(matches!(error, IoError::Dtype { tensor, dtype, .. } if tensor == "blk.1.weight" && dtype == "ggml type 23"));
}

#[test]
fn every_damage_has_its_name() {
    let file = || GgufFile::new().f32("a", &[2], &[1.0, 2.0]);
    let defect = |f: &GgufFile| damage(&f.bytes()).defect;
    assert_eq!(defect(&file().f32("a", &[1], &[1.0])), Defect::DuplicateName);
    assert_eq!(defect(&file().text("k", "").text("k", "")), Defect::DuplicateName);
    assert_eq!(defect(&file().f32("b", &[1], &[1.0]).misplaced(0)), Defect::OffsetOverlap);
    assert_eq!(defect(&file().misplaced(32)), Defect::OffsetRange);
    assert_eq!(defect(&file().misplaced(u64::MAX - 31)), Defect::OffsetRange);
    assert_eq!(defect(&file().misplaced(7)), Defect::OffsetOrder);
    assert_eq!(defect(&file().tensor("b", F16, &[u64::MAX, 2], &[])), Defect::ArithmeticOverflow);
    assert_eq!(defect(&file().tensor("b", F32, &[1 << 40, 1 << 40], &[])), Defect::ArithmeticOverflow);
    assert_eq!(defect(&file().tensor("b", F32, &[1 << 40], &[])), Defect::OffsetRange);
    assert_eq!(defect(&file().tensor("b", F32, &[1; 6], &[])), Defect::HeaderEntry);
    assert_eq!(defect(&file().tensor("b", Q4_K, &[2, 128], &[0; 144])), Defect::HeaderEntry);
    assert_eq!(defect(&file().key("k", 13, &[])), Defect::HeaderEntry);
    assert_eq!(defect(&file().key("k", 9, &[&9u32.to_le_bytes()[..], &1u64.to_le_bytes()].concat())), Defect::HeaderEntry);
    assert_eq!(defect(&file().key("k", 9, &[&10u32.to_le_bytes()[..], &u64::MAX.to_le_bytes()].concat())), Defect::ArithmeticOverflow);
    for alignment in [0, 3, 1 << 30] {
        assert_eq!(defect(&file().number("general.alignment", alignment)), Defect::HeaderEntry, "{alignment}");
    }
    assert_eq!(defect(&file().text("general.alignment", "32")), Defect::HeaderEntry);
    let mut name = file().bytes();
    name[24 + 8] = 0xff;
    assert_eq!(damage(&name).defect, Defect::HeaderEncoding);
}

#[test]
fn lengths_and_counts_are_never_believed() {
    for at in [8, 16, 24] {
        for value in [u64::MAX, 1 << 62, 100_000_001, 1_000_000_000_000] {
            let mut bytes = sound().bytes();
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
            let defect = damage(&bytes).defect;
            assert!(matches!(defect, Defect::TooManyTensors | Defect::TooShort | Defect::HeaderLength), "{at} {value}: {defect:?}");
        }
    }
}

#[test]
fn cut_anywhere_it_is_refused() {
    let bytes = sound().bytes();
    for len in 0..bytes.len() - 14 {
        // The last tensor has 18 bytes of its 32.
        assert!(open(&bytes[..len]).is_err(), "{len}");
    }
    assert!(open(&bytes).is_ok());
}

#[test]
fn any_flip_is_an_error_or_another_sound_file() {
    let bytes = sound().bytes();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            if let Ok(shard) = open(&flipped) {
                shard.header.tensors.iter().for_each(|t| drop(content(&shard, t)));
            }
        }
    }
}

#[test]
fn new_keys() {
    let mut keys = Keys::new("flux");
    keys.set_text("general.architecture", "sd3");
    keys.set_number("n", 7);
    assert_eq!((keys.text("general.architecture"), keys.number("n"), keys.text("n")), (Some("sd3"), Some(7), None));
}
