//! GGUF out of safetensors and out of GGUF.

use super::harness::{Bench, FILE, decoded, layer, tensors, varied, why};
use aq_core::{BitWidth, BlockType, Dtype, Method};
use aq_engine::QuantError;
use aq_engine::error::WorkFailure;
use aq_io::Disk;
use aq_io::source::{Shard, open};
use aq_kernels::Level;
use aq_kernels::ggml::{decode, encode};
use aq_testkit::{GgufFile, SafetensorsFile, gauss, heavy, model};
use serde_json::json;
use std::path::Path;

const GGUF: &str = "diffusion_pytorch_model.gguf";

fn shard(path: &Path) -> Shard {
    Shard::open(&Disk::default(), path, None).expect("the file can be read")
}

fn bytes(shard: &Shard, name: &str) -> (Dtype, Vec<u8>) {
    let t = shard.header.tensor(name).unwrap_or_else(|| unreachable!("{name} is in the file"));
    let mut bytes = vec![0; t.len as usize];
    shard.read(&mut bytes, t.offset).expect("the tensor can be read");
    (t.dtype, bytes)
}

/// What the kernel makes of a matrix.
fn blocks(kind: BlockType, method: Method, w: &[f32]) -> Vec<u8> {
    let mut out = vec![0; w.len() / kind.weights() * kind.bytes()];
    assert_eq!(encode(Level::current(), kind, method, w, &mut out), None);
    out
}

fn wide() -> SafetensorsFile {
    SafetensorsFile::new()
        .f32("blocks.1.a.weight", &[300, 512], &heavy(300, 512, 1))
        .f32("blocks.1.b.weight", &[8, 96], &heavy(8, 96, 2))
        .f32("blocks.1.c.weight", &[8, 100], &heavy(8, 100, 3))
        .tensor("blocks.1.c.bias", "BF16", &[8], [0x80, 0x3f].repeat(8))
        .tensor("blocks.1.scales", "F16", &[40, 40], [0x00, 0x3c].repeat(1600))
}

#[test]
fn layers_become_blocks_of_their_width() {
    let bench = Bench::new(&wide());
    for (bits, a, b) in [(2, BlockType::Q2K, BlockType::Q4_1), (4, BlockType::Q4K, BlockType::Q4_1), (8, BlockType::Q8_0, BlockType::Q8_0)]
    {
        let out = format!("out{bits}");
        let report = bench.run(&out, &json!({"layout": "gguf", "bitWidth": bits})).expect("the job succeeds");
        let file = shard(&bench.out(&out).join(GGUF));
        for (name, kind, rows, columns, seed) in [("blocks.1.a", a, 300, 512, 1), ("blocks.1.b", b, 8, 96, 2)] {
            let wanted = (Dtype::Blocks(kind), blocks(kind, Method::Mse, &heavy(rows, columns, seed)));
            assert!(bytes(&file, &format!("{name}.weight")) == wanted, "{name} at {bits} bits");
            let scheme = &layer(&report, name).scheme;
            assert_eq!((scheme.block_type, scheme.method, scheme.stored_group_size), (Some(kind), Method::Mse, kind.group()));
            assert!((layer(&report, name).bits_per_weight - kind.bytes() as f64 * 8.0 / kind.weights() as f64).abs() < 1e-12);
        }
        let widened = report.warnings.iter().find(|w| w.code == "AQ_WARN_LAYOUT_WIDTH").map(|w| w.details.clone());
        assert_eq!(widened, (bits == 2).then(|| json!({"count": 1, "layers": ["blocks.1.b"]})));
        assert_eq!(why(&report, "blocks.1.c"), "no block type of 8 bits fills rows of 100 weights");
        // Values as they are, in types that every reader takes.
        assert_eq!(bytes(&file, "blocks.1.c.bias"), (Dtype::F32, [0, 0, 0x80, 0x3f].repeat(8)));
        assert_eq!(bytes(&file, "blocks.1.scales"), (Dtype::F16, [0x00, 0x3c].repeat(1600)));
        let floats: Vec<u8> = heavy(8, 100, 3).iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(bytes(&file, "blocks.1.c.weight"), (Dtype::F32, floats));
        assert!(!bench.out(&out).join(FILE).exists());
        assert_eq!(file.header.keys.as_ref().and_then(|k| k.number("general.file_type")), Some([10, 15, 7][bits as usize / 3]));
        // The report speaks of what is in the file.
        let (_, values, bits) = &decoded(&bench.out(&out))["blocks.1.a"];
        let mut wanted = vec![0.0; 300 * 512];
        decode(a, &bytes(&file, "blocks.1.a.weight").1, &mut wanted);
        assert_eq!((values, *bits), (&wanted, Some(a.bits())));
    }
    let report = bench.run("rtn", &json!({"layout": "gguf", "method": "rtn"})).expect("the job succeeds");
    assert_eq!(layer(&report, "blocks.1.a").scheme.method, Method::Rtn);
    assert!(bytes(&shard(&bench.out("rtn").join(GGUF)), "blocks.1.a.weight").1 == blocks(BlockType::Q4K, Method::Rtn, &heavy(300, 512, 1)));
}

