//! What a model makes.

use serde::{Deserialize, Serialize};

/// What a model makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Modality {
    /// Masked-diffusion language models.
    Text,
    /// The same for source code.
    Code,
    /// Pictures.
    Image,
    /// Sound.
    Audio,
    /// Moving pictures.
    Video,
}

impl Modality {
    /// All of them, in the order of messages.
    pub const ALL: [Self; 5] = [Self::Text, Self::Code, Self::Image, Self::Audio, Self::Video];

    /// The name in options and metadata.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Code => "code",
            Self::Image => "image",
            Self::Audio => "audio",
            Self::Video => "video",
        }
    }

    /// Exact, case-sensitive.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|m| m.as_str() == name)
    }
}
