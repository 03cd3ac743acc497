//! Written files as another library reads them: names, types, shapes, bytes, alignment; layers that were replaced leave no holes.

use aq_core::Dtype;
use aq_io::Disk;
use aq_io::IoError;
use aq_io::layout::OutTensor;
use aq_io::output::{Container, Placed, ShardWriter, WrittenShard};
use aq_testkit::{SplitMix, tree};
use safetensors::SafeTensors;
use std::collections::BTreeMap;
use std::path::Path;
use tempfile::TempDir;

fn tensor(name: &str, dtype: &str, shape: &[usize]) -> OutTensor {
    let dtype = Dtype::parse(dtype).expect("a known type");
    OutTensor::carried(name, dtype, shape, (shape.iter().product::<usize>() * dtype.size()) as u64)
}

/// Bytes that tell tensors apart.
fn content(tensor: &OutTensor) -> Vec<u8> {
    let mut random = SplitMix::new(tensor.name.bytes().fold(tensor.len, |a, b| 31 * a + u64::from(b)));
    (0..tensor.len).map(|_| random.next_u64() as u8).collect()
}

fn plain() -> Container {
    Container::Safetensors(BTreeMap::new())
}

fn done(writer: ShardWriter, last: &[Placed]) -> WrittenShard {
    writer.finish(last, None, || Ok::<(), IoError>(())).expect("the file can be finished")
}

/// What the other library finds must be exactly these tensors, each aligned to its elements, the file covered.
fn check(path: &Path, tensors: &[OutTensor]) {
    let bytes = std::fs::read(path).expect("the file can be read");
    let file = SafeTensors::deserialize(&bytes).expect("another library can read it");
    assert_eq!(file.len(), tensors.len());
    for want in tensors {
        let view = file.tensor(&want.name).expect("the tensor is there");
        assert_eq!(format!("{:?}", view.dtype()).to_uppercase(), want.dtype.name());
        assert_eq!(view.shape(), want.shape, "{}", want.name);
        assert!(view.data() == content(want), "{}", want.name);
        let offset = view.data().as_ptr() as usize - bytes.as_ptr() as usize;
        assert_eq!(offset % want.dtype.size(), 0, "{} at {offset}", want.name);
    }
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes"));
    assert_eq!(header % 8, 0);
    assert_eq!(bytes.len() as u64, header + tensors.iter().map(|t| t.len).sum::<u64>());
}

/// Odd lengths of every element size, in an order that would misalign them.
fn mixed() -> Vec<OutTensor> {
    vec![
        tensor("c.weight", "U8", &[7]),
        tensor("c.scale", "BF16", &[3, 1]),
        tensor("mask", "BOOL", &[1]),
        tensor("d.weight", "F32", &[1, 3]),
        tensor("d.bias", "F16", &[5]),
        tensor("ids", "I64", &[3]),
        tensor("e", "F64", &[1]),
        tensor("codes", "I8", &[3, 1, 1]),
        tensor("scalar", "U32", &[]),
        tensor("empty", "F32", &[0, 4]),
        tensor("short", "I16", &[1]),
        tensor("übung \"x\"\\\n", "U16", &[3]),
    ]
}

#[test]
fn another_library_reads_what_was_written() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("model.safetensors");
    let tensors = mixed();
    let metadata = BTreeMap::from([("modality".to_owned(), "image".to_owned())]);
    let (writer, placed) = ShardWriter::create(&Disk::default(), &path, &Container::Safetensors(metadata), &tensors).unwrap();
    assert!(placed.iter().map(|p| &p.tensor).eq(&tensors), "positions come back in the order asked for");
    // Piece by piece, last first: positions do not depend on the order of writing.
    for p in placed.iter().rev() {
        let bytes = content(&p.tensor);
        for at in (0..bytes.len()).rev() {
            writer.write(p, at as u64, &bytes[at..=at]).unwrap();
        }
    }
    let written = done(writer, &placed);
    check(&path, &tensors);
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!((written.len, written.hash), (bytes.len() as u64, blake3::hash(&bytes).to_hex().to_string()));
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = header.metadata().as_ref().unwrap();
    assert_eq!(metadata.len(), 2);
    assert_eq!((metadata["modality"].as_str(), metadata["format"].as_str()), ("image", "pt"));
}