#[test]
fn convolutions_and_odd_rows_stay_as_they_are() {
    let bench = Bench::new(&varied());
    let report = bench.run("out", &json!({"layout": "gguf"})).expect("the job succeeds");
    assert_eq!(why(&report, "transformer_blocks.2.conv"), "GGUF has blocks for linear layers only");
    assert_eq!(why(&report, "transformer_blocks.2.odd"), "no block type of 8 bits fills rows of 97 weights");
    let (file, source) = (shard(&bench.out("out").join(GGUF)), tensors(&bench.model().join(FILE)));
    for name in ["transformer_blocks.2.conv.weight", "transformer_blocks.2.odd.weight", "position_ids"] {
        assert_eq!(bytes(&file, name).1, source[name].2, "{name}");
    }
}

#[test]
fn shards_become_one_file_for_any_number_of_threads() {
    let bench = Bench::empty();
    std::fs::create_dir(bench.model()).expect("a folder can be made");
    let part = |n: u64| SafetensorsFile::new().f32(&format!("blocks.{n}.w.weight"), &[700, 256], &heavy(700, 256, n));
    model::sharded_component(&bench.model(), super::harness::CLASS, &[part(1), part(2), part(3)]);
    for threads in [1, 2, 7] {
        bench.run(&format!("out{threads}"), &json!({"layout": "gguf", "numThreads": threads})).expect("the job succeeds");
    }
    let names: Vec<String> = bench.tree("out1").keys().cloned().collect();
    assert_eq!(names, ["arrow-quant.json", "config.json", GGUF]);
    let file = shard(&bench.out("out1").join(GGUF));
    for n in 1..=3 {
        assert!(bytes(&file, &format!("blocks.{n}.w.weight")).1 == blocks(BlockType::Q4K, Method::Mse, &heavy(700, 256, n)));
    }
    assert!(bench.tree("out1") == bench.tree("out2") && bench.tree("out1") == bench.tree("out7"));
}

#[test]
fn layers_that_miss_the_threshold_get_wider_blocks() {
    let bench = Bench::new(&SafetensorsFile::new().f32("blocks.1.a.weight", &[64, 512], &gauss(64, 512, 1)));
    let report = bench.run("out", &json!({"layout": "gguf", "bitWidth": 2, "minAccuracy": 0.9999})).expect("the job succeeds");
    let a = layer(&report, "blocks.1.a");
    let widths: Vec<BitWidth> = a.attempts.iter().map(|a| a.bit_width).collect();
    assert_eq!((widths, a.scheme.block_type), (BitWidth::ALL.to_vec(), Some(BlockType::Q8_0)));
    let file = shard(&bench.out("out").join(GGUF));
    assert!(
        bytes(&file, "blocks.1.a.weight") == (Dtype::Blocks(BlockType::Q8_0), blocks(BlockType::Q8_0, Method::Mse, &gauss(64, 512, 1)))
    );
}

