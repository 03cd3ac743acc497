//! Which architectures are known, read from `families.json`, which is compiled in.

use crate::rules::Pattern;
use regex_lite::Regex;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// A setting of the sinusoid: the family's own, or what the config says.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Setting<T> {
    /// Always this.
    Fixed(T),
    /// Under a key of the config.
    Config {
        /// The key.
        key: String,
        /// Where the config does not say.
        default: T,
    },
}

impl<T: Clone + for<'de> Deserialize<'de>> Setting<T> {
    /// The value for a config; `None` where the config has something else under the key.
    pub fn of(&self, config: &Map<String, Value>) -> Option<T> {
        match self {
            Self::Fixed(value) => Some(value.clone()),
            Self::Config { key, default } => match config.get(key) {
                None | Some(Value::Null) => Some(default.clone()),
                Some(value) => serde_json::from_value(value.clone()).ok(),
            },
        }
    }
}

/// What stands beside the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A pooled text vector.
    Pooled,
    /// The strength of guidance, as a step.
    Guidance,
    /// A pooled text vector and six numbers of sizes, as SDXL has them.
    TextTime,
}

/// Another embedder whose output is added, where the model has it. Its input is not in the file, so it is sampled.
#[derive(Debug, Clone, Deserialize)]
pub struct Added {
    /// Its module.
    pub embedder: String,
    /// What goes into it.
    pub kind: Kind,
    /// Root mean square of a pooled vector's elements: an assumption of the usual size.
    #[serde(default)]
    pub rms: f32,
}

/// A family's path.
#[derive(Debug, Deserialize)]
pub struct Family {
    class: Pattern,
    require: BTreeMap<String, Vec<Value>>,
    embedder: Pattern,
    /// Cosines first.
    pub flip: Setting<bool>,
    /// What is taken off half the width when frequencies are spaced.
    pub shift: Setting<f32>,
    /// A table of labels, one of whose rows is added.
    pub labels: Option<String>,
    /// A module whose presence makes the sum another one.
    without: Option<String>,
    /// Other embedders.
    pub added: Vec<Added>,
    driven: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Families {
    paths: Vec<Family>,
}

/// The family of a model, if its time path is known: by class and config.
pub fn family(class: &str, config: &Map<String, Value>) -> Option<&'static Family> {
    static FAMILIES: OnceLock<Families> = OnceLock::new();
    let families = FAMILIES.get_or_init(|| {
        #[expect(clippy::expect_used, reason = "the file is compiled in, and a test parses it")]
        serde_json::from_str(include_str!("families.json")).expect("families.json is valid")
    });
    families.paths.iter().find(|f| f.is_class(class) && f.allows(config))
}

impl Family {
    fn is_class(&self, class: &str) -> bool {
        self.class.0.is_match(class)
    }

    fn allows(&self, config: &Map<String, Value>) -> bool {
        self.require.iter().all(|(key, allowed)| allowed.contains(config.get(key).unwrap_or(&Value::Null)))
    }

    /// The root of an embedder with this module name.
    pub fn root<'m>(&self, module: &'m str) -> Option<&'m str> {
        self.embedder.0.captures(module)?.get(1).map(|root| root.as_str())
    }

    /// Whether the sum is the one described, given the modules that there are.
    pub fn is_whole<'m>(&self, mut modules: impl Iterator<Item = &'m str>) -> bool {
        self.without.as_ref().is_none_or(|w| !modules.any(|m| m == w))
    }

    /// The patterns of driven layers for a root.
    pub fn driven(&self, root: &str) -> Vec<Regex> {
        self.driven.iter().filter_map(|d| Regex::new(&rooted(d, &regex_lite::escape(root))).ok()).collect()
    }
}

/// A text with its root.
pub fn rooted(text: &str, root: &str) -> String {
    text.replace("{root}", root)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: &Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn classes_and_configs_decide() {
        let dit = family("DiTTransformer2DModel", &object(&json!({"norm_type": "ada_norm_zero"}))).unwrap();
        assert_eq!(dit.root("transformer_blocks.7.norm1.emb.timestep_embedder"), Some("transformer_blocks.7"));
        assert!(dit.driven("transformer_blocks.7")[0].is_match("transformer_blocks.7.norm1.linear"));
        assert!(!dit.driven("transformer_blocks.7")[0].is_match("transformer_blocks.77.norm1.linear"));
        assert!(family("DiTTransformer2DModel", &object(&json!({"norm_type": "layer_norm"}))).is_none());
        let unet = |config: Value| family("UNet2DConditionModel", &object(&config));
        assert_eq!(unet(json!({"flip_sin_to_cos": false})).unwrap().flip.of(&object(&json!({"flip_sin_to_cos": false}))), Some(false));
        assert!(unet(json!({"time_embedding_type": "fourier"})).is_none());
        assert!(unet(json!({"class_embed_type": "timestep"})).is_none());
        assert!(unet(json!({"addition_embed_type": "image"})).is_none());
        assert!(family("Hologram", &object(&json!({}))).is_none());
        let pixart = family("PixArtTransformer2DModel", &object(&json!({}))).unwrap();
        assert!(!pixart.is_whole(["adaln_single.emb.resolution_embedder.linear_1"].into_iter()) && pixart.is_whole(["a"].into_iter()));
    }

    #[test]
    fn every_pattern_compiles() {
        let all: Families = serde_json::from_str(include_str!("families.json")).unwrap();
        for f in &all.paths {
            assert_eq!(f.driven("a.0").len(), f.driven.len());
        }
    }
}
