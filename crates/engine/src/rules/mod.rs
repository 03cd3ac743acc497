//! Roles of layers by name, the first-block rule and the families of modalities: read from `rules.json`, which is compiled in.

use aq_core::{BitWidth, Modality};
use regex_lite::Regex;
use serde::Deserialize;
use std::sync::OnceLock;

/// What happens to a layer of some role by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// At the job's width.
    Quantize,
    /// At 8 bits, whatever the job's width.
    Keep8,
    /// Left as it is.
    Float,
}

/// One role.
#[derive(Debug, Deserialize)]
pub struct Role {
    /// Its name in reports.
    pub role: String,
    /// Default treatment.
    pub action: Action,
    /// The reason, for reports.
    pub why: String,
    /// Whether 4 bits will do where the layer's inputs are known.
    #[serde(default)]
    pub yields: bool,
    /// Only for weights of so many dimensions.
    dims: Option<usize>,
    patterns: Vec<Pattern>,
}

/// What the first-block rule does to a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protected {
    /// Nothing.
    No,
    /// The next width.
    Wider,
    /// This width.
    At(BitWidth),
}

#[derive(Debug, Deserialize)]
struct Protection {
    modalities: Vec<Modality>,
    bits: Vec<BitWidth>,
    /// What the network predicts, as its scheduler says; absent: anything.
    prediction: Option<Vec<String>>,
    /// The width that its layers get; absent: the next one.
    to: Option<BitWidth>,
    first: Vec<Pattern>,
    last: Vec<Pattern>,
}

#[derive(Debug, Deserialize)]
struct Family {
    modality: Modality,
    pattern: Pattern,
}

#[derive(Debug, Deserialize)]
struct Families {
    classes: Vec<Family>,
    architectures: Vec<Family>,
    tensors: Vec<Family>,
}

/// A regular expression of a data file, compiled as it is read.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Pattern(pub Regex);

/// No name that a rule knows is longer, in bytes; a match takes time in proportion, and names come from files.
const LONGEST: usize = 1024;

impl Pattern {
    /// Whether the pattern is found in a name.
    pub fn matches(&self, name: &str) -> bool {
        name.len() <= LONGEST && self.0.is_match(name)
    }
}

impl TryFrom<String> for Pattern {
    type Error = regex_lite::Error;
    fn try_from(text: String) -> Result<Self, regex_lite::Error> {
        Regex::new(&text).map(Self)
    }
}

/// All rules.
#[derive(Debug, Deserialize)]
pub struct Rules {
    strip: Pattern,
    roles: Vec<Role>,
    /// Last parts of old names, and what loaders make of them.
    renames: Vec<(String, String)>,
    protect: Vec<Protection>,
    modality: Families,
}

/// The rules, parsed once.
pub fn rules() -> &'static Rules {
    static RULES: OnceLock<Rules> = OnceLock::new();
    RULES.get_or_init(|| {
        #[expect(clippy::expect_used, reason = "the file is compiled in, and a test parses it")]
        serde_json::from_str(include_str!("rules.json")).expect("rules.json is valid")
    })
}