fn llama() -> GgufFile {
    GgufFile::new()
        .text("general.architecture", "llada")
        .texts("tokenizer.ggml.tokens", &["a", "b"])
        .number("general.file_type", 0)
        .f32("token_embd.weight", &[16, 256], &heavy(16, 256, 1))
        .f32("blk.3.attn_q.weight", &[32, 256], &heavy(32, 256, 2))
        .f32("blk.3.attn_norm.weight", &[256], &gauss(1, 256, 3))
        .f32("output.weight", &[16, 256], &heavy(16, 256, 4))
}

#[test]
fn a_gguf_file_keeps_its_keys_and_names() {
    let bench = Bench::empty();
    let path = bench.root().join("llada.gguf");
    llama().write(&path);
    let report = bench.run_on(&path, "out", &json!({})).expect("the job succeeds");
    assert_eq!((report.layout, report.modality, report.modality_source.as_str()), ("gguf", "text", "architecture llada"));
    let (from, to) = (shard(&path), shard(&bench.out("out").join("llada.gguf")));
    let keys = to.header.keys.as_ref().unwrap();
    assert_eq!((keys.text("general.architecture"), keys.number("general.file_type")), (Some("llada"), Some(14)));
    let quantized: Vec<&str> = report.layers.iter().map(|l| l.name.as_str()).collect();
    assert_eq!(quantized, ["blk.3.attn_q"]);
    for name in ["token_embd.weight", "output.weight", "blk.3.attn_norm.weight"] {
        assert_eq!(bytes(&to, name), bytes(&from, name), "{name}");
    }
    // A second time would add a second error; other layouts' loaders do not know these names.
    let again = bench.fails_on(&bench.out("out").join("llada.gguf"), &json!({"modality": "text"}));
    assert!(matches!(again, QuantError::QuantizationFailed { failure: WorkFailure::AlreadyQuantized { .. }, .. }), "{again:?}");
    let sdnq = bench.fails_on(&path, &json!({"modality": "text", "layout": "sdnq"}));
    assert!(matches!(&sdnq, QuantError::InvalidConfig(issues) if issues[0].path == "layout"), "{sdnq:?}");
    assert_eq!(open(&Disk::default(), &bench.out("out")).expect("the output is a model").components.len(), 1);
}

#[test]
fn tensors_without_a_place_are_told() {
    for (weights, name) in [
        (wide().tensor("mask", "U8", &[4], [1; 4]), "mask"),
        (wide().f32("blocks.1.d.weight", &[2, 2, 2, 2, 1, 1], &gauss(1, 16, 1)), "blocks.1.d.weight"),
    ] {
        let error = Bench::new(&weights).fails(&json!({"layout": "gguf"}));
        let QuantError::QuantizationFailed { failure: WorkFailure::NotCarried { tensor, layout, .. }, .. } = &error else {
            unreachable!("{error:?}")
        };
        assert_eq!((tensor.as_str(), *layout), (name, "gguf"));
        assert!(error.texts().sentence.contains(name), "{}", error.texts().sentence);
    }
}

#[test]
fn scales_that_a_half_does_not_hold() {
    let mut w = gauss(8, 256, 1);
    w[700] = 3e38;
    let error = Bench::new(&SafetensorsFile::new().f32("blocks.1.a.weight", &[8, 256], &w)).fails(&json!({"layout": "gguf"}));
    assert!(matches!(&error, QuantError::QuantizationFailed { failure: WorkFailure::ScaleOverflow { dtype: "F16", .. }, .. }), "{error:?}");
}

