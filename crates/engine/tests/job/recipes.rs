//! GGUF files by the names that people know them by.

use super::harness::{Bench, layer};
use aq_core::BitWidth;
use aq_core::BlockType::{Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
use aq_engine::QuantError;
use aq_io::Disk;
use aq_io::source::Shard;
use aq_testkit::{SafetensorsFile, heavy};
use serde_json::json;

const GGUF: &str = "diffusion_pytorch_model.gguf";

#[test]
fn kinds_of_files_by_name() {
    let file = SafetensorsFile::new()
        .f32("transformer_blocks.1.attn.to_q.weight", &[64, 512], &heavy(64, 512, 1))
        .f32("transformer_blocks.1.attn.to_v.weight", &[64, 512], &heavy(64, 512, 2))
        .f32("transformer_blocks.1.ff.net.2.weight", &[64, 256], &heavy(64, 256, 3))
        .f32("transformer_blocks.1.attn.to_k.weight", &[64, 96], &heavy(64, 96, 4))
        .f32("transformer_blocks.1.ff.net.0.proj.weight", &[64, 512], &heavy(64, 512, 5));
    let bench = Bench::new(&file);
    // Name, width, file type; then of most layers, of values, of rows of 96.
    for (name, width, number, most, values, short) in [
        ("Q2_K", BitWidth::Two, 10, Q2K, Q2K, Q4_1),
        ("Q3_K_S", BitWidth::Two, 11, Q3K, Q3K, Q4_0),
        ("Q3_K_M", BitWidth::Two, 12, Q3K, Q5K, Q4_0),
        ("Q4_0", BitWidth::Four, 2, Q4_0, Q4_0, Q4_0),
        ("Q4_1", BitWidth::Four, 3, Q4_1, Q4_1, Q4_1),
        ("Q4_K_S", BitWidth::Four, 14, Q4K, Q4K, Q4_1),
        ("Q4_K_M", BitWidth::Four, 15, Q4K, Q6K, Q4_1),
        ("Q5_0", BitWidth::Four, 8, Q5_0, Q5_0, Q5_0),
        ("Q5_1", BitWidth::Four, 9, Q5_1, Q5_1, Q5_1),
        ("Q5_K_S", BitWidth::Four, 16, Q5K, Q5K, Q5_1),
        ("Q5_K_M", BitWidth::Four, 17, Q5K, Q6K, Q5_1),
        ("Q6_K", BitWidth::Four, 18, Q6K, Q6K, Q8_0),
        ("Q8_0", BitWidth::Eight, 7, Q8_0, Q8_0, Q8_0),
    ] {
        let report = bench.run(name, &json!({"layout": "gguf", "ggufType": name})).expect("the job succeeds");
        assert_eq!((report.bit_width, &report.resolved_config["ggufType"]), (width, &json!(name)));
        let kind = |module: &str| layer(&report, &format!("transformer_blocks.1.{module}")).scheme.block_type;
        assert_eq!(["attn.to_q", "ff.net.0.proj"].map(kind), [Some(most); 2], "{name}");
        assert_eq!(["attn.to_v", "ff.net.2"].map(kind), [Some(values); 2], "{name}");
        assert_eq!(kind("attn.to_k"), Some(short), "{name}");
        let file = Shard::open(&Disk::default(), &bench.out(name).join(GGUF), None).expect("the file can be read");
        assert_eq!(file.header.keys.as_ref().and_then(|k| k.number("general.file_type")), Some(number), "{name}");
    }
    // A wider layer has no fewer bits than it had.
    let widths = json!({"*.attn.to_v": 4, "*.attn.to_q": 4});
    let wider = bench.run("wider", &json!({"layout": "gguf", "ggufType": "Q3_K_M", "layerBitWidths": widths})).expect("the job succeeds");
    let kind = |module: &str| layer(&wider, &format!("transformer_blocks.1.attn.{module}")).scheme.block_type;
    assert_eq!(["to_v", "to_q"].map(kind), [Some(Q5K), Some(Q4K)]);
    // Blocks go to another GGUF file as they are.
    super::export::run(&bench, "Q6_K", "again", aq_core::config::Layout::Gguf).expect("blocks are blocks");
    assert!(super::harness::decoded(&bench.out("Q6_K")) == super::harness::decoded(&bench.out("again")));
    // A job that goes on, or raises a layer, keeps to the kind: 8 bits are above all of them.
    let raised = bench.run("raised", &json!({"layout": "gguf", "ggufType": "Q5_K_M", "minAccuracy": 0.9999})).expect("the job succeeds");
    assert_eq!(layer(&raised, "transformer_blocks.1.attn.to_q").scheme.block_type, Some(Q8_0));
    let issues = |options| match bench.fails(&options) {
        QuantError::InvalidConfig(issues) => issues.into_iter().map(|i| (i.path, i.expected)).collect::<Vec<_>>(),
        other => unreachable!("{other:?}"),
    };
    let width = ("bitWidth".to_owned(), "4 or nothing with ggufType 'Q6_K'".to_owned());
    assert_eq!(issues(json!({"layout": "gguf", "ggufType": "Q6_K", "bitWidth": 8})), [width]);
    for layout in [json!("sdnq"), json!("auto")] {
        let elsewhere = ("ggufType".to_owned(), "to be given only with layout 'gguf'".to_owned());
        assert_eq!(issues(json!({"layout": layout, "ggufType": "Q6_K"})), [elsewhere]);
    }
    let both = bench.run("both", &json!({"layout": ["sdnq", "gguf"], "ggufType": "Q3_K_M"})).expect("the job succeeds");
    assert_eq!(both.outputs.iter().map(|o| o.bit_width).collect::<Vec<_>>(), [BitWidth::Two; 2]);
}
