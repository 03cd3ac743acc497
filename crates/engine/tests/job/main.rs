//! Whole jobs on small generated models: from files to files.

mod archive;
mod calibrated;
mod choices;
mod comfyui;
mod compressed;
mod dtypes;
mod eight_bits;
mod export;
mod failures;
mod figures;
mod folders;
mod gguf;
mod harness;
mod ladder;
mod layouts;
mod recipes;
mod resume;
mod rotation;
mod shapes;
mod shares;
mod sources;
mod target;
mod threads;