/// A FLUX of one block each, small, in two shards that part q from k and v.
fn flux() -> Bench {
    let bench = Bench::empty();
    std::fs::create_dir(bench.model()).expect("a folder can be made");
    let linear = |file: SafetensorsFile, module: &str, out: usize, seed: u64| {
        let file = file.f32(&format!("{module}.weight"), &[out, 256], &heavy(out, 256, seed));
        file.f32(&format!("{module}.bias"), &[out], &gauss(1, out, seed))
    };
    let mut first = SafetensorsFile::new();
    for (i, module) in ["x_embedder", "transformer_blocks.0.attn.to_q", "single_transformer_blocks.0.attn.to_q"].iter().enumerate() {
        first = linear(first, module, 32, i as u64);
    }
    let mut second = SafetensorsFile::new();
    for (i, part) in ["attn.to_k", "attn.to_v"].iter().enumerate() {
        second = linear(second, &format!("transformer_blocks.0.{part}"), 32, 10 + i as u64);
        second = linear(second, &format!("single_transformer_blocks.0.{part}"), 32, 20 + i as u64);
    }
    second = linear(second, "single_transformer_blocks.0.proj_mlp", 64, 30);
    second = linear(second, "norm_out.linear", 6, 31);
    second = second.f32("transformer_blocks.0.attn.norm_q.weight", &[16], &gauss(1, 16, 32));
    model::sharded_component(&bench.model(), "FluxTransformer2DModel", &[first, second]);
    bench
}

#[test]
fn original_names_join_rows_and_exchange_halves() {
    let bench = flux();
    let report = bench.run("out", &json!({"layout": "gguf", "ggufNames": "original", "bitWidth": 4})).expect("the job succeeds");
    let file = shard(&bench.out("out").join(GGUF));
    let mut names: Vec<&str> = file.header.tensors.iter().map(|t| t.name.as_str()).collect();
    names.sort_unstable();
    let wanted = [
        "double_blocks.0.img_attn.norm.query_norm.scale",
        "double_blocks.0.img_attn.qkv.bias",
        "double_blocks.0.img_attn.qkv.weight",
        "final_layer.adaLN_modulation.1.bias",
        "final_layer.adaLN_modulation.1.weight",
        "img_in.bias",
        "img_in.weight",
        "single_blocks.0.linear1.bias",
        "single_blocks.0.linear1.weight",
    ];
    assert_eq!(names, wanted);
    assert_eq!(file.header.keys.as_ref().and_then(|k| k.text("general.architecture")), Some("flux"));
    // Joined before they are encoded: blocks never cross a row, so each part's are those of the part alone.
    let alone =
        |kind, parts: &[(usize, u64)]| parts.iter().flat_map(|&(rows, seed)| blocks(kind, Method::Mse, &heavy(rows, 256, seed))).collect();
    let kind = |name: &str| file.header.tensor(name).and_then(|t| if let Dtype::Blocks(kind) = t.dtype { Some(kind) } else { None });
    let qkv = kind("double_blocks.0.img_attn.qkv.weight").expect("it is in blocks");
    assert_eq!(bytes(&file, "double_blocks.0.img_attn.qkv.weight").1, alone(qkv, &[(32, 1), (32, 10), (32, 11)]) as Vec<u8>);
    let linear1 = alone(BlockType::Q4K, &[(32, 2), (32, 20), (32, 21), (64, 30)]);
    assert_eq!(bytes(&file, "single_blocks.0.linear1.weight"), (Dtype::Blocks(BlockType::Q4K), linear1));
    assert_eq!(file.header.tensor("single_blocks.0.linear1.weight").map(|t| t.shape.clone()), Some(vec![160, 256]));
    let floats = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let bias: Vec<f32> = [(32, 2), (32, 20), (32, 21), (64, 30)].iter().flat_map(|&(n, seed)| gauss(1, n, seed)).collect();
    assert_eq!(bytes(&file, "single_blocks.0.linear1.bias"), (Dtype::F32, floats(&bias)));
    let last = heavy(6, 256, 31);
    assert_eq!(bytes(&file, "final_layer.adaLN_modulation.1.weight").1, floats(&[&last[3 * 256..], &last[..3 * 256]].concat()));
    let last = gauss(1, 6, 31);
    assert_eq!(bytes(&file, "final_layer.adaLN_modulation.1.bias").1, floats(&[&last[3..], &last[..3]].concat()));
    let layers: Vec<&str> = report.layers.iter().map(|l| l.name.as_str()).collect();
    assert_eq!(layers, ["transformer_blocks.0.attn.to_q", "single_transformer_blocks.0.attn.to_q"]);
    let qkv = layer(&report, "transformer_blocks.0.attn.to_q");
    assert_eq!(qkv.written_as.as_deref(), Some("double_blocks.0.img_attn.qkv.weight"));
    assert_eq!(qkv.joined, ["to_q", "to_k", "to_v"].map(|m| format!("transformer_blocks.0.attn.{m}")));
    // What is asked for one of them holds for all.
    let pinned = json!({"layout": "gguf", "ggufNames": "original", "layerBitWidths": {"transformer_blocks.0.attn.to_v": 8, "single_transformer_blocks.0.proj_mlp": 16}});
    bench.run("pinned", &pinned).expect("the job succeeds");
    let file = shard(&bench.out("pinned").join(GGUF));
    assert_eq!(file.header.tensor("double_blocks.0.img_attn.qkv.weight").map(|t| t.dtype), Some(Dtype::Blocks(BlockType::Q8_0)));
    assert_eq!(file.header.tensor("single_blocks.0.linear1.weight").map(|t| t.dtype), Some(Dtype::F32));
}

