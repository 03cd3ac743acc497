//! Which tensors qualify, and at which width: the user's word first, then the rules by role, then the first-block rule.

use super::names::NamePattern;
use crate::rules::{Action, Protected, Role, rules};
use aq_core::config::Protect;
use aq_core::error::{ConfigIssue, ErrorCode};
use aq_core::{BitWidth, Dtype, Modality, ResolvedConfig};
use aq_io::TensorInfo;

/// The decision for one tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// At this width; `pinned` when the user named it.
    Quantize {
        /// Bits per code.
        bits: BitWidth,
        /// Asked for by name.
        pinned: bool,
    },
    /// Left alone, for a reason worth reporting.
    Float(String),
    /// Not a weight matrix (norms, biases, integers): carried over without a word.
    Carry,
}

/// The user's patterns, compiled, with a note of which were ever meant.
pub struct Selector<'a> {
    config: &'a ResolvedConfig,
    skip: Vec<(NamePattern, bool)>,
    widths: Vec<(NamePattern, u8, bool)>,
}

/// A tensor with its surroundings.
pub struct Candidate<'a> {
    /// Its component; empty for models that are one.
    pub component: &'a str,
    /// The tensor.
    pub tensor: &'a TensorInfo,
    /// A tensor `in_proj_weight` stands beside it: its module class is one that loaders do not convert.
    pub fused_attention: bool,
    /// The first-block rule means it.
    pub protected: Protected,
}

impl<'a> Selector<'a> {
    /// For a configuration.
    pub fn new(config: &'a ResolvedConfig) -> Self {
        let skip = config.skip_layers.iter().map(|s| (NamePattern::new(s), false)).collect();
        // Exact names go before globs, each in the order given.
        let mut widths: Vec<_> = config.layer_bit_widths.iter().map(|(n, b)| (NamePattern::new(n), *b, false)).collect();
        widths.sort_by_key(|w| !w.0.is_exact());
        Self { config, skip, widths }
    }

    /// Decides one tensor.
    pub fn choose(&mut self, c: &Candidate<'_>) -> Choice {
        let name = &c.tensor.name;
        let mut skipped = false;
        for (pattern, used) in &mut self.skip {
            if pattern.matches(c.component, name) {
                (*used, skipped) = (true, true);
            }
        }
        let mut asked = None;
        for (pattern, bits, used) in &mut self.widths {
            if pattern.matches(c.component, name) {
                *used = true;
                asked = asked.or(Some(*bits));
            }
        }
        let Some(module) = name.strip_suffix(".weight") else { return Choice::Carry };
        if !is_matrix(c.tensor) {
            return Choice::Carry;
        }
        if skipped {
            return Choice::Float("skipLayers names it".into());
        }
        if asked == Some(16) {
            return Choice::Float("layerBitWidths keeps it at 16".into());
        }
        let role = rules().role(module, c.tensor.shape.len());
        if let Some(why) = unfit(c, role) {
            return Choice::Float(why);
        }
        if let Some(bits) = asked.and_then(|b| BitWidth::try_from(u64::from(b)).ok()) {
            return Choice::Quantize { bits, pinned: true };
        }
        match role.action {
            Action::Float => Choice::Float(role.why.clone()),
            Action::Keep8 => Choice::Quantize { bits: BitWidth::Eight, pinned: false },
            Action::Quantize => match (c.protected, self.config.bit_width.wider()) {
                (Protected::No, _) => Choice::Quantize { bits: self.config.bit_width, pinned: false },
                (Protected::At(bits), _) | (Protected::Wider, Some(bits)) => Choice::Quantize { bits, pinned: false },
                (Protected::Wider, None) => Choice::Float("the first block decides the worst step of a noise-predicting model".into()),
            },
        }
    }

    /// Patterns that meant no tensor at all.
    pub fn unmatched(&self, names: &[&str]) -> Vec<ConfigIssue> {
        let all = || names.iter().copied();
        let skip = self.skip.iter().enumerate().filter(|(_, (_, used))| !used);
        let skip = skip.map(|(i, (p, _))| p.unmatched(format!("skipLayers[{i}]"), ErrorCode::InvalidConfig, all()));
        let widths = self.widths.iter().filter(|(_, _, used)| !used);
        let widths = widths.map(|(p, _, _)| p.unmatched(format!("layerBitWidths[\"{}\"]", p.text()), ErrorCode::InvalidConfig, all()));
        skip.chain(widths).collect()
    }
}

/// Roles that no layout carries in codes, whatever the user asks; and modules that the loaders do not convert.
fn unfit(c: &Candidate<'_>, role: &Role) -> Option<String> {
    if matches!(role.role.as_str(), "embedding" | "transposed" | "norm" | "renamed") {
        return Some(role.why.clone());
    }
    c.fused_attention.then(|| "its attention module is fused, which loaders do not convert".into())
}

/// A float tensor with rows and input channels, worth storing as codes.
fn is_matrix(tensor: &TensorInfo) -> bool {
    tensor.dtype.is_float() && tensor.shape.len() >= 2 && tensor.numel() > 0
}

/// Which of a component's tensors the first-block rule raises.
pub fn protected(config: &ResolvedConfig, modality: Modality, prediction: Option<&str>, modules: &[&str]) -> Vec<Protected> {
    match config.protect_blocks {
        Protect::None => vec![Protected::No; modules.len()],
        Protect::Auto => rules().protected(modality, config.bit_width, prediction, modules),
    }
}

/// Tensors that make a model "quantized already": codes with a companion that every such layout has.
pub fn looks_quantized(tensors: &[&TensorInfo]) -> Option<String> {
    let names: std::collections::HashSet<&str> = tensors.iter().map(|t| t.name.as_str()).collect();
    let companion = |module: &str| {
        [".scale", ".weight_scale", ".scales", ".weight.absmax", ".comfy_quant"]
            .into_iter()
            .find(|s| names.contains(&*format!("{module}{s}")))
    };
    for t in tensors {
        if let Dtype::Blocks(kind) = t.dtype {
            return Some(format!("{} blocks in tensor {}", kind.name(), t.name));
        }
        if t.name.ends_with(".weight_packed") || t.name.ends_with(".qweight") {
            return Some(format!("packed tensor {}", t.name));
        }
        if let (Dtype::Carried(dtype, 1), Some(module)) = (t.dtype, t.name.strip_suffix(".weight"))
            && let Some(suffix) = companion(module)
        {
            return Some(format!("{dtype} tensor {} beside {module}{suffix}", t.name));
        }
    }
    None
}