impl Rules {
    fn bare<'a>(&self, module: &'a str) -> &'a str {
        let prefix = if module.len() <= LONGEST { self.strip.0.find(module) } else { None };
        prefix.map_or(module, |m| &module[m.end()..])
    }

    /// The role of a module whose weight has so many dimensions; the last rule matches everything.
    pub fn role(&self, module: &str, dims: usize) -> &Role {
        let bare = self.bare(module);
        let fits = |role: &Role| role.dims.is_none_or(|d| d == dims);
        let matches = |role: &&Role| fits(role) && role.patterns.iter().any(|p| p.matches(bare));
        self.roles.iter().find(matches).unwrap_or(&self.roles[self.roles.len() - 1])
    }

    /// The name that a loader gives a module of role `renamed`.
    pub fn renamed(&self, module: &str) -> Option<String> {
        let (path, last) = module.rsplit_once('.')?;
        let (_, new) = self.renames.iter().find(|(old, _)| old == last).filter(|_| self.role(module, 2).role == "renamed")?;
        Some(format!("{path}.{new}"))
    }

    /// Which of these modules the first-block rule raises, and how far. `prediction`: what the network predicts, where a scheduler says so.
    pub fn protected(&self, modality: Modality, bits: BitWidth, prediction: Option<&str>, modules: &[&str]) -> Vec<Protected> {
        let mut raised = vec![Protected::No; modules.len()];
        let predicts = |p: &Protection| p.prediction.as_ref().is_none_or(|list| prediction.is_some_and(|t| list.iter().any(|l| l == t)));
        let applies = |p: &&Protection| p.modalities.contains(&modality) && p.bits.contains(&bits) && predicts(p);
        for rule in self.protect.iter().filter(applies) {
            let to = rule.to.map_or(Protected::Wider, Protected::At);
            for (module, raised) in modules.iter().zip(&mut raised) {
                if rule.first.iter().any(|p| p.matches(self.bare(module))) {
                    *raised = to;
                }
            }
            for pattern in &rule.last {
                let index = |module: &&str| pattern.0.captures(self.bare(module)).and_then(|c| c.get(1)?.as_str().parse::<u64>().ok());
                if let Some(last) = modules.iter().filter_map(index).max() {
                    for (module, raised) in modules.iter().zip(&mut raised) {
                        if index(module) == Some(last) {
                            *raised = to;
                        }
                    }
                }
            }
        }
        raised
    }

    /// The modality of a class name.
    pub fn modality_of_class(&self, class: &str) -> Option<Modality> {
        self.modality.classes.iter().find(|f| f.pattern.matches(class)).map(|f| f.modality)
    }

    /// The modality of a GGUF file's architecture.
    pub fn modality_of_architecture(&self, name: &str) -> Option<Modality> {
        self.modality.architectures.iter().find(|f| f.pattern.matches(name)).map(|f| f.modality)
    }

    /// The modality of a model's tensor names.
    pub fn modality_of_tensors(&self, names: &[&str]) -> Option<Modality> {
        self.modality.tensors.iter().find(|f| names.iter().any(|n| f.pattern.matches(n))).map(|f| f.modality)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_of_real_names() {
        for (module, role) in [
            ("transformer_blocks.0.norm1.emb.class_embedder.embedding_table", "embedding"),
            ("transformer_blocks.0.norm1.emb.timestep_embedder.linear_1", "time"),
            ("transformer_blocks.0.norm1.linear", "modulation"),
            ("single_transformer_blocks.3.norm.linear", "modulation"),
            ("single_transformer_blocks.3.proj_out", "body"),
            ("single_transformer_blocks.3.proj_mlp", "mlp"),
            ("norm_out.linear", "last"),
            ("proj_out", "last"),
            ("pos_embed.proj", "first"),
            ("down_blocks.1.resnets.0.time_emb_proj", "time"),
            ("down_blocks.1.attentions.0.to_out.0", "attention"),
            ("down_blocks.1.attentions.0.proj_in", "attention"),
            ("model.layers.3.mlp.gate_proj", "mlp"),
            ("model.layers.3.mlp.gate", "router"),
            ("model.embed_tokens", "embedding"),
            ("model.transformer.wte", "embedding"),
            ("model.transformer.ff_out", "last"),
            ("model.transformer.blocks.3.ff_out", "body"),
            ("model.diffusion_model.double_blocks.3.img_mod.lin", "modulation"),
            ("model.diffusion_model.final_layer.linear", "last"),
            ("condition_embedder.time_embedder.linear_1", "time"),
            ("blocks.2.attn1.to_q", "attention"),
            ("first_stage_model.decoder.conv_in", "elsewhere"),
            ("class_embedding", "embedding"),
            ("class_embedding.linear_1", "time"),
            ("mid_block.attentions.0.query", "renamed"),
            ("encoder.layer.0.attention.self.query", "attention"),
            ("time_text_embed.addition_t_embedding", "embedding"),
            ("token_embd", "embedding"),
            ("output", "last"),
            ("blk.3.attn_output", "attention"),
            ("blk.3.ffn_gate_inp", "router"),
            ("blk.3.ffn_down", "mlp"),
            ("text_model.embeddings.token_embedding", "embedding"),
        ] {
            assert_eq!(rules().role(module, 2).role, role, "{module}");
        }
    }

    #[test]
    fn upsamplers_are_transposed_in_one_dimension_only() {
        assert_eq!(rules().role("up_blocks.0.upsamplers.0.conv", 3).role, "transposed");
        assert_eq!(rules().role("up_blocks.0.upsamplers.0.conv", 4).role, "body");
    }

    #[test]
    fn old_attention_names() {
        assert_eq!(rules().renamed("mid_block.attentions.0.proj_attn").as_deref(), Some("mid_block.attentions.0.to_out.0"));
        assert_eq!(rules().renamed("encoder.layer.0.attention.self.query"), None);
    }

    #[test]
    fn first_and_last_blocks() {
        let modules = ["down_blocks.0.resnets.0.conv1", "down_blocks.1.resnets.0.conv1", "up_blocks.0.x", "up_blocks.1.x", "mid_block.x"];
        let raised = |bits, prediction| rules().protected(Modality::Image, bits, prediction, &modules);
        let (no, wider) = (Protected::No, Protected::Wider);
        assert_eq!(raised(BitWidth::Two, None), [Protected::At(BitWidth::Eight), no, no, wider, no]);
        assert_eq!(raised(BitWidth::Four, None), [wider, no, no, wider, no]);
        assert_eq!(raised(BitWidth::Eight, None), [no; 5]);
        assert_eq!(raised(BitWidth::Eight, Some("flow")), [no; 5]);
        assert_eq!(raised(BitWidth::Eight, Some("epsilon")), [wider, no, no, no, no]);
        let text = ["model.layers.0.mlp.up_proj", "model.layers.1.mlp.up_proj"];
        assert_eq!(rules().protected(Modality::Text, BitWidth::Two, None, &text), [wider, no]);
        assert_eq!(rules().protected(Modality::Text, BitWidth::Four, None, &text), [no, no]);
        let text = ["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj", "model.transformer.blocks.0.attn_out"];
        assert_eq!(rules().protected(Modality::Text, BitWidth::Four, None, &text), [wider, no, wider]);
    }

    #[test]
    fn classes_tell_modalities() {
        for (class, modality) in [
            ("LlamaForCausalLM", Modality::Text),
            ("UNet2DModel", Modality::Image),
            ("FluxTransformer2DModel", Modality::Image),
            ("WanTransformer3DModel", Modality::Video),
            ("HunyuanDiT2DModel", Modality::Image),
            ("HunyuanVideoTransformer3DModel", Modality::Video),
            ("AudioLDM2UNet2DConditionModel", Modality::Audio),
            ("StableAudioDiTModel", Modality::Audio),
            ("LTXVideoTransformer3DModel", Modality::Video),
        ] {
            assert_eq!(rules().modality_of_class(class), Some(modality), "{class}");
        }
        assert_eq!(rules().modality_of_class("Hologram"), None);
    }
}