#[test]
fn raised_and_kept_layers_have_their_original_names() {
    let bench = flux();
    let names = |out: &str| {
        let file = shard(&bench.out(out).join(GGUF));
        file.header.tensors.iter().map(|t| t.name.clone()).collect::<std::collections::BTreeSet<_>>()
    };
    bench.run("out", &json!({"layout": "gguf", "ggufNames": "original", "bitWidth": 2})).expect("the job succeeds");
    let options = json!({"layout": "gguf", "ggufNames": "original", "bitWidth": 2, "minAccuracy": 0.999});
    let report = bench.run("raised", &options).expect("the job succeeds");
    assert!(report.layers.iter().all(|l| l.fallback.is_some()));
    assert_eq!(names("raised"), names("out"));
    let file = shard(&bench.out("raised").join(GGUF));
    let kinds = ["double_blocks.0.img_attn.qkv.weight", "single_blocks.0.linear1.weight"].map(|n| file.header.tensor(n).map(|t| t.dtype));
    assert_eq!(kinds, [Some(Dtype::Blocks(BlockType::Q8_0)); 2]);

    let path = bench.model().join("diffusion_pytorch_model-00002-of-00002.safetensors");
    let mut bytes = std::fs::read(&path).expect("the shard is there");
    let place = shard(&path).header.tensor("transformer_blocks.0.attn.to_k.weight").map(|t| t.offset as usize).expect("it is in the shard");
    bytes[place..place + 4].copy_from_slice(&f32::INFINITY.to_le_bytes());
    std::fs::write(&path, bytes).expect("a test's own folder can be written");
    let options = json!({"layout": "gguf", "ggufNames": "original", "nonFinite": "keep"});
    bench.run("kept", &options).expect("the job succeeds");
    assert_eq!(names("kept"), names("out"));
}

#[test]
fn original_names_that_are_not_known_are_refused() {
    let unknown = Bench::new(&wide()).fails(&json!({"layout": "gguf", "ggufNames": "original"}));
    assert!(matches!(&unknown, QuantError::InvalidConfig(issues) if issues[0].path == "ggufNames"), "{unknown:?}");
    let without = Bench::new(&wide()).fails(&json!({"layout": "sdnq", "ggufNames": "original"}));
    assert!(matches!(&without, QuantError::InvalidConfig(issues) if issues[0].path == "ggufNames"), "{without:?}");
    let unsaid = Bench::new(&wide()).fails(&json!({"ggufNames": "original"}));
    assert!(matches!(&unsaid, QuantError::InvalidConfig(issues) if issues[0].path == "ggufNames"), "{unsaid:?}");
    let foreign = |name: &str| {
        let bench = Bench::empty();
        std::fs::create_dir(bench.model()).expect("a folder can be made");
        let file = SafetensorsFile::new().f32(name, &[32, 256], &heavy(32, 256, 1));
        model::component(&bench.model(), "FluxTransformer2DModel", &file);
        match bench.fails(&json!({"layout": "gguf", "ggufNames": "original"})) {
            QuantError::QuantizationFailed { failure: WorkFailure::NotCarried { why, .. }, .. } => why,
            other => unreachable!("{other:?}"),
        }
    };
    assert_eq!(foreign("transformer_blocks.0.something.weight"), "its name is none that architecture flux has");
    assert_eq!(
        foreign("transformer_blocks.0.attn.to_q.weight"),
        "transformer_blocks.0.attn.to_k.weight, which belongs to it, is not there"
    );
}