#[test]
fn a_format_that_the_source_states_is_kept() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("model.safetensors");
    let metadata = BTreeMap::from([("format".to_owned(), "np".to_owned())]);
    let (writer, placed) = ShardWriter::create(&Disk::default(), &path, &Container::Safetensors(metadata), &[]).unwrap();
    done(writer, &placed);
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(SafeTensors::read_metadata(&bytes).unwrap().1.metadata().as_ref().unwrap()["format"], "np");
}

#[test]
fn replaced_layers_leave_no_holes() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("model.safetensors");
    let tensors = mixed();
    let (writer, mut placed) = ShardWriter::create(&Disk::default(), &path, &plain(), &tensors).unwrap();
    for p in &placed {
        writer.write(p, 0, &vec![0xaa; p.tensor.len as usize]).unwrap();
    }
    // `c` ends wider, with other scales and a tensor that was not planned; twice, as on the ladder.
    let narrow = writer.append(&[tensor("c.weight", "U8", &[14]), tensor("c.scale", "BF16", &[3, 1])]).unwrap();
    let wide = writer
        .append(&[tensor("c.weight", "U8", &[3, 1, 9]), tensor("c.scale", "F32", &[3, 1, 1]), tensor("c.zero_point", "F32", &[3, 1, 1])])
        .unwrap();
    assert!(narrow[1].position + narrow[1].tensor.len <= wide[0].position);
    placed.splice(0..2, wide);
    for p in &placed {
        writer.write(p, 0, &content(&p.tensor)).unwrap();
    }
    let written = done(writer, &placed);
    let last: Vec<OutTensor> = placed.iter().map(|p| p.tensor.clone()).collect();
    check(&path, &last);
    assert_eq!(written.hash, blake3::hash(&std::fs::read(&path).unwrap()).to_hex().to_string());
    assert_eq!(tree::names(dir.path()), ["model.safetensors"], "nothing else is left");

    // The same tensors written straight away give the same bytes.
    let straight = dir.path().join("straight.safetensors");
    let (writer, placed) = ShardWriter::create(&Disk::default(), &straight, &plain(), &last).unwrap();
    for p in &placed {
        writer.write(p, 0, &content(&p.tensor)).unwrap();
    }
    assert_eq!(done(writer, &placed).hash, written.hash);
}

#[test]
fn a_tensor_that_is_dropped_leaves_no_hole() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("model.safetensors");
    let (writer, mut placed) = ShardWriter::create(&Disk::default(), &path, &plain(), &mixed()).unwrap();
    placed.remove(3);
    for p in &placed {
        writer.write(p, 0, &content(&p.tensor)).unwrap();
    }
    done(writer, &placed);
    check(&path, &placed.iter().map(|p| p.tensor.clone()).collect::<Vec<_>>());
}

#[test]
fn large_tensors_survive_a_rebuild_in_parts() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("model.safetensors");
    // over two copy buffers, and not a multiple of one
    let big = tensor("big", "U8", &[(5 << 19) + 13]);
    let (writer, mut placed) = ShardWriter::create(&Disk::default(), &path, &plain(), &[tensor("small", "U8", &[1]), big]).unwrap();
    placed[0] = writer.append(&[tensor("small", "F32", &[1])]).unwrap().remove(0);
    for p in &placed {
        writer.write(p, 0, &content(&p.tensor)).unwrap();
    }
    done(writer, &placed);
    check(&path, &[placed[0].tensor.clone(), placed[1].tensor.clone()]);
}

#[test]
fn an_existing_file_is_refused_and_a_stop_is_heard() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("model.safetensors");
    let (writer, placed) = ShardWriter::create(&Disk::default(), &path, &plain(), &mixed()).unwrap();
    assert!(matches!(ShardWriter::create(&Disk::default(), &path, &plain(), &mixed()), Err(IoError::File { .. })));
    let stop = || Err(IoError::OutputExists { path: "stop".into() });
    assert!(matches!(writer.finish(&placed, None, stop), Err(IoError::OutputExists { .. })));
}
