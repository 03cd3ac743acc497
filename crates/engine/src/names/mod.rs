//! Original names of a denoiser's tensors, as ComfyUI and stable-diffusion.cpp want them: read from `original.json`, which is compiled in.
//!
//! An entry is a rename, a join of rows, or an exchange of halves. `interop/original_names.py` proves the table with diffusers' own converters.

mod pattern;

use pattern::{Pattern, Values};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::OnceLock;

#[derive(Debug, Deserialize)]
struct Table {
    parts: BTreeMap<String, BTreeMap<String, String>>,
    families: Vec<RawFamily>,
}

#[derive(Debug, Deserialize)]
struct RawFamily {
    architecture: String,
    #[serde(default)]
    f16: bool,
    #[serde(default)]
    reshapes: bool,
    classes: Vec<String>,
    #[serde(default)]
    requires: Map<String, Value>,
    entries: Vec<RawEntry>,
}

#[derive(Debug, Deserialize)]
struct RawEntry {
    from: Vec<String>,
    to: Option<String>,
    #[serde(default)]
    op: Op,
    #[serde(default)]
    suffixes: BTreeMap<String, String>,
    #[serde(default)]
    last: BTreeMap<char, String>,
    parts: Option<String>,
}

/// How a tensor is made of those of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// It is one of them.
    #[default]
    Rename,
    /// Their rows one after the other.
    Rows,
    /// One with its halves exchanged.
    SwapHalves,
}

/// The names of one architecture.
#[derive(Debug)]
pub struct Family {
    /// GGUF's `general.architecture`.
    pub architecture: String,
    /// ComfyUI computes it in f16, unless told otherwise (`supported_models.py`: the first of its types).
    pub f16: bool,
    /// Convolutions may stand in other rows than their own (`shape_fix` of ComfyUI-GGUF's converter).
    pub reshapes: bool,
    classes: Vec<String>,
    requires: Map<String, Value>,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    from: Vec<Pattern>,
    to: Option<Pattern>,
    op: Op,
    suffixes: BTreeMap<String, String>,
    last: BTreeMap<char, String>,
}

/// What becomes of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Original {
    /// Its original name.
    pub name: String,
    /// The tensors of the source that it is made of, in order.
    pub members: Vec<String>,
    /// How.
    pub op: Op,
}

#[expect(clippy::expect_used, reason = "the table is compiled in, and a test reads all of it")]
fn families() -> &'static [Family] {
    static FAMILIES: OnceLock<Vec<Family>> = OnceLock::new();
    FAMILIES.get_or_init(|| {
        let table: Table = serde_json::from_str(include_str!("original.json")).expect("original.json has the shape it should have");
        table.families.iter().map(|f| Family::of(f, &table.parts)).collect()
    })
}

/// The architecture of a component by its class and config; `None` where it is not known, or more than one could be meant.
pub fn family(class: &str, config: &Map<String, Value>) -> Option<&'static Family> {
    let mut found = families().iter().filter(|f| f.classes.iter().any(|c| c == class) && f.holds(config));
    found.next().filter(|_| found.next().is_none())
}

/// Names of all architectures.
pub fn architectures() -> Vec<&'static str> {
    families().iter().map(|f| f.architecture.as_str()).collect()
}

impl Family {
    fn of(raw: &RawFamily, parts: &BTreeMap<String, BTreeMap<String, String>>) -> Self {
        let entries = raw.entries.iter().flat_map(|e| Entry::of(e, parts)).collect();
        Self {
            architecture: raw.architecture.clone(),
            f16: raw.f16,
            reshapes: raw.reshapes,
            classes: raw.classes.clone(),
            requires: raw.requires.clone(),
            entries,
        }
    }

    fn holds(&self, config: &Map<String, Value>) -> bool {
        self.requires.iter().all(|(key, wanted)| config.get(key).unwrap_or(&Value::Null) == wanted)
    }

    /// The original of a tensor; `Ok(None)`: the original has none. An error where no entry knows it.
    pub fn original(&self, tensor: &str, config: &Map<String, Value>) -> Result<Option<Original>, String> {
        let (module, suffix) = split(tensor);
        for entry in &self.entries {
            let Some(values) = entry.from.iter().find_map(|p| p.matches(module)).filter(|v| entry.is_in_place(v, config)) else { continue };
            let Some(to) = &entry.to else { return Ok(None) };
            let suffix_to = entry.suffixes.get(suffix).map_or(suffix, String::as_str);
            let name = |pattern: &Pattern, suffix: &str| {
                let module = pattern.with(&values);
                if suffix.is_empty() { module } else { format!("{module}.{suffix}") }
            };
            let members = entry.from.iter().map(|p| name(p, suffix)).collect();
            return Ok(Some(Original { name: name(to, suffix_to), members, op: entry.op }));
        }
        Err(format!("its name is none that architecture {} has", self.architecture))
    }
}