#[test]
fn convolutions_of_unets_stand_in_rows_of_blocks_under_original_names() {
    let conv = [64usize, 40, 3, 3];
    let numel: usize = conv.iter().product();
    let weights = heavy(64, 360, 1);
    let file = SafetensorsFile::new()
        .f32("down_blocks.0.resnets.0.conv1.weight", &conv, &weights)
        .f32("down_blocks.0.resnets.1.conv1.weight", &[6, 7, 3, 3], &heavy(6, 63, 2))
        .f32("down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight", &[64, 320], &heavy(64, 320, 3));
    let bench = Bench::new(&file);
    let config = json!({
        "_class_name": "UNet2DConditionModel", "layers_per_block": 2,
        "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    });
    std::fs::write(bench.model().join("config.json"), config.to_string()).unwrap();
    let report = bench.run("out", &json!({"layout": "gguf", "ggufNames": "original", "protectBlocks": "none"})).expect("the job succeeds");
    let file = shard(&bench.out("out").join(GGUF));
    let name = "input_blocks.1.0.in_layers.2.weight";
    let stored = file.header.tensor(name).unwrap_or_else(|| unreachable!("{:?}", file.header.tensors));
    assert_eq!((stored.dtype, &stored.shape), (Dtype::Blocks(BlockType::Q4K), &vec![numel / 256, 256]));
    assert!(bytes(&file, name).1 == blocks(BlockType::Q4K, Method::Mse, &weights));
    let keys = file.header.keys.as_ref().unwrap();
    assert_eq!(keys.numbers(&format!("comfy.gguf.orig_shape.{name}")), Some(conv.to_vec()));
    // 378 weights are no rows of 256: this one stays as it is. Linear layers have rows of their own.
    let other = file.header.tensor("input_blocks.2.0.in_layers.2.weight").unwrap();
    assert_eq!((other.dtype, other.shape.len()), (Dtype::F32, 4));
    let linear = file.header.tensor("input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight").unwrap();
    assert_eq!((linear.dtype, &linear.shape), (Dtype::Blocks(BlockType::Q4_1), &vec![64, 320]));
    assert_eq!(layer(&report, "down_blocks.0.resnets.0.conv1").shape, conv.map(|d| d as u64));
    // Read back it has the model's shape, and any rows of it.
    let source = open(&Disk::default(), &bench.out("out")).unwrap();
    let component = &source.components[0];
    let all = aq_io::weights::weights(component).unwrap();
    let weight = all.iter().find(|w| w.name == name).unwrap();
    assert_eq!((&weight.shape, weight.row()), (&conv.to_vec(), 360));
    let mut wanted = vec![0.0; numel];
    decode(BlockType::Q4K, &bytes(&file, name).1, &mut wanted);
    for (first, rows) in [(0, 64), (0, 1), (1, 1), (7, 5), (63, 1), (13, 51)] {
        let mut found = vec![0.0; rows * 360];
        weight.read_rows(component, first, &mut found).unwrap();
        assert!(found == wanted[first * 360..(first + rows) * 360], "{rows} rows from {first}");
    }
    super::export::run(&bench, "out", "plain", aq_core::config::Layout::Plain).expect("blocks have values");
    let plain = tensors(&bench.out("plain").join(FILE));
    assert_eq!(plain[name].1, conv);
    assert!(plain[name].2 == wanted.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>());
    // With the names of diffusers convolutions stay as they are: its loader knows no other shape.
    bench.run("own", &json!({"layout": "gguf"})).expect("the job succeeds");
    let own = shard(&bench.out("own").join(GGUF));
    assert_eq!(own.header.tensor("down_blocks.0.resnets.0.conv1.weight").unwrap().dtype, Dtype::F32);
}