impl Entry {
    fn of(raw: &RawEntry, parts: &BTreeMap<String, BTreeMap<String, String>>) -> Vec<Self> {
        let one = |from: Vec<String>, to: Option<String>| Self {
            from: from.iter().map(|p| Pattern::new(p)).collect(),
            to: to.as_deref().map(Pattern::new),
            op: raw.op,
            suffixes: raw.suffixes.clone(),
            last: raw.last.clone(),
        };
        match raw.parts.as_ref().and_then(|name| parts.get(name)) {
            None => vec![one(raw.from.clone(), raw.to.clone())],
            Some(parts) => parts
                .iter()
                .map(|(from, to)| {
                    let below = |module: &String, part: &str| format!("{module}.{part}");
                    one(raw.from.iter().map(|m| below(m, from)).collect(), raw.to.as_ref().map(|m| below(m, to)))
                })
                .collect(),
        }
    }

    /// Some entries are for the last block alone.
    fn is_in_place(&self, values: &Values, config: &Map<String, Value>) -> bool {
        self.last.iter().all(|(letter, key)| {
            let count = config.get(key).and_then(Value::as_u64);
            values.get(letter).zip(count).is_some_and(|(value, count)| value + 1 == count)
        })
    }
}

/// A module and `weight` or `bias`; a name that ends otherwise is all module.
fn split(tensor: &str) -> (&str, &str) {
    match tensor.rsplit_once('.') {
        Some((module, suffix @ ("weight" | "bias"))) => (module, suffix),
        _ => (tensor, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(value: &Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    fn name(class: &str, about: &Value, tensor: &str) -> Option<Original> {
        let config = config(about);
        family(class, &config).unwrap().original(tensor, &config).unwrap()
    }

    #[test]
    fn flux() {
        let of = |tensor| name("FluxTransformer2DModel", &json!({}), tensor).unwrap();
        assert_eq!(of("transformer_blocks.7.attn.norm_q.weight").name, "double_blocks.7.img_attn.norm.query_norm.scale");
        let joined = of("single_transformer_blocks.3.attn.to_k.bias");
        assert_eq!((joined.name.as_str(), joined.op), ("single_blocks.3.linear1.bias", Op::Rows));
        let members = ["attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"].map(|m| format!("single_transformer_blocks.3.{m}.bias"));
        assert_eq!(joined.members, members);
        assert_eq!(of("norm_out.linear.weight").op, Op::SwapHalves);
        let config = config(&json!({}));
        let unknown = family("FluxTransformer2DModel", &config).unwrap().original("transformer_blocks.0.x.weight", &config);
        assert_eq!(unknown, Err("its name is none that architecture flux has".into()));
    }

    #[test]
    fn the_last_block_of_sd3_and_what_wan_leaves_out() {
        let of = |i: u32, about: Value| {
            name("SD3Transformer2DModel", &about, &format!("transformer_blocks.{i}.norm1_context.linear.weight")).unwrap().op
        };
        assert_eq!((of(23, json!({"num_layers": 24})), of(22, json!({"num_layers": 24}))), (Op::SwapHalves, Op::Rename));
        assert_eq!(name("WanTransformer3DModel", &json!({}), "blocks.0.attn2.norm_added_q.weight"), None);
    }

    #[test]
    fn numbers_of_unets() {
        let sd1 = json!({"block_out_channels": [320, 640, 1280, 1280], "layers_per_block": 2, "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"], "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"]});
        let of = |tensor| name("UNet2DConditionModel", &sd1, tensor).unwrap().name;
        assert_eq!(of("down_blocks.1.resnets.1.conv1.weight"), "input_blocks.5.0.in_layers.2.weight");
        assert_eq!(
            of("up_blocks.2.attentions.0.transformer_blocks.0.attn2.to_q.weight"),
            "output_blocks.6.1.transformer_blocks.0.attn2.to_q.weight"
        );
        assert!(family("UNet2DConditionModel", &config(&json!({"layers_per_block": 1}))).is_none());
        assert!(family("NoSuchModel", &config(&json!({}))).is_none());
        assert_eq!(architectures().len(), families().len());
    }
}
